#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| dragon::config::fuzzing::config(data));
