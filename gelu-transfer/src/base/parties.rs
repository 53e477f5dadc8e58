//! Who owns the rows, and who owns the base.
//!
//! | message | bytes |
//! |---|---|
//! | keys | evaluation keys and a public key, each as a part |
//! | inputs | group (4), message (4), an upload for each of up to 16 pairs of inputs |
//! | features | group (4), a ciphertext for each pair of features |

use std::collections::BTreeMap;

use gelu_ckks::{
    Ciphertext, Complex64, EvaluationKeys, Plaintext, PublicKey, Scale, SecretKey, Upload,
    WeightedSums,
};
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use super::network::{Base, Layer, terms};
use super::plan::{BasePlan, HIDING_BITS, pairs};
use crate::error::{Error, Result};
use crate::message::{Reader, Writer, check, seeded};
use crate::plain::Rows;

/// The data party: it encrypts rows and decrypts features. Its key is one of its own, and is used for nothing else.
///
/// # Security
/// Features stay with it. What goes back of them are fresh encryptions under another key, see
/// [`DataParty`](crate::DataParty).
pub struct RowOwner {
    plan: BasePlan,
    secret: SecretKey,
}

/// The compute party: it runs its base on what it cannot read.
pub struct BaseOwner {
    plan: BasePlan,
    base: Base,
    keys: EvaluationKeys,
    public: PublicKey,
    /// In a coefficient.
    flood: f64,
    group: usize,
    inputs: Vec<Ciphertext>,
}

impl RowOwner {
    /// With a fresh key.
    pub fn generate(plan: BasePlan, rng: &mut dyn CryptoRng) -> Self {
        let secret = SecretKey::generate(plan.parameters().clone(), rng);
        Self { plan, secret }
    }

    /// The keys for the compute party.
    ///
    /// # Errors
    /// None for a plan's keys; [`Error::Ckks`].
    pub fn keys(&self, rng: &mut dyn CryptoRng) -> Result<Vec<u8>> {
        let evaluation = self.secret.evaluation_keys(self.plan.keys(), rng)?;
        let mut writer = Writer::new(&[]);
        writer.part(&evaluation.to_bytes());
        writer.part(&self.secret.public_key(rng).to_bytes());
        Ok(writer.finish())
    }

    /// Some inputs of a group of rows.
    ///
    /// # Errors
    /// [`Error::Shape`] for other rows than the plan's; [`Error::Base`] for an input beyond its bounds.
    pub fn inputs(
        &self,
        x: &Rows,
        group: usize,
        message: usize,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        let (plan, settings) = (&self.plan, self.plan.settings());
        for (what, got, expected) in
            [("rows", x.len(), settings.rows), ("inputs of the base", x.columns(), settings.inputs)]
        {
            if got != expected {
                return Err(Error::Shape { what, got, expected });
            }
        }
        let (scale, level) = (BasePlan::input_scale(), plan.parameters().top_level());
        let pairs: Vec<_> = plan.pairs(message).map(|pair| (pair, seeded(rng))).collect();
        let uploads = pairs.into_par_iter().map(|(pair, mut rng)| {
            let places = 2 * pair..settings.inputs.min(2 * pair + 2);
            let values = plan.rows(group).map(|row| Pair::of(&x.row(row)[places.clone()]));
            let values = Zeroizing::new(values.collect::<Vec<_>>());
            let within = |x: &f64| (settings.least..=settings.most).contains(x);
            if !values.iter().all(|pair| pair.0[..places.len()].iter().all(within)) {
                return Err(Error::Base("takes inputs within the bounds of its settings only"));
            }
            let plain = Plaintext::encode_complex(plan.parameters(), &values, &scale, level)?;
            Ok(self.secret.encrypt(&Zeroizing::new(plain), &mut rng)?.to_bytes())
        });
        let uploads = uploads.collect::<Result<Vec<_>>>()?;
        let mut writer = Writer::new(&[number(group)?, number(message)?].concat());
        uploads.iter().for_each(|upload| writer.part(upload));
        Ok(writer.finish())
    }

    /// The features of a group of rows.
    ///
    /// # Errors
    /// [`Error::Peer`], [`Error::Unreadable`].
    pub fn receive(&self, group: usize, message: &[u8]) -> Result<Rows> {
        let (plan, features) = (&self.plan, self.plan.settings().features);
        let mut reader = Reader::new(message);
        if reader.word()? != group {
            return Err(Error::Peer("features of another group of rows"));
        }
        let parts = reader.parts(pairs(features))?;
        reader.end()?;
        let scale = plan.feature_scale();
        let columns = parts.par_iter().map(|bytes| {
            let ciphertext = check(Ciphertext::from_bytes(plan.parameters(), bytes)?, 1, &scale)?;
            Ok(self.secret.decrypt(&ciphertext)?.danger_pairs())
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let rows = plan.rows(group).len();
        // Never moved to a larger place: nothing is left behind.
        let mut values = Zeroizing::new(Vec::with_capacity(rows * features));
        for row in 0..rows {
            let both = columns.iter().flat_map(|column| column[row]);
            values.extend(both.take(features));
        }
        Rows::new(std::mem::take(&mut *values), features)
    }
}

impl BaseOwner {
    /// With the data party's keys.
    ///
    /// # Errors
    /// As [`check`](Self::check); [`Error::Unreadable`] for keys of another ring, [`Error::Peer`] for too few.
    pub fn new(plan: BasePlan, base: Base, message: &[u8]) -> Result<Self> {
        let flood = Self::check(&plan, &base)?;
        let mut reader = Reader::new(message);
        let parts = reader.parts(2)?;
        reader.end()?;
        let keys = EvaluationKeys::from_bytes(plan.parameters(), parts[0])?;
        let public = PublicKey::from_bytes(plan.parameters(), parts[1])?;
        let there = |(kind, level)| keys.iter().any(|k| k.kind() == kind && k.level() >= level);
        if !plan.keys().into_iter().all(there) {
            return Err(Error::Peer("a key is missing, or is for a lower level"));
        }
        Ok(Self { plan, base, keys, public, flood, group: 0, inputs: Vec::new() })
    }

    /// Whether a base can be hidden within a plan: how wide the noise is, in a coefficient.
    ///
    /// # Errors
    /// [`Error::Base`] for a base of other sizes, or one whose values do not fit; [`Error::Hidden`] when features that hide it would
    /// say little.
    pub fn check(plan: &BasePlan, base: &Base) -> Result<f64> {
        let settings = plan.settings();
        let (ours, theirs) = (
            (base.inputs(), base.features(), base.squares()),
            (settings.inputs, settings.features, settings.squares),
        );
        if ours != theirs {
            return Err(Error::Base("has other inputs, features or layers than its settings"));
        }
        let worst = base.worst(plan);
        let deviation = f64::from(HIDING_BITS).exp2() * worst.noise;
        // Weights beyond all measure lead to what is not a number.
        if deviation.is_nan() || deviation >= MOST_DEVIATION {
            return Err(Error::Hidden { deviation, most: MOST_DEVIATION });
        }
        let (parameters, scale) = (plan.parameters(), plan.feature_scale());
        let bits = scale.log2() + (worst.largest + 9.0 * deviation).log2() + 1.0;
        if bits.is_nan() || bits >= parameters.level_bits(1) {
            return Err(Error::Base("has values that do not fit: freeze fewer layers"));
        }
        Ok(deviation * scale.to_f64() / (parameters.degree() as f64).sqrt())
    }

    /// Takes some inputs of a group, in order; answers the last ones with the features.
    ///
    /// # Errors
    /// [`Error::Peer`], [`Error::Unreadable`].
    pub fn receive(&mut self, message: &[u8], rng: &mut dyn CryptoRng) -> Result<Option<Vec<u8>>> {
        let (plan, parameters) = (&self.plan, self.plan.parameters());
        let mut reader = Reader::new(message);
        let (group, number) = (reader.word()?, reader.word()?);
        let inputs = plan.pairs(number);
        if self.is_done()
            || group != self.group
            || inputs.is_empty()
            || inputs.start != self.inputs.len()
        {
            return Err(Error::Peer("inputs out of order"));
        }
        let parts = reader.parts(inputs.len())?;
        reader.end()?;
        let (scale, level) = (BasePlan::input_scale(), parameters.top_level());
        let read =
            |bytes: &&[u8]| check(Upload::from_bytes(parameters, bytes)?.expand(), level, &scale);
        self.inputs.extend(parts.par_iter().map(read).collect::<Result<Vec<_>>>()?);
        if self.inputs.len() < pairs(plan.settings().inputs) {
            return Ok(None);
        }
        let inputs = std::mem::take(&mut self.inputs);
        self.group += 1;
        self.features(group, inputs, rng).map(Some)
    }

    /// All groups have been answered.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.group == self.plan.groups()
    }

    fn features(
        &self,
        group: usize,
        inputs: Vec<Ciphertext>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        let layers = self.plan.levels().zip(self.base.layers());
        let values = layers
            .into_iter()
            .try_fold(inputs, |x, (level, layer)| self.layer(&x, layer, level))?;
        let i = self.imaginary()?;
        let pairs: Vec<_> = values.chunks(2).map(|pair| (pair, seeded(rng))).collect();
        let hidden = pairs.into_par_iter().map(|(pair, mut rng)| {
            let value = match pair {
                [a, b] => &a.add(&b.mul_plain(&i)?)?,
                one => &one[0],
            };
            Ok(self.public.hide_computation(value, self.flood, &mut rng)?.to_bytes())
        });
        let hidden = hidden.collect::<Result<Vec<_>>>()?;
        let mut writer = Writer::new(&self::number(group)?);
        hidden.iter().for_each(|bytes| writer.part(bytes));
        Ok(writer.finish())
    }

    /// i in all slots is X^(N/2): exact at the scale 1.
    fn imaginary(&self) -> Result<Plaintext> {
        let (parameters, one) = (self.plan.parameters(), Scale::power_of_two(0));
        let i = vec![Complex64::I; parameters.slots()];
        Ok(Plaintext::encode_complex(parameters, &i, &one, 1)?)
    }

    /// (W·x + b)². Outputs of the same inputs, as all filters of a convolution at a place are, are summed up together.
    fn layer(&self, x: &[Ciphertext], layer: &Layer, level: usize) -> Result<Vec<Ciphertext>> {
        let first = self.plan.is_first(level);
        let mut groups: BTreeMap<Vec<usize>, Vec<(usize, Vec<Complex64>)>> = BTreeMap::new();
        for (output, row) in layer.rows.iter().enumerate() {
            let (inputs, weights) = terms(row, first).into_iter().unzip();
            groups.entry(inputs).or_default().push((output, weights));
        }
        let groups: Vec<_> = groups.into_iter().collect();
        let done = groups.into_par_iter().map(|(inputs, group)| {
            let (outputs, weights): (Vec<_>, Vec<_>) = group.into_iter().unzip();
            let sums = self.sums(x, &inputs, weights, level)?;
            let square = |(sum, output): (Ciphertext, usize)| {
                let sum = if first { sum.real_part(&self.keys)? } else { sum };
                let z = sum.add_constant(layer.offsets[output])?;
                Ok((output, z.square(&self.keys)?.rescale()?))
            };
            sums.into_iter().zip(outputs).map(square).collect::<Result<Vec<_>>>()
        });
        let mut all: Vec<_> = done.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        all.sort_unstable_by_key(|(output, _)| *output);
        Ok(all.into_iter().map(|(_, value)| value).collect())
    }

    /// Σ w·x over some inputs, for outputs with so many weights each.
    fn sums(
        &self,
        x: &[Ciphertext],
        inputs: &[usize],
        mut weights: Vec<Vec<Complex64>>,
        level: usize,
    ) -> Result<Vec<Ciphertext>> {
        let mut inputs: Vec<_> = inputs.iter().map(|&input| &x[input]).collect();
        if inputs.is_empty() {
            // An output without inputs is its offset.
            inputs.push(&x[0]);
            weights.iter_mut().for_each(|row| row.push(Complex64::ZERO));
        }
        let scale = BasePlan::weight_scale();
        let sums = WeightedSums::encode(self.plan.parameters(), &weights, &scale, level)?;
        Ok(sums.apply(&inputs)?)
    }
}

/// Two inputs of a row, or one: the parts of a slot.
#[derive(Clone, Copy, Zeroize)]
struct Pair([f64; 2]);

impl Pair {
    fn of(inputs: &[f64]) -> Self {
        Self([inputs[0], inputs.get(1).copied().unwrap_or_default()])
    }
}

impl From<Pair> for Complex64 {
    fn from(Pair([re, im]): Pair) -> Self {
        Self::new(re, im)
    }
}

fn number(x: usize) -> Result<[u8; 4]> {
    Ok(u32::try_from(x).map_err(|_| Error::Setting("2^32 messages"))?.to_le_bytes())
}

/// Of a feature: what hides the base may hide no more than this.
const MOST_DEVIATION: f64 = 1.0 / 16.0;

impl std::fmt::Debug for RowOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RowOwner({:?})", self.plan.settings())
    }
}

impl std::fmt::Debug for BaseOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (group, groups) = (self.group, self.plan.groups());
        write!(f, "BaseOwner(group {group} of {groups}, {} inputs are here)", self.inputs.len())
    }
}
