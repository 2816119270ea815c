#![no_main]

#[path = "../../crates/metadata/tests/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::device(data));
