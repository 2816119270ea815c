//! `zero`: reads give zeroes, writes are dropped.

use std::time::Duration;

use super::{ArgError, Args, DevIndex, Devices, Piece, Plan, Target, TargetType, Use, Verdict};
use crate::io::{Op, Sectors};

/// Zeroes for ever.
#[derive(Debug)]
pub struct Zero;

pub(super) const TYPE: TargetType = TargetType {
    name: "zero",
    version: [1, 2, 0],
    parse,
};

fn parse(
    args: &mut Args<'_>,
    _len: Sectors,
    _devices: &mut dyn Devices,
) -> Result<Box<dyn Target>, ArgError> {
    args.end()?;
    Ok(Box::new(Zero))
}

impl Target for Zero {
    fn kind(&self) -> &'static str {
        "zero"
    }
    fn args(&self, _name: &dyn Fn(DevIndex) -> String) -> String {
        String::new()
    }
    fn uses(&self, _len: Sectors) -> Vec<Use> {
        Vec::new()
    }
    fn map(&self, piece: &Piece, _now: Duration, plan: &mut Plan) {
        if piece.op == Op::Read {
            plan.verdict = Verdict::Zeroes;
        }
    }
}
