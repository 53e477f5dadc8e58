//! A backend whose values wrap, and which hides nothing: `Clear` in slots wide enough for any sum, whose
//! answers are then taken modulo 2^`value_bits`.

use ndarray::Array2;
use rand_core::CryptoRng;

use crate::backend::{Backend, Cost, Cryptosystem, Layout, NoSecretRate, NoShares, Task};
use crate::clear::{Clear, ClearKey};
use crate::error::{RangeError, Result};
use crate::fixed::centred;
use crate::linear::LinearMap;
use crate::slots::{MAX_SLOT_BITS, Prices, SlotLayout};

#[derive(Debug)]
pub(super) struct Wrapping;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrappingLayout {
    wide: SlotLayout,
    value_bits: u32,
    weight_bits: u32,
}

impl WrappingLayout {
    pub(super) fn weight_bits(&self) -> u32 {
        self.weight_bits
    }
}

impl Cryptosystem for Wrapping {
    const ID: &'static str = "insecure-wrapping";
    type PublicKey = ClearKey;
    type SecretKey = ClearKey;
    fn keygen(bits: u32, rng: &mut dyn CryptoRng) -> Result<ClearKey> {
        Clear::keygen(bits, rng)
    }
    fn public_key(secret: &ClearKey) -> &ClearKey {
        secret
    }
    fn key_bits(public: &ClearKey) -> u32 {
        Clear::key_bits(public)
    }
    fn public_key_to_bytes(secret: &ClearKey) -> Vec<u8> {
        Clear::public_key_to_bytes(secret)
    }
    fn public_key_from_bytes(bytes: &[u8]) -> Result<ClearKey> {
        Clear::public_key_from_bytes(bytes)
    }
}

impl Backend for Wrapping {
    const WRAPS: bool = true;
    type Layout = WrappingLayout;
    type Rate = NoSecretRate;
    type Shares = NoShares;
    type Prices = Prices;
    fn layouts(public: &ClearKey, task: &Task<'_>) -> Result<Vec<WrappingLayout>, RangeError> {
        let &Task { value_bits, weight_bits, .. } = task;
        let wide = Clear::layouts(public, &Task { value_bits: MAX_SLOT_BITS, ..*task })?;
        let narrow = |wide| WrappingLayout { wide, value_bits, weight_bits };
        Ok(wide.into_iter().map(narrow).collect())
    }
    fn prices(public: &ClearKey) -> Prices {
        Clear::prices(public)
    }
    fn nanoseconds(layout: &WrappingLayout, prices: &Prices) -> u64 {
        layout.wide.nanoseconds(prices)
    }
}

impl core::fmt::Display for WrappingLayout {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.wide.fmt(f)
    }
}

impl Layout<Wrapping> for WrappingLayout {
    type Weights = <SlotLayout as Layout<Clear>>::Weights;
    type Inputs = <SlotLayout as Layout<Clear>>::Inputs;
    type Answer = <SlotLayout as Layout<Clear>>::Answer;
    fn cost(&self) -> Cost {
        Cost { headroom_bits: 0, revealed_bits: self.value_bits.into(), ..self.wide.cost() }
    }
    fn encrypt(
        &self,
        secret: &ClearKey,
        linear: &LinearMap,
        values: &Array2<i128>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        Layout::<Clear>::encrypt(&self.wide, secret, linear, values, rng)
    }
    fn prepare(
        &self,
        linear: &LinearMap,
        weights: &[i128],
        offsets: Option<&[i128]>,
    ) -> Result<Self::Weights> {
        assert!(weights.iter().all(|&w| w == centred(w, self.weight_bits)), "a weight is too long");
        Layout::<Clear>::prepare(&self.wide, linear, weights, offsets)
    }
    fn read(&self, public: &ClearKey, bytes: &[u8]) -> Result<Self::Inputs> {
        Layout::<Clear>::read(&self.wide, public, bytes)
    }
    fn evaluate(
        &self,
        public: &ClearKey,
        weights: &Self::Weights,
        inputs: &Self::Inputs,
    ) -> Result<Self::Answer> {
        self.wide.evaluate(public, weights, inputs)
    }
    fn seal(&self, public: &ClearKey, answer: Self::Answer, rng: &mut dyn CryptoRng) -> Vec<u8> {
        Layout::<Clear>::seal(&self.wide, public, answer, rng)
    }
    fn decrypt(&self, secret: &ClearKey, bytes: &[u8]) -> Result<Array2<i128>> {
        let wide = Layout::<Clear>::decrypt(&self.wide, secret, bytes)?;
        Ok(wide.mapv(|value| centred(value, self.value_bits)))
    }
}
