//! Law: residues and polynomials that are read are below their primes, and are written again as they were read.
//!
//! Byte 0 is the bits of the prime, less 13; byte 1 the number of residues. For a number 0, it is a polynomial over the
//! smallest ring.
#![no_main]
use gelu_ring::bytes::{InvalidBytes, pack, packed_len, unpack};
use gelu_ring::{Basis, Coefficients, Poly, primes};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    match data {
        [_, 0, bytes @ ..] => {
            // The least N and the least prime that there is for it.
            let basis = Basis::new(2048, &[12_289]).expect("a basis");
            if let Ok(poly) = Poly::<Coefficients>::from_bytes(&basis, bytes) {
                assert!(poly.residues(0).iter().all(|&x| x < 12_289));
                assert_eq!(poly.to_bytes(), bytes);
            }
        }
        [bits, count, bytes @ ..] => {
            let q = primes::descending(13 + u32::from(bits % 38), 1).next().expect("a prime");
            let mut residues = vec![0; usize::from(*count)];
            match unpack(q, bytes, &mut residues) {
                Ok(()) => {
                    assert!(residues.iter().all(|&x| x < q.value()));
                    let mut again = Vec::new();
                    pack(q, &residues, &mut again);
                    assert_eq!(again, bytes);
                }
                Err(InvalidBytes::Length { expected, got }) => {
                    assert!(expected != got && expected == packed_len(q, residues.len()));
                }
                Err(InvalidBytes::OutOfRange { index, value, modulus }) => {
                    assert!(index == residues.len() || value >= modulus);
                }
            }
        }
        _ => {}
    }
});
