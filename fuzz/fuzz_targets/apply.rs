//! `cargo fuzz run apply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| serin_fuzz::run("apply", data));
