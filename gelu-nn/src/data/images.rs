//! Images to be classified: PNG files, folders of them, IDX files, files of CIFAR-10 and folders of those.
//!
//! A pixel becomes a number from 0 (black) to 1 (white or full colour): its sample divided by the largest
//! of its bit depth. Nothing is resized, cropped or blended, and colour profiles and gamma are not
//! applied: whatever would change a pixel has to happen before, and in the same way as for the images that the
//! model was trained on.
//!
//! | PNG file | for one channel | for three channels |
//! |---|---|---|
//! | grey, 1 to 16 bits | as it is | the same in each channel |
//! | colour or palette, 1 to 16 bits | refused, unless red, green and blue are equal everywhere | as it is |
//! | with transparency | as without it where every pixel is opaque, refused otherwise | the same |
//! | of another size, animated, damaged | refused | refused |
//!
//! The format is that of *Portable Network Graphics*, third edition (W3C 2025); it is decoded by the crate `png`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use png::{BitDepth, ColorType, Decoder, Transformations};

use super::{cifar, idx};
use crate::error::{DataError, Error, Result};
use crate::layers::Shape;

/// Images of one shape in their order: one PNG file, the PNG files of a folder by name, or those of an IDX file
/// or of CIFAR-10.
#[derive(Debug)]
pub struct Images {
    from: PathBuf,
    shape: [usize; 3],
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Read when their turn comes.
    Files(Vec<PathBuf>),
    /// Pixel by pixel with so many samples each.
    Bytes { pixels: Vec<u8>, colours: usize },
}

impl Images {
    /// Finds the images at `path`, which must have the shape `shape`: of one channel (grey) or three (red, green, blue).
    ///
    /// A folder holds PNG files and nothing else, but for names that begin with a dot; or CIFAR-10. A file is known by
    /// what it holds, whatever its name.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file: no image, a file of images of another size, a folder with other files in it;
    /// [`Error::Io`]. PNG files are looked into by [`read`](Self::read).
    pub fn open(path: &Path, shape: Shape) -> Result<Self> {
        let wrong = |problem| Error::data(path.display().to_string())(problem);
        let shape = channels_and_size(shape).map_err(wrong)?;
        let of_cifar = |batch: cifar::Batch| {
            check_size(cifar::SHAPE, shape).map_err(wrong)?;
            let [colours, height, width] = cifar::SHAPE;
            let size = height * width;
            let image = |image: &[u8]| -> Vec<u8> {
                let sample = |at: usize| image[at % colours * size + at / colours];
                (0..image.len()).map(sample).collect()
            };
            let pixels = batch.pixels.chunks(colours * size).flat_map(image).collect();
            Ok::<_, Error>(Source::Bytes { pixels, colours })
        };
        let source = if fs::metadata(path).map_err(Error::io(path))?.is_dir() {
            match cifar::batches(path)? {
                Some(batches) => of_cifar(cifar::Batch::open_all(&batches)?)?,
                None => Source::Files(files(path)?),
            }
        } else if is_png(path)? {
            Source::Files(vec![path.to_owned()])
        } else if cifar::may_be(path)? {
            of_cifar(cifar::Batch::open(path)?)?
        } else {
            let images = idx::Images::open(path)?;
            check_size([1, images.rows, images.columns], shape).map_err(wrong)?;
            Source::Bytes { pixels: images.pixels, colours: 1 }
        };
        Ok(Self { from: path.to_owned(), shape, source })
    }

    /// How many there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Files(files) => files.len(),
            Source::Bytes { pixels, colours } => pixels.len() / (colours * self.size()),
        }
    }

    /// What image `index` is called: the name of its file; of several in one file its number, from 1.
    ///
    /// # Panics
    /// When there is no such image.
    pub fn name(&self, index: usize) -> String {
        match &self.source {
            Source::Files(files) => name_of(&files[index]),
            Source::Bytes { .. } => (index + 1).to_string(),
        }
    }

    /// The features of image `index`, in the order of [`Shape`], from 0 to 1.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file, [`Error::Io`].
    ///
    /// # Panics
    /// When there is no such image.
    pub fn read(&self, index: usize) -> Result<Vec<f64>> {
        match &self.source {
            Source::Files(files) => open(&files[index], self.shape),
            Source::Bytes { pixels, colours } => {
                let length = colours * self.size();
                let samples = pixels[index * length..][..length].iter();
                let samples: Vec<_> = samples.map(|&sample| f64::from(sample) / 255.0).collect();
                let features = arrange(&samples, *colours, self.shape[0]);
                features.map_err(Error::data(self.from.display().to_string()))
            }
        }
    }

    /// Pixels of an image.
    fn size(&self) -> usize {
        self.shape[1] * self.shape[2]
    }
}

/// Reads a PNG image of the shape `shape`, one channel or three: its features in the order of [`Shape`], from 0 to 1.
///
/// # Errors
/// [`DataError::Image`], [`DataError::ImageSize`].
pub fn read(png: impl BufRead + Seek, shape: Shape) -> Result<Vec<f64>, DataError> {
    decode(png, channels_and_size(shape)?)
}

/// The shape of the first PNG file of a folder: of one channel if it is grey, else of three.
pub(super) fn shape_of(folder: &Path) -> Result<Shape> {
    let path = &files(folder)?[0];
    let file = File::open(path).map_err(Error::io(path))?;
    let wrong = |error: png::DecodingError| DataError::Image(error.to_string());
    let mut decoder = Decoder::new(BufReader::new(file));
    let header = decoder.read_header_info().map_err(wrong);
    let header = header.map_err(Error::data(path.display().to_string()))?;
    let channels = match header.color_type {
        ColorType::Grayscale | ColorType::GrayscaleAlpha => 1,
        ColorType::Rgb | ColorType::Indexed | ColorType::Rgba => 3,
    };
    Ok(Shape::image(channels, header.height as usize, header.width as usize))
}

fn open(path: &Path, shape: [usize; 3]) -> Result<Vec<f64>> {
    let file = File::open(path).map_err(Error::io(path))?;
    decode(BufReader::new(file), shape).map_err(Error::data(path.display().to_string()))
}

fn decode(png: impl BufRead + Seek, shape: [usize; 3]) -> Result<Vec<f64>, DataError> {
    let wrong = |error: png::DecodingError| DataError::Image(error.to_string());
    let mut decoder = Decoder::new(png);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // Palettes become colours, a transparent colour becomes alpha, 1 to 4 bits become 8.
    decoder.set_transformations(Transformations::EXPAND);
    // Before anything of the announced size is allocated.
    let (width, height) = decoder.read_header_info().map_err(wrong)?.size();
    check_size([shape[0], height as usize, width as usize], shape)?;
    let mut reader = decoder.read_info().map_err(wrong)?;
    if reader.info().animation_control().is_some() {
        return Err(DataError::Image("it is animated; save one of its frames".into()));
    }
    let size = reader.output_buffer_size();
    let mut bytes = vec![0; size.ok_or_else(|| DataError::Image("it is too large".into()))?];
    let frame = reader.next_frame(&mut bytes).map_err(wrong)?;
    reader.finish().map_err(wrong)?;
    bytes.truncate(frame.buffer_size());
    let samples: Vec<f64> = match frame.bit_depth {
        BitDepth::Sixteen => {
            let words = bytes.chunks_exact(2).map(|word| u16::from_be_bytes([word[0], word[1]]));
            words.map(|word| f64::from(word) / 65_535.0).collect()
        }
        _ => bytes.iter().map(|&byte| f64::from(byte) / 255.0).collect(),
    };
    let all = frame.color_type.samples();
    let colours = if all < 3 { 1 } else { 3 };
    if all > colours
        && let Some(at) = samples.chunks_exact(all).position(|pixel| pixel[colours] != 1.0)
    {
        return Err(DataError::Image(format!(
            "the pixel in row {}, column {} is transparent; save it on a background without transparency",
            at / shape[2] + 1,
            at % shape[2] + 1
        )));
    }
    let opaque: Vec<f64> =
        samples.chunks_exact(all).flat_map(|pixel| &pixel[..colours]).copied().collect();
    arrange(&opaque, colours, shape[0])
}

/// Pixel by pixel with `colours` samples each becomes channel by channel.
fn arrange(samples: &[f64], colours: usize, channels: usize) -> Result<Vec<f64>, DataError> {
    let pixels = || samples.chunks_exact(colours);
    if colours > channels && pixels().any(|pixel| pixel.iter().any(|&sample| sample != pixel[0])) {
        return Err(DataError::Image("it has colours, and the model takes grey images".into()));
    }
    let channel = |channel: usize| pixels().map(move |pixel| pixel[channel % colours]);
    Ok((0..channels).flat_map(channel).collect())
}

fn channels_and_size(shape: Shape) -> Result<[usize; 3], DataError> {
    match shape {
        Shape::Image { channels: channels @ (1 | 3), height, width } => {
            Ok([channels, height, width])
        }
        _ => Err(DataError::Image(format!(
            "the model takes {shape}, and an image has one channel (grey) or three (colour)"
        ))),
    }
}

fn check_size(got: [usize; 3], expected: [usize; 3]) -> Result<(), DataError> {
    let ([_, height, width], [_, rows, columns]) = (got, expected);
    match (height, width) == (rows, columns) {
        true => Ok(()),
        false => Err(DataError::ImageSize { got: (width, height), expected: (columns, rows) }),
    }
}

/// Whether a file begins like a PNG file.
fn is_png(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(Error::io(path))?;
    file.take(8).read_to_end(&mut start).map_err(Error::io(path))?;
    Ok(start == *b"\x89PNG\r\n\x1a\n")
}

/// The PNG files of a folder, by name. What else there is would be an image without an answer.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let wrong = |problem| Error::data(folder.display().to_string())(problem);
    let mut files = entries(folder)?;
    let is_image = |path: &PathBuf| {
        path.extension().is_some_and(|end| end.eq_ignore_ascii_case("png")) && !path.is_dir()
    };
    if let Some(other) = files.iter().find(|path| !is_image(path)) {
        let name = name_of(other);
        return Err(wrong(DataError::Image(format!("it holds {name:?}, which is no PNG file"))));
    }
    files.sort();
    match files.is_empty() {
        true => Err(wrong(DataError::Empty)),
        false => Ok(files),
    }
}

/// All that a folder shows.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io(folder))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(Error::io(folder)));
    let shown =
        |path: &Result<PathBuf>| !matches!(path, Ok(path) if name_of(path).starts_with('.'));
    paths.filter(shown).collect()
}

pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use png::Encoder;
    use proptest::prelude::*;
    use std::io::Cursor;

    /// A file of `width` columns.
    fn png(width: u32, colour: ColorType, depth: BitDepth, bytes: &[u8], more: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let line = (colour.samples() * width as usize * depth as usize).div_ceil(8);
        let height = u32::try_from(bytes.len() / line).unwrap();
        let mut encoder = Encoder::new(&mut file, width, height);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        match (colour, more) {
            (ColorType::Indexed, palette) => encoder.set_palette(palette.to_vec()),
            (_, []) => {}
            (_, transparent) => encoder.set_trns(transparent.to_vec()),
        }
        encoder.write_header().unwrap().write_image_data(bytes).unwrap();
        file
    }

    /// A grey image of one row.
    pub(in crate::data) fn write_png(path: &Path, pixels: &[u8]) {
        let width = u32::try_from(pixels.len()).unwrap();
        fs::write(path, png(width, ColorType::Grayscale, BitDepth::Eight, pixels, &[])).unwrap();
    }

    fn features(file: &[u8], shape: Shape) -> Result<Vec<f64>, DataError> {
        read(Cursor::new(file), shape)
    }

    const GREY: Shape = Shape::image(1, 1, 2);
    const COLOUR: Shape = Shape::image(3, 1, 2);

    /// Every colour type and depth of the format gives the numbers that the table in the module promises.
    #[test]
    fn every_kind_of_png_becomes_numbers_from_0_to_1() {
        use BitDepth::{Eight, Four, One, Sixteen, Two};
        use ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
        let grey = |depth, bytes: &[u8]| png(2, Grayscale, depth, bytes, &[]);
        for (file, expected) in [
            (grey(One, &[0b0100_0000]), [0.0, 1.0]),
            (grey(Two, &[0b0110_0000]), [1.0 / 3.0, 2.0 / 3.0]),
            (grey(Four, &[0x3f]), [0.2, 1.0]),
            (grey(Eight, &[51, 255]), [0.2, 1.0]),
            (grey(Sixteen, &[0x33, 0x33, 0xff, 0xff]), [0.2, 1.0]),
            (png(2, GrayscaleAlpha, Eight, &[51, 255, 0, 255], &[]), [0.2, 0.0]),
        ] {
            assert_eq!(features(&file, GREY).unwrap(), expected);
            let [a, b] = expected;
            assert_eq!(features(&file, COLOUR).unwrap(), [a, b, a, b, a, b]);
        }
        let (red_blue, planes) = ([255, 0, 51, 0, 0, 255], [1.0, 0.0, 0.0, 0.0, 0.2, 1.0]);
        let wide: Vec<u8> = red_blue.iter().flat_map(|&sample| [sample, sample]).collect();
        for file in [
            png(2, Rgb, Eight, &red_blue, &[]),
            png(2, Rgb, Sixteen, &wide, &[]),
            png(2, Indexed, Eight, &[0, 1], &red_blue),
            png(2, Indexed, One, &[0b0100_0000], &red_blue),
            png(2, Rgba, Eight, &[255, 0, 51, 255, 0, 0, 255, 255], &[]),
        ] {
            assert_eq!(features(&file, COLOUR).unwrap(), planes);
            let refused = features(&file, GREY).unwrap_err().to_string();
            assert!(refused.contains("it has colours"), "{refused}");
        }
        let equal = png(2, Rgb, Eight, &[51, 51, 51, 0, 0, 0], &[]);
        assert_eq!(features(&equal, GREY).unwrap(), [0.2, 0.0], "grey, however it is written");
    }

    #[test]
    fn what_would_have_to_be_changed_is_refused() {
        use BitDepth::Eight;
        let transparent = [
            png(2, ColorType::GrayscaleAlpha, Eight, &[9, 255, 9, 254], &[]),
            png(2, ColorType::Grayscale, Eight, &[1, 9], &[0, 9]),
        ];
        for file in transparent {
            let refused = features(&file, GREY).unwrap_err().to_string();
            assert!(refused.contains("row 1, column 2 is transparent"), "{refused}");
        }
        let file = png(2, ColorType::Grayscale, Eight, &[1, 2, 3, 4, 5, 6], &[]);
        let refused = features(&file, GREY).unwrap_err();
        assert_eq!(refused, DataError::ImageSize { got: (2, 3), expected: (2, 1) });
        assert_eq!(refused.to_string(), "the image is 2x3 (width x height), the model takes 2x1");
        for shape in [Shape::Vector(6), Shape::image(2, 3, 1)] {
            assert!(features(&file, shape).is_err(), "{shape}");
        }
        assert_eq!(features(&file, Shape::image(1, 3, 2)).unwrap().len(), 6);
    }

    /// A header that announces a huge image costs nothing.
    #[test]
    fn a_size_is_refused_before_it_is_believed() {
        let mut file = Vec::new();
        let encoder = Encoder::new(&mut file, 1 << 30, 1 << 30);
        drop(encoder.write_header().unwrap());
        assert!(matches!(features(&file, GREY), Err(DataError::ImageSize { .. })));
    }

    proptest! {
        /// No damage is a panic, and none that a checksum covers is an image.
        #[test]
        fn damaged_files_are_refused(at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<bool>()) {
            let pixels: Vec<u8> = (0..192u8).map(|i| i ^ 0x5a).collect();
            let mut file = png(8, ColorType::Rgb, BitDepth::Eight, &pixels, &[]);
            let shape = Shape::image(3, 8, 8);
            let whole = features(&file, shape).unwrap();
            let at = at.index(file.len());
            if cut {
                file.truncate(at);
            } else {
                file[at] = to;
            }
            match features(&file, shape) {
                Ok(read) => prop_assert_eq!(read, whole),
                Err(DataError::Image(_) | DataError::ImageSize { .. }) => {}
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }

    #[test]
    fn folders_are_read_by_name_and_hold_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let write = |name: &str, a: u8, b: u8| write_png(&path(name), &[a, b]);
        assert!(matches!(
            Images::open(dir.path(), GREY),
            Err(Error::Data { problem: DataError::Empty, .. })
        ));
        write("b.png", 51, 0);
        write("a.PNG", 0, 255);
        write(".hidden", 1, 1);
        let images = Images::open(dir.path(), GREY).unwrap();
        let names: Vec<_> = (0..images.len()).map(|i| images.name(i)).collect();
        assert_eq!(names, ["a.PNG", "b.png"]);
        assert_eq!(
            (images.read(0).unwrap(), images.read(1).unwrap()),
            (vec![0.0, 1.0], vec![0.2, 0.0])
        );
        let one = Images::open(&path("b.png"), GREY).unwrap();
        assert_eq!((one.len(), one.read(0).unwrap()), (1, vec![0.2, 0.0]));
        for other in ["notes.txt", "c.jpg"] {
            write(other, 1, 1);
            let refused = Images::open(dir.path(), GREY).unwrap_err().to_string();
            assert!(refused.contains(other), "{refused}");
            fs::remove_file(path(other)).unwrap();
        }
        fs::write(path("b.png"), "no image").unwrap();
        let refused = Images::open(dir.path(), GREY).unwrap().read(1).unwrap_err().to_string();
        assert!(refused.contains("b.png"), "{refused}");
    }

    #[test]
    fn images_of_idx_files_are_called_by_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("images");
        let header = [2051u32, 2, 1, 2].iter().flat_map(|word| word.to_be_bytes());
        fs::write(&path, header.chain([0, 51, 255, 0]).collect::<Vec<_>>()).unwrap();
        let images = Images::open(&path, GREY).unwrap();
        assert_eq!((images.len(), images.name(1)), (2, "2".into()));
        assert_eq!(images.read(0).unwrap(), [0.0, 0.2]);
        assert_eq!(
            Images::open(&path, COLOUR).unwrap().read(1).unwrap(),
            [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
        );
        let refused = Images::open(&path, Shape::image(1, 2, 1)).unwrap_err().to_string();
        assert!(refused.contains("2x1") && refused.contains("1x2"), "{refused}");
    }
}
