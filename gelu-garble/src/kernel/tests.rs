//! Every engine gives the bytes of the plain twin, and the plain twin those of the standard.

use super::*;
use proptest::prelude::*;

#[test]
fn the_streams_are_those_of_the_standard() {
    // FIPS 197, appendix B's key; the block is the counter.
    let key =
        u128::from_le_bytes(*b"\x2b\x7e\x15\x16\x28\xae\xd2\xa6\xab\xf7\x15\x88\x09\xcf\x4f\x3c");
    // AES-128 of sixteen zero bytes under it.
    let expected = *b"\x7d\xf7\x6b\x0c\x1a\xb8\x99\xb3\x3e\x42\xf0\x47\xb9\x1b\x54\x6f";
    for kernel in Kernel::all() {
        let mut out = [vec![0; 3]];
        kernel.streams(&[key], 0, &mut out);
        assert_eq!(out[0][0].to_le_bytes(), expected, "{}", kernel.name());
    }
}

#[test]
fn products_without_carries_by_hand() {
    for kernel in Kernel::all() {
        // (X + 1)² = X² + 1; X^64·X^64 = X^128.
        let sum = kernel.carryless_sum(&[0b11, 1 << 64], &[0b11, 1 << 64]);
        assert_eq!(sum, [0b101, 0, 1], "{}", kernel.name());
        assert_eq!(kernel.carryless_sum(&[1 << 127], &[1 << 127 | 2]), [0, 1 << 64, 1 << 126]);
    }
}

fn lanes() -> impl Strategy<Value = Lanes> {
    any::<[u128; LANES]>().prop_map(Lanes)
}

/// What a kernel makes of a job.
type Made = (Vec<Lanes>, Vec<Lanes>, Vec<Lanes>, Vec<Vec<u128>>, [u128; 3]);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn all_engines_give_the_same_bytes(
        inputs in prop::collection::vec(lanes(), 3),
        choices in prop::collection::vec((0..3u8, any::<u32>(), any::<u32>()), 1..60),
        (start, tweak, delta) in (any::<u128>(), 0..u64::MAX / 2, any::<u128>()),
        (first, length, per_key) in (0..u64::MAX / 2, 0..70usize, 1..3usize),
    ) {
        let gate = |(wires, (kind, a, b)): (u32, &(u8, u32, u32))| {
            let (a, b) = (a % wires, b % wires);
            [Gate::Xor(a, b), Gate::And(a, b), Gate::Not(a)][usize::from(*kind)]
        };
        let gates: Vec<_> = (3..).zip(&choices).map(gate).collect();
        let keys = Keys { start, tweak };
        let make = |kernel: Kernel| -> Made {
            let (mut garbled, mut tables) = (inputs.clone(), Vec::new());
            let gates = &gates[..];
            kernel.garble(&mut Group { gates, keys, wires: &mut garbled, tables: &mut tables }, delta);
            let mut evaluated = inputs.clone();
            kernel.evaluate(&mut Group { gates, keys, wires: &mut evaluated, tables: &mut tables });
            kernel.hash(keys, per_key, &mut evaluated);
            let mut streams = vec![vec![0; length]; 16];
            let seeds: [u128; KEYS] = core::array::from_fn(|n| start.wrapping_mul(2 * n as u128 + 1));
            kernel.streams(&seeds, first, &mut streams);
            let sum = kernel.carryless_sum(&streams[0], &streams[1]);
            (garbled, tables, evaluated, streams, sum)
        };
        let expected = make(Kernel::Portable);
        for kernel in Kernel::all() {
            prop_assert_eq!(&make(kernel), &expected, "{}", kernel.name());
        }
    }
}
