#![no_main]
#[path = "../bodies/options.rs"]
mod body;
libfuzzer_sys::fuzz_target!(|data: &[u8]| body::check(data));
