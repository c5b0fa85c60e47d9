#![no_main]
#[path = "../bodies/prune.rs"]
mod body;
#[path = "../bodies/rsync.rs"]
mod rsync;
libfuzzer_sys::fuzz_target!(|data: &[u8]| body::check(data));
