//! Law: a file of features is read, or refused with the tensor that does not fit.
#![no_main]
use gelu_nn::Split;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(split) = Split::from_tensors(data) {
        assert_eq!(split.train.inputs(), split.test.inputs());
        assert_eq!(split.train.class_names(), split.test.class_names());
    }
});
