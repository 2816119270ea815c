//! `striped N CHUNK DEV OFFSET ...`: chunks of CHUNK sectors go round over N devices.
//!
//! chunk = s / CHUNK, stripe = chunk mod N, row = chunk / N; the sector on the stripe's device is
//! OFFSET + row * CHUNK + s mod CHUNK. CHUNK need not be a power of two. The length must be a
//! whole number of rows: N divides it, and CHUNK divides the N-th part.

use std::time::Duration;

use super::{ArgError, Args, Child, DevIndex, Devices, Piece, Plan, Target, TargetType, Use};
use crate::io::{Op, OpKind, SECTOR, Sectors};

/// More stripes than this are refused; the kernel's own bound is what its ioctl can carry.
const MAX_STRIPES: u64 = 4096;

/// At most so many chunks are one piece, so that a large request over small chunks is begun in parts.
const REACH: u64 = 16;

/// Chunks spread over devices.
#[derive(Debug)]
pub struct Striped {
    chunk: Sectors,
    stripes: Vec<(DevIndex, Sectors)>,
}

pub(super) const TYPE: TargetType = TargetType {
    name: "striped",
    version: [1, 6, 0],
    parse,
};

fn parse(
    args: &mut Args<'_>,
    len: Sectors,
    devices: &mut dyn Devices,
) -> Result<Box<dyn Target>, ArgError> {
    let count = args.number("number of stripes", MAX_STRIPES)?;
    if count == 0 {
        return Err(args.at_last("number of stripes is 0"));
    }
    if len.0 % count != 0 {
        return Err(args.at_last(format!(
            "length {len} is not divisible by the number of stripes, {count}"
        )));
    }
    let width = Sectors(len.0 / count);
    let chunk = Sectors(args.number("chunk size", u64::from(u32::MAX))?);
    if chunk.0 == 0 {
        return Err(args.at_last("chunk size is 0"));
    }
    if width.0 % chunk.0 != 0 {
        return Err(args.at_last(format!(
            "length of a stripe, {width}, is not divisible by the chunk size, {chunk}"
        )));
    }
    let mut stripes = Vec::new();
    for _ in 0..count {
        stripes.push(args.device_and_offset(devices, width)?);
    }
    args.end()?;
    Ok(Box::new(Striped { chunk, stripes }))
}

impl Striped {
    /// `len` sectors in chunks of `chunk` over `stripes`; none if the rules of the form are broken.
    pub fn new(chunk: Sectors, stripes: Vec<(DevIndex, Sectors)>, len: Sectors) -> Option<Self> {
        let row = chunk.0.checked_mul(stripes.len() as u64)?;
        let whole = len.0.checked_rem(row)? == 0 && stripes.len() as u64 <= MAX_STRIPES;
        whole.then_some(Self { chunk, stripes })
    }
}

/// A place on a striped segment.
struct Place {
    stripe: usize,
    /// Byte within the stripe.
    offset: u64,
    /// Bytes to the end of the chunk.
    rest: u64,
}

impl Striped {
    fn chunk_bytes(&self) -> u64 {
        self.chunk.0 * SECTOR
    }

    fn place(&self, offset: u64) -> Place {
        let chunk_bytes = self.chunk_bytes();
        let (chunk, within) = (offset / chunk_bytes, offset % chunk_bytes);
        let count = self.stripes.len() as u64;
        Place {
            stripe: (chunk % count) as usize,
            offset: chunk / count * chunk_bytes + within,
            rest: chunk_bytes - within,
        }
    }

    fn child(&self, op: Op, stripe: usize, offset: u64, len: u64, at: u64) -> Child {
        let (device, start) = self.stripes[stripe];
        Child {
            op,
            device,
            offset: start.0 * SECTOR + offset,
            len,
            at,
        }
    }

    /// One child per chunk, in the order of the data.
    fn by_chunk(&self, piece: &Piece, plan: &mut Plan) {
        let mut at = 0;
        while at < piece.len {
            let place = self.place(piece.offset + at);
            let len = place.rest.min(piece.len - at);
            let child = self.child(piece.op, place.stripe, place.offset, len, at);
            plan.children.push(child);
            at += len;
        }
    }

    /// One child per stripe: what a range without data covers on a stripe is contiguous there.
    fn by_stripe(&self, piece: &Piece, plan: &mut Plan) {
        for stripe in 0..self.stripes.len() {
            let start = self.edge(stripe, piece.offset);
            let end = self.edge(stripe, piece.offset + piece.len);
            if start < end {
                let child = self.child(piece.op, stripe, start, end - start, 0);
                plan.children.push(child);
            }
        }
    }

    /// Bytes of `stripe` that lie before byte `offset` of the segment.
    fn edge(&self, stripe: usize, offset: u64) -> u64 {
        let chunk_bytes = self.chunk_bytes();
        let (chunk, within) = (offset / chunk_bytes, offset % chunk_bytes);
        let count = self.stripes.len() as u64;
        let (row, at) = (chunk / count, chunk % count);
        row * chunk_bytes
            + match (stripe as u64).cmp(&at) {
                std::cmp::Ordering::Less => chunk_bytes,
                std::cmp::Ordering::Equal => within,
                std::cmp::Ordering::Greater => 0,
            }
    }
}

impl Target for Striped {
    fn kind(&self) -> &'static str {
        "striped"
    }
    fn args(&self, name: &dyn Fn(DevIndex) -> String) -> String {
        let mut s = format!("{} {}", self.stripes.len(), self.chunk);
        for &(device, offset) in &self.stripes {
            s.push_str(&format!(" {} {offset}", name(device)));
        }
        s
    }
    fn status(&self, name: &dyn Fn(DevIndex) -> String) -> String {
        let mut s = self.stripes.len().to_string();
        for &(device, _) in &self.stripes {
            s.push(' ');
            s.push_str(&name(device));
        }
        s.push_str(" 1 ");
        s.extend(self.stripes.iter().map(|_| 'A'));
        s
    }
    fn uses(&self, len: Sectors) -> Vec<Use> {
        let width = Sectors(len.0 / self.stripes.len() as u64);
        let each = |&(device, start): &(DevIndex, Sectors)| Use {
            device,
            start,
            len: width,
        };
        self.stripes.iter().map(each).collect()
    }
    fn reach(&self, op: OpKind, offset: u64) -> u64 {
        match op {
            OpKind::Read | OpKind::Write => {
                let chunk_bytes = self.chunk_bytes();
                chunk_bytes.saturating_mul(REACH) - offset % chunk_bytes
            }
            OpKind::Flush | OpKind::Discard | OpKind::WriteZeroes => u64::MAX,
        }
    }
    fn map(&self, piece: &Piece, _now: Duration, plan: &mut Plan) {
        match piece.op {
            Op::Flush => {
                let flush = |n| self.child(Op::Flush, n, 0, 0, 0);
                plan.children.extend((0..self.stripes.len()).map(flush));
            }
            Op::Read | Op::Write { .. } => self.by_chunk(piece, plan),
            Op::Discard | Op::WriteZeroes { .. } => self.by_stripe(piece, plan),
        }
    }
}
