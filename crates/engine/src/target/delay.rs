//! `delay DEV OFFSET MS [DEV OFFSET MS [DEV OFFSET MS]]`: linear, but each request is begun MS
//! milliseconds late. The second triple is for writes (else as reads), the third for flushes
//! (else as writes).

use std::time::Duration;

use super::{ArgError, Args, Child, DevIndex, Devices, Piece, Plan, Target, TargetType, Use};
use crate::io::{Op, Sectors};

const MAX_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Clone, Copy, Debug)]
struct Class {
    device: DevIndex,
    offset: Sectors,
    delay: Duration,
}

/// A slow device.
#[derive(Debug)]
pub struct Delay {
    /// How many classes the table line has.
    given: usize,
    read: Class,
    write: Class,
    flush: Class,
}

pub(super) const TYPE: TargetType = TargetType {
    name: "delay",
    version: [1, 4, 0],
    parse,
};

fn parse(
    args: &mut Args<'_>,
    len: Sectors,
    devices: &mut dyn Devices,
) -> Result<Box<dyn Target>, ArgError> {
    let mut class = || {
        let (device, offset) = args.device_and_offset(devices, len)?;
        let delay = Duration::from_millis(args.number("delay", MAX_MS)?);
        Ok((
            Class {
                device,
                offset,
                delay,
            },
            args.left() > 0,
        ))
    };
    let (read, more) = class()?;
    let mut given = 1;
    let (mut write, mut flush) = (read, read);
    if more {
        let (second, more) = class()?;
        (write, flush, given) = (second, second, 2);
        if more {
            (flush, given) = (class()?.0, 3);
        }
    }
    args.end()?;
    Ok(Box::new(Delay {
        given,
        read,
        write,
        flush,
    }))
}

impl Target for Delay {
    fn kind(&self) -> &'static str {
        "delay"
    }
    fn args(&self, name: &dyn Fn(DevIndex) -> String) -> String {
        let classes = [self.read, self.write, self.flush];
        let words = classes[..self.given]
            .iter()
            .map(|c| format!("{} {} {}", name(c.device), c.offset, c.delay.as_millis()));
        words.collect::<Vec<_>>().join(" ")
    }
    fn status(&self, _name: &dyn Fn(DevIndex) -> String) -> String {
        // The counters of requests being held back are the queue's business here.
        "0 0 0".to_owned()
    }
    fn uses(&self, len: Sectors) -> Vec<Use> {
        let classes = [self.read, self.write, self.flush];
        let each = |c: &Class| Use {
            device: c.device,
            start: c.offset,
            len,
        };
        classes[..self.given].iter().map(each).collect()
    }
    fn map(&self, piece: &Piece, _now: Duration, plan: &mut Plan) {
        let class = match piece.op {
            Op::Read => self.read,
            Op::Flush => self.flush,
            Op::Write { .. } | Op::Discard | Op::WriteZeroes { .. } => self.write,
        };
        plan.delay = class.delay;
        plan.children
            .push(Child::shifted(piece, class.device, class.offset));
    }
}
