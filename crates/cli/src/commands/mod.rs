//! One module per command.

// Reports and information.
pub mod formats;
pub mod help;
pub mod segtypes;
pub mod version;

// Physical volumes.

// Volume groups.

// Logical volumes.

// ulvm's own.
