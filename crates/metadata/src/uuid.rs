//! LVM2's identifiers: 32 characters, shown in groups of 6-4-4-4-4-4-6.

use std::fmt;

/// Number of characters in an identifier.
pub const ID_LEN: usize = 32;
/// The 62 characters LVM2 writes; `!` and `#` are also accepted on reading.
pub const ID_CHARS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const GROUPS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];
/// Length of the form with hyphens.
const TEXT_LEN: usize = ID_LEN + GROUPS.len() - 1;

/// A PV, VG or LV identifier: 32 checked characters, without hyphens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LvmUuid([u8; ID_LEN]);

/// Where new identifiers come from. The host's source is random, a test's counts.
pub trait IdSource {
    /// A new identifier, never handed out before.
    fn new_id(&mut self) -> LvmUuid;
}

impl LvmUuid {
    /// From 32 raw characters, as in a PV header. `None` if a character is not allowed.
    pub fn from_raw(raw: &[u8]) -> Option<Self> {
        let raw: [u8; ID_LEN] = raw.try_into().ok()?;
        raw.iter()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'!' | b'#'))
            .then_some(Self(raw))
    }

    /// From text; hyphens are dropped wherever they are, 32 valid characters must remain.
    pub fn parse(text: &str) -> Option<Self> {
        let mut raw = [0u8; ID_LEN];
        let mut n = 0;
        for c in text.bytes().filter(|c| *c != b'-') {
            *raw.get_mut(n)? = c;
            n += 1;
        }
        if n == ID_LEN {
            Self::from_raw(&raw)
        } else {
            None
        }
    }

    /// From at least 32 random numbers below 62 * 4 each (bytes); bias is below 1 in 62.
    pub fn from_entropy(bytes: &[u8; ID_LEN]) -> Self {
        Self(bytes.map(|b| ID_CHARS[usize::from(b) % ID_CHARS.len()]))
    }

    /// The 32 characters, as stored in headers and dm UUIDs.
    pub fn raw(&self) -> &[u8; ID_LEN] {
        &self.0
    }

    /// Appends the form with hyphens.
    pub fn push_to(&self, out: &mut String) {
        // Checked characters are ASCII.
        out.push_str(std::str::from_utf8(&self.text()).unwrap_or(""));
    }

    /// The characters of the form with hyphens.
    fn text(&self) -> [u8; TEXT_LEN] {
        let mut out = [b'-'; TEXT_LEN];
        let (mut from, mut to) = (0, 0);
        for len in GROUPS {
            out[to..to + len].copy_from_slice(&self.0[from..from + len]);
            from += len;
            to += len + 1;
        }
        out
    }

    /// The 32 characters as a string without hyphens.
    pub fn compact(&self) -> String {
        self.0.iter().map(|c| char::from(*c)).collect()
    }
}

impl fmt::Display for LvmUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.text()).unwrap_or(""))
    }
}

impl fmt::Debug for LvmUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_hyphens_are_free() {
        let id = LvmUuid::parse("9OuWHL-8ZI2-w7qa-EeWs-RUnx-8BVl-FnjzwG").unwrap();
        assert_eq!(id.to_string(), "9OuWHL-8ZI2-w7qa-EeWs-RUnx-8BVl-FnjzwG");
        assert_eq!(LvmUuid::parse(&id.compact()), Some(id));
        assert_eq!(LvmUuid::parse("9OuWHL"), None);
        assert_eq!(LvmUuid::parse(&format!("{}x", id.compact())), None);
        assert_eq!(LvmUuid::parse(&id.compact().replace('9', "_")), None);
    }
}
