//! Residues as bytes, ⌈log₂ q⌉ bits each, and what is checked when they come back.
//!
//! Eight residues of b bits are b bytes: residue i stands at bits i·b to (i + 1)·b, the lowest bits first. A
//! polynomial is its rows, one prime after the other, evaluations in the order of
//! [`ntt::exponent`](crate::ntt::exponent). Every string of the right length whose residues are in
//! range is read, and is the only one for what it says.

use crate::basis::Basis;
use crate::modulus::Modulus;
use crate::poly::{Poly, Representation};

/// Why bytes are no residues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBytes {
    /// Too few or too many.
    #[error("{got} bytes where residues take {expected}")]
    Length {
        /// What the residues take.
        expected: usize,
        /// What there was.
        got: usize,
    },
    /// A number is not below its modulus.
    #[error("number {index} of a row is {value}, not below the modulus {modulus}")]
    OutOfRange {
        /// Its place in the row.
        index: usize,
        /// The number.
        value: u64,
        /// q.
        modulus: u64,
    },
}

/// Bytes that `count` residues modulo q take: ⌈count·⌈log₂ q⌉ / 8⌉.
#[must_use]
pub fn packed_len(q: Modulus, count: usize) -> usize {
    (count * q.bits() as usize).div_ceil(8)
}

/// Appends residues to `out`; unused bits of the last byte are 0.
///
/// # Panics
/// In debug builds, when a number is not below q; in release builds its upper bits are lost.
pub fn pack(q: Modulus, residues: &[u64], out: &mut Vec<u8>) {
    let mut at = out.len();
    let end = at + packed_len(q, residues.len());
    // Whole words are written, whose last bytes the next word overwrites: a copy of known length takes a tenth
    // of the time of another.
    out.resize(end + size_of::<u64>(), 0);
    let (mut waiting, mut bits) = (0u64, 0);
    for &residue in residues {
        debug_assert!(residue < q.value(), "a residue");
        // At most 7 bits wait, and a residue has at most 50.
        waiting |= (residue & low_bits(q)) << bits;
        bits += q.bits();
        out[at..][..size_of::<u64>()].copy_from_slice(&waiting.to_le_bytes());
        let whole = bits / 8;
        at += whole as usize;
        waiting >>= 8 * whole;
        bits %= 8;
    }
    out.truncate(end);
}

/// Reads as many residues as `out` has places.
///
/// # Errors
/// When the number of bytes is another than [`packed_len`], a number is not below q, or an unused bit is set
/// (which is reported as the number after the last). What is in `out` then means nothing. The time tells
/// which number is wrong.
pub fn unpack(q: Modulus, bytes: &[u8], out: &mut [u64]) -> Result<(), InvalidBytes> {
    let expected = packed_len(q, out.len());
    if bytes.len() != expected {
        return Err(InvalidBytes::Length { expected, got: bytes.len() });
    }
    let out_of_range = |index, value| InvalidBytes::OutOfRange { index, value, modulus: q.value() };
    let width = q.bits() as usize;
    for (index, out) in out.iter_mut().enumerate() {
        // At most 7 bits before the number, and 50 of it.
        let at = index * width;
        *out = word(&bytes[at / 8..]) >> (at % 8) & low_bits(q);
        if *out >= q.value() {
            return Err(out_of_range(index, *out));
        }
    }
    let used = out.len() * width % 8;
    match bytes.last().map(|last| u64::from(last >> used)) {
        Some(surplus) if used > 0 && surplus > 0 => Err(out_of_range(out.len(), surplus)),
        _ => Ok(()),
    }
}

/// The first eight bytes, or fewer and zeros.
pub(crate) fn word(bytes: &[u8]) -> u64 {
    if let Some(word) = bytes.first_chunk() {
        return u64::from_le_bytes(*word);
    }
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

fn low_bits(q: Modulus) -> u64 {
    (1 << q.bits()) - 1
}

impl<R: Representation> Poly<R> {
    /// Bytes of a polynomial over this basis.
    #[must_use]
    pub fn bytes_len(basis: &Basis) -> usize {
        basis.moduli().map(|q| packed_len(q, basis.degree())).sum()
    }

    /// The polynomial as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::bytes_len(self.basis()));
        for (i, q) in self.basis().moduli().enumerate() {
            pack(q, self.residues(i), &mut out);
        }
        out
    }

    /// Reads a polynomial.
    ///
    /// # Errors
    /// When the length is not [`bytes_len`](Self::bytes_len), or a number is not below its prime.
    pub fn from_bytes(basis: &Basis, bytes: &[u8]) -> Result<Self, InvalidBytes> {
        let expected = Self::bytes_len(basis);
        if bytes.len() != expected {
            return Err(InvalidBytes::Length { expected, got: bytes.len() });
        }
        let mut rest = bytes;
        let rows = basis.moduli().map(|q| {
            let (row, after) = rest.split_at(packed_len(q, basis.degree()));
            rest = after;
            let mut out = basis.pool().row();
            unpack(q, row, &mut out)?;
            Ok(out)
        });
        Ok(Self::of(basis, rows.collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::poly::Evaluations;
    use crate::primes::descending;
    use crate::sample;
    use crate::testing::residues;

    fn moduli() -> impl Strategy<Value = Modulus> {
        (13..=50u32).prop_map(|bits| descending(bits, 1).next().unwrap())
    }

    proptest! {
        #[test]
        fn residues_come_back(q in moduli(), count in 0..70usize, seed: u64) {
            let residues = residues(q, count, seed);
            let (mut bytes, mut read) = (Vec::new(), vec![0; count]);
            pack(q, &residues, &mut bytes);
            prop_assert_eq!(bytes.len(), packed_len(q, count));
            prop_assert_eq!(unpack(q, &bytes, &mut read), Ok(()));
            prop_assert_eq!(read, residues);
        }

        #[test]
        fn bits_stand_where_the_format_says(q in moduli(), seed: u64) {
            let residues = residues(q, 24, seed);
            let mut bytes = Vec::new();
            pack(q, &residues, &mut bytes);
            for (i, residue) in residues.into_iter().enumerate() {
                for bit in 0..q.bits() as usize {
                    let at = i * q.bits() as usize + bit;
                    prop_assert_eq!(u64::from(bytes[at / 8] >> (at % 8) & 1), residue >> bit & 1);
                }
            }
        }

        #[test]
        fn whatever_is_read_is_in_range_and_is_written_the_same(
            q in moduli(),
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            count in 0..20usize,
        ) {
            let mut read = vec![0; count];
            let bytes = &bytes[..bytes.len().min(packed_len(q, count))];
            if unpack(q, bytes, &mut read).is_ok() {
                prop_assert!(read.iter().all(|&x| x < q.value()));
                let mut again = Vec::new();
                pack(q, &read, &mut again);
                prop_assert_eq!(again, bytes);
            } else {
                prop_assert!(unpack(q, bytes, &mut read).is_err());
            }
        }
    }

    #[test]
    fn a_polynomial_comes_back_and_one_large_number_is_refused() {
        let primes: Vec<_> = descending(36, 2048).take(3).map(Modulus::value).collect();
        let basis = Basis::new(2048, &primes).unwrap();
        let poly = sample::uniform(&basis, &[1; 32], 0);
        let bytes = poly.to_bytes();
        assert_eq!(bytes.len(), 3 * 2048 * 36 / 8);
        assert_eq!(Poly::from_bytes(&basis, &bytes), Ok(poly));

        let read = |bytes: &[u8]| Poly::<Evaluations>::from_bytes(&basis, bytes).unwrap_err();
        let expected = bytes.len();
        for got in [0, expected - 1] {
            assert_eq!(read(&bytes[..got]), InvalidBytes::Length { expected, got });
        }
        // Numbers 2 and 3 of the second row.
        let mut large = bytes.clone();
        let row = 2048 * 36 / 8;
        let mut pair = Vec::new();
        pack(Modulus::new(primes[1]).unwrap(), &[primes[1] - 1, 0], &mut pair);
        large[row + 9..row + 18].copy_from_slice(&pair);
        assert!(Poly::<Evaluations>::from_bytes(&basis, &large).is_ok());
        large[row + 9] += 1;
        let (value, modulus) = (primes[1], primes[1]);
        assert_eq!(read(&large), InvalidBytes::OutOfRange { index: 2, value, modulus });
    }

    #[test]
    fn unused_bits_are_refused() {
        let q = descending(13, 1).next().unwrap();
        let mut bytes = Vec::new();
        pack(q, &[5], &mut bytes);
        bytes[1] |= 1 << 6;
        let (index, value, modulus) = (1, 2, q.value());
        let refused = InvalidBytes::OutOfRange { index, value, modulus };
        assert_eq!(unpack(q, &bytes, &mut [0]), Err(refused));
    }
}
