//! What operations cost before any weight is known: what clients choose layouts by.

use gelu_core::slots::{MatrixSize, Prices};

/// The prices of keys of `key_bits` bits on the reference machine.
pub fn prices(key_bits: u32) -> Prices {
    Prices {
        encrypt: 15_000,
        decrypt: 260_000,
        rerandomize: 175_000,
        product: 450,
        shift_bit: 350,
        lanes: 8,
        byte: 8,
        products: subset_tables,
    }
    .grown_from_2048(key_bits)
}

/// The products of a matrix by [`subsets`](super::subsets): the inputs in groups of g, for each group a
/// table of the products of its subsets, and for each output, group and bit of weight one product from
/// the table.
///
/// ```text
/// taps · (weight_bits/g + 2^g/(g·outputs)) products, for the best g of 1 to 12
/// ```
fn subset_tables(size: MatrixSize) -> u64 {
    let MatrixSize { outputs, taps, weight_bits, .. } = size;
    let (outputs, taps) = (outputs.max(1) as u128, taps as u128);
    let products = |g: u32| {
        let each = u128::from(weight_bits) * outputs + (1 << g);
        (taps * each).div_ceil(u128::from(g) * outputs)
    };
    u64::try_from((1..=12).map(products).min().unwrap_or(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_grow_with_the_key() {
        let (small, large) = (prices(2048), prices(4096));
        assert_eq!((small.product, small.decrypt), (450, 260_000));
        assert_eq!((large.product, large.decrypt), (4 * 450, 8 * 260_000));
        assert_eq!(prices(64).encrypt, 1);
    }

    /// A row of 12 taps alone is best taken by g = 3: 12·(8/3 + 8/3) = 64 products; between 1000
    /// rows a table of 2^8 products costs next to nothing.
    #[test]
    fn tables_pay_when_they_are_shared() {
        let size = |outputs| MatrixSize { inputs: 12, outputs, taps: 12 * outputs, weight_bits: 8 };
        assert_eq!(subset_tables(size(1)), 64);
        let shared = subset_tables(size(1000));
        assert!(shared < 12_000 * 8 / 5, "{shared}");
        let huge = MatrixSize { inputs: 1, outputs: 1, taps: usize::MAX, weight_bits: 127 };
        assert_eq!(subset_tables(huge), u64::MAX);
    }
}
