//! CIFAR-10's binary files (A. Krizhevsky 2009, <https://www.cs.toronto.edu/~kriz/cifar.html>): `data_batch_1.bin` and its like.
//!
//! ```text
//! records of 3073 bytes: the class, 0 to 9, then 1024 pixels of red, of green and of blue, row by row
//! ```

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::idx::MAX_BYTES;
use crate::error::{DataError, Error, Result};

/// Channels, rows and columns of an image.
pub const SHAPE: [usize; 3] = [3, 32, 32];

/// The words of the classes.
pub const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

const PIXELS: usize = SHAPE[0] * SHAPE[1] * SHAPE[2];
const RECORD: usize = 1 + PIXELS;

/// Images with their classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The class of each image, below 10.
    pub labels: Vec<u8>,
    /// Pixels, image by image, in each channel by channel and row by row.
    pub pixels: Vec<u8>,
}

impl Batch {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file, [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        Self::read(BufReader::new(file)).map_err(Error::data(path.display().to_string()))
    }

    /// Reads records.
    ///
    /// # Errors
    /// [`DataError::Image`] for bytes that are no such records, [`DataError::Empty`], [`DataError::TooLarge`].
    pub fn read(bytes: impl Read) -> Result<Self, DataError> {
        let mut all = Vec::new();
        let read = bytes.take(MAX_BYTES + 1).read_to_end(&mut all);
        read.map_err(|error| DataError::Image(error.to_string()))?;
        let got = all.len() as u64;
        if got > MAX_BYTES {
            return Err(DataError::TooLarge { what: "a file of images", got, limit: MAX_BYTES });
        }
        if !all.len().is_multiple_of(RECORD) {
            return Err(DataError::Image(format!(
                "{got} bytes, but images of CIFAR-10 have {RECORD} each"
            )));
        }
        let (mut labels, mut pixels) = (Vec::new(), Vec::with_capacity(all.len()));
        for (index, record) in all.chunks_exact(RECORD).enumerate() {
            if usize::from(record[0]) >= CLASSES.len() {
                let (number, class) = (index + 1, record[0]);
                return Err(DataError::Image(format!(
                    "image {number} is of class {class}, but CIFAR-10 has the classes 0 to 9"
                )));
            }
            labels.push(record[0]);
            pixels.extend_from_slice(&record[1..]);
        }
        match labels.is_empty() {
            true => Err(DataError::Empty),
            false => Ok(Self { labels, pixels }),
        }
    }
}

/// Whether a file may be one: it has as many bytes as such images, and does not begin like another kind.
pub(super) fn may_be(path: &Path) -> Result<bool> {
    let length = std::fs::metadata(path).map_err(Error::io(path))?.len();
    let mut start = Vec::new();
    let file = File::open(path).map_err(Error::io(path))?;
    file.take(4).read_to_end(&mut start).map_err(Error::io(path))?;
    let is_idx = [[0, 0, 8, 1], [0, 0, 8, 3]].iter().any(|magic| start == *magic);
    let is_packed = start.starts_with(&[0x1f, 0x8b]);
    Ok(length > 0 && length.is_multiple_of(RECORD as u64) && !is_idx && !is_packed)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Images of these classes, all pixels of a channel equal: the class, the class + 1 and the class + 2.
    pub(in crate::data) fn file(classes: &[u8]) -> Vec<u8> {
        let record = |&class: &u8| {
            let plane = |more| core::iter::repeat_n(class + more, PIXELS / 3);
            [class].into_iter().chain((0..3).flat_map(plane)).collect::<Vec<_>>()
        };
        classes.iter().flat_map(record).collect()
    }

    #[test]
    fn records_are_a_class_and_three_planes() {
        let batch = Batch::read(&file(&[3, 9])[..]).unwrap();
        assert_eq!((&batch.labels[..], batch.pixels.len()), (&[3, 9][..], 2 * PIXELS));
        assert_eq!([0, 1023, 1024, 3071, 3072].map(|at| batch.pixels[at]), [3, 3, 4, 5, 9]);
        let refused = |bytes: &[u8]| Batch::read(bytes).unwrap_err().to_string();
        assert!(refused(&file(&[1])[1..]).contains("3072 bytes"));
        assert!(refused(&file(&[1, 10])).contains("image 2 is of class 10"));
        assert_eq!(Batch::read(&[][..]).unwrap_err(), DataError::Empty);
    }
}
