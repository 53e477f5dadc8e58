//! Law: what is imported has weights that fit its network and outputs for zeros, unless zero is no word of a column;
//! everything else is refused.
#![no_main]
use gelu_import::{Error, Imported, Sample, npy, onnx, state_dict};
use ndarray::Array2;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for imported in [onnx(data), state_dict(data, None)].into_iter().flatten() {
        check(&imported);
    }
    if let Ok(array) = npy::read(data) {
        assert!(array.is_standard_layout());
    }
});

fn check(imported: &Imported) {
    imported.weights.check_shapes(&imported.architecture).expect("checked");
    let features = imported.architecture.input().features();
    // A mutation may make a large network; those are judged by their shapes alone.
    if features * imported.architecture.parameters() < 1 << 16 {
        let zeros = Array2::zeros((imported.sample.shape().iter().product::<usize>(), 1));
        match (imported.probabilities(&zeros), &imported.sample) {
            (Ok(probabilities), _) => {
                assert_eq!(probabilities.nrows(), imported.architecture.classes());
            }
            (Err(Error::Samples(_)), Sample::Table(_)) => {}
            (Err(error), _) => panic!("{error}"),
        }
    }
}
