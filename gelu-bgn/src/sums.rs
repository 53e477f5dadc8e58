//! Σ kᵢ · Pᵢ for short signed integers kᵢ: the server's matrix products.
//!
//! Pippenger's buckets with signed digits. Every k is written in base 2^c with digits between
//! −2^(c−1) and 2^(c−1) − 1; for each digit position, all points with the same digit are added up in
//! one bucket, and the buckets are weighed with two additions each:
//!
//! ```text
//! Σ d · bucket[d]  =  Σ of the partial sums of bucket[2^(c−1)], …, bucket[1]
//! additions  ≈  digits · (terms + 2·2^(c−1) + c)                the best c is chosen
//! ```
//!
//! Time depends on the integers, which are the server's, and not on the points.

use crate::group::Group;

/// Σ k · (P₁, …, P_N), component by component; the identity without terms.
pub(crate) fn sum<G: Group, const N: usize>(terms: &[(i128, &[G; N])]) -> [G; N] {
    let bits = terms.iter().map(|(k, _)| 128 - k.unsigned_abs().leading_zeros()).max().unwrap_or(0);
    let cost = |c: u32| (bits / c + 1) as usize * (terms.len() + (1 << c) + c as usize);
    let c = (2..=10).min_by_key(|&c| cost(c)).expect("nine choices");
    let digits: Vec<_> = terms.iter().map(|(k, _)| digits(*k, c)).collect();
    let length = digits.iter().map(Vec::len).max().unwrap_or(0);

    let mut total = [G::identity(); N];
    for position in (0..length).rev() {
        (0..c).for_each(|_| total = total.map(|part| part.double()));
        let mut buckets: Vec<Option<[G; N]>> = vec![None; 1 << (c - 1)];
        for ((_, point), digits) in terms.iter().zip(&digits) {
            let digit = digits.get(position).copied().unwrap_or(0);
            if digit != 0 {
                let point = if digit < 0 { point.map(|part| part.minus()) } else { **point };
                let bucket = &mut buckets[digit.unsigned_abs() as usize - 1];
                *bucket = Some(bucket.map_or(point, |sum| added(&sum, &point)));
            }
        }
        let (mut running, mut weighed) = (None::<[G; N]>, None::<[G; N]>);
        for bucket in buckets.into_iter().rev() {
            running = join(running, bucket);
            weighed = join(weighed, running);
        }
        total = weighed.map_or(total, |weighed| added(&total, &weighed));
    }
    total
}

fn join<G: Group, const N: usize>(a: Option<[G; N]>, b: Option<[G; N]>) -> Option<[G; N]> {
    match (a, b) {
        (Some(a), Some(b)) => Some(added(&a, &b)),
        (a, b) => a.or(b),
    }
}

/// a + b, component by component.
pub(crate) fn added<G: Group, const N: usize>(a: &[G; N], b: &[G; N]) -> [G; N] {
    core::array::from_fn(|i| a[i].plus(&b[i]))
}

/// k in base 2^c, lowest first, with digits from −2^(c−1) to 2^(c−1) − 1; c is 2 or more.
fn digits(mut k: i128, c: u32) -> Vec<i32> {
    let mut digits = Vec::new();
    while k != 0 {
        let low = i32::try_from(k & ((1 << c) - 1)).expect("a few bits");
        k >>= c;
        if low >= 1 << (c - 1) {
            digits.push(low - (1 << c));
            k += 1;
        } else {
            digits.push(low);
        }
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::{G1, G2, Gt, Scalar};
    use proptest::prelude::*;

    /// The plain twin: multiples one by one.
    fn plain<G: Group, const N: usize>(terms: &[(i128, &[G; N])]) -> [G; N] {
        terms.iter().fold([G::identity(); N], |sum, (k, point)| {
            added(&sum, &point.map(|part| part.times(&Scalar::from_i128(*k))))
        })
    }

    fn points<G: Group>(count: usize) -> Vec<[G; 2]> {
        let multiple = |k: usize| G::generator().times(&Scalar::from_i128(k as i128));
        (0..count).map(|i| [multiple(7 * i), multiple(i * i + 1)]).collect()
    }

    fn law<G: Group>(ks: &[i128]) -> Result<(), TestCaseError> {
        let points = points::<G>(ks.len());
        let terms: Vec<_> = ks.iter().copied().zip(&points).collect();
        prop_assert_eq!(sum(&terms), plain(&terms));
        Ok(())
    }

    #[test]
    fn edges() {
        let edges = [0, 1, -1, 2, -2, 127, -128, i128::MAX, -i128::MAX, i128::MIN, 1 << 126];
        for k in edges {
            law::<G1>(&[k]).unwrap();
        }
        law::<G1>(&edges).unwrap();
        law::<G2>(&edges).unwrap();
        law::<Gt>(&edges).unwrap();
        law::<G1>(&[]).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn buckets_add_up(ks in prop::collection::vec(-300i128..300, 0..60)) {
            law::<G1>(&ks)?;
        }

        #[test]
        fn digits_are_those_of_the_number(k in any::<i128>(), c in 2u32..11) {
            let half = 1 << (c - 1);
            let digits = digits(k, c);
            prop_assert!(digits.iter().all(|d| (-half..half).contains(d)));
            let value = digits.iter().rev().fold(0i128, |sum, d| {
                sum.wrapping_mul(1 << c).wrapping_add(i128::from(*d))
            });
            prop_assert_eq!(value, k);
        }
    }
}
