//! The sigmoid in nine straight pieces, in fixed point.
//!
//! ```text
//!  y(x) =  1                       8 < x             y(−x) = 1 − y(x)
//!          0.015625·x + 0.875      4 < x ≤ 8
//!          0.03125·x  + 0.8125     2 < x ≤ 4
//!          0.125·x    + 0.625      1 < x ≤ 2
//!          0.25·x     + 0.5        0 ≤ x ≤ 1
//! ```
//!
//! (Chen and Zhong 2009, after Myers and Hutchinson 1989.) Slopes are powers of two and the pieces
//! meet, so x = u/16 becomes y = s/64 with one rounding.

/// Fractional bits of x.
pub const SUM_BITS: u32 = 4;

/// Fractional bits of y.
pub const ACTIVATION_BITS: u32 = 6;

/// y(u/16) in units of 1/64, rounded up at halves (down for negative u, by symmetry).
pub fn sigmoid(u: i64) -> i64 {
    let one = 1 << ACTIVATION_BITS;
    if u < 0 {
        return one - sigmoid(u.saturating_neg());
    }
    match u {
        0..=16 => u + 32,
        17..=32 => (u + 1) / 2 + 40,
        33..=64 => (u + 4) / 8 + 52,
        65..=128 => (u + 8) / 16 + 56,
        _ => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paper's pieces, in real numbers.
    fn pieces(x: f64) -> f64 {
        match x {
            x if x < 0.0 => 1.0 - pieces(-x),
            x if x <= 1.0 => 0.25 * x + 0.5,
            x if x <= 2.0 => 0.125 * x + 0.625,
            x if x <= 4.0 => 0.03125 * x + 0.8125,
            x if x <= 8.0 => 0.015625 * x + 0.875,
            _ => 1.0,
        }
    }

    #[test]
    fn pieces_in_fixed_point() {
        for u in -300i64..=300 {
            let real = 64.0 * pieces(u as f64 / 16.0);
            assert!((sigmoid(u) as f64 - real).abs() <= 0.5, "{u}: {} for {real}", sigmoid(u));
            assert_eq!(sigmoid(u) + sigmoid(-u), 64);
            assert!(sigmoid(u) <= sigmoid(u + 1));
        }
        assert_eq!((sigmoid(i64::MIN), sigmoid(i64::MAX)), (0, 64));
    }

    /// How far the paper's pieces are from the sigmoid: at most 0.05 anywhere.
    #[test]
    fn pieces_are_near_the_sigmoid() {
        for u in -200..=200 {
            let x = f64::from(u) / 16.0;
            assert!((pieces(x) - 1.0 / (1.0 + (-x).exp())).abs() < 0.05, "{x}");
        }
    }
}
