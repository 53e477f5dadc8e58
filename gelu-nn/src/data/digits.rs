//! The 8x8 digits that are part of this program.

use flate2::read::GzDecoder;
use ndarray::{Array2, ShapeBuilder};

use super::Dataset;
use crate::schema::pixel_names;

/// `optdigits.tes`, gzipped: 64 counts from 0 to 16 and the digit a line. See `NOTICE.md`.
const PACKED: &[u8] = include_bytes!("digits.csv.gz");

/// Pixels along each side.
const SIDE: usize = 8;

/// See [`Dataset::digits`].
pub(super) fn dataset() -> Dataset {
    let text = std::io::read_to_string(GzDecoder::new(PACKED)).expect("part of this program");
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let (counts, digit) = line.rsplit_once(',').expect("part of this program");
        pixels.extend(counts.split(',').map(|count| number(count) / 16.0));
        labels.push(digit.parse().expect("part of this program"));
    }
    let features = Array2::from_shape_vec((SIDE * SIDE, labels.len()).f(), pixels);
    Dataset::new(
        features.expect("64 counts a line"),
        labels,
        pixel_names([1, SIDE, SIDE]),
        (0..10).map(|digit| digit.to_string()).collect(),
    )
    .expect("part of this program and read in its tests")
}

fn number(count: &str) -> f64 {
    count.parse().expect("part of this program")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn it_is_the_published_file() {
        let text = std::io::read_to_string(GzDecoder::new(PACKED)).unwrap();
        let digest: String = Sha256::digest(&text).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(digest, "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8");
        assert!(include_str!("NOTICE.md").contains(&digest));
    }

    #[test]
    fn digits_are_those_of_scikit_learn() {
        let digits = dataset();
        assert_eq!((digits.len(), digits.inputs(), digits.classes()), (1797, 64, 10));
        assert_eq!(digits.histogram(), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert!(digits.features().iter().all(|x| (0.0..=1.0).contains(x)));
        let first = [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0].map(|count| count / 16.0);
        assert_eq!(digits.features().column(0).to_vec()[..8], first);
        assert_eq!(digits.labels()[..5], [0, 1, 2, 3, 4]);
        assert_eq!(digits.feature_names()[9], "pixel 1,1");
    }
}
