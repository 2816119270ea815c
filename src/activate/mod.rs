//! From a logical volume to a device of the engine: [`plan`] decides (pure), [`open`] does.

pub mod open;
pub mod plan;
