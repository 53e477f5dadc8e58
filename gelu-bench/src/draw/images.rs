//! Grey images as PNG.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::exhibit::{Image, Images};

/// One image as the address of an HTML `img`, which carries it inside.
pub fn data_uri(image: &Image) -> String {
    let grey = Grey::from(image);
    format!("data:image/png;base64,{}", STANDARD.encode(grey.png()))
}

/// All of them on one white sheet, row by row, as a PNG file; each pixel as a square that can be seen.
pub fn sheet(images: &Images) -> Vec<u8> {
    let all = || images.rows.iter().flat_map(|row| &row.images);
    let widest = all().map(|image| image.width).max().unwrap_or(1);
    let scale = (96 / widest.max(1)).clamp(1, 8);
    let cell_height = |row: &[Image]| row.iter().map(height).max().unwrap_or(0) * scale + GAP;
    let columns = images.rows.iter().map(|row| row.images.len()).max().unwrap_or(0);
    let cell = widest * scale + GAP;
    let mut sheet = Grey::white(
        GAP + u32::try_from(columns).unwrap_or(0) * cell,
        GAP + images.rows.iter().map(|row| cell_height(&row.images)).sum::<u32>(),
    );
    let mut top = GAP;
    for row in &images.rows {
        let mut left = GAP;
        for image in &row.images {
            sheet.paste(&Grey::from(image), left, top, scale);
            left += cell;
        }
        top += cell_height(&row.images);
    }
    sheet.png()
}

/// Between two images of a sheet.
const GAP: u32 = 8;

fn height(image: &Image) -> u32 {
    let pixels = u32::try_from(image.pixels.len()).unwrap_or(0);
    pixels / image.width.max(1)
}

/// As PNG has it: 0 is black, 255 is white.
struct Grey {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl From<&Image> for Grey {
    /// What does not fill a row is left out.
    fn from(image: &Image) -> Self {
        let (width, height) = (image.width, height(image));
        let pixels = image.pixels.iter().take(width as usize * height as usize);
        Self { width, height, pixels: pixels.map(|ink| 255 - ink).collect() }
    }
}

impl Grey {
    fn white(width: u32, height: u32) -> Self {
        Self { width, height, pixels: vec![255; width as usize * height as usize] }
    }

    fn paste(&mut self, image: &Self, left: u32, top: u32, scale: u32) {
        for y in 0..image.height * scale {
            for x in 0..image.width * scale {
                let from = (y / scale) as usize * image.width as usize + (x / scale) as usize;
                let to = (top + y) as usize * self.width as usize + (left + x) as usize;
                self.pixels[to] = image.pixels[from];
            }
        }
    }

    fn png(&self) -> Vec<u8> {
        // PNG knows no empty image.
        if self.pixels.is_empty() {
            return Self::white(1, 1).png();
        }
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width, self.height);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().expect("an image that is not empty, into a vector");
        writer.write_image_data(&self.pixels).expect("as many pixels as its header says");
        writer.finish().expect("into a vector");
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exhibit::ImageRow;

    fn read(file: &[u8]) -> (u32, u32, Vec<u8>) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.width, info.height, pixels)
    }

    #[test]
    fn ink_is_black_and_paper_white() {
        let image = Image { width: 2, pixels: vec![0, 255, 100, 7, 9], label: String::new() };
        let uri = data_uri(&image);
        let file = STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        assert_eq!(read(&file), (2, 2, vec![255, 0, 155, 248]));
        for (width, pixels) in [(0, vec![]), (0, vec![1]), (3, vec![1, 2])] {
            let empty = Image { width, pixels, label: String::new() };
            assert!(data_uri(&empty).len() > 40, "still an image");
        }
    }

    #[test]
    fn a_sheet_holds_its_images_in_rows() {
        let dot = |ink: u8| Image { width: 1, pixels: vec![ink], label: String::new() };
        let row = |inks: &[u8]| ImageRow {
            name: String::new(),
            images: inks.iter().map(|ink| dot(*ink)).collect(),
        };
        let images = Images { caption: String::new(), rows: vec![row(&[255, 155]), row(&[55])] };
        // One pixel becomes 8 by 8, with 8 between: 8 + 8 + 8 + 8 + 8.
        let (width, height, pixels) = read(&sheet(&images));
        assert_eq!((width, height), (40, 40));
        let at = |x: usize, y: usize| pixels[y * 40 + x];
        assert_eq!([at(8, 8), at(15, 15), at(24, 8), at(8, 24), at(24, 24)], [0, 0, 100, 200, 255]);
        assert_eq!([at(7, 8), at(16, 8), at(39, 39)], [255; 3]);
        assert_eq!(read(&sheet(&Images { caption: String::new(), rows: vec![] })).0, 8);
    }
}
