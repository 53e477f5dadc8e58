//! What a session's hashes are bound to, and its Δ.

use core::fmt;

use gelu_core::circuit::Circuit;
use gelu_core::error::{ApiMisuse, Result};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::kernel::{Keys, LANES};

/// The name of a session: both parties give the same one.
///
/// # Security
/// It must be new for each session, as a hash of both parties' random nonces or of a handshake is: keys
/// of gates are made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session([u8; 32]);

impl Session {
    /// The session with this name.
    pub fn new(name: [u8; 32]) -> Self {
        Self(name)
    }

    /// A hash for `purpose`, bound to the session.
    pub(crate) fn hash(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = Sha256::new();
        let purpose = purpose.as_bytes();
        hash.update(b"gelu-garble 1");
        for part in [&[purpose, &self.0], parts].concat() {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// The first 16 bytes of a hash, as a block.
pub(crate) fn block(hash: &[u8; 32]) -> u128 {
    u128::from_le_bytes(*hash.first_chunk().expect("32 bytes"))
}

/// Δ: the difference of both labels of every wire of a session. The garbler's deepest secret.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Delta(u128);

impl Delta {
    /// 127 random bits; the lowest is 1, so that both labels of a wire differ in it.
    pub(crate) fn random(rng: &mut dyn CryptoRng) -> Self {
        Self(random_block(rng) | 1)
    }

    pub(crate) fn value(&self) -> u128 {
        self.0
    }
}

impl fmt::Debug for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Delta(..)")
    }
}

pub(crate) fn random_block(rng: &mut dyn CryptoRng) -> u128 {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    u128::from_le_bytes(bytes)
}

/// Which keys a session's gates and rows have used up. Garbler and evaluator count alike.
#[derive(Debug)]
pub(crate) struct Tweaks {
    start: u128,
    gates: u64,
    rows: u64,
}

/// The tweaks of rows have this bit, those of gates have not.
const ROWS: u64 = 1 << 63;

impl Tweaks {
    pub(crate) fn new(session: &Session) -> Self {
        Self { start: block(&session.hash("keys of gates", &[])), gates: 0, rows: 0 }
    }

    /// Keys for the half gates and the rows of `neurons` circuits, by eights. They are never given again.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] when the session has used up its 2^62.
    pub(crate) fn take(&mut self, circuit: &Circuit, neurons: usize) -> Result<Spans> {
        let groups = neurons.div_ceil(LANES);
        let span = |used: u64, each: usize| {
            let count = u64::try_from(each.checked_mul(groups)?).ok()?;
            used.checked_add(count).filter(|end| *end < ROWS / 2)
        };
        let (gates, rows) = (2 * circuit.and_count(), circuit.decoded_bits());
        let (Some(gates_end), Some(rows_end)) = (span(self.gates, gates), span(self.rows, rows))
        else {
            let why = "has no keys left for so many gates: begin a new one";
            return Err(ApiMisuse::configuration("the session", why).into());
        };
        let spans = Spans {
            gates: Keys { start: self.start, tweak: self.gates },
            rows: Keys { start: self.start, tweak: ROWS | self.rows },
        };
        (self.gates, self.rows) = (gates_end, rows_end);
        Ok(spans)
    }
}

/// The keys of a batch of circuits; those of each eight neurons follow those of the eight before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spans {
    pub(crate) gates: Keys,
    pub(crate) rows: Keys,
}

impl Spans {
    /// Of the eight neurons number `group`.
    pub(crate) fn group(self, group: usize, half_gates: usize, rows: usize) -> Self {
        let later =
            |keys: Keys, each: usize| Keys { tweak: keys.tweak + (group * each) as u64, ..keys };
        Self { gates: later(self.gates, half_gates), rows: later(self.rows, rows) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_tell_sessions_purposes_and_parts_apart() {
        let session = Session::new([7; 32]);
        let hashes = [
            session.hash("a", &[b"bc"]),
            session.hash("ab", &[b"c"]),
            session.hash("a", &[b"b", b"c"]),
            Session::new([8; 32]).hash("a", &[b"bc"]),
        ];
        for (n, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..n].contains(hash));
        }
    }

    #[test]
    fn keys_are_never_given_twice_and_end() {
        let circuit = gelu_core::circuit::argmax(3, 8).unwrap();
        let mut tweaks = Tweaks::new(&Session::new([7; 32]));
        let (half_gates, rows) = (2 * circuit.and_count(), circuit.decoded_bits());
        let first = tweaks.take(&circuit, 9).unwrap();
        let second = tweaks.take(&circuit, 1).unwrap();
        let last = first.group(1, half_gates, rows);
        assert_eq!(second.gates.tweak, last.gates.tweak + half_gates as u64);
        assert_eq!(second.rows.tweak, last.rows.tweak + rows as u64);
        assert!(second.rows.tweak > ROWS && second.gates.tweak < ROWS);
        tweaks.gates = ROWS / 2 - 1;
        let error = tweaks.take(&circuit, 1).unwrap_err().to_string();
        assert!(error.contains("begin a new one"), "{error}");
    }
}
