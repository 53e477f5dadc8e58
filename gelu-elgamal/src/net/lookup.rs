//! One value of a table, for one who does not show which (the paper's Algorithms 2 and 3).
//!
//! A has a function v(i) for every i that B might have, and B has one i. Under the joint key
//! h = (x_A + x_B)·G:
//!
//! | | who | sends |
//! |---|---|---|
//! | 1 | A | Enc(v(i) − R) for all i, in order, for a uniform R |
//! | 2 | B | the one for its i, rerandomised: A cannot tell which it was |
//! | 3 | A | its partial decryption x_A·c₁ |
//! | | B | decrypts: c₂ − x_A·c₁ − x_B·c₁ = (v(i) − R)·G |
//!
//! So A holds R and B holds v(i) − R: shares of v(i). B sees no other entry, because it cannot
//! decrypt alone; A sees nothing of i, because rerandomisation covers it. Algorithm 2 is this with
//! v(i) = y(x_A + i) for the sigmoid's pieces y, Algorithm 3 with v(i) = M·i for A's number M.
//!
//! In the paper messages are elements of the group; here they are exponents, so B searches small
//! logarithms. A message of b bits travels in ⌈b/22⌉ limbs of 22 bits, centred around zero, so the
//! shared table of baby steps finds each in one giant step. Many look-ups share the three messages.

use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::{RistrettoPoint, Scalar};
use gelu_core::error::PeerMisbehaved;
use gelu_core::rand_core::CryptoRng;
use gelu_core::{Error, Result};
use rand::rngs::ChaCha20Rng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::tally::Tally;
use crate::baby_steps::{Decoder, Search};
use crate::keys::{PublicKey, SecretKey};
use crate::multiscalar::{Pair, add};
use crate::wire::{self, CIPHERTEXT_BYTES};

/// Bits of a limb.
const LIMB_BITS: u32 = 22;

/// Bytes of a partial decryption.
const ELEMENT_BYTES: usize = 32;

/// Limbs of a message of so many bits.
pub(super) fn limbs(bits: u32) -> u64 {
    bits.div_ceil(LIMB_BITS).into()
}

/// Both parties know how many entries a table has and how many bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableShape {
    pub(super) entries: usize,
    pub(super) bits: u32,
}

impl TableShape {
    fn ciphertexts(self) -> usize {
        self.entries * self.bits.div_ceil(LIMB_BITS) as usize
    }
}

/// What A offers: all messages, masked, each below 2^`bits`.
pub(super) struct Table {
    pub(super) bits: u32,
    pub(super) entries: Vec<u64>,
}

/// What B keeps between its choice and the answer.
pub(super) struct Chosen(Vec<Pair>);

/// A key, half of a joint key, a generator and a count: what both parties have.
pub(super) struct Party {
    secret: SecretKey,
    joint: PublicKey,
    pub(super) rng: ChaCha20Rng,
    pub(super) tally: Tally,
}

impl Party {
    /// `None` if the peer's key cancels ours.
    pub(super) fn new(secret: SecretKey, peer: &PublicKey, rng: ChaCha20Rng) -> Option<Self> {
        let joint = secret.public_key().joint(peer)?;
        Some(Self { secret, joint, rng, tally: Tally::default() })
    }

    /// Step 1, by A.
    pub(super) fn offer(&mut self, tables: &[Table]) -> Vec<u8> {
        let messages: Vec<i128> = tables.iter().flat_map(in_limbs).collect();
        let nonces = self.nonces(messages.len());
        let encrypt = |(m, r): (&i128, &Scalar)| {
            wire::to_bytes(self.joint.encrypt_integer(*m, r).under(&self.joint))
        };
        let bytes: Vec<_> = messages.par_iter().zip(nonces.par_iter()).map(encrypt).collect();
        self.tally.encryptions += bytes.len() as u64;
        self.send(2 * bytes.len(), bytes.as_flattened())
    }

    /// Step 2, by B, whose choices count from 0.
    ///
    /// Only what is chosen is decoded, and validated: the rest is never used.
    pub(super) fn choose(
        &mut self,
        offer: &[u8],
        shapes: &[TableShape],
        choices: &[usize],
    ) -> Result<(Vec<u8>, Chosen)> {
        check_len(offer, shapes.iter().map(|s| s.ciphertexts()).sum::<usize>() * CIPHERTEXT_BYTES)?;
        let (mut picked, mut rest) = (Vec::new(), offer);
        for (shape, choice) in shapes.iter().zip(choices) {
            let (table, after) = rest.split_at(shape.ciphertexts() * CIPHERTEXT_BYTES);
            let limbs = table.chunks_exact(shape.entries * CIPHERTEXT_BYTES);
            picked.extend(limbs.map(|limb| &limb[choice * CIPHERTEXT_BYTES..][..CIPHERTEXT_BYTES]));
            rest = after;
        }
        let nonces = self.nonces(picked.len());
        let rerandomise = |(bytes, r): (&&[u8], &Scalar)| {
            let points = wire::from_bytes(bytes).ok_or(PeerMisbehaved::InvalidCiphertext)?;
            let points = add(&points, &self.joint.zero(r));
            Ok((wire::to_bytes(&points), points))
        };
        let chosen = picked.par_iter().zip(nonces.par_iter()).map(rerandomise);
        let (bytes, points): (Vec<_>, Vec<_>) =
            chosen.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        self.tally.rerandomisations += bytes.len() as u64;
        Ok((self.send(2 * bytes.len(), bytes.as_flattened()), Chosen(points)))
    }

    /// Step 3, by A: x_A·c₁ for each of `count` limbs.
    pub(super) fn open(&mut self, chosen: &[u8], count: usize) -> Result<Vec<u8>> {
        check_len(chosen, count * CIPHERTEXT_BYTES)?;
        let open = |bytes: &[u8]| {
            let (c1, _) = wire::from_bytes(bytes).ok_or(PeerMisbehaved::InvalidCiphertext)?;
            Ok(self.secret.multiply(&c1).compress().to_bytes())
        };
        let bytes: Vec<_> =
            chosen.par_chunks_exact(CIPHERTEXT_BYTES).map(open).collect::<Result<_>>()?;
        self.tally.partial_decryptions += bytes.len() as u64;
        Ok(self.send(bytes.len(), bytes.as_flattened()))
    }

    /// After step 3, by B: the messages of its choices.
    ///
    /// # Errors
    /// [`Error::Decryption`] when a limb is none of 22 bits.
    pub(super) fn finish(
        &mut self,
        chosen: &Chosen,
        opened: &[u8],
        shapes: &[TableShape],
    ) -> Result<Vec<u64>> {
        check_len(opened, chosen.0.len() * ELEMENT_BYTES)?;
        let steps = Decoder::shared();
        let decode = |((c1, c2), theirs): (&Pair, &[u8])| -> Result<u64> {
            let theirs: Option<RistrettoPoint> =
                CompressedRistretto::from_slice(theirs).ok().and_then(|bytes| bytes.decompress());
            let theirs = theirs.ok_or(PeerMisbehaved::InvalidCiphertext)?;
            let message = c2 - theirs - self.secret.multiply(c1);
            let limb = steps.limb(&message, LIMB_BITS).ok_or(Error::Decryption)?;
            u64::try_from(limb).map_err(|_| Error::Decryption)
        };
        let pairs = chosen.0.par_iter().zip(opened.par_chunks_exact(ELEMENT_BYTES));
        let limbs = pairs.map(decode).collect::<Result<Vec<_>>>()?;
        self.tally.partial_decryptions += limbs.len() as u64;
        self.tally.decodings += limbs.len() as u64;
        let mut limbs = limbs.into_iter();
        let messages = shapes.iter().map(|shape| {
            let count = shape.bits.div_ceil(LIMB_BITS);
            (0..count).zip(&mut limbs).map(|(at, limb)| limb << (at * LIMB_BITS)).sum()
        });
        Ok(messages.collect())
    }

    /// Counts what goes over the wire, in one message.
    pub(super) fn send(&mut self, elements: usize, bytes: &[u8]) -> Vec<u8> {
        self.tally.messages += 1;
        self.tally.elements += elements as u64;
        self.tally.bytes += bytes.len() as u64;
        bytes.to_vec()
    }

    fn nonces(&mut self, count: usize) -> Zeroizing<Vec<Scalar>> {
        let rng: &mut dyn CryptoRng = &mut self.rng;
        Zeroizing::new((0..count).map(|_| Scalar::random(rng)).collect())
    }
}

impl Decoder<'_> {
    /// A limb of `bits` bits, that was centred around zero: always in the first batch of steps, so in
    /// constant time but for the look-up.
    fn limb(&self, point: &RistrettoPoint, bits: u32) -> Option<i64> {
        let half = 1 << (bits - 1);
        let limb = self.narrowed(bits + 1)?.decode(point, Search::FromZero)? + half;
        (0..2 * half).contains(&limb).then_some(limb)
    }
}

/// Limb by limb, lowest first, the entries of each in order, less 2^21.
fn in_limbs(table: &Table) -> impl Iterator<Item = i128> {
    (0..table.bits.div_ceil(LIMB_BITS)).flat_map(|limb| {
        table.entries.iter().map(move |message| {
            let limb = (message >> (limb * LIMB_BITS)) & ((1 << LIMB_BITS) - 1);
            i128::from(limb) - (1 << (LIMB_BITS - 1))
        })
    })
}

fn check_len(bytes: &[u8], expected: usize) -> Result<()> {
    if bytes.len() != expected {
        return Err(PeerMisbehaved::CiphertextLength { expected, got: bytes.len() }.into());
    }
    Ok(())
}

/// The whole exchange, between two parties in one process; B's messages.
pub(super) fn exchange(
    a: &mut Party,
    b: &mut Party,
    tables: &[Table],
    choices: &[usize],
) -> Result<Vec<u64>> {
    let shape = |t: &Table| TableShape { entries: t.entries.len(), bits: t.bits };
    let shapes: Vec<_> = tables.iter().map(shape).collect();
    let offer = a.offer(tables);
    let (choice, chosen) = b.choose(&offer, &shapes, choices)?;
    let opened = a.open(&choice, chosen.0.len())?;
    b.finish(&chosen, &opened, &shapes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::oracle::rng;

    pub(crate) fn parties() -> (Party, Party) {
        let (a, b) = (SecretKey::generate(&mut rng(11)), SecretKey::generate(&mut rng(12)));
        let (public_a, public_b) = (a.public_key().clone(), b.public_key().clone());
        let a = Party::new(a, &public_b, rng(13)).unwrap();
        (a, Party::new(b, &public_a, rng(14)).unwrap())
    }

    fn table(bits: u32, entries: &[u64]) -> Table {
        Table { bits, entries: entries.to_vec() }
    }

    #[test]
    fn the_chosen_entry_arrives_and_the_count_is_the_formula() {
        let (mut a, mut b) = parties();
        let top = (1 << 44) - 1;
        let tables =
            [table(44, &[0, 1, top, 1 << 43]), table(22, &[5, (1 << 22) - 1]), table(3, &[7])];
        for (choices, messages) in [([0, 0, 0], [0, 5, 7]), ([2, 1, 0], [top, (1 << 22) - 1, 7])] {
            assert_eq!(exchange(&mut a, &mut b, &tables, &choices).unwrap(), messages);
        }
        let (a, b) = (a.tally, b.tally);
        assert_eq!((a.encryptions, b.rerandomisations, b.decodings), (2 * 11, 2 * 4, 2 * 4));
        assert_eq!((a.partial_decryptions, b.partial_decryptions), (8, 8));
        assert_eq!((a.messages, b.messages), (4, 2));
        assert_eq!((a.bytes, b.bytes), (2 * (11 * 64 + 4 * 32), 2 * 4 * 64));
    }

    /// What one party alone can make of the other's bytes: B cannot read the table, and A finds its
    /// own ciphertext nowhere in B's choice.
    #[test]
    fn neither_can_do_it_alone() {
        let (mut a, mut b) = parties();
        let tables = [table(22, &[1, 2, 3])];
        let offer = a.offer(&tables);
        let shapes = [TableShape { entries: 3, bits: 22 }];
        let (choice, _) = b.choose(&offer, &shapes, &[1]).unwrap();
        for party in [&a, &b] {
            for bytes in offer.chunks(64).chain([&choice[..]]) {
                let (c1, c2) = wire::from_bytes(bytes).unwrap();
                let alone = c2 - party.secret.multiply(&c1);
                assert_eq!(Decoder::shared().limb(&alone, LIMB_BITS), None);
            }
        }
        assert!(choice.chunks(32).all(|half| offer.chunks(32).all(|other| half != other)));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (mut a, mut b) = parties();
        let tables = [table(22, &[1, 2])];
        let shapes = [TableShape { entries: 2, bits: 22 }];
        let mut offer = a.offer(&tables);
        assert!(b.choose(&offer[1..], &shapes, &[0]).is_err());
        let (choice, chosen) = b.choose(&offer, &shapes, &[0]).unwrap();
        assert!(a.open(&choice[..63], 1).is_err() && a.open(&choice, 2).is_err());
        let opened = a.open(&choice, 1).unwrap();
        assert!(b.finish(&chosen, &opened[1..], &shapes).is_err());
        let invalid = PeerMisbehaved::InvalidCiphertext;
        let mut odd = opened.clone();
        odd[0] ^= 1;
        assert_eq!(b.finish(&chosen, &odd, &shapes).unwrap_err(), invalid.clone().into());
        // A valid element, but not x_A·c₁: the message decodes to nothing.
        assert_eq!(b.finish(&chosen, &choice[..32], &shapes).unwrap_err(), Error::Decryption);
        offer[0] ^= 1;
        assert_eq!(b.choose(&offer, &shapes, &[0]).err(), Some(invalid.into()));
    }
}
