//! Weights from the ciphertexts of a lattice scheme, when sealing leaves out a step.
//!
//! A client of `gelu-lattice` sends c₀ and c₁ = a, and knows its secret s, every aᵢ and every error eᵢ. What the server
//! computes is linear in its weights, as polynomials wᵢ(X), in each part of a ciphertext:
//!
//! ```text
//! c₁             =  Σ wᵢ·aᵢ                              modulo q, all aᵢ known
//! c₀ + c₁·s      =  Δ·Σ wᵢ·mᵢ + Σ wᵢ·eᵢ                  modulo q, all mᵢ and eᵢ chosen
//! ```
//!
//! The client is to learn some coefficients of Σ wᵢ·mᵢ, and nothing else. Four steps see to it, and each has an attack
//! on a server without it:
//!
//! | the real server | left out, a client reads the weights | file |
//! |---|---|---|
//! | adds an encryption of 0 | from c₁ | [`masking`] |
//! | uses each encryption of 0 once | from the difference of two c₁ | [`masking`] |
//! | sends of c₀ what is an output | from the other coefficients | [`coefficients`] |
//! | floods the noise | from Σ wᵢ·eᵢ | [`noise`] |
//!
//! [`Scene`] has the server's steps one by one, [`reduction`](gelu_algebra::reduction) finds short vectors of lattices, [`estimate`] says what
//! finding the client's s would cost.

pub mod coefficients;
pub mod estimate;
mod exhibit;
pub mod masking;
pub mod noise;

use gelu_core::backend::Layout;
use gelu_core::ledger::{Exposure, LayerExposure};
use gelu_core::linear::LinearMap;
use gelu_core::plan::{Plan, Purpose};
use gelu_core::{Cryptosystem, Precision, Result};
use gelu_lattice::layout::TileAnswer;
use gelu_lattice::{Lattice, PublicKey, SecretKey, TileLayout, laboratory};
use gelu_nn::{Model, Sequential};
use gelu_ring::sample::{self, Seed};
use gelu_ring::{Basis, Coefficients, Evaluations, Poly};
use ndarray::Array2;
use rand::{CryptoRng, RngExt};

pub use exhibit::exhibit;

/// c₀ and c₁.
pub type Pair<R> = [Poly<R>; 2];

/// A client, and a server with the first layer of a network, which answers it step by step.
pub struct Scene {
    secret: SecretKey,
    linear: LinearMap,
    /// The server's secret, without biases: only for the server, and to compare readings with.
    weights: Vec<i128>,
    layout: TileLayout,
    value_bits: u32,
    exposure: LayerExposure,
}

/// Where a weight stands in the polynomials of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which wᵢ.
    pub upload: usize,
    /// The coefficient.
    pub coefficient: usize,
    /// Which weight of the layer.
    pub weight: usize,
}

impl Scene {
    /// The first layer of a network with random weights, under a fresh key of the ring of degree 4096, in a layout
    /// that the client names.
    ///
    /// # Errors
    /// When the layout is none of the possible ones.
    pub fn new(
        network: Sequential,
        layout: &str,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, crate::Error> {
        let model = Model::initialise("attacked", network, Precision::INFERENCE, rng)?;
        let secret = Lattice::keygen(4096, rng)?;
        let (network, precision) = (model.network(), model.precision());
        let public = secret.public_key();
        let plan = Plan::new::<Lattice>(network, precision, 1, Purpose::Inference, public)?;
        let forward = &plan.stages[0].forward;
        let layout = forward.named(layout).map_err(gelu_core::Error::from)?.clone();
        let exposure = Exposure::new(network, precision, &plan).model.swap_remove(0);
        Ok(Self {
            secret,
            linear: network.stages()[0].linear.clone(),
            weights: model.parameters().layers[0].weights.clone(),
            layout,
            value_bits: forward.value_bits(),
            exposure,
        })
    }

    fn public(&self) -> &PublicKey {
        self.secret.public_key()
    }

    fn basis(&self) -> &Basis {
        self.public().parameters().basis()
    }

    fn degree(&self) -> usize {
        self.basis().degree()
    }

    /// B, k and n of the layout's name.
    fn sizes(&self) -> [usize; 3] {
        let name = self.layout.to_string();
        let sizes = name.split(['/', 'x']).skip(1).map(|size| size.parse().expect("a number"));
        sizes.collect::<Vec<_>>().try_into().expect("three numbers")
    }

    /// Coefficients of a channel, and the places of the taps between two channels, as `gelu_lattice::layout` says.
    fn kernel(&self) -> (usize, Vec<usize>) {
        match &self.linear {
            LinearMap::Window(window) if self.layout.to_string().starts_with("image/") => {
                let (rows, columns) = (window.rows(), window.columns());
                let width = columns.size() + 2 * columns.padding();
                let tap = |i: usize| {
                    let (u, v) = (i / columns.length(), i % columns.length());
                    (rows.length() - 1 - u) * width + columns.length() - 1 - v
                };
                let taps = (0..rows.length() * columns.length()).map(tap).collect();
                ((rows.size() + 2 * rows.padding()) * width, taps)
            }
            _ => (1, vec![0]),
        }
    }

    /// How many answers a question has.
    pub fn answers(&self) -> usize {
        Layout::<Lattice>::cost(&self.layout).ciphertexts_down
    }

    /// The weights in answer `answer`, and where they stand.
    pub fn places(&self, answer: usize) -> Vec<Place> {
        let [samples, inputs, outputs] = self.sizes();
        let (area, taps) = self.kernel();
        let fan_in = match &self.linear {
            LinearMap::Window(window) => window.patch(),
            other => other.inputs(),
        };
        let rows =
            answer * outputs..self.weights.len().div_euclid(fan_in).min((answer + 1) * outputs);
        let place = |(o, row, i): (usize, usize, usize)| {
            let (channel, tap) = (i / taps.len(), i % taps.len());
            let start = (o * inputs + inputs - 1 - channel % inputs) * area;
            Place {
                upload: channel / inputs,
                coefficient: samples * (start + taps[tap]),
                weight: row * fan_in + i,
            }
        };
        let all = rows.enumerate().flat_map(|(o, row)| (0..fan_in).map(move |i| (o, row, i)));
        all.map(place).collect()
    }

    /// The weights at these places: the truth.
    pub fn truth(&self, places: &[Place]) -> Vec<i128> {
        places.iter().map(|place| self.weights[place.weight]).collect()
    }

    /// An honest question, byte for byte.
    ///
    /// # Errors
    /// Never for as many values as the layer has inputs.
    pub fn ask(&self, values: &[i128], rng: &mut dyn CryptoRng) -> Result<Vec<u8>> {
        let column = Array2::from_shape_fn((values.len(), 1), |(i, _)| values[i]);
        self.layout.encrypt(&self.secret, &self.linear, &column, rng)
    }

    /// A question of nothing but an error: c₀ = −c₁·s + e for one upload, which decrypts to 0.
    pub fn ask_error(&self, error: &[i128], rng: &mut dyn CryptoRng) -> Vec<u8> {
        let mut seed: Seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let a = sample::uniform(self.basis(), &seed, 0);
        let mut c0 = -(&a * laboratory::danger_secret(&self.secret)).into_coefficients();
        c0 += &Poly::from_signed(self.basis(), error);
        [&seed[..], &c0.to_bytes()].concat()
    }

    /// The c₁ of each upload of a question, as its seed says.
    pub fn uploads(&self, question: &[u8]) -> Vec<Poly<Evaluations>> {
        let one = size_of::<Seed>() + Poly::<Coefficients>::bytes_len(self.basis());
        let seeds = question.chunks_exact(one).filter_map(|upload| upload.first_chunk());
        seeds.map(|seed| sample::uniform(self.basis(), seed, 0)).collect()
    }

    /// The real server's sums.
    ///
    /// # Errors
    /// When the question is not one.
    pub fn evaluate(&self, question: &[u8]) -> Result<TileAnswer> {
        let weights = self.layout.prepare(&self.linear, &self.weights, None)?;
        let inputs = self.layout.read(self.public(), question)?;
        self.layout.evaluate(self.public(), &weights, &inputs)
    }

    /// A server that adds an encryption of 0 and flooding of `flood_bits` bits to its first answer, and neither cuts
    /// it nor switches the modulus.
    ///
    /// # Errors
    /// When the question is not one.
    pub fn hide(
        &self,
        question: &[u8],
        flood_bits: u32,
        rng: &mut dyn CryptoRng,
    ) -> Result<Pair<Coefficients>> {
        let mut sums = laboratory::danger_bare(&self.evaluate(question)?);
        let [mut c0, mut c1] = sums.swap_remove(0).map(Poly::into_coefficients);
        let [zero0, zero1] = laboratory::danger_zero(self.public(), rng);
        let flood: Vec<i128> = (0..self.degree())
            .map(|_| rng.random_range(-(1 << flood_bits)..1 << flood_bits))
            .collect();
        c0 += &zero0;
        c0 += &Poly::from_signed(self.basis(), &flood);
        c1 += &zero1;
        Ok([c0, c1])
    }

    /// The real server's answers, as the words of w bits that cross the wire: of each all of c₁, then c₀ at the outputs.
    pub fn seal(&self, sums: TileAnswer, rng: &mut dyn CryptoRng) -> Vec<Vec<u128>> {
        let bytes = self.layout.seal(self.public(), sums, rng);
        let width = self.layout.budget().wire_bits as usize;
        // All answers of these layouts are of one length.
        bytes
            .chunks_exact(bytes.len() / self.answers())
            .map(|answer| words(answer, width))
            .collect()
    }

    /// c₀ + c₁·s, centred modulo q.
    pub fn phase(&self, [mut c0, c1]: Pair<Coefficients>) -> Vec<i128> {
        c0 +=
            &(&c1.into_evaluations() * laboratory::danger_secret(&self.secret)).into_coefficients();
        c0.integers().expect("q has 105 bits")
    }
}

/// Numbers of `width` bits, the lowest bits first.
fn words(bytes: &[u8], width: usize) -> Vec<u128> {
    let bit = |at: usize| u128::from(bytes[at / 8] >> (at % 8) & 1);
    let word = |i: usize| (0..width).map(|k| bit(i * width + k) << k).sum();
    (0..bytes.len() * 8 / width).map(word).collect()
}

/// A polynomial with small random coefficients, as large as errors may be at most.
fn largest_errors(degree: usize, rng: &mut dyn CryptoRng) -> Vec<i128> {
    let most = i128::from(sample::ERROR_BOUND);
    (0..degree).map(|_| if rng.random() { most } else { -most }).collect()
}
