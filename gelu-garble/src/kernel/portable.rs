//! The plain twin: blocks as numbers, AES from the crate `aes`, which is constant time everywhere.

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};

use super::KEYS;
use super::lanes::{Engine, LANES, Lanes};

/// Eight numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

impl Engine for Portable {
    type Vector = [u128; LANES];
    type Schedule = Vec<Aes128>;

    fn load(self, lanes: &Lanes) -> Self::Vector {
        lanes.0
    }

    fn store(self, x: Self::Vector, lanes: &mut Lanes) {
        lanes.0 = x;
    }

    fn splat(self, x: u128) -> Self::Vector {
        [x; LANES]
    }

    fn xor(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        core::array::from_fn(|lane| a[lane] ^ b[lane])
    }

    fn where_odd(self, selector: Self::Vector, x: Self::Vector) -> Self::Vector {
        core::array::from_fn(|lane| x[lane] & 0u128.wrapping_sub(selector[lane] & 1))
    }

    fn sigma(self, x: Self::Vector) -> Self::Vector {
        x.map(|x| (x >> 64) ^ (x << 64) ^ (x & (u128::MAX << 64)))
    }

    fn blank(self) -> Self::Schedule {
        Vec::with_capacity(KEYS)
    }

    fn schedule(self, keys: &[u128; KEYS], schedule: &mut Self::Schedule) {
        schedule.clear();
        schedule.extend(keys.iter().map(|key| Aes128::new(&Array::from(key.to_le_bytes()))));
    }

    fn encrypt<const N: usize>(
        self,
        schedule: &Self::Schedule,
        keys: [usize; N],
        x: [Self::Vector; N],
    ) -> [Self::Vector; N] {
        core::array::from_fn(|n| {
            let mut blocks = x[n].map(|x| Array::from(x.to_le_bytes()));
            schedule[keys[n]].encrypt_blocks(&mut blocks);
            blocks.map(|block| u128::from_le_bytes(block.into()))
        })
    }
}

/// [`Kernel::carryless_sum`](super::Kernel::carryless_sum).
pub(super) fn carryless_sum(a: &[u128], b: &[u128]) -> [u128; 3] {
    let mut sum = [0; 3];
    for (a, b) in a.iter().zip(b) {
        let [a, b] = [a, b].map(|x| [x & u128::from(u64::MAX), x >> 64]);
        sum[0] ^= carryless(a[0], b[0]);
        sum[1] ^= carryless(a[0], b[1]) ^ carryless(a[1], b[0]);
        sum[2] ^= carryless(a[1], b[1]);
    }
    sum
}

/// The product without carries of two numbers below 2^64.
fn carryless(a: u128, b: u128) -> u128 {
    (0..64).fold(0, |sum, place| sum ^ ((a << place) & 0u128.wrapping_sub(b >> place & 1)))
}
