//! Encryption, sealing and decryption of many at once: full lanes on every core.
//!
//! Each item has a random generator of its own, seeded in order from the caller's, so that results
//! depend neither on the number of cores nor on who works on which item.

use crypto_bigint::{BoxedUint, NonZero, Resize};
use gelu_core::error::ApiMisuse;
use gelu_core::slots::MAX_SLOT_BITS;
use gelu_core::{Error, Plaintext, Result, SlotShape};
use rand::{SeedableRng, rngs::ChaCha20Rng};
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::ciphertext::Ciphertext;
use crate::digits::{self, capacity};
use crate::elements::Elements;
use crate::kernel::{LANES, Line};
use crate::keys::{PublicKey, SecretKey};
use crate::noise::Noise;
use crate::ring::Digits;

/// Draws what is added to a plaintext with slots of a shape, modulo n.
type Mask = fn(SlotShape, &NonZero<BoxedUint>, &mut dyn CryptoRng) -> Zeroizing<BoxedUint>;

impl PublicKey {
    /// Encrypts each plaintext with a chosen kind of [`Noise`].
    ///
    /// # Errors
    /// [`ApiMisuse::SlotOverflow`] when the slots need more than `bits() − 2` bits.
    pub fn encrypt_with(
        &self,
        noise: Noise,
        plaintexts: &[Plaintext],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<Ciphertext>> {
        plaintexts.iter().try_for_each(|plaintext| self.check_shape(plaintext.shape()))?;
        let maker = self.noise(noise, plaintexts.len());
        let encrypt = |(plaintexts, mut rngs): (&[Plaintext], Vec<ChaCha20Rng>)| {
            let messages: Vec<_> =
                plaintexts.iter().map(|p| digits::encode(p, self.mod_n().value())).collect();
            let noise = maker.make(&mut rngs);
            self.ciphertexts(&self.ring().multiply(&self.messages(&messages).refs(), &noise.refs()))
        };
        Ok(in_chunks(plaintexts, LANES, rng).flat_map_iter(encrypt).collect())
    }

    /// [`AdditiveHE::rerandomize`](gelu_core::AdditiveHE::rerandomize) with a chosen kind of [`Noise`].
    ///
    /// Powers of one base hide from outsiders only, which is of no use towards the key's owner.
    ///
    /// # Panics
    /// When a shape exceeds the key, or a ciphertext belongs to another.
    pub fn rerandomize_with(
        &self,
        noise: Noise,
        ciphertexts: &[(Ciphertext, SlotShape)],
        rng: &mut dyn CryptoRng,
    ) -> Vec<Ciphertext> {
        let sealed = self.seal(noise, ciphertexts, digits::mask, rng);
        sealed.into_iter().map(|(ciphertext, _)| ciphertext).collect()
    }

    /// [`MaskSlots::mask_many`](gelu_core::slots::MaskSlots::mask_many).
    pub(crate) fn mask_many(
        &self,
        ciphertexts: &[(Ciphertext, SlotShape)],
        rng: &mut dyn CryptoRng,
    ) -> (Vec<Ciphertext>, Vec<Zeroizing<Vec<u64>>>) {
        let sealed = self.seal(Noise::Statistical, ciphertexts, digits::full_mask, rng);
        let shapes = ciphertexts.iter().map(|(_, shape)| *shape);
        sealed.into_iter().zip(shapes).map(|((c, t), shape)| (c, digits::digits(&t, shape))).unzip()
    }

    /// Ciphertexts times noise under masks; and those. Noise that was made before is used up first.
    fn seal(
        &self,
        noise: Noise,
        ciphertexts: &[(Ciphertext, SlotShape)],
        mask: Mask,
        rng: &mut dyn CryptoRng,
    ) -> Vec<(Ciphertext, Zeroizing<BoxedUint>)> {
        let stock = match noise {
            Noise::Statistical => self.seals().take(ciphertexts.len()),
            _ => Vec::new(),
        };
        let (first, rest) = ciphertexts.split_at(stock.len());
        let mut sealed: Vec<_> = in_chunks(first, LANES, rng)
            .zip(stock.par_chunks(chunk_size(first.len(), LANES)))
            .flat_map_iter(|((chunk, mut rngs), noise)| {
                self.masked(chunk, &refs(noise), mask, &mut rngs)
            })
            .collect();
        let maker = self.noise(noise, rest.len());
        sealed.par_extend(in_chunks(rest, LANES, rng).flat_map_iter(|(chunk, mut rngs)| {
            let noise = maker.make(&mut rngs);
            self.masked(chunk, &noise.refs(), mask, &mut rngs)
        }));
        sealed
    }

    /// [`rerandomize_with`](Self::rerandomize_with) [`Noise::Statistical`], but from `bases` bases.
    ///
    /// **Too few hide nothing** from an owner who made a key for it; as many as the key has bits divided
    /// by six do. For the demonstration of that attack.
    ///
    /// # Panics
    /// As [`rerandomize_with`](Self::rerandomize_with), and without bases.
    #[doc(hidden)]
    pub fn danger_rerandomize_with_bases(
        &self,
        bases: u32,
        ciphertexts: &[(Ciphertext, SlotShape)],
        rng: &mut dyn CryptoRng,
    ) -> Vec<Ciphertext> {
        let seeds = seeds(ciphertexts.len(), rng);
        let mut rngs: Vec<_> = seeds.iter().map(|seed| ChaCha20Rng::from_seed(*seed)).collect();
        let noise = self.noise_of_bases(bases, &mut rngs);
        let sealed = self.masked(ciphertexts, &noise.refs(), digits::mask, &mut rngs);
        sealed.into_iter().map(|(ciphertext, _)| ciphertext).collect()
    }

    /// Ciphertexts times this noise under masks; and those.
    fn masked(
        &self,
        ciphertexts: &[(Ciphertext, SlotShape)],
        noise: &[&[Line]],
        mask: Mask,
        rngs: &mut [ChaCha20Rng],
    ) -> Vec<(Ciphertext, Zeroizing<BoxedUint>)> {
        let masks = ciphertexts.iter().zip(rngs).map(|((_, shape), rng)| {
            self.check_shape(*shape).expect("a shape that the key can hold");
            mask(*shape, self.mod_n().value(), rng)
        });
        let masks: Vec<_> = masks.collect();
        let fresh = Zeroizing::new(self.ring().multiply(noise, &self.messages(&masks).refs()));
        let old: Vec<_> = ciphertexts.iter().map(|(c, _)| c.under(self)).collect();
        let sealed = self.ciphertexts(&self.ring().multiply(&fresh.refs(), &old));
        sealed.into_iter().zip(masks).collect()
    }

    /// Noise for the next `count` seals, made now.
    pub(crate) fn precompute_seals(&self, count: usize, rng: &mut dyn CryptoRng) {
        let missing = vec![(); self.seals().missing(count)];
        let maker = self.noise(Noise::Statistical, missing.len());
        let chunks: Vec<_> =
            in_chunks(&missing, LANES, rng).map(|(_, mut rngs)| maker.make(&mut rngs)).collect();
        chunks.iter().for_each(|noise| self.seals().put(noise));
    }

    /// (1 + n)^m = 1 + m·n mod n² for each m < n: the digits are 1 and m.
    pub(crate) fn messages(&self, m: &[Zeroizing<BoxedUint>]) -> Zeroizing<Elements> {
        let one = BoxedUint::one_with_precision(self.bits());
        let digits: Vec<_> = m
            .iter()
            .map(|m| Digits { low: one.clone(), high: (&**m).resize_unchecked(self.bits()) })
            .collect();
        Zeroizing::new(self.ring().import(&digits))
    }

    pub(crate) fn ciphertexts(&self, units: &Elements) -> Vec<Ciphertext> {
        units.iter().map(|unit| Ciphertext::new(self, unit)).collect()
    }

    pub(crate) fn check_shape(&self, shape: SlotShape) -> Result<()> {
        let available = capacity(self.bits());
        let needed = u32::try_from(shape.total_bits()).unwrap_or(u32::MAX);
        if needed > available || shape.bits > MAX_SLOT_BITS || needed == 0 {
            return Err(ApiMisuse::SlotOverflow { needed, available }.into());
        }
        Ok(())
    }
}

impl SecretKey {
    /// [`AdditiveHE::encrypt_many`](gelu_core::AdditiveHE::encrypt_many).
    pub(crate) fn encrypt_many(
        &self,
        plaintexts: &[Plaintext],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<Ciphertext>> {
        let public = self.public_key();
        plaintexts.iter().try_for_each(|plaintext| public.check_shape(plaintext.shape()))?;
        // The noise is a sum, so it comes first.
        let finish = |plaintexts: &[Plaintext], noise: &[&[Line]]| {
            let messages: Vec<_> =
                plaintexts.iter().map(|p| digits::encode(p, public.mod_n().value())).collect();
            public.ciphertexts(&public.ring().multiply(noise, &public.messages(&messages).refs()))
        };
        let stock = self.encryptions().take(plaintexts.len());
        let (first, rest) = plaintexts.split_at(stock.len());
        let chunks = |items: usize| chunk_size(items, LANES);
        if !rest.is_empty() {
            self.owner().prepare_noise(self.owner_noise());
        }
        let mut encrypted: Vec<_> = first
            .par_chunks(chunks(first.len()))
            .zip(stock.par_chunks(chunks(first.len())))
            .flat_map_iter(|(plaintexts, noise)| finish(plaintexts, &refs(noise)))
            .collect();
        encrypted.par_extend(in_chunks(rest, LANES, rng).flat_map_iter(
            |(plaintexts, mut rngs)| {
                let noise = self.fresh_noise(&mut rngs);
                finish(plaintexts, &noise.refs())
            },
        ));
        Ok(encrypted)
    }

    /// Noise for the next `count` encryptions, made now.
    pub(crate) fn precompute_encryptions(&self, count: usize, rng: &mut dyn CryptoRng) {
        let missing = vec![(); self.encryptions().missing(count)];
        if !missing.is_empty() {
            self.owner().prepare_noise(self.owner_noise());
        }
        let chunks: Vec<_> = in_chunks(&missing, LANES, rng)
            .map(|(_, mut rngs)| self.fresh_noise(&mut rngs))
            .collect();
        chunks.iter().for_each(|noise| self.encryptions().put(noise));
    }

    fn fresh_noise(&self, rngs: &mut [ChaCha20Rng]) -> Zeroizing<Elements> {
        self.owner().noise(self.owner_noise(), self.public_key().ring(), rngs)
    }

    /// [`AdditiveHE::decrypt_many`](gelu_core::AdditiveHE::decrypt_many).
    pub(crate) fn decrypt_many(
        &self,
        ciphertexts: &[(Ciphertext, SlotShape)],
    ) -> Result<Vec<Plaintext>> {
        let n = self.public_key().mod_n().value();
        self.decode_many(ciphertexts, |m, shape| {
            let values = digits::decode(m, shape, n);
            Plaintext::new(shape.bits, values).map_err(|_| Error::Decryption)
        })
    }

    /// [`MaskSlots::digits_many`](gelu_core::slots::MaskSlots::digits_many).
    pub(crate) fn digits_many(
        &self,
        ciphertexts: &[(Ciphertext, SlotShape)],
    ) -> Result<Vec<Zeroizing<Vec<u64>>>> {
        self.decode_many(ciphertexts, |m, shape| Ok(digits::digits(m, shape)))
    }

    /// Decrypts each ciphertext: four at a time on each processor, their halves side by side.
    fn decode_many<T: Send>(
        &self,
        ciphertexts: &[(Ciphertext, SlotShape)],
        decode: impl Fn(&BoxedUint, SlotShape) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let public = self.public_key();
        ciphertexts.iter().try_for_each(|(_, shape)| public.check_shape(*shape))?;
        let decrypt = |chunk: &[(Ciphertext, SlotShape)]| -> Result<Vec<T>> {
            let all: Vec<_> = chunk.iter().map(|(c, _)| c).collect();
            let messages = self.decrypt_all(&all)?;
            messages.iter().zip(chunk).map(|(m, (_, shape))| decode(m, *shape)).collect()
        };
        let chunks: Vec<_> = ciphertexts
            .par_chunks(chunk_size(ciphertexts.len(), LANES / 2))
            .map(decrypt)
            .collect::<Result<_>>()?;
        Ok(chunks.into_iter().flatten().collect())
    }

    /// The messages of ciphertexts, in [0, n).
    pub(crate) fn decrypt_all(
        &self,
        ciphertexts: &[&Ciphertext],
    ) -> Result<Vec<Zeroizing<BoxedUint>>> {
        let public = self.public_key();
        if ciphertexts.iter().any(|c| !c.is_under(public)) {
            return Err(Error::Decryption);
        }
        let elements: Vec<_> = ciphertexts.iter().map(|c| c.under(public)).collect();
        Ok(self.owner().decrypt(&elements))
    }
}

/// Items in chunks for the lanes of one processor, each item with a generator of its own, so that
/// results do not depend on who works on which. Few items are spread over all processors.
fn in_chunks<'a, T: Sync>(
    items: &'a [T],
    lanes: usize,
    rng: &mut dyn CryptoRng,
) -> impl IndexedParallelIterator<Item = (&'a [T], Vec<ChaCha20Rng>)> {
    let size = chunk_size(items.len(), lanes);
    let chunks: Vec<_> = items.chunks(size).map(|chunk| (chunk, seeds(chunk.len(), rng))).collect();
    chunks.into_par_iter().map(|(chunk, seeds)| {
        (chunk, seeds.iter().map(|seed| ChaCha20Rng::from_seed(*seed)).collect())
    })
}

fn seeds(count: usize, rng: &mut dyn CryptoRng) -> Zeroizing<Vec<[u8; 32]>> {
    let mut seeds = Zeroizing::new(vec![[0; 32]; count]);
    seeds.iter_mut().for_each(|seed| rng.fill_bytes(seed));
    seeds
}

fn refs(stock: &[Zeroizing<Vec<Line>>]) -> Vec<&[Line]> {
    stock.iter().map(|element| &***element).collect()
}

pub(crate) fn chunk_size(items: usize, lanes: usize) -> usize {
    items.div_ceil(rayon::current_num_threads()).clamp(1, lanes)
}
