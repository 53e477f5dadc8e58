//! Numbers of a ring on the wire: ⌈bits / 8⌉ bytes each, the lowest one first.

use zeroize::Zeroizing;

pub(crate) use crate::circuit::two_party::packed::{width, write};
use crate::circuit::two_party::{packed, reduced};
use crate::error::{PeerMisbehaved, Result};

/// Reads `count` numbers modulo 2^`bits`; `what` they are is for errors.
///
/// # Errors
/// [`PeerMisbehaved::OutOfBounds`] for another length, or a number outside the ring.
pub(crate) fn read(
    what: &'static str,
    bytes: &[u8],
    count: usize,
    bits: u32,
) -> Result<Zeroizing<Vec<u64>>> {
    if bytes.len() != count * width(bits) {
        let expected = format!("{} bytes", count * width(bits));
        return Err(PeerMisbehaved::out_of_bounds(what, bytes.len(), expected).into());
    }
    let numbers = packed::numbers(bytes, bits);
    match numbers.iter().find(|x| **x != reduced(**x, bits)) {
        Some(x) => {
            let expected = format!("of numbers below 2^{bits}");
            Err(PeerMisbehaved::out_of_bounds(what, x, expected).into())
        }
        None => Ok(numbers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::two_party::Packed;

    #[test]
    fn numbers_of_every_ring_come_back_and_others_are_refused() {
        for bits in 1..=64u32 {
            let most = u64::MAX >> (64 - bits);
            let numbers = [0, most, most / 3, 1];
            let mut bytes = Vec::new();
            write(&numbers, bits, &mut bytes);
            assert_eq!(bytes.len(), 4 * width(bits));
            assert_eq!(**read("numbers", &bytes, 4, bits).unwrap(), numbers);
            assert_eq!(*Packed::new(&numbers, bits).unpack(), numbers);
            assert!(read("numbers", &bytes, 5, bits).is_err());
            assert!(read("numbers", &bytes[1..], 4, bits).is_err());
            if !bits.is_multiple_of(8) {
                assert!(read("numbers", &bytes, 4, bits - 1).is_err(), "{bits} bits");
            }
        }
    }
}
