//! ulvm.
fn main() {}
