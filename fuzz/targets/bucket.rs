#![no_main]
#[path = "../bodies/bucket.rs"]
mod body;
libfuzzer_sys::fuzz_target!(|data: &[u8]| body::check(data));
