//! The kernel's ublk driver: its binary interface, its control device, and the memory that it shares
//! with servers. Numbers and layouts: the userspace ABI header `linux/ublk_cmd.h`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::mem::Buf;

/// Most bytes that the kernel keeps for the descriptors of one queue; queues follow one another in
/// the device's file at this distance, whatever their depth.
const QUEUE_STRIDE: u64 = (DEPTH_MAX as u64 * size_of::<IoDesc>() as u64).next_multiple_of(4096);
/// Most requests of one queue.
const DEPTH_MAX: u16 = 4096;
/// How long a control command that was given up may take to notice it.
const GIVEN_UP: Duration = Duration::from_secs(1);

/// `ioctl` numbers: the direction (2 read, 3 both), the size of what is passed, the letter, the
/// command.
const fn number(direction: u32, size: usize, command: u32) -> u32 {
    direction << 30 | (size as u32) << 16 | (b'u' as u32) << 8 | command
}

/// Commands to `/dev/ublk-control`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ControlOp {
    AddDev,
    DelDev,
    StartDev,
    StopDev,
    SetParams,
    StartRecovery,
    EndRecovery,
    DevInfo,
    Features,
    UpdateSize,
}

impl ControlOp {
    const fn encoded(self) -> u32 {
        const SIZE: usize = size_of::<ControlCmd>();
        match self {
            Self::AddDev => number(3, SIZE, 0x04),
            Self::DelDev => number(3, SIZE, 0x05),
            Self::StartDev => number(3, SIZE, 0x06),
            Self::StopDev => number(3, SIZE, 0x07),
            Self::SetParams => number(3, SIZE, 0x08),
            Self::StartRecovery => number(3, SIZE, 0x10),
            Self::EndRecovery => number(3, SIZE, 0x11),
            Self::DevInfo => number(2, SIZE, 0x12),
            Self::Features => number(2, SIZE, 0x13),
            Self::UpdateSize => number(3, SIZE, 0x15),
        }
    }
}

const FETCH: u32 = number(3, size_of::<IoCmd>(), 0x20);
const COMMIT_AND_FETCH: u32 = number(3, size_of::<IoCmd>(), 0x21);
const NEED_GET_DATA: u32 = number(3, size_of::<IoCmd>(), 0x22);

/// `struct ublksrv_ctrl_cmd`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct ControlCmd {
    dev_id: u32,
    queue_id: u16,
    len: u16,
    addr: u64,
    data: u64,
    dev_path_len: u16,
    pad: u16,
    reserved: u32,
}

/// `struct ublksrv_ctrl_dev_info`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct DevInfo {
    pub queues: u16,
    pub depth: u16,
    pub state: u16,
    pub pad0: u16,
    pub max_io_bytes: u32,
    pub id: u32,
    pub server_pid: i32,
    pub pad1: u32,
    pub flags: u64,
    /// Ours to use: the driver keeps it and does not look at it.
    pub mark: u64,
    pub owner_uid: u32,
    pub owner_gid: u32,
    pub reserved: [u64; 2],
}

/// `struct ublk_params`, up to and with what is of use here: zones are not.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Params {
    pub len: u32,
    pub types: u32,
    // `struct ublk_param_basic`
    pub attrs: u32,
    pub logical_shift: u8,
    pub physical_shift: u8,
    pub io_opt_shift: u8,
    pub io_min_shift: u8,
    pub max_sectors: u32,
    pub chunk_sectors: u32,
    pub dev_sectors: u64,
    pub virt_boundary_mask: u64,
    // `struct ublk_param_discard`
    pub discard_alignment: u32,
    pub discard_granularity: u32,
    pub max_discard_sectors: u32,
    pub max_write_zeroes_sectors: u32,
    pub max_discard_segments: u16,
    pub reserved: u16,
    // `struct ublk_param_devt`, filled by the driver alone.
    pub device_numbers: [u32; 4],
    pub end: u32,
}

/// `struct ublksrv_io_desc`: a request, as the driver describes it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IoDesc {
    pub op_flags: u32,
    pub sectors: u32,
    pub start_sector: u64,
    pub addr: u64,
}

/// `struct ublksrv_io_cmd`.
#[repr(C)]
struct IoCmd {
    queue: u16,
    tag: u16,
    result: i32,
    addr: u64,
}

const _: () = {
    assert!(size_of::<ControlCmd>() == 32);
    assert!(size_of::<DevInfo>() == 64);
    assert!(std::mem::offset_of!(DevInfo, flags) == 24);
    assert!(std::mem::offset_of!(DevInfo, owner_uid) == 40);
    assert!(size_of::<IoDesc>() == 24);
    assert!(size_of::<IoCmd>() == 16);
    assert!(std::mem::offset_of!(Params, discard_alignment) == 40);
    assert!(std::mem::offset_of!(Params, device_numbers) == 60);
    assert!(size_of::<Params>() == 80);
    assert!(ControlOp::AddDev.encoded() == 0xc020_7504);
    assert!(ControlOp::Features.encoded() == 0x8020_7513);
    assert!(FETCH == 0xc010_7520);
};

impl IoCmd {
    fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&self.queue.to_ne_bytes());
        bytes[2..4].copy_from_slice(&self.tag.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.result.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.addr.to_ne_bytes());
        bytes
    }
}

impl ControlCmd {
    fn bytes(&self) -> [u8; 80] {
        let mut bytes = [0; 80];
        bytes[..4].copy_from_slice(&self.dev_id.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.queue_id.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.len.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.addr.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.data.to_ne_bytes());
        bytes[24..26].copy_from_slice(&self.dev_path_len.to_ne_bytes());
        bytes
    }
}

/// Structs of whole fields, without holes: any bytes of their size are one.
///
/// # Safety
/// Holds for the implementing type.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: `repr(C)`, integers only, and the assertions above leave no room for holes.
unsafe impl Plain for DevInfo {}
// SAFETY: as above.
unsafe impl Plain for Params {}
// SAFETY: an integer.
unsafe impl Plain for u64 {}

/// The bytes of a struct.
pub(crate) fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: `Plain` has no holes, so every byte is initialised; the borrow lasts as long.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The struct of these bytes; none if there are too few.
pub(crate) fn from_bytes<T: Plain>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: long enough, and any bytes are a `Plain`; no alignment is asked for.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// A control command, and what goes with it.
#[derive(Debug)]
pub(crate) struct Control {
    pub op: ControlOp,
    /// Which device; `u32::MAX` for none yet.
    pub id: u32,
    pub data: u64,
    /// In or out. What the driver writes is there afterwards.
    pub payload: Vec<u8>,
    /// Bytes at the start of `payload` that are the path of the character device: a user who is not
    /// root has to name it.
    pub path_len: u16,
}

impl Control {
    fn command(&mut self) -> Option<ControlCmd> {
        Some(ControlCmd {
            dev_id: self.id,
            queue_id: u16::MAX,
            len: u16::try_from(self.payload.len()).ok()?,
            addr: match self.payload.is_empty() {
                true => 0,
                false => self.payload.as_mut_ptr() as u64,
            },
            data: self.data,
            dev_path_len: self.path_len,
            pad: 0,
            reserved: 0,
        })
    }
}

/// Carries out a control command, and waits for its end at most `limit`: some wait for another
/// process, which may never come. One that is given up (`TIMEDOUT`) is cancelled; where even that
/// does not help, it stays with the kernel, and what it may write to is never freed.
pub(crate) fn control(
    device: BorrowedFd<'_>,
    mut control: Control,
    limit: Duration,
) -> Result<Vec<u8>, Errno> {
    let os = |e: io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
    let mut ring: IoUring<squeue::Entry128, cqueue::Entry> =
        IoUring::builder().build(4).map_err(os)?;
    if !ring.params().is_feature_ext_arg() {
        return Err(Errno::OPNOTSUPP);
    }
    let command = control.command().ok_or(Errno::INVAL)?;
    let fd = types::Fd(device.as_raw_fd());
    let entry = opcode::UringCmd80::new(fd, control.op.encoded()).cmd(command.bytes());
    // SAFETY: what the command points to is `control.payload`, which is freed only once the
    // command's completion has been seen (see the end), and is not touched before that.
    if unsafe { ring.submission().push(&entry.build().user_data(1)) }.is_err() {
        return Err(Errno::BUSY);
    }
    let mut ended = wait(&mut ring, limit);
    if ended.is_none() {
        let cancel: squeue::Entry128 = opcode::AsyncCancel::new(1).build().into();
        // SAFETY: this operation has no memory.
        let _ = unsafe { ring.submission().push(&cancel.user_data(2)) };
        ended = wait(&mut ring, GIVEN_UP).map(|result| match result {
            // It ended by itself in the last moment.
            n if n >= 0 => n,
            _ => -libc::ETIMEDOUT,
        });
    }
    match ended {
        Some(n) if n < 0 => Err(Errno::from_raw_os_error(-n)),
        Some(_) => Ok(control.payload),
        None => {
            std::mem::forget(control.payload);
            Err(Errno::TIMEDOUT)
        }
    }
}

/// The result of the operation with number 1, if it ends in time.
fn wait(ring: &mut IoUring<squeue::Entry128, cqueue::Entry>, limit: Duration) -> Option<i32> {
    let began = std::time::Instant::now();
    loop {
        let left = limit.saturating_sub(began.elapsed());
        let time = types::Timespec::from(left.max(Duration::from_millis(1)));
        let args = types::SubmitArgs::new().timespec(&time);
        // The time being over, or a signal: what is there is looked at.
        let _ = ring.submitter().submit_with_args(1, &args);
        let ended = ring.completion().find(|c| c.user_data() == 1);
        if let Some(ended) = ended {
            return Some(ended.result());
        }
        if left.is_zero() {
            return None;
        }
    }
}

/// What a server tells the driver of one of a queue's places for requests.
#[derive(Debug)]
pub(crate) enum Step {
    /// Give the first request.
    Fetch,
    /// Copy the data of the write that is in this place.
    GetData(Buf),
    /// The request's answer: bytes done, or an error number below zero. With what was read. The
    /// next request is to be given.
    Commit { result: i32, data: Option<Buf> },
}

/// A command to a ublk device's character device.
#[derive(Debug)]
pub(crate) struct DeviceCmd {
    pub fd: Arc<OwnedFd>,
    pub queue: u16,
    pub tag: u16,
    pub step: Step,
}

/// Memory of a command, and how long it belongs to it.
#[derive(Debug)]
pub(super) enum Loan {
    None,
    /// Until the command has ended.
    ToTheEnd(Buf),
    /// Until the kernel has taken the command: it copies then.
    UntilTaken(Buf),
}

impl DeviceCmd {
    /// The command's entry, its descriptor and its memory, which must be kept.
    pub(super) fn into_parts(self) -> (squeue::Entry, Arc<OwnedFd>, Loan) {
        let addr = |buf: &Buf| buf.as_ptr() as u64;
        let (number, result, addr, loan) = match self.step {
            Step::Fetch => (FETCH, 0, 0, Loan::None),
            Step::GetData(buf) => (NEED_GET_DATA, 0, addr(&buf), Loan::ToTheEnd(buf)),
            Step::Commit { result, data: None } => (COMMIT_AND_FETCH, result, 0, Loan::None),
            Step::Commit {
                result,
                data: Some(buf),
            } => {
                // Never more than there is to copy from.
                let result = result.min(i32::try_from(buf.len()).unwrap_or(i32::MAX));
                let addr = addr(&buf);
                (COMMIT_AND_FETCH, result, addr, Loan::UntilTaken(buf))
            }
        };
        let body = IoCmd {
            queue: self.queue,
            tag: self.tag,
            result,
            addr,
        };
        let fd = types::Fd(self.fd.as_raw_fd());
        let entry = opcode::UringCmd16::new(fd, number).cmd(body.bytes());
        (entry.build(), self.fd, loan)
    }
}

/// The descriptors of a queue's requests, which the driver writes and the server reads.
#[derive(Debug)]
pub(crate) struct Descriptors {
    map: NonNull<IoDesc>,
    depth: u16,
}

// SAFETY: memory that is only read, by whoever has this value.
unsafe impl Send for Descriptors {}

impl Descriptors {
    /// Of one queue of a device.
    pub(crate) fn map(fd: BorrowedFd<'_>, queue: u16, depth: u16) -> Result<Self, Errno> {
        let offset = u64::from(queue) * QUEUE_STRIDE;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let map = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                Self::len(depth),
                ProtFlags::READ,
                MapFlags::SHARED | MapFlags::POPULATE,
                fd,
                offset,
            )
        }?;
        let map = NonNull::new(map.cast()).ok_or(Errno::FAULT)?;
        Ok(Self { map, depth })
    }

    fn len(depth: u16) -> usize {
        (usize::from(depth) * size_of::<IoDesc>()).next_multiple_of(4096)
    }

    /// Of the request in one place.
    pub(crate) fn get(&self, tag: u16) -> Option<IoDesc> {
        if tag >= self.depth {
            return None;
        }
        // SAFETY: within the mapping. The driver writes a place only before it tells of a request
        // there; a value that it changes meanwhile would be a wrong one, not an invalid one.
        Some(unsafe { self.map.add(tag.into()).as_ptr().read_volatile() })
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length, and nobody has a reference to it.
        let _ = unsafe { rustix::mm::munmap(self.map.as_ptr().cast(), Self::len(self.depth)) };
    }
}

/// Counters in memory that outlives the process: another reads them through the file.
#[derive(Debug)]
pub(crate) struct SharedCounters {
    map: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: nothing but atomic counters.
unsafe impl Send for SharedCounters {}
// SAFETY: as above.
unsafe impl Sync for SharedCounters {}

impl SharedCounters {
    /// The first `count` of a file of memory.
    pub(crate) fn map(fd: &OwnedFd, count: usize) -> Result<Self, Errno> {
        let len = count.max(1) * size_of::<AtomicU64>();
        let size = rustix::fs::fstat(fd)?.st_size;
        let seals = rustix::fs::fcntl_get_seals(fd)?;
        // A file that could shrink would take the memory away.
        let fixed = seals.contains(rustix::fs::SealFlags::SHRINK);
        if !fixed || u64::try_from(size).map_or(true, |size| size < len as u64) {
            return Err(Errno::INVAL);
        }
        // SAFETY: a new mapping at a place of the kernel's choice.
        let map = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd.as_fd(),
                0,
            )
        }?;
        let map = NonNull::new(map.cast()).ok_or(Errno::FAULT)?;
        Ok(Self { map, count })
    }

    /// One of them.
    pub(crate) fn get(&self, n: usize) -> Option<&AtomicU64> {
        if n >= self.count {
            return None;
        }
        // SAFETY: within the mapping, which lives as long as this value, and aligned, since
        // mappings begin at pages.
        Some(unsafe { self.map.add(n).as_ref() })
    }
}

impl Drop for SharedCounters {
    fn drop(&mut self) {
        let len = self.count.max(1) * size_of::<AtomicU64>();
        // SAFETY: mapped in `map` with this length; references borrow this value.
        let _ = unsafe { rustix::mm::munmap(self.map.as_ptr().cast(), len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_go_to_bytes_and_back() {
        let info = DevInfo {
            queues: 2,
            depth: 64,
            id: 7,
            mark: 0x1122_3344_5566_7788,
            ..DevInfo::default()
        };
        let bytes = bytes_of(&info);
        assert_eq!((bytes.len(), bytes[12]), (64, 7));
        assert_eq!(from_bytes(bytes), Some(info));
        assert_eq!(from_bytes::<DevInfo>(&bytes[..63]), None);
    }

    #[test]
    fn commands_lie_in_bytes_as_the_header_has_them() {
        let body = IoCmd {
            queue: 1,
            tag: 0x0203,
            result: -5,
            addr: 0x1000,
        };
        // SAFETY: a struct without holes, read for the comparison.
        let raw: [u8; 16] = unsafe { std::mem::transmute_copy(&body) };
        assert_eq!(body.bytes(), raw);
    }

    #[test]
    fn counters_are_seen_through_the_file() {
        let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("counters", flags).expect("memory");
        rustix::fs::ftruncate(&file, 4096).expect("sized");
        assert!(SharedCounters::map(&file, 4).is_err(), "it could shrink");
        rustix::fs::fcntl_add_seals(&file, rustix::fs::SealFlags::SHRINK).expect("sealed");
        assert!(SharedCounters::map(&file, 1000).is_err(), "beyond its end");
        let counters = SharedCounters::map(&file, 4).expect("mapped");
        let order = std::sync::atomic::Ordering::Relaxed;
        counters.get(3).expect("the last").fetch_add(9, order);
        assert!(counters.get(4).is_none());
        let mut bytes = [0; 8];
        rustix::io::pread(&file, &mut bytes, 24).expect("read");
        assert_eq!(u64::from_ne_bytes(bytes), 9);
    }
}
