//! `error`: every request fails with an I/O error; a flush has nothing to do.

use std::time::Duration;

use super::{ArgError, Args, DevIndex, Devices, Piece, Plan, Target, TargetType, Use, Verdict};
use crate::error::ErrorKind;
use crate::io::{Op, Sectors};

/// Fails what it is asked.
#[derive(Debug)]
pub struct ErrorTarget;

pub(super) const TYPE: TargetType = TargetType {
    name: "error",
    version: [1, 6, 0],
    parse,
};

fn parse(
    args: &mut Args<'_>,
    _len: Sectors,
    _devices: &mut dyn Devices,
) -> Result<Box<dyn Target>, ArgError> {
    args.end()?;
    Ok(Box::new(ErrorTarget))
}

impl Target for ErrorTarget {
    fn kind(&self) -> &'static str {
        "error"
    }
    fn args(&self, _name: &dyn Fn(DevIndex) -> String) -> String {
        String::new()
    }
    fn uses(&self, _len: Sectors) -> Vec<Use> {
        Vec::new()
    }
    fn map(&self, piece: &Piece, _now: Duration, plan: &mut Plan) {
        // Nothing is ever acknowledged here, so a flush has nothing to lose.
        if piece.op != Op::Flush {
            plan.verdict = Verdict::Fail(ErrorKind::Io);
        }
    }
}
