//! The embeddings of medical abstracts that are part of this program.

use super::Split;

/// Made by the example `quantise_features`. See `NOTICE-abstracts.md`.
const PACKED: &[u8] = include_bytes!("abstracts.safetensors");

/// See [`Split::abstracts`].
pub(super) fn split() -> Split {
    let mut split = Split::from_tensors(PACKED).expect("part of this program, read in its tests");
    for part in [&mut split.train, &mut split.test] {
        part.class_names = vec!["other".into(), "cancer".into()];
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn it_is_the_file_of_the_notice() {
        let digest: String = Sha256::digest(PACKED).iter().map(|b| format!("{b:02x}")).collect();
        let notice = include_str!("NOTICE-abstracts.md");
        assert!(notice.contains(&digest), "{digest}");
        for words in ["Schopf, Braun, Matthes", "10.1145/3582768.3582795", "CC BY-SA 3.0"] {
            assert!(notice.contains(words), "{words}");
        }
    }

    /// As many rows, and as many about cancer, as the texts have; embeddings had the length 1.
    #[test]
    fn rows_and_classes() {
        let split = split();
        assert_eq!((split.train.len(), split.test.len(), split.train.inputs()), (2048, 722, 384));
        let share = |part: &super::super::Dataset| part.histogram()[1] as f64 / part.len() as f64;
        assert!(
            (share(&split.train) - 0.23).abs() < 0.01 && (share(&split.test) - 0.228).abs() < 0.001
        );
        for sample in split.test.features().columns() {
            let norm = sample.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!((norm - 1.0).abs() < 0.01, "{norm}");
        }
    }
}
