//! Law: an architecture that is accepted can be built, and is written as it was read.
#![no_main]
use gelu_nn::Sequential;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(sequential) = Sequential::from_json(text) {
        assert_eq!(Sequential::from_json(&sequential.to_json()).unwrap(), sequential);
        // Building the largest ones takes a second each: the fuzzer has better things to do.
        let taps: u64 = sequential.blocks().iter().map(|b| b.affine().cost().operations).sum();
        if taps < 1 << 16 {
            assert_eq!(sequential.network().classes(), sequential.classes());
        }
    }
});
