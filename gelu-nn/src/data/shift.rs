//! Images moved by a few pixels: more variety from the same samples.

use ndarray::Array2;
use rand::RngExt;
use rand_core::CryptoRng;

use crate::layers::Shape;

/// Moves each image of a batch `[features, batch]` by up to `reach` pixels along each axis; what
/// comes in at the border is 0. Leaves vectors alone.
pub(crate) fn shift_images(
    images: &Array2<f64>,
    shape: Shape,
    reach: usize,
    rng: &mut dyn CryptoRng,
) -> Array2<f64> {
    let Shape::Image { height, width, .. } = shape else { return images.clone() };
    let mut result = Array2::zeros(images.dim());
    for (source, mut target) in images.columns().into_iter().zip(result.columns_mut()) {
        let [down, right] = [0; 2].map(|_: usize| rng.random_range(0..=2 * reach));
        for (pixel, value) in target.iter_mut().enumerate() {
            let (line, x) = (pixel / width, pixel % width);
            let from = |to: usize, by: usize, size: usize| {
                (to + reach).checked_sub(by).filter(|&from| from < size)
            };
            let (channel, y) = (line / height, line % height);
            if let (Some(y), Some(x)) = (from(y, down, height), from(x, right, width)) {
                *value = source[(channel * height + y) * width + x];
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    #[test]
    fn a_pixel_moves_at_most_so_far_and_stays_in_its_channel() {
        let shape = Shape::image(2, 5, 5);
        let mut image = Array2::zeros((50, 200));
        image.row_mut(25 + 2 * 5 + 2).fill(1.0);
        let moved = shift_images(&image, shape, 1, &mut ChaCha20Rng::seed_from_u64(1));
        let mut places = [0; 50];
        for sample in moved.columns() {
            assert_eq!(sample.sum(), 1.0);
            places[sample.iter().position(|&p| p == 1.0).unwrap()] += 1;
        }
        let reached = |y: usize, x: usize| places[25 + 5 * y + x] > 0;
        assert!((1..4).all(|y| (1..4).all(|x| reached(y, x))));
        assert_eq!(places.iter().filter(|&&n| n > 0).count(), 9);
    }

    #[test]
    fn vectors_stay() {
        let samples = Array2::ones((3, 2));
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        assert_eq!(shift_images(&samples, Shape::Vector(3), 2, &mut rng), samples);
    }
}
