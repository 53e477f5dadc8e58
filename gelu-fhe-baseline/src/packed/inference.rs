//! One image: the client encrypts and decrypts, the server computes.

use std::fmt;

use gelu_ckks::{
    Ciphertext, Complex64, EvaluationKeys, KeyKind, Parameters, Plaintext, PublicKey, Scale,
    SecretKey, Upload,
};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::error::{Error, Result};
use super::networks::{CLASSES, Layer, Network, PERIOD, scale_scores};
use super::program::{Encoded, Program};

/// Whether the noise of an answer is hidden from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// The answer as computed: the small ring. Its noise depends on the weights.
    Plain,
    /// An encryption of 0 and noise 2^[`HIDING_BITS`] times as large on top: the large ring.
    Hidden,
}

/// log₂ of the noise that hides over the noise that is hidden.
pub const HIDING_BITS: i32 = 30;
/// How much larger values may be than those of the calibration: scores that fit, and noise that is bounded.
const MARGIN: f64 = 2.0;
/// Of the largest value of all slots, how much a slot has at least: no image of the calibration may have touched it.
const LEAST_RANGE: f64 = 0.125;

/// What both parties know: the ring, the keys, and where the scores are.
#[derive(Debug, Clone)]
pub struct Exchange {
    network: Network,
    privacy: Privacy,
    parameters: Parameters,
    /// Each for ciphertexts up to a level.
    keys: Vec<(KeyKind, usize)>,
    /// What decrypted scores are multiplied by.
    factor: f64,
    /// Of an answer.
    level: usize,
    scale: Scale,
}

/// The keys that the server needs, as bytes.
#[derive(Clone)]
pub struct Keys {
    /// For products and rotations: seeded, and each only as large as its level takes.
    pub evaluation: Vec<u8>,
    /// To encrypt zeros, where the server hides its computation.
    pub public: Option<Vec<u8>>,
}

/// Owns images and keys.
pub struct Client {
    secret: SecretKey,
    exchange: Exchange,
}

/// Owns the weights.
pub struct Server {
    program: Program,
    encoded: Encoded,
    exchange: Exchange,
    noise: f64,
}

/// A client's keys, read.
pub struct ClientKeys {
    evaluation: EvaluationKeys,
    public: Option<PublicKey>,
}

impl Exchange {
    /// The ring.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The keys that the client must make.
    #[must_use]
    pub fn keys(&self) -> &[(KeyKind, usize)] {
        &self.keys
    }

    fn check(&self, ciphertext: Ciphertext, level: usize, scale: &Scale) -> Result<Ciphertext> {
        match (ciphertext.level(), ciphertext.scale()) == (level, scale) {
            true => Ok(ciphertext),
            false => Err(Error::OtherCiphertext { level: ciphertext.level() }),
        }
    }

    /// The scores in all slots: the mean of all copies.
    fn scores(&self, slots: &[Complex64]) -> Vec<f64> {
        let copies = slots.len() / PERIOD;
        let mean = |o: usize| slots[o..].iter().step_by(PERIOD).sum::<Complex64>() / copies as f64;
        let pairs = (0..CLASSES / 2).map(mean).flat_map(|pair| [pair.re, pair.im]);
        pairs.map(|score| score * self.factor).collect()
    }
}

impl Client {
    /// A fresh key for an exchange.
    pub fn generate(exchange: &Exchange, rng: &mut dyn CryptoRng) -> Self {
        let secret = SecretKey::generate(exchange.parameters.clone(), rng);
        Self { secret, exchange: exchange.clone() }
    }

    /// The keys for the server.
    ///
    /// # Errors
    /// When the exchange names a level that its ring does not have.
    pub fn keys(&self, rng: &mut dyn CryptoRng) -> Result<Keys> {
        let kinds = self.exchange.keys.iter().copied();
        let evaluation = self.secret.evaluation_keys(kinds, rng)?.to_bytes();
        let public = (self.exchange.privacy == Privacy::Hidden)
            .then(|| self.secret.public_key(rng).to_bytes());
        Ok(Keys { evaluation, public })
    }

    /// An image of 28×28 pixels of 0..=1, row by row, encrypted.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of pixels.
    pub fn encrypt(&self, pixels: &[f64], rng: &mut dyn CryptoRng) -> Result<Vec<u8>> {
        let Exchange { network, parameters, .. } = &self.exchange;
        Network::check_image(pixels)?;
        let mut packed = network.pack(pixels, parameters.slots());
        let (scale, level) = (parameters.scale(), parameters.top_level());
        let plain = Plaintext::encode_complex(parameters, &packed, &scale, level);
        wipe(&mut packed);
        Ok(self.secret.encrypt(&Zeroizing::new(plain?), rng)?.to_bytes())
    }

    /// The scores of the ten classes.
    ///
    /// They stay with the client: a server that saw decrypted scores of an approximate scheme would learn about the key
    /// ([`gelu_ckks::flood`]).
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::OtherCiphertext`].
    pub fn decrypt(&self, answer: &[u8]) -> Result<Vec<f64>> {
        let Exchange { parameters, level, scale, .. } = &self.exchange;
        let answer = Ciphertext::from_bytes(parameters, answer)?;
        let answer = self.exchange.check(answer, *level, scale)?;
        let mut slots = self.secret.decrypt(&answer)?.danger_slots();
        let scores = self.exchange.scores(&slots);
        wipe(&mut slots);
        Ok(scores)
    }
}

impl Server {
    /// Prepares a network. `images` are some of its training data: they say how large values become, for the room that
    /// scores need and for the noise.
    ///
    /// # Errors
    /// [`Error::Shape`] for layers or images of another network, [`Error::NoCalibration`] without images.
    pub fn new<'a>(
        network: Network,
        layers: &[Layer<'_>],
        privacy: Privacy,
        images: impl IntoIterator<Item = &'a [f64]>,
    ) -> Result<Self> {
        let parameters = Parameters::new(&match privacy {
            Privacy::Plain => network.chain(),
            Privacy::Hidden => network.hiding_chain(),
        })?;
        let slots = parameters.slots();
        let mut program = network.program(layers, slots)?;
        let mut inputs = Vec::new();
        for image in images {
            Network::check_image(image)?;
            inputs.push(network.pack(image, slots));
        }
        if inputs.is_empty() {
            return Err(Error::NoCalibration);
        }
        let mut ranges = program.ranges(inputs);
        for range in &mut ranges {
            let least = range.iter().copied().fold(0.0, f64::max) * LEAST_RANGE;
            range.iter_mut().for_each(|range| *range = MARGIN * range.max(least));
        }

        // The largest power of two that leaves the scores room in the last modulus, and a bit for the sign.
        let (scale, level) = program.end(&parameters)?;
        let scores = ranges.last().into_iter().flatten();
        let largest = scores.copied().fold(f64::MIN_POSITIVE, f64::max);
        let room = parameters.level_bits(level) - 1.0 - scale.log2() - largest.log2();
        let shrink = room.floor().min(0.0).exp2();
        scale_scores(&mut program, shrink);

        let noise = program.noise(&parameters, &ranges);
        let encoded = program.encode(&parameters)?;
        let keys = encoded.keys().iter().map(|(&kind, &level)| (kind, level)).collect();
        let factor = 1.0 / shrink;
        let exchange = Exchange { network, privacy, parameters, keys, factor, level, scale };
        Ok(Self { program, encoded, exchange, noise })
    }

    /// What the client needs to know. Nothing in it but the room for scores depends on the weights.
    #[must_use]
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// How far a score is off: the deviation, what hides the computation included.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        let Exchange { parameters, privacy, factor, .. } = &self.exchange;
        match privacy {
            Privacy::Plain => self.noise * factor,
            // The mean over all copies of a score.
            Privacy::Hidden => {
                let copies = (parameters.slots() / PERIOD) as f64;
                (1.0 + f64::from(HIDING_BITS).exp2() / copies.sqrt()) * self.noise * factor
            }
        }
    }

    /// The scores as this packing computes them without encryption.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of pixels.
    pub fn in_the_clear(&self, pixels: &[f64]) -> Result<Vec<f64>> {
        Network::check_image(pixels)?;
        let Exchange { network, parameters, .. } = &self.exchange;
        let slots = self.program.apply(&network.pack(pixels, parameters.slots()));
        Ok(self.exchange.scores(&slots))
    }

    /// Reads a client's keys.
    ///
    /// # Errors
    /// [`Error::Unreadable`]; [`Error::NoPublicKey`] when one is needed.
    pub fn read_keys(&self, keys: &Keys) -> Result<ClientKeys> {
        let Exchange { parameters, privacy, .. } = &self.exchange;
        let evaluation = EvaluationKeys::from_bytes(parameters, &keys.evaluation)?;
        let public = keys.public.as_deref();
        let public = public.map(|bytes| PublicKey::from_bytes(parameters, bytes)).transpose()?;
        match (privacy, &public) {
            (Privacy::Hidden, None) => Err(Error::NoPublicKey),
            _ => Ok(ClientKeys { evaluation, public }),
        }
    }

    /// The encrypted scores of an encrypted image.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::OtherCiphertext`] for a query that is none, [`Error::Scheme`] naming a key that is missing.
    pub fn answer(
        &self,
        keys: &ClientKeys,
        query: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        let Exchange { parameters, privacy, .. } = &self.exchange;
        let query = Upload::from_bytes(parameters, query)?.expand();
        let query = self.exchange.check(query, parameters.top_level(), &parameters.scale())?;
        let mut answer = self.encoded.run(&query, &keys.evaluation)?;
        if *privacy == Privacy::Hidden {
            let public = keys.public.as_ref().ok_or(Error::NoPublicKey)?;
            // From slots to coefficients.
            let noise = self.noise * answer.scale().to_f64() / (parameters.degree() as f64).sqrt();
            answer =
                public.hide_computation(&answer, f64::from(HIDING_BITS).exp2() * noise, rng)?;
        }
        Ok(answer.to_bytes())
    }
}

fn wipe(slots: &mut [Complex64]) {
    slots.iter_mut().flat_map(|x| [&mut x.re, &mut x.im]).for_each(Zeroize::zeroize);
}

impl Keys {
    /// Bytes on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.evaluation.len() + self.public.as_ref().map_or(0, Vec::len)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("steps", &self.program.steps).finish_non_exhaustive()
    }
}
