//! How the noise grows, and how many limbs each layer therefore keeps.
//!
//! A ciphertext holds c₀ + c₁·s = (q/t)·m + v modulo q, and decrypts correctly while |v| < q/(2t).
//! With σ the standard deviation of v's coefficients, d limbs, and S = √(N·2/3 + 1) for ternary s, so
//! that what is rounded to integers in both halves moves c₀ + c₁·s by S/√12:
//!
//! | step | σ after it |
//! | --- | --- |
//! | fresh | √10.5 |
//! | Σ w·x + b | Σ\|w\| · σ: noises are taken as equal, because neighbours share inputs |
//! | Σ w·x² + b | Σ\|w\| · t · √N · (S/√12 + 1/√12) · (2σ + S/√12) + N/√12 |
//! | relinearisation | + max(qᵢ) · √(d·N/3) · √10.5 |
//! | drop to q' | σ · q'/q + S/√12 |
//!
//! The square: t/q·(phase)² = … + 2·t·k·v + 2·m·v, where k·q is what the phase wraps around, of
//! deviation S/√12 (Fan and Vercauteren 2012, lemma 2, on average in place of the worst case);
//! m is below t. Products of independent polynomials of N coefficients gain √N. The S/√12 beside 2σ is from one factor,
//! which is scaled from q to p and rounded there; p ≥ q but for a millionth.
//!
//! A plan keeps [`MARGIN_BITS`] bits, so |v| must exceed 2⁵·σ for a wrong result. Coefficients are
//! sums of many independent terms, close to normal, and P(|v| > 32σ) < 2^−700; the tests measure that
//! the formula is above the noise that occurs.

use gelu_core::error::{ApiMisuse, Error, Result};

use super::layers::{Layer, Layers};

/// Bits between σ and q/(2t) at every step.
pub(super) const MARGIN_BITS: f64 = 5.0;

/// Variance of an error: 21 coins against 21.
pub(super) const ERROR_VARIANCE: f64 = 10.5;

/// What the noise depends on.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    degree: f64,
    moduli: Vec<u64>,
    plaintext_bits: f64,
}

/// Where a layer leads to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stage {
    /// Limbs that the layer's outputs keep.
    pub(super) limbs: usize,
    /// log₂ σ of the outputs.
    pub(super) noise: f64,
    /// log₂ of q/(2t) over σ.
    pub(super) margin: f64,
}

impl Budget {
    pub(super) fn new(degree: usize, moduli: &[u64], plaintext_bits: u32) -> Self {
        let (degree, plaintext_bits) = (degree as f64, f64::from(plaintext_bits));
        Self { degree, moduli: moduli.to_vec(), plaintext_bits }
    }

    fn limbs(&self) -> usize {
        self.moduli.len()
    }

    /// A new ciphertext.
    pub(super) fn fresh(&self) -> Stage {
        self.stage(self.limbs(), ERROR_VARIANCE.sqrt())
    }

    /// The fewest limbs to which ciphertexts of little noise can be dropped, or all.
    pub(super) fn answer_limbs(&self) -> usize {
        let fits = |limbs: &usize| self.stage(*limbs, 2.0 * self.rounding()).margin >= MARGIN_BITS;
        (1..self.limbs()).find(fits).unwrap_or(self.limbs())
    }

    fn stage(&self, limbs: usize, sigma: f64) -> Stage {
        let noise = sigma.log2();
        let most = modulus_bits(&self.moduli[..limbs]) - self.plaintext_bits - 1.0;
        Stage { limbs, noise, margin: most - noise }
    }

    /// S/√12: what rounding both halves adds.
    fn rounding(&self) -> f64 {
        ((self.degree * 2.0 / 3.0 + 1.0) / 12.0).sqrt()
    }

    /// One layer, with as many limbs as its inputs.
    pub(super) fn after(&self, before: Stage, layer: &Layer) -> Stage {
        let (sigma, n) = (before.noise.exp2(), self.degree);
        let sigma = match layer.squares {
            false => layer.gain() * sigma,
            true => {
                layer.gain() * self.tensor(2.0 * sigma) + n / 12f64.sqrt() + self.switch(before)
            }
        };
        self.stage(before.limbs, sigma)
    }

    /// ⟦x·y⟧, both with as many limbs: a square has twice the noise of its one factor.
    pub(super) fn product(&self, x: Stage, y: Stage) -> Stage {
        let sigma = self.tensor(x.noise.exp2() + y.noise.exp2());
        self.stage(x.limbs, sigma + self.degree / 12f64.sqrt() + self.switch(x))
    }

    /// What a product makes of the sum of its factors' noises.
    fn tensor(&self, sigma: f64) -> f64 {
        let wraps = self.rounding() + 1.0 / 12f64.sqrt();
        self.plaintext_bits.exp2() * self.degree.sqrt() * wraps * (sigma + self.rounding())
    }

    /// What relinearisation adds.
    fn switch(&self, at: Stage) -> f64 {
        let digit = *self.moduli[..at.limbs].iter().max().expect("a limb") as f64;
        digit * (at.limbs as f64 * self.degree / 3.0 * ERROR_VARIANCE).sqrt()
    }

    /// The same with fewer limbs.
    pub(super) fn dropped(&self, before: Stage, limbs: usize) -> Stage {
        if limbs == before.limbs {
            return before;
        }
        let shrink = modulus_bits(&self.moduli[limbs..before.limbs]);
        self.stage(limbs, (before.noise - shrink).exp2() + self.rounding())
    }
}

/// For each layer where it leads, with as few limbs as the margin allows from the first square on;
/// the last layer ends with those of an answer.
///
/// # Errors
/// [`ApiMisuse::Configuration`] naming the first layer whose noise does not fit.
pub(super) fn plan(layers: &Layers, budget: &Budget) -> Result<Vec<Stage>> {
    let mut stages = Vec::new();
    search(&layers.0, budget, budget.fresh(), &mut stages)?;
    Ok(stages)
}

/// The cheapest way first: fewer limbs after a layer make all later ones cheaper.
fn search(rest: &[Layer], budget: &Budget, at: Stage, stages: &mut Vec<Stage>) -> Result<()> {
    let Some((layer, later)) = rest.split_first() else { return Ok(()) };
    let after = budget.after(at, layer);
    if after.margin < MARGIN_BITS {
        return Err(too_noisy(layer, budget, after));
    }
    let least = budget.answer_limbs();
    let candidates = match (later.is_empty(), layer.squares) {
        (true, _) => least..=least,
        (false, true) => least..=at.limbs,
        // Dropping costs transforms of every output; sums are cheap as they are.
        (false, false) => at.limbs..=at.limbs,
    };
    let mut refusal = None;
    for limbs in candidates {
        let kept = budget.dropped(after, limbs);
        if kept.margin < MARGIN_BITS {
            refusal.get_or_insert_with(|| too_noisy(layer, budget, kept));
            continue;
        }
        stages.push(kept);
        match search(later, budget, kept, stages) {
            Ok(()) => return Ok(()),
            Err(error) => refusal = Some(error),
        }
        stages.pop();
    }
    Err(refusal.expect("there was a candidate"))
}

fn too_noisy(layer: &Layer, budget: &Budget, at: Stage) -> Error {
    let why = format!(
        "is too deep or too wide: its noise leaves {:.0} bits of a ciphertext modulus of {:.0} bits, \
         and {MARGIN_BITS} are kept",
        at.margin,
        modulus_bits(&budget.moduli),
    );
    ApiMisuse::configuration(&layer.name, why).into()
}

/// log₂ of the product.
pub(super) fn modulus_bits(moduli: &[u64]) -> f64 {
    moduli.iter().map(|&q| (q as f64).log2()).sum()
}
