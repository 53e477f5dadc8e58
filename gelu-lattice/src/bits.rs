//! Numbers of a few bits, as bytes: one after the other, the lowest bits first; unused bits of the last byte are 0.

use gelu_core::error::PeerMisbehaved;

/// Packs numbers of `width` bits, at most 100.
pub(crate) fn write(words: &[u128], width: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity((words.len() * width as usize).div_ceil(8) + 16);
    let (mut waiting, mut bits) = (0u128, 0);
    for &word in words {
        waiting |= word << bits;
        bits += width;
        let whole = bits / 8;
        out.extend_from_slice(&waiting.to_le_bytes()[..whole as usize]);
        waiting >>= 8 * whole;
        bits %= 8;
    }
    if bits > 0 {
        out.push(waiting.to_le_bytes()[0]);
    }
    out
}

/// Reads exactly `count` numbers of `width` bits, at most 100.
pub(crate) fn read(bytes: &[u8], count: usize, width: u32) -> Result<Vec<u128>, PeerMisbehaved> {
    let expected = (count * width as usize).div_ceil(8);
    if bytes.len() != expected {
        return Err(PeerMisbehaved::CiphertextLength { expected, got: bytes.len() });
    }
    let used = count * width as usize % 8;
    if used > 0 && bytes.last().is_some_and(|last| last >> used > 0) {
        return Err(PeerMisbehaved::InvalidCiphertext);
    }
    let word = |i: usize| {
        let at = i * width as usize;
        let rest = &bytes[at / 8..];
        let word = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut word = [0; 16];
            word[..rest.len()].copy_from_slice(rest);
            word
        });
        u128::from_le_bytes(word) >> (at % 8) & ((1 << width) - 1)
    };
    Ok((0..count).map(word).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(width in 13u32..=80, words in prop::collection::vec(any::<u128>(), 0..50)) {
            let words: Vec<_> = words.iter().map(|x| x & ((1 << width) - 1)).collect();
            let bytes = write(&words, width);
            prop_assert_eq!(read(&bytes, words.len(), width).unwrap(), words.clone());
            prop_assert!(read(&[&bytes[..], &[0]].concat(), words.len(), width).is_err());
            if !(words.len() * width as usize).is_multiple_of(8) {
                let mut unused = bytes.clone();
                *unused.last_mut().unwrap() |= 0x80;
                prop_assert!(read(&unused, words.len(), width).is_err());
            }
        }
    }
}
