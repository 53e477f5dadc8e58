//! CIFAR-10's binary files (A. Krizhevsky 2009, <https://www.cs.toronto.edu/~kriz/cifar.html>): `data_batch_1.bin` and its like.
//!
//! ```text
//! records of 3073 bytes: the class, 0 to 9, then 1024 pixels of red, of green and of blue, row by row
//!
//! cifar-10-batches-bin/    what the archive holds
//!   data_batch_1.bin … data_batch_5.bin  test_batch.bin  batches.meta.txt  readme.html
//! ```

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::idx::MAX_BYTES;
use super::images::{entries, name_of};
use crate::error::{DataError, Error, Result};

/// Channels, rows and columns of an image.
pub const SHAPE: [usize; 3] = [3, 32, 32];

/// The words of the classes.
pub const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The folder that the archive holds.
pub const FOLDER: &str = "cifar-10-batches-bin";

/// The most images of a folder: those that were published. As features they take 1.5 GB.
const MOST_IMAGES: usize = 60_000;

/// What stands beside the batches in the archive.
const BESIDE: [&str; 2] = ["batches.meta.txt", "readme.html"];

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

    /// Reads files one after the other, as one.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`DataError::TooLarge`] for more than 60,000 images.
    pub fn open_all(paths: &[PathBuf]) -> Result<Self> {
        Self::open_up_to(MOST_IMAGES, paths)
    }

    fn open_up_to(most: usize, paths: &[PathBuf]) -> Result<Self> {
        let mut all = Self { labels: Vec::new(), pixels: Vec::new() };
        for path in paths {
            let Self { labels, pixels } = Self::open(path)?;
            all.labels.extend(labels);
            all.pixels.extend(pixels);
            if all.labels.len() > most {
                let (got, limit) = (all.labels.len() as u64, most as u64);
                let problem = DataError::TooLarge { what: "the number of images", got, limit };
                return Err(Error::data(path.display().to_string())(problem));
            }
        }
        Ok(all)
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

/// The batches of a folder in the archive's order, the one for testing last; `None` where the folder holds none.
///
/// # Errors
/// [`Error::Data`] for a folder that holds something else beside them, [`Error::Io`].
pub(super) fn batches(folder: &Path) -> Result<Option<Vec<PathBuf>>> {
    let paths = entries(folder)?;
    let (mut found, others): (Vec<_>, Vec<_>) = paths
        .into_iter()
        .map(|path| (place(&name_of(&path)), path))
        .partition(|(place, _)| place.is_some());
    if found.is_empty() {
        return Ok(None);
    }
    let mut others = others.iter().map(|(_, path)| name_of(path));
    if let Some(other) = others.find(|name| !BESIDE.contains(&&name[..])) {
        let why = format!("it holds {other:?} beside the batches of CIFAR-10; move it elsewhere");
        return Err(Error::data(folder.display().to_string())(DataError::Image(why)));
    }
    found.sort();
    Ok(Some(found.into_iter().map(|(_, path)| path).collect()))
}

/// The place of a file among the batches, by its name.
fn place(name: &str) -> Option<u32> {
    match name.strip_suffix(".bin")? {
        "test_batch" => Some(u32::MAX),
        other => other.strip_prefix("data_batch_")?.parse().ok(),
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

    #[test]
    fn the_batches_of_a_folder_are_in_the_archives_order() {
        let dir = tempfile::tempdir().unwrap();
        let write =
            |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        assert_eq!(batches(dir.path()).unwrap(), None);
        write("batches.meta.txt", b"airplane");
        assert_eq!(batches(dir.path()).unwrap(), None);
        for (name, classes) in
            [("test_batch", &[9][..]), ("data_batch_2", &[2, 3]), ("data_batch_10", &[4])]
        {
            write(&format!("{name}.bin"), &file(classes));
        }
        write("data_batch_1.bin", &file(&[1]));
        let found = batches(dir.path()).unwrap().unwrap();
        assert_eq!(Batch::open_all(&found).unwrap().labels, [1, 2, 3, 4, 9]);
        write("data_batch_x.bin", &file(&[1]));
        let refused = batches(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("data_batch_x.bin") && refused.contains("beside"), "{refused}");
        write("data_batch_2.bin", &file(&[2, 3])[1..]);
        let refused = Batch::open_all(&found).unwrap_err().to_string();
        assert!(refused.contains("data_batch_2.bin"), "{refused}");
        let read = Batch::open_up_to(2, &found[2..]).unwrap();
        assert_eq!(read.labels, [4, 9]);
        let refused = Batch::open_up_to(1, &found[2..]).unwrap_err().to_string();
        assert!(refused.contains("test_batch.bin") && refused.contains('2'), "{refused}");
    }
}
