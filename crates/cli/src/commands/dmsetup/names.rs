//! Names: which letters may stand in them as they are, and what the parts of an LV's mean.

use super::failed;
use ulvm::error::Result;

/// Longest name and longest uuid, in bytes.
const NAME_MAX: usize = 127;
const UUID_MAX: usize = 128;

/// How letters that may not stand in a name are written, as `\xNN`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mangling {
    /// As they are.
    None,
    /// As `\xNN`, the backslash too.
    Hex,
    /// As `\xNN`, unless the name is written so already.
    Auto,
}

impl Mangling {
    /// By its word.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "none" => Some(Self::None),
            "hex" => Some(Self::Hex),
            "auto" => Some(Self::Auto),
            _ => None,
        }
    }

    /// As device-mapper keeps it.
    pub fn mangle(self, name: &str) -> String {
        match self {
            Self::None => name.to_owned(),
            Self::Hex => mangled(name),
            Self::Auto if is_mangled(name) => name.to_owned(),
            Self::Auto => mangled(name),
        }
    }

    /// As people read it.
    pub fn shown(self, name: &str) -> String {
        match self {
            Self::None => name.to_owned(),
            Self::Hex | Self::Auto => unmangled(name),
        }
    }
}

fn may_stand(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"#+-.:=@_".contains(&byte)
}

/// Every byte that may not stand in a name as `\xNN`.
pub fn mangled(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match may_stand(byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

/// The byte that `\xNN` at the start of a text stands for.
fn code(text: &[u8]) -> Option<u8> {
    let digits = text.get(..4)?.strip_prefix(b"\\x")?;
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    Some(digit(digits[0])? * 16 + digit(digits[1])?)
}

fn is_mangled(name: &str) -> bool {
    let mut rest = name.as_bytes();
    while let Some(first) = rest.first() {
        let step = match code(rest) {
            Some(_) => 4,
            None if may_stand(*first) => 1,
            None => return false,
        };
        rest = &rest[step..];
    }
    true
}

/// With every `\xNN` as the byte it stands for.
pub fn unmangled(name: &str) -> String {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some(first) = rest.first() {
        let (byte, step) = code(rest).map_or((*first, 1), |byte| (byte, 4));
        out.push(byte);
        rest = &rest[step..];
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A name for a device, as device-mapper will keep it.
pub fn new_name(name: &str, mangling: Mangling) -> Result<String> {
    if name.contains('/') {
        return Err(failed(format!(
            "Name \"{name}\" invalid. It contains \"/\"."
        )));
    }
    let mangled = mangling.mangle(name);
    match mangled.len() > NAME_MAX {
        true => Err(failed(format!("Name \"{name}\" too long."))),
        false => Ok(mangled),
    }
}

/// A uuid for a device, as device-mapper will keep it.
pub fn new_uuid(uuid: &str, mangling: Mangling) -> Result<String> {
    let mangled = mangling.mangle(uuid);
    match mangled.len() > UUID_MAX {
        true => Err(
            failed(format!("Mangled form of the UUID too long for \"{uuid}\"."))
                .and(format!("Failed to mangle device uuid \"{uuid}\".")),
        ),
        false => Ok(mangled),
    }
}

/// An LV's name taken apart: VG, LV, layer. A pair of hyphens stands for one.
pub fn split(name: &str) -> [String; 3] {
    let bytes = name.as_bytes();
    let mut parts = [const { Vec::new() }; 3];
    let (mut part, mut at) = (0, 0);
    while at < bytes.len() {
        if bytes[at] == b'-' && bytes.get(at + 1) == Some(&b'-') {
            at += 1;
        } else if bytes[at] == b'-' && part < 2 {
            part += 1;
            at += 1;
            continue;
        }
        parts[part].push(bytes[at]);
        at += 1;
    }
    parts.map(|part| String::from_utf8_lossy(&part).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_letters_are_written_once() {
        let auto = Mangling::Auto;
        assert_eq!(auto.mangle("with space"), "with\\x20space");
        assert_eq!(auto.mangle("with\\x20space"), "with\\x20space");
        assert_eq!(auto.mangle("back\\slash"), "back\\x5cslash");
        assert_eq!(auto.shown("with\\x20space"), "with space");
        assert_eq!(auto.shown("a\\xzz"), "a\\xzz");
        assert_eq!(Mangling::Hex.mangle("a\\x20"), "a\\x5cx20");
        assert_eq!(Mangling::None.mangle("a b"), "a b");
    }

    #[test]
    fn a_single_hyphen_divides() {
        let parts = |name| split(name).join("|");
        assert_eq!(parts("v--g-l--v"), "v-g|l-v|");
        assert_eq!(parts("vg-lv-real"), "vg|lv|real");
        assert_eq!(parts("plain"), "plain||");
        assert_eq!(parts("vg-lv-a-b"), "vg|lv|a-b");
    }
}
