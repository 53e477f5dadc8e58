//! Law: a model file that is accepted is written again, and read as the same.
#![no_main]
use gelu_nn::Model;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(model) = Model::from_bytes(data) {
        let bytes = model.to_bytes().expect("it came from such a file");
        let again = Model::from_bytes(&bytes).expect("what was written");
        assert!(again.parameters() == model.parameters());
        assert_eq!(again.to_bytes().unwrap(), bytes);
    }
});
