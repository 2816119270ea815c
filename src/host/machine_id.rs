//! The system id derived from the machine's id for LVM alone, so that the machine's own is not given
//! away on disks.

use sha2::{Digest, Sha256};

/// What LVM2 calls itself towards systemd (found in 2.03.16's program; it makes the same ids).
const LVM: [u8; 16] = [
    0xf6, 0x44, 0x06, 0x83, 0x2c, 0x21, 0x40, 0xe8, 0xac, 0x54, 0x22, 0xd1, 0x08, 0x9a, 0xae, 0x03,
];
/// Block of SHA-256 in bytes.
const BLOCK: usize = 64;

/// The id for LVM on the machine with this machine-id(5), as `sd_id128_get_machine_app_specific(3)`
/// derives it: HMAC-SHA256 with the machine's id as key, shortened, marked as a random UUID. `None`
/// if the machine's id is not 32 hexadecimal digits.
pub(super) fn for_lvm(machine_id: &str) -> Option<String> {
    let digits = machine_id.trim();
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let machine = u128::from_str_radix(digits, 16).ok()?;
    let code = hmac(&machine.to_be_bytes(), &LVM);
    let mut id = [0; 16];
    id.copy_from_slice(&code[..16]);
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    Some(format!("{:032x}", u128::from_be_bytes(id)))
}

/// HMAC-SHA256 (RFC 2104) with a key that is no longer than a block.
fn hmac(key: &[u8; 16], text: &[u8]) -> [u8; 32] {
    let padded = |with: u8| {
        let mut pad = [with; BLOCK];
        pad.iter_mut().zip(key).for_each(|(p, k)| *p ^= k);
        pad
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text);
    let outer = Sha256::new().chain_update(padded(0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_lvm2() {
        // `lvm systemid` of 2.03.16 on a machine with this id.
        let id = for_lvm("3d1219c7c4c5404aaa1f6d2a48adfda4\n");
        assert_eq!(id.as_deref(), Some("8904c2aa8c6a4e68973b69d39b56789b"));
        assert_eq!(for_lvm("uninitialized"), None);
        assert_eq!(for_lvm("+d1219c7c4c5404aaa1f6d2a48adfda4"), None);
    }

    /// As Python's `hmac` has it.
    #[test]
    fn codes_are_hmac_sha256() {
        let code = hmac(&[0x0b; 16], b"Hi There");
        assert_eq!(code[..4], [0x49, 0x2c, 0xe0, 0x20]);
    }
}
