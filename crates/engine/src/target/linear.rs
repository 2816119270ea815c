//! `linear DEV OFFSET`: sector s of the segment is sector OFFSET + s of the device.

use std::time::Duration;

use super::{ArgError, Args, Child, DevIndex, Devices, Piece, Plan, Target, TargetType, Use};
use crate::io::Sectors;

/// A contiguous range of one device.
#[derive(Debug)]
pub struct Linear {
    device: DevIndex,
    offset: Sectors,
}

pub(super) const TYPE: TargetType = TargetType {
    name: "linear",
    version: [1, 4, 0],
    parse,
};

fn parse(
    args: &mut Args<'_>,
    len: Sectors,
    devices: &mut dyn Devices,
) -> Result<Box<dyn Target>, ArgError> {
    let (device, offset) = args.device_and_offset(devices, len)?;
    args.end()?;
    Ok(Box::new(Linear { device, offset }))
}

impl Linear {
    /// From sector `offset` of a device on.
    pub const fn new(device: DevIndex, offset: Sectors) -> Self {
        Self { device, offset }
    }
}

impl Target for Linear {
    fn kind(&self) -> &'static str {
        "linear"
    }
    fn args(&self, name: &dyn Fn(DevIndex) -> String) -> String {
        format!("{} {}", name(self.device), self.offset)
    }
    fn uses(&self, len: Sectors) -> Vec<Use> {
        vec![Use {
            device: self.device,
            start: self.offset,
            len,
        }]
    }
    fn map(&self, piece: &Piece, _now: Duration, plan: &mut Plan) {
        plan.children
            .push(Child::shifted(piece, self.device, self.offset));
    }
}
