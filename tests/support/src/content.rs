//! The content that the vectors' logical volumes were filled with: every sector tells its own
//! number and seed (`tests/vectors/README.md`, "Content generator").

use crate::rng::mix;

/// Bytes in a sector.
pub const SECTOR: usize = 512;
const WORDS: u64 = (SECTOR / 8) as u64;

/// Sector number `sector` of an LV that was filled with `seed`.
pub fn sector(seed: u64, sector: u64) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    for (index, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        let j = index as u64;
        let value = match (sector % 256, j) {
            (0, _) => word(seed, WORDS * sector + j),
            (_, 0) => word(seed, WORDS * sector) & 0xFFFF_FFFF,
            _ => word(0, j),
        };
        chunk.copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// `count` sectors from `start` on.
pub fn sectors(seed: u64, start: u64, count: u64) -> Vec<u8> {
    (start..start + count)
        .flat_map(|number| sector(seed, number))
        .collect()
}

/// A word of the generator.
pub fn word(seed: u64, n: u64) -> u64 {
    mix((seed << 40)
        .wrapping_add(n)
        .wrapping_add(0x9E37_79B9_7F4A_7C15))
}
