//! `flakey DEV OFFSET UP DOWN [N FEATURE...]`: linear, but for DOWN seconds after every UP seconds
//! it misbehaves. Without features every request then fails; with them:
//!
//! * `error_reads`, `error_writes`: reads or writes fail, the others work;
//! * `drop_writes`: writes are answered and forgotten, reads work;
//! * `corrupt_bio_byte N r VALUE FLAGS`: byte N (from 1) of each read becomes VALUE. Writes cannot
//!   be corrupted (the memory is the client's), and FLAGS must be 0: the flags of the kernel's
//!   requests mean nothing here.

use std::sync::OnceLock;
use std::time::Duration;

use super::{
    ArgError, Args, Child, DevIndex, Devices, Piece, Plan, Target, TargetType, Use, Verdict,
};
use crate::error::ErrorKind;
use crate::io::{Op, Sectors};

/// What happens while it is down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Faults {
    error_reads: bool,
    error_writes: bool,
    drop_writes: bool,
    corrupt: Option<Corrupt>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Corrupt {
    /// From 1.
    nth: u32,
    value: u8,
}

/// A device that fails now and then.
#[derive(Debug)]
pub struct Flakey {
    device: DevIndex,
    offset: Sectors,
    up: u64,
    down: u64,
    faults: Faults,
    /// When the first request came; up and down are counted from there.
    begun: OnceLock<Duration>,
}

pub(super) const TYPE: TargetType = TargetType {
    name: "flakey",
    version: [1, 5, 0],
    parse,
};

fn parse(
    args: &mut Args<'_>,
    len: Sectors,
    devices: &mut dyn Devices,
) -> Result<Box<dyn Target>, ArgError> {
    let (device, offset) = args.device_and_offset(devices, len)?;
    let up = args.number("up interval", u64::from(u32::MAX))?;
    let down = args.number("down interval", u64::from(u32::MAX))?;
    if up + down == 0 {
        return Err(args.at_last("up and down intervals are both 0"));
    }
    let faults = if args.left() > 0 {
        features(args)?
    } else {
        Faults {
            error_reads: true,
            error_writes: true,
            ..Faults::default()
        }
    };
    args.end()?;
    Ok(Box::new(Flakey {
        device,
        offset,
        up,
        down,
        faults,
        begun: OnceLock::new(),
    }))
}

fn features(args: &mut Args<'_>) -> Result<Faults, ArgError> {
    let count = args.number("number of features", 16)?;
    if count as usize != args.left() {
        return Err(args.at_last(format!(
            "{count} feature words are announced, {} follow",
            args.left()
        )));
    }
    let mut faults = Faults::default();
    while args.left() > 0 {
        match args.word("feature")? {
            "error_reads" => faults.error_reads = true,
            "error_writes" => faults.error_writes = true,
            "drop_writes" => faults.drop_writes = true,
            "corrupt_bio_byte" => faults.corrupt = Some(corrupt(args)?),
            word => return Err(args.at_last(format!("unknown feature \"{word}\""))),
        }
    }
    if faults.drop_writes && faults.error_writes {
        return Err(args.at_last("drop_writes and error_writes exclude each other"));
    }
    if count == 0 {
        (faults.error_reads, faults.error_writes) = (true, true);
    }
    Ok(faults)
}

fn corrupt(args: &mut Args<'_>) -> Result<Corrupt, ArgError> {
    let nth = args.number("byte number", u64::from(u32::MAX))? as u32;
    if nth == 0 {
        return Err(args.at_last("byte number is 0; the first byte is 1"));
    }
    match args.word("direction")? {
        "r" => {}
        "w" => return Err(args.at_last("writes cannot be corrupted, only reads (r)")),
        word => return Err(args.at_last(format!("direction is r or w, not \"{word}\""))),
    }
    let value = args.number("byte value", 255)? as u8;
    args.number("flags", 0)?;
    Ok(Corrupt { nth, value })
}

impl Flakey {
    fn is_down(&self, now: Duration) -> bool {
        let since = now
            .saturating_sub(*self.begun.get_or_init(|| now))
            .as_secs();
        since % (self.up + self.down) >= self.up
    }

    fn plan_down(&self, piece: &Piece, plan: &mut Plan) {
        let (fails, drops) = match piece.op {
            Op::Read => (self.faults.error_reads, false),
            Op::Flush => (self.faults.error_writes && self.faults.error_reads, false),
            _ => (self.faults.error_writes, self.faults.drop_writes),
        };
        if fails {
            plan.children.clear();
            plan.verdict = Verdict::Fail(ErrorKind::Io);
        } else if drops {
            plan.children.clear();
        } else if let Some(corrupt) = self.faults.corrupt {
            plan.finish = piece.op == Op::Read && u64::from(corrupt.nth) <= piece.len;
        }
    }

    fn words(&self) -> Vec<String> {
        let f = self.faults;
        let mut words = Vec::new();
        if f.error_reads {
            words.push("error_reads".into());
        }
        if f.drop_writes {
            words.push("drop_writes".into());
        }
        if f.error_writes {
            words.push("error_writes".into());
        }
        if let Some(c) = f.corrupt {
            words.push("corrupt_bio_byte".into());
            words.extend([c.nth.to_string(), "r".into()]);
            words.extend([c.value.to_string(), "0".into()]);
        }
        words
    }
}

impl Target for Flakey {
    fn kind(&self) -> &'static str {
        "flakey"
    }
    fn args(&self, name: &dyn Fn(DevIndex) -> String) -> String {
        let words = self.words();
        let mut s = format!(
            "{} {} {} {} {}",
            name(self.device),
            self.offset,
            self.up,
            self.down,
            words.len()
        );
        for word in words {
            s.push(' ');
            s.push_str(&word);
        }
        s
    }
    fn uses(&self, len: Sectors) -> Vec<Use> {
        vec![Use {
            device: self.device,
            start: self.offset,
            len,
        }]
    }
    fn map(&self, piece: &Piece, now: Duration, plan: &mut Plan) {
        plan.children
            .push(Child::shifted(piece, self.device, self.offset));
        if self.is_down(now) {
            self.plan_down(piece, plan);
        }
    }
    fn finish(&self, _piece: &Piece, data: &mut [u8]) {
        if let Some(corrupt) = self.faults.corrupt
            && let Some(byte) = data.get_mut(corrupt.nth as usize - 1)
        {
            *byte = corrupt.value;
        }
    }
}
