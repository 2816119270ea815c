//! What the end-to-end suites share.
//!
//! A suite is a binary with its own `main` (`harness = false`): it collects cases in a
//! [`suite::Suite`], each with what it [needs](needs::Need), and runs them. A case whose needs are
//! not met here is reported as ignored with `not run: WHY`, never as passed; with
//! `ULVM_REQUIRE_ALL=1` it fails instead.

pub mod content;
pub mod crash;
pub mod disk_text;
pub mod field;
pub mod forge;
pub mod guest;
pub mod images;
pub mod log_writes;
pub mod loopdev;
pub mod lvm;
pub mod needs;
pub mod normal;
pub mod process;
pub mod rng;
pub mod state;
pub mod suite;
pub mod vectors;
