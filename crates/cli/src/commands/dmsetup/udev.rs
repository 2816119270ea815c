//! Cookies of udev: nobody has to wait for udev here, so they are taken and given without effect.

use std::io::{BufRead, Read};

use ulvm::error::Result;

use super::failed;
use super::session::Session;

/// Prefix of the keys that real cookies have.
const PREFIX: u32 = 0x0d4d;
/// The one cookie there is.
const COOKIE: u32 = PREFIX << 16 | 1;

/// What the flags of a cookie are called, from bit 16 on.
const FLAGS: [(u32, &str); 7] = [
    (0x0001, "DM_UDEV_DISABLE_DM_RULES_FLAG"),
    (0x0002, "DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG"),
    (0x0004, "DM_UDEV_DISABLE_DISK_RULES_FLAG"),
    (0x0008, "DM_UDEV_DISABLE_OTHER_RULES_FLAG"),
    (0x0010, "DM_UDEV_LOW_PRIORITY_FLAG"),
    (0x0020, "DM_UDEV_DISABLE_LIBRARY_FALLBACK_FLAG"),
    (0x0040, "DM_UDEV_PRIMARY_SOURCE_FLAG"),
];
/// Eight flags of subsystems follow.
const SUBSYSTEM: u32 = 0x0100;

/// A cookie's number.
fn number(word: &str) -> Result<u32> {
    let number = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    };
    let number = number.filter(|n| *n != 0);
    number.ok_or_else(|| failed("Incorrect cookie value."))
}

/// `udevflags`
pub fn flags(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    let cookie = number(operands.first().copied().unwrap_or_default())?;
    let bits = cookie >> 16;
    for (bit, name) in FLAGS {
        if bits & bit != 0 {
            session.put(&format!("{name}='1'\n"));
        }
    }
    for n in 0..8 {
        if bits & (SUBSYSTEM << n) != 0 {
            session.put(&format!("DM_SUBSYSTEM_UDEV_FLAG{n}='1'\n"));
        }
    }
    Ok(())
}

/// `udevcreatecookie`
pub fn create(session: &Session<'_>, _: &[&str]) -> Result<()> {
    session.put(&format!("0x{COOKIE:08X}\n"));
    Ok(())
}

/// `udevreleasecookie`
pub fn release(_: &Session<'_>, operands: &[&str]) -> Result<()> {
    match operands.first() {
        Some(word) => number(word).map(drop),
        None => Ok(()),
    }
}

/// `udevcomplete`
pub fn complete(_: &Session<'_>, operands: &[&str]) -> Result<()> {
    number(operands.first().copied().unwrap_or_default()).map(drop)
}

/// `udevcomplete_all`
pub fn complete_all(session: &Session<'_>, _: &[&str]) -> Result<()> {
    let keys = format!("{PREFIX} (0x{PREFIX:x})");
    if !session.has(crate::args::Opt::Yes) {
        session.ctx.terminal().error_line(&format!(
            "WARNING: This operation will destroy all semaphores with keys that have a prefix {keys}."
        ));
        session.put("Do you really want to continue? [y/n]: ");
        session.ctx.terminal().flush();
        let mut answer = String::new();
        // Without an answer nothing is done.
        let read = std::io::stdin().lock().take(16).read_line(&mut answer);
        if matches!(read, Ok(0) | Err(_)) {
            session.put("\n");
        }
        if !answer.trim_start().starts_with(['y', 'Y']) {
            session.put(&format!(
                "Semaphores with keys prefixed by {keys} NOT destroyed.\n"
            ));
            return Ok(());
        }
    }
    session.put(&format!(
        "0 semaphores with keys prefixed by {keys} destroyed. 0 skipped.\n"
    ));
    Ok(())
}

/// `udevcookies`
pub fn cookies(session: &Session<'_>, _: &[&str]) -> Result<()> {
    session.put("Cookie       Semid      Value      Last semop time           Last change time\n");
    Ok(())
}
