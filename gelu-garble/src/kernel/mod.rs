//! AES for eight neurons at a time: half gates, rows, key streams.
//!
//! The hash of a label x under the key k is the re-keyed one of Guo, Katz, Wang, Weng and Yu (*Better concrete
//! security for half-gates garbling*, CRYPTO 2020):
//!
//! ```text
//! H_k(x) = AES_k(σ(x)) ⊕ σ(x),      σ(high ‖ low) = (high ⊕ low) ‖ high
//! ```
//!
//! σ is linear and so is σ(x) ⊕ x, both one to one. Each half of a gate has a key of its own, `start` ⊕ its tweak,
//! which eight neurons of one circuit share: so a key hashes 16 labels at most, and how many gates, sessions and
//! clients there are does not weaken it.
//!
//! Three engines give the same bytes: `portable` is the plain twin, on the crate `aes`; `aes_ni` takes one block
//! an instruction, and `vaes` four. `GELU_FORCE_PORTABLE=1` forces the first. No branch and no address depends on
//! a label, a seed or Δ.

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions; the file says why each use is sound")]
mod aes_ni;
mod lanes;
mod portable;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions; the file says why each use is sound")]
mod vaes;

use std::sync::OnceLock;

use gelu_core::circuit::Gate;
pub(crate) use lanes::{LANES, Lanes};

/// Keys that are expanded together: both halves of eight gates, or the leaves of a tree.
pub(crate) const KEYS: usize = 16;

/// Where the keys of a run of hashes begin: key number i is `start` ⊕ (`tweak` + i).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    /// Of the session.
    pub(crate) start: u128,
    /// Of the first hash.
    pub(crate) tweak: u64,
}

impl Keys {
    fn at(self, first: usize) -> [u128; KEYS] {
        core::array::from_fn(|n| self.start ^ u128::from(self.tweak + (first + n) as u64))
    }
}

/// The gates of eight neurons.
pub(crate) struct Group<'a> {
    /// In their order.
    pub(crate) gates: &'a [Gate],
    /// One for each half gate.
    pub(crate) keys: Keys,
    /// Labels by wire: of zeros for the garbler, of the values for the evaluator. Those of the inputs are given.
    pub(crate) wires: &'a mut Vec<Lanes>,
    /// Two for each AND gate, T_G and T_E.
    pub(crate) tables: &'a mut Vec<Lanes>,
}

/// An engine that this processor has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kernel {
    Portable,
    #[cfg(target_arch = "x86_64")]
    AesNi(aes_ni::AesNi),
    #[cfg(target_arch = "x86_64")]
    Vaes(vaes::Vaes),
}

impl Kernel {
    /// The fastest one, unless `GELU_FORCE_PORTABLE` is set.
    pub(crate) fn best() -> Self {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| {
            let forced = std::env::var_os("GELU_FORCE_PORTABLE");
            match forced.is_some_and(|v| !v.is_empty() && v != "0") {
                true => Self::Portable,
                false => *Self::all().last().expect("the portable one at least"),
            }
        })
    }

    /// All of them, the fastest last.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(aes_ni::AesNi::detect().map(Self::AesNi));
            all.extend(vaes::Vaes::detect().map(Self::Vaes));
        }
        all
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::AesNi(_) => "aes-ni",
            #[cfg(target_arch = "x86_64")]
            Self::Vaes(_) => "vaes",
        }
    }

    /// Garbles: the zero labels of all gates, and the tables.
    pub(crate) fn garble(self, group: &mut Group<'_>, delta: u128) {
        match self {
            Self::Portable => lanes::garble(portable::Portable, group, delta),
            #[cfg(target_arch = "x86_64")]
            Self::AesNi(engine) => engine.garble(group, delta),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes(engine) => engine.garble(group, delta),
        }
    }

    /// Evaluates: the labels of all gates, from the tables.
    pub(crate) fn evaluate(self, group: &mut Group<'_>) {
        match self {
            Self::Portable => lanes::evaluate(portable::Portable, group),
            #[cfg(target_arch = "x86_64")]
            Self::AesNi(engine) => engine.evaluate(group),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes(engine) => engine.evaluate(group),
        }
    }

    /// x ← H(x), where `per_key` after each other share a key.
    pub(crate) fn hash(self, keys: Keys, per_key: usize, x: &mut [Lanes]) {
        match self {
            Self::Portable => lanes::hash(portable::Portable, keys, per_key, x),
            #[cfg(target_arch = "x86_64")]
            Self::AesNi(engine) => engine.hash(keys, per_key, x),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes(engine) => engine.hash(keys, per_key, x),
        }
    }

    /// out\[k\]\[i\] ← AES_{seeds\[k\]}(first + i).
    ///
    /// # Panics
    /// If there are more than [`KEYS`] streams, or not one for each seed.
    pub(crate) fn streams(self, seeds: &[u128], first: u64, out: &mut [Vec<u128>]) {
        assert!(seeds.len() <= KEYS && seeds.len() == out.len(), "a stream for each seed");
        match self {
            Self::Portable => lanes::streams(portable::Portable, seeds, first, out),
            #[cfg(target_arch = "x86_64")]
            Self::AesNi(engine) => engine.streams(seeds, first, out),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes(engine) => engine.streams(seeds, first, out),
        }
    }

    /// Σ a\[i\]·b\[i\] without carries, not reduced: [low, middle, high] stand for
    /// low + middle·X^64 + high·X^128.
    pub(crate) fn carryless_sum(self, a: &[u128], b: &[u128]) -> [u128; 3] {
        match self {
            Self::Portable => portable::carryless_sum(a, b),
            #[cfg(target_arch = "x86_64")]
            Self::AesNi(engine) => engine.carryless_sum(a, b),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes(engine) => engine.aes_ni().carryless_sum(a, b),
        }
    }
}

#[cfg(test)]
mod tests;
