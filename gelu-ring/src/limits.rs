//! How large a modulus may be.
//!
//! A ring-LWE problem is the easier the larger its modulus is against N. The table is that of *Security guidelines for
//! implementing homomorphic encryption* (Bossuat et al., IACR ePrint 2024/463): the most bits of the modulus, all primes of
//! keys counted, for 128 bits of security against classical attacks, ternary secrets and errors of deviation 3.2, as
//! [`sample`](crate::sample) draws them. Sparse secrets would need estimates of their own.

/// (N, the most bits of the modulus) for 128 bits of security.
pub const SECURITY_128: [(usize, u32); 6] =
    [(2048, 53), (4096, 106), (8192, 214), (16384, 430), (32768, 868), (65536, 1747)];

/// The most bits of the modulus for N, for 128 bits of security; `None` for an N that the table does not have.
#[must_use]
pub fn most_bits(degree: usize) -> Option<u32> {
    SECURITY_128.iter().find(|(n, _)| *n == degree).map(|&(_, bits)| bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::basis::DEGREES;

    #[test]
    fn every_degree_has_a_limit_of_about_twice_that_of_half() {
        let degrees = SECURITY_128.map(|(n, _)| n);
        assert_eq!((degrees[0], degrees[5]), (*DEGREES.start(), *DEGREES.end()));
        for [(n, least), (twice, most)] in SECURITY_128.windows(2).map(|w| [w[0], w[1]]) {
            assert_eq!(twice, 2 * n);
            assert!((2 * least..2 * least + 12).contains(&most), "{n}");
        }
        assert_eq!((most_bits(8192), most_bits(1024), most_bits(5000)), (Some(214), None, None));
    }
}
