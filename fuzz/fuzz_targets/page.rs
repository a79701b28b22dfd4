//! `cargo fuzz run page`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| serin_fuzz::run("page", data));
