//! Secret numbers that wait, in as few bytes as their ring lets them.

use core::fmt;

use zeroize::Zeroizing;

/// Bytes of a number modulo 2^`bits`.
pub(crate) fn width(bits: u32) -> usize {
    bits.div_ceil(8) as usize
}

/// Appends numbers modulo 2^`bits`, the lowest byte first.
pub(crate) fn write(numbers: &[u64], bits: u32, out: &mut Vec<u8>) {
    numbers.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()[..width(bits)]));
}

/// The numbers in bytes as [`write`] writes them.
pub(crate) fn numbers(bytes: &[u8], bits: u32) -> Zeroizing<Vec<u64>> {
    let number = |chunk: &[u8]| {
        let mut number = [0; 8];
        number[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(number)
    };
    Zeroizing::new(bytes.chunks_exact(width(bits)).map(number).collect())
}

/// Numbers modulo 2^bits in ⌈bits / 8⌉ bytes each: what the server keeps of masks until a query. Wiped on drop.
pub struct Packed {
    bytes: Zeroizing<Vec<u8>>,
    bits: u32,
}

impl Packed {
    /// Packs numbers below 2^`bits`, for 1 to 64 bits.
    pub fn new(numbers: &[u64], bits: u32) -> Self {
        let mut bytes = Zeroizing::new(Vec::with_capacity(numbers.len() * width(bits)));
        write(numbers, bits, &mut bytes);
        Self { bytes, bits }
    }

    /// The numbers.
    pub fn unpack(&self) -> Zeroizing<Vec<u64>> {
        numbers(&self.bytes, self.bits)
    }
}

/// Without the numbers.
impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({} bytes)", self.bytes.len())
    }
}
