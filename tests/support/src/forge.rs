//! Making images that LVM2 would not make by itself: partitioned disks, old and double labels,
//! metadata text of one's own. Offsets are those of `docs/on-disk.md`; nothing is shared with ulvm.

const SECTOR: usize = 512;
/// Start of the header of the first metadata area in every image of the vectors.
pub const MDA: usize = 4096;

/// CRC-32 with LVM2's start value and no final inversion.
pub fn lvm_crc(bytes: &[u8]) -> u32 {
    crc32(0xF597_A6CF, bytes)
}

fn crc32(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            }
        })
    })
}

fn zlib_crc(bytes: &[u8]) -> u32 {
    !crc32(!0, bytes)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

/// The committed text of the first metadata area.
pub fn text(image: &[u8]) -> String {
    let start = MDA + u64_at(image, MDA + 40) as usize;
    let length = u64_at(image, MDA + 48) as usize;
    String::from_utf8_lossy(&image[start..start + length])
        .trim_end_matches('\0')
        .to_owned()
}

/// Replaces the committed text, behind the old one, with right checksums.
pub fn set_text(image: &mut [u8], text: &str) {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    let old = u64_at(image, MDA + 40) + u64_at(image, MDA + 48);
    let start = old.next_multiple_of(SECTOR as u64);
    put(image, MDA + start as usize, &bytes);
    put(image, MDA + 40, &start.to_le_bytes());
    put(image, MDA + 48, &(bytes.len() as u64).to_le_bytes());
    put(image, MDA + 56, &lvm_crc(&bytes).to_le_bytes());
    let checksum = lvm_crc(&image[MDA + 4..MDA + SECTOR]);
    put(image, MDA, &checksum.to_le_bytes());
}

/// Sets version and flags of the PV header extension.
pub fn set_extension(image: &mut [u8], version: u32, flags: u32) {
    let mut at = SECTOR + 32 + 40;
    for _ in 0..2 {
        while u64_at(image, at) != 0 {
            at += 16;
        }
        at += 16;
    }
    put(image, at, &version.to_le_bytes());
    put(image, at + 4, &flags.to_le_bytes());
    seal_label(image, 1);
}

/// Puts a second label, of another (made-up) PV without areas, into sector 3.
pub fn add_second_label(image: &mut [u8]) {
    let mut label = image[SECTOR..2 * SECTOR].to_vec();
    put(&mut label, 8, &3_u64.to_le_bytes());
    put(&mut label, 32, b"ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ");
    put(image, 3 * SECTOR, &label);
    seal_label(image, 3);
}

fn seal_label(image: &mut [u8], sector: usize) {
    let at = sector * SECTOR;
    let checksum = lvm_crc(&image[at + 20..at + SECTOR]);
    put(image, at + 16, &checksum.to_le_bytes());
}

/// A disk with an MBR and the given partitions, each starting at a multiple of 1 MiB.
pub fn mbr_disk(partitions: &[&[u8]]) -> Vec<u8> {
    let (mut disk, starts) = lay_out(partitions);
    for (index, (start, content)) in starts.iter().zip(partitions).enumerate() {
        let at = 446 + 16 * index;
        disk[at + 4] = 0x8E;
        put(&mut disk, at + 8, &((start / SECTOR) as u32).to_le_bytes());
        put(
            &mut disk,
            at + 12,
            &((content.len() / SECTOR) as u32).to_le_bytes(),
        );
    }
    put(&mut disk, 510, &[0x55, 0xAA]);
    disk
}

/// A disk with a GPT for sectors of `sector` bytes and the given partitions.
pub fn gpt_disk(partitions: &[&[u8]], sector: usize) -> Vec<u8> {
    let (mut disk, starts) = lay_out(partitions);
    let sectors = (disk.len() / sector) as u64;
    let mut entries = vec![0; 128 * 128];
    for (index, (start, content)) in starts.iter().zip(partitions).enumerate() {
        let entry = &mut entries[128 * index..128 * (index + 1)];
        // Linux LVM, E6D6D379-F507-44C2-A23C-238F2A3DF928, in its mixed-endian form.
        put(
            entry,
            0,
            &[
                0x79, 0xD3, 0xD6, 0xE6, 0x07, 0xF5, 0xC2, 0x44, 0xA2, 0x3C, 0x23, 0x8F, 0x2A, 0x3D,
                0xF9, 0x28,
            ],
        );
        put(entry, 16, &[index as u8 + 1; 16]);
        put(entry, 32, &((start / sector) as u64).to_le_bytes());
        put(
            entry,
            40,
            &(((start + content.len()) / sector) as u64 - 1).to_le_bytes(),
        );
    }
    let table = (entries.len() / sector) as u64;
    put(&mut disk, 510, &[0x55, 0xAA]);
    disk[446 + 4] = 0xEE;
    put(&mut disk, 446 + 8, &1_u32.to_le_bytes());
    put(&mut disk, 446 + 12, &(sectors as u32 - 1).to_le_bytes());
    for (own, other, list) in [(1, sectors - 1, 2), (sectors - 1, 1, sectors - 1 - table)] {
        let mut header = vec![0; 92];
        put(&mut header, 0, b"EFI PART");
        put(&mut header, 8, &0x0001_0000_u32.to_le_bytes());
        put(&mut header, 12, &92_u32.to_le_bytes());
        put(&mut header, 24, &u64::to_le_bytes(own));
        put(&mut header, 32, &u64::to_le_bytes(other));
        put(&mut header, 40, &(2 + table).to_le_bytes());
        put(&mut header, 48, &(sectors - 2 - table).to_le_bytes());
        put(&mut header, 56, &[7; 16]);
        put(&mut header, 72, &u64::to_le_bytes(list));
        put(&mut header, 80, &128_u32.to_le_bytes());
        put(&mut header, 84, &128_u32.to_le_bytes());
        put(&mut header, 88, &zlib_crc(&entries).to_le_bytes());
        let checksum = zlib_crc(&header);
        put(&mut header, 16, &checksum.to_le_bytes());
        put(&mut disk, own as usize * sector, &header);
        put(&mut disk, list as usize * sector, &entries);
    }
    disk
}

fn lay_out(partitions: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
    const STEP: usize = 1 << 20;
    let mut at = STEP;
    let mut starts = Vec::new();
    for content in partitions {
        starts.push(at);
        at += content.len().next_multiple_of(STEP);
    }
    let mut disk = vec![0; at + STEP];
    for (start, content) in starts.iter().zip(partitions) {
        put(&mut disk, *start, content);
    }
    (disk, starts)
}
