//! ulvm I/O engine.
pub mod export;
