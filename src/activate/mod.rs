//! From a logical volume to a device of the engine: [`plan`] decides (pure), [`open`] does.
//! [`live`] is about LVs that the daemon serves.

pub mod lists;
pub mod live;
mod moving;
pub mod open;
pub mod plan;
pub mod sync;
