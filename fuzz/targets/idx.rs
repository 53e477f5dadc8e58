//! Law: images and labels are read whole, or refused.
#![no_main]
use gelu_nn::data::idx::{Images, read_labels};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(images) = Images::read(data) {
        assert_eq!(images.pixels.len(), images.count * images.rows * images.columns);
        assert_eq!(images.features().ncols(), images.count);
    }
    let _ = read_labels(data);
});
