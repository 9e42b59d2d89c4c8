#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| dragon::storage::fuzzing::headers(data));
