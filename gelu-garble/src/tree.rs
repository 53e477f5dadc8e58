//! Punctured trees: of 16 seeds the holder of α learns all but number α, and the maker does not learn α.
//!
//! Goldreich, Goldwasser and Micali's tree of depth 4; of each level the maker sends the sum of all left and the
//! sum of all right nodes, under the two keys of a transfer, and the holder opens the one that its path does not
//! take. A maker that sends wrong sums would learn bits of α from what goes wrong later, so each leaf also has
//! a tag; the maker sends the sum of the tags and a hash of all of them, and the holder checks (Roy, CRYPTO 2022,
//! section on the punctured function). What is left to a cheating maker is to guess bits of α and be caught where it
//! is wrong.
//!
//! The holder numbers nodes by x = y ⊕ α, for the maker's number y: so the missing one is always number 0, and no
//! address depends on α.

use gelu_core::error::{PeerMisbehaved, Result};
use rand_core::CryptoRng;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use crate::bits::{read_blocks, write_blocks};
use crate::kernel::KEYS;
use crate::session::{Session, block, random_block};

/// Levels: bits of Δ in one tree.
pub(crate) const DEPTH: usize = 4;
/// Leaves.
pub(crate) const LEAVES: usize = 1 << DEPTH;
const _: () = assert!(LEAVES == KEYS, "the leaves' streams are made together");

/// Bytes of a tree: two sums for each level, the sum and the hash of the tags.
pub(crate) const BYTES: usize = 2 * 16 * DEPTH + 32 + 32;

/// The seeds of a tree.
pub(crate) type Seeds = Zeroizing<[u128; LEAVES]>;

/// A tree number `tree`, and the message for whom holds one key of each pair.
pub(crate) fn make(
    session: &Session,
    tree: usize,
    keys: &[[u128; 2]; DEPTH],
    rng: &mut dyn CryptoRng,
) -> (Seeds, Vec<u8>) {
    let mut nodes = Zeroizing::new(vec![random_block(rng)]);
    let mut message = Vec::new();
    for keys in keys {
        nodes =
            Zeroizing::new(nodes.iter().flat_map(|node| children(session, tree, *node)).collect());
        let pairs = nodes.as_chunks::<2>().0.iter();
        let sums = pairs.fold(*keys, |sums, pair| [sums[0] ^ pair[0], sums[1] ^ pair[1]]);
        write_blocks(&sums, &mut message);
    }
    let leaves = leaves(session, tree, &nodes);
    message.extend(leaves.iter().fold([0; 32], |sum, leaf| xor(sum, leaf.tag)));
    let tags = Zeroizing::new(core::array::from_fn(|y| leaves[y].tag));
    message.extend(tags_hash(session, tree, &tags));
    (Zeroizing::new(core::array::from_fn(|y| leaves[y].seed)), message)
}

/// The holder's seeds, by x = y ⊕ `alpha`: 0 for the one that it does not know. `keys` are those of the sides
/// that the path to α does not take.
///
/// # Errors
/// [`PeerMisbehaved::FailedCheck`].
pub(crate) fn hold(
    session: &Session,
    tree: usize,
    alpha: u8,
    keys: &[u128; DEPTH],
    message: &[u8; BYTES],
) -> Result<Seeds> {
    let (sums, rest) = message.split_at(2 * 16 * DEPTH);
    let (tag_sum, hash) = rest.split_at(32);
    let sums = read_blocks(sums);
    let mut nodes = Zeroizing::new(vec![0]);
    for (level, (key, sums)) in keys.iter().zip(sums.as_chunks::<2>().0).enumerate() {
        // Child y-side b of a node has the last x-bit b ⊕ path.
        let path = path(alpha, level);
        let mut next = Zeroizing::new(vec![0; 2 * nodes.len()]);
        let mut missing = key ^ u128::conditional_select(&sums[1], &sums[0], path);
        for (x, node) in nodes.iter().enumerate().skip(1) {
            let [left, right] = children(session, tree, *node);
            next[2 * x] = u128::conditional_select(&left, &right, path);
            next[2 * x + 1] = u128::conditional_select(&right, &left, path);
            missing ^= next[2 * x + 1];
        }
        next[1] = missing;
        nodes = next;
    }
    let mut leaves = leaves(session, tree, &nodes);
    leaves[0] = Leaf { seed: 0, tag: *tag_sum.first_chunk().expect("32 bytes") };
    leaves[0].tag = leaves.iter().skip(1).fold(leaves[0].tag, |sum, leaf| xor(sum, leaf.tag));
    let mut tags = Zeroizing::new(core::array::from_fn(|x| leaves[x].tag));
    by_maker(&mut tags, alpha);
    match bool::from(tags_hash(session, tree, &tags).ct_eq(hash)) {
        true => Ok(Zeroizing::new(core::array::from_fn(|x| leaves[x].seed))),
        false => Err(PeerMisbehaved::FailedCheck("a transfer's tree").into()),
    }
}

/// The side that the path to α takes at a level: the highest bit first.
fn path(alpha: u8, level: usize) -> Choice {
    Choice::from(alpha >> (DEPTH - 1 - level) & 1)
}

/// From the holder's order to the maker's, by swaps that are always made or not made, not looked up.
fn by_maker(tags: &mut [[u8; 32]; LEAVES], alpha: u8) {
    for place in 0..DEPTH {
        let swap = Choice::from(alpha >> place & 1);
        for x in (0..LEAVES).filter(|x| x >> place & 1 == 0) {
            let (low, high) = tags.split_at_mut(x + (1 << place));
            for (a, b) in low[x].iter_mut().zip(&mut high[0]) {
                u8::conditional_swap(a, b, swap);
            }
        }
    }
}

/// A leaf's seed, and what is checked.
#[derive(Clone, Copy, Default, Zeroize)]
struct Leaf {
    seed: u128,
    tag: [u8; 32],
}

fn children(session: &Session, tree: usize, node: u128) -> [u128; 2] {
    let hash = session.hash("tree: node", &[&(tree as u64).to_le_bytes(), &node.to_le_bytes()]);
    let [left, right] = hash.as_chunks().0 else { unreachable!("32 bytes") };
    [left, right].map(|half| u128::from_le_bytes(*half))
}

fn leaves(session: &Session, tree: usize, nodes: &[u128]) -> Zeroizing<[Leaf; LEAVES]> {
    let mut leaves = Zeroizing::new([Leaf::default(); LEAVES]);
    for (leaf, node) in leaves.iter_mut().zip(nodes) {
        let hash =
            |purpose| session.hash(purpose, &[&(tree as u64).to_le_bytes(), &node.to_le_bytes()]);
        *leaf = Leaf { seed: block(&hash("tree: seed")), tag: hash("tree: tag") };
    }
    leaves
}

fn tags_hash(session: &Session, tree: usize, tags: &[[u8; 32]; LEAVES]) -> [u8; 32] {
    session.hash("tree: tags", &[&(tree as u64).to_le_bytes(), tags.as_flattened()])
}

fn xor(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
    core::array::from_fn(|n| a[n] ^ b[n])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    fn tree(seed: u64) -> ([[u128; 2]; DEPTH], Seeds, [u8; BYTES]) {
        let rng = &mut ChaCha20Rng::seed_from_u64(seed);
        let keys = core::array::from_fn(|_| [random_block(rng), random_block(rng)]);
        let (seeds, message) = make(&Session::new([1; 32]), 3, &keys, rng);
        (keys, seeds, message.try_into().unwrap())
    }

    fn held(alpha: u8, keys: &[[u128; 2]; DEPTH], message: &[u8; BYTES]) -> Result<Seeds> {
        let open = |level: usize| keys[level][usize::from(1 - path(alpha, level).unwrap_u8())];
        hold(&Session::new([1; 32]), 3, alpha, &core::array::from_fn(open), message)
    }

    #[test]
    fn the_holder_learns_all_seeds_but_one() {
        let (keys, seeds, message) = tree(1);
        for alpha in 0..16 {
            let held = held(alpha, &keys, &message).unwrap();
            assert_eq!(held[0], 0);
            for x in 1..LEAVES {
                assert_eq!(held[x], seeds[x ^ usize::from(alpha)], "{x} of {alpha}");
            }
        }
    }

    /// A wrong sum is seen by whom opens it, and by nobody else: that much can be guessed.
    #[test]
    fn wrong_sums_are_caught_by_all_who_open_them() {
        let (keys, _, message) = tree(2);
        for level in 0..DEPTH {
            for side in 0..2 {
                let mut message = message;
                message[32 * level + 16 * side] ^= 1;
                for alpha in 0..16 {
                    let opens = usize::from(path(alpha, level).unwrap_u8()) != side;
                    assert_eq!(held(alpha, &keys, &message).is_err(), opens, "{alpha}, {level}");
                }
            }
        }
        for at in 2 * 16 * DEPTH..BYTES {
            let mut message = message;
            message[at] ^= 0x80;
            assert!((0..16).all(|alpha| held(alpha, &keys, &message).is_err()), "byte {at}");
        }
    }
}
