//! The arithmetic of rows.

use num_traits::Zero;

/// The arithmetic that a linear map needs of its numbers.
pub trait Scalar: Copy + Zero + core::ops::Mul<Output = Self> + core::ops::AddAssign {}
impl<T: Copy + Zero + core::ops::Mul<Output = T> + core::ops::AddAssign> Scalar for T {}

/// sum += factor · row.
pub(super) fn add_scaled<T: Scalar>(sum: &mut [T], factor: T, row: &[T]) {
    for (sum, &x) in sum.iter_mut().zip(row) {
        *sum += factor * x;
    }
}

/// Σ aᵢ·bᵢ with eight partial sums, so that the compiler may use vectors; the order is fixed.
pub(super) fn dot<T: Scalar>(a: &[T], b: &[T]) -> T {
    const LANES: usize = 8;
    let mut sums = [T::zero(); LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let mut total = rest.fold(T::zero(), |sum, (&a, &b)| sum + a * b);
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for sum in sums {
        total += sum;
    }
    total
}
