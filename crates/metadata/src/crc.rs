//! The checksum of labels, metadata area headers and texts.

/// Value of the checksum of no bytes; where every sum starts.
pub const CRC_INITIAL: u32 = 0xf597_a6cf;

/// Checksum of `data`: reflected CRC-32 (0xEDB88320) starting from [`CRC_INITIAL`], not inverted
/// at the end.
pub fn crc(data: &[u8]) -> u32 {
    crc_more(CRC_INITIAL, data)
}

/// Continues a checksum: `crc_more(crc(a), b)` is the checksum of `a` followed by `b`. A text that
/// wraps in its ring is summed this way.
pub fn crc_more(sum: u32, data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!sum);
    hasher.update(data);
    !hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sums() {
        assert_eq!(crc(b""), 0xf597_a6cf);
        assert_eq!(crc(b"123456789"), 0x4991_cf02);
        assert_eq!(crc(b"LVM2"), 0x34ff_1083);
        assert_eq!(crc_more(crc(b"1234"), b"56789"), 0x4991_cf02);
    }
}
