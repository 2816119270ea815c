//! ulvm host layer.
