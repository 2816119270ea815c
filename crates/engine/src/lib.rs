//! ulvm I/O engine.
