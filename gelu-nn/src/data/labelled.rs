//! Images with their classes: a folder of PNG files for each class, or CIFAR-10, one file of it or the folder.
//!
//! ```text
//! scans/ill/0001.png  scans/ill/0002.png  scans/well/0001.png        the folder's name is the class
//! data_batch_1.bin                                                   see [`cifar`]
//! cifar-10-batches-bin                                               all of its files as one, in their order
//! ```
//! The shape is that of the first image; every other must have it, too. Pixels become features as [`images`](super::images)
//! says.

use std::path::Path;

use ndarray::{Array2, ShapeBuilder};

use super::csv::MAX_CELLS;
use super::images::{Images, entries, name_of, shape_of};
use super::{Dataset, cifar};
use crate::error::{DataError, Error, Result};
use crate::layers::Shape;
use crate::schema::{Description, Image, Label, Schema, VERSION};

/// Reads images with their classes, and what their features mean.
///
/// # Errors
/// [`Error::Data`] naming the folder or file: fewer than two classes, a class without images, images of different
/// sizes, more than [`MAX_CELLS`] pixels in all; [`Error::Io`]; [`Error::Schema`] for more classes than one may have.
pub fn open(path: &Path) -> Result<(Dataset, Schema)> {
    if !path.is_dir() {
        return of_cifar(path, cifar::Batch::open(path)?);
    }
    match cifar::batches(path)? {
        Some(batches) => of_cifar(path, cifar::Batch::open_all(&batches)?),
        None => of_folders(path),
    }
}

/// Images of CIFAR-10 from `path`.
pub(super) fn of_cifar(path: &Path, batch: cifar::Batch) -> Result<(Dataset, Schema)> {
    let features = batch.pixels.iter().map(|&pixel| f64::from(pixel) / 255.0).collect();
    let labels = batch.labels.into_iter().map(usize::from).collect();
    let [channels, height, width] = cifar::SHAPE;
    let shape = Shape::image(channels, height, width);
    dataset(path, shape, features, labels, cifar::CLASSES.map(String::from).to_vec())
}

fn of_folders(path: &Path) -> Result<(Dataset, Schema)> {
    let wrong = |problem| Error::data(path.display().to_string())(problem);
    let mut folders = entries(path)?;
    folders.sort();
    if let Some(other) = folders.iter().find(|folder| !folder.is_dir()) {
        let name = name_of(other);
        return Err(wrong(DataError::Image(format!(
            "it holds {name:?}, which is no folder of a class; put each image into a folder with the name of its class"
        ))));
    }
    if folders.len() < 2 {
        let count = folders.len();
        return Err(wrong(DataError::Image(format!(
            "it holds {count} folders of classes, must be two or more"
        ))));
    }
    let shape = shape_of(&folders[0])?;
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    for (class, folder) in folders.iter().enumerate() {
        let images = Images::open(folder, shape)?;
        let got = features.len().saturating_add(images.len().saturating_mul(shape.features()));
        if got > MAX_CELLS {
            let (got, limit) = (got as u64, MAX_CELLS as u64);
            return Err(wrong(DataError::TooLarge { what: "all images", got, limit }));
        }
        for index in 0..images.len() {
            features.extend(images.read(index)?);
            labels.push(class);
        }
    }
    let classes = folders.iter().map(|folder| name_of(folder)).collect();
    dataset(path, shape, features, labels, classes)
}

fn dataset(
    path: &Path,
    shape: Shape,
    features: Vec<f64>,
    labels: Vec<usize>,
    classes: Vec<String>,
) -> Result<(Dataset, Schema)> {
    let (channels, height, width) = shape.sides().expect("an image");
    let image = Image { shape: [channels, height, width], max: 255, scale: Vec::new() };
    let label = Label { name: "class".into(), classes: classes.clone() };
    let (version, image, label) = (VERSION, Some(image), Some(label));
    let schema = Schema::new(Description { version, image, label, ..Description::default() })?;
    let features = Array2::from_shape_vec((shape.features(), labels.len()).f(), features)
        .expect("as many features of each image");
    let dataset = Dataset::new(features, labels, schema.features(), classes);
    Ok((dataset.map_err(Error::data(path.display().to_string()))?, schema))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::images::tests::write_png;
    use std::fs;

    #[test]
    fn the_name_of_a_folder_is_the_class() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for class in ["well", "ill"] {
            fs::create_dir(path(class)).unwrap();
        }
        let refused = || open(dir.path()).unwrap_err().to_string();
        assert!(refused().contains("no samples"), "{}", refused());
        write_png(&path("well/1.png"), &[0, 51]);
        write_png(&path("ill/1.png"), &[255, 0]);
        write_png(&path("ill/2.png"), &[0, 0]);
        let (dataset, schema) = open(dir.path()).unwrap();
        assert_eq!(dataset.class_names(), ["ill", "well"]);
        assert_eq!((dataset.labels(), schema.classes()), (&[0, 0, 1][..], dataset.class_names()));
        assert_eq!(dataset.batch(&[0, 2]).0, ndarray::array![[1.0, 0.0], [0.0, 0.2]]);
        assert_eq!(schema.image().unwrap().shape, [1, 1, 2]);
        write_png(&path("well/2.png"), &[1, 2, 3]);
        assert!(refused().contains("3x1") && refused().contains("2.png"), "{}", refused());
        fs::write(path("notes.txt"), "").unwrap();
        assert!(refused().contains("notes.txt"), "{}", refused());
        fs::remove_file(path("notes.txt")).unwrap();
        fs::remove_dir_all(path("well")).unwrap();
        assert!(refused().contains("1 folders of classes"), "{}", refused());
    }

    #[test]
    fn files_of_cifar_have_classes_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data_batch_1.bin");
        fs::write(&path, cifar::tests::file(&[3, 0])).unwrap();
        let (dataset, schema) = open(&path).unwrap();
        assert_eq!((dataset.labels(), dataset.inputs()), (&[3, 0][..], 3072));
        assert_eq!(schema.classes()[3], "cat");
        let images = Images::open(&path, Shape::image(3, 32, 32)).unwrap();
        assert_eq!(images.read(0).unwrap(), dataset.features().column(0).to_vec());
        assert_eq!((images.len(), images.name(1)), (2, "2".into()));
        let grey = Images::open(&path, Shape::image(1, 32, 32)).unwrap().read(0);
        assert!(grey.unwrap_err().to_string().contains("it has colours"));
    }

    #[test]
    fn a_folder_of_cifar_is_one_data_set() {
        let dir = tempfile::tempdir().unwrap();
        for (name, classes) in [("test_batch", &[9][..]), ("data_batch_1", &[3, 0])] {
            let path = dir.path().join(name).with_extension("bin");
            fs::write(path, cifar::tests::file(classes)).unwrap();
        }
        fs::write(dir.path().join("readme.html"), "").unwrap();
        let (dataset, schema) = open(dir.path()).unwrap();
        assert_eq!((dataset.labels(), dataset.inputs()), (&[3, 0, 9][..], 3072));
        assert_eq!(schema.classes(), cifar::CLASSES);
        let images = Images::open(dir.path(), Shape::image(3, 32, 32)).unwrap();
        assert_eq!((images.len(), images.name(2)), (3, "3".into()));
        assert_eq!(images.read(2).unwrap(), dataset.features().column(2).to_vec());
        let (file, _) = open(&dir.path().join("data_batch_1.bin")).unwrap();
        assert_eq!(file, dataset.select(&[0, 1]));
    }
}
