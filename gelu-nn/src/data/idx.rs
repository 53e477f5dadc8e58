//! IDX, the format of MNIST: a big-endian header, then bytes; plain or gzipped.
//!
//! ```text
//! images: 2051, count, rows, columns, then count · rows · columns pixels
//! labels: 2049, count, then count labels
//! ```
//!
//! A header decides how many bytes are read, never how many are allocated in advance; what a gzip
//! stream holds beyond them is an error and is not unpacked.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;
use ndarray::{Array2, ShapeBuilder};

use crate::error::{DataError, Error, Result};

/// The most pixels or labels of one file: 2^27.
pub const MAX_BYTES: u64 = 1 << 27;

/// Grey images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// Number of images.
    pub count: usize,
    /// Rows of an image.
    pub rows: usize,
    /// Columns of an image.
    pub columns: usize,
    /// Pixels, image by image and row by row.
    pub pixels: Vec<u8>,
}

impl Images {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file, [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        open(path, Self::read)
    }

    /// Reads bytes that have already been unpacked.
    ///
    /// # Errors
    /// [`DataError::Idx`], [`DataError::TooLarge`].
    pub fn read(bytes: impl Read) -> Result<Self, DataError> {
        let ([count, rows, columns], pixels) = read("images", 2051, bytes)?;
        Ok(Self { count, rows, columns, pixels })
    }

    /// Pixels between 0 and 1: `[rows · columns, images]`.
    pub fn features(&self) -> Array2<f64> {
        let pixels = self.pixels.iter().map(|&p| f64::from(p) / 255.0).collect();
        Array2::from_shape_vec((self.rows * self.columns, self.count).f(), pixels)
            .expect("as many pixels as the header says")
    }
}

/// Reads the labels of a file.
///
/// # Errors
/// [`Error::Data`] naming the file, [`Error::Io`].
pub fn open_labels(path: &Path) -> Result<Vec<u8>> {
    open(path, read_labels)
}

/// Reads labels from bytes that have already been unpacked.
///
/// # Errors
/// As [`Images::read`].
pub fn read_labels(bytes: impl Read) -> Result<Vec<u8>, DataError> {
    let ([_], labels) = read("labels", 2049, bytes)?;
    Ok(labels)
}

/// Opens a file, unpacks it if it is gzipped, and reads it.
fn open<T>(path: &Path, read: impl FnOnce(Box<dyn Read>) -> Result<T, DataError>) -> Result<T> {
    let mut file = BufReader::new(File::open(path).map_err(Error::io(path))?);
    let start = std::io::BufRead::fill_buf(&mut file).map_err(Error::io(path))?;
    let bytes: Box<dyn Read> = match start.starts_with(&[0x1f, 0x8b]) {
        true => Box::new(GzDecoder::new(file)),
        false => Box::new(file),
    };
    read(bytes).map_err(Error::data(path.display().to_string()))
}

/// The header's sizes and the bytes that they announce.
fn read<const N: usize>(
    expected: &'static str,
    magic: u32,
    mut bytes: impl Read,
) -> Result<([usize; N], Vec<u8>), DataError> {
    let wrong = |why: String| DataError::Idx { expected, why };
    let mut word = || {
        let mut word = [0; 4];
        bytes.read_exact(&mut word).map_err(|e| wrong(format!("the header ends early ({e})")))?;
        Ok(u32::from_be_bytes(word))
    };
    let got = word()?;
    if got != magic {
        return Err(wrong(format!("starts with {got}, not {magic}")));
    }
    let mut sizes = [0; N];
    for size in &mut sizes {
        *size = word()?;
    }
    let length = sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(size.into()));
    let length = length.unwrap_or(u64::MAX);
    if length == 0 {
        return Err(DataError::Empty);
    }
    if length > MAX_BYTES {
        return Err(DataError::TooLarge { what: expected, got: length, limit: MAX_BYTES });
    }
    let mut content = Vec::new();
    let read = bytes.take(length + 1).read_to_end(&mut content);
    read.map_err(|e| wrong(format!("cannot be read after {} bytes: {e}", content.len())))?;
    if content.len() as u64 != length {
        let more = if content.len() as u64 > length { "at least " } else { "" };
        return Err(wrong(format!(
            "the header announces {length} bytes, but there are {more}{}",
            content.len()
        )));
    }
    Ok((sizes.map(|size| size as usize), content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn idx(words: &[u32], content: &[u8]) -> Vec<u8> {
        let header = words.iter().flat_map(|w| w.to_be_bytes());
        header.chain(content.iter().copied()).collect()
    }

    #[test]
    fn images_plain_and_gzipped() {
        let bytes = idx(&[2051, 2, 1, 3], &[0, 51, 255, 1, 2, 3]);
        let images = Images::read(bytes.as_slice()).unwrap();
        assert_eq!((images.count, images.rows, images.columns), (2, 1, 3));
        assert_eq!(images.features().column(0).to_vec(), [0.0, 0.2, 1.0]);

        let dir = tempfile::tempdir().unwrap();
        let mut gz = GzEncoder::new(Vec::new(), Compression::default());
        gz.write_all(&bytes).unwrap();
        for (name, content) in [("plain", bytes), ("gz", gz.finish().unwrap())] {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            assert_eq!(Images::open(&path).unwrap(), images);
        }
    }

    #[test]
    fn labels() {
        assert_eq!(read_labels(idx(&[2049, 3], &[7, 2, 1]).as_slice()).unwrap(), [7, 2, 1]);
    }

    #[test]
    fn malformed_files_are_refused() {
        let refused = [
            vec![],
            idx(&[2051, 2], &[]),
            idx(&[2049, 1, 1, 1], &[0]),
            idx(&[2051, 1, 1, 2], &[0]),
            idx(&[2051, 1, 1, 1], &[0, 0]),
            idx(&[2051, 0, 28, 28], &[]),
            idx(&[2051, u32::MAX, u32::MAX, u32::MAX], &[]),
            idx(&[2051, 1 << 15, 1 << 6, 1 << 7], &[]),
        ];
        for bytes in refused {
            assert!(Images::read(bytes.as_slice()).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_gzip_bomb_is_not_unpacked() {
        let mut gz = GzEncoder::new(Vec::new(), Compression::best());
        gz.write_all(&idx(&[2049, 1], &[5])).unwrap();
        let chunk = vec![0; 1 << 20];
        (0..64).for_each(|_| gz.write_all(&chunk).unwrap());
        let bomb = gz.finish().unwrap();
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), bomb).unwrap();
        let error = open_labels(path.path()).unwrap_err().to_string();
        assert!(error.contains("at least 2"), "{error}");
    }
}
