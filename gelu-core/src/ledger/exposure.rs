//! What each party learns about the other's secret, layer by layer, before anything is sent.
//!
//! # What the client learns about the model
//! It sees z = W·a + b and q = W'·δ in the clear. In each layer the outputs that share weights form
//! a *component* (one output of a dense layer, one filter of a convolution): its weights are the
//! unknowns, each of its outputs is one equation a sample. Backwards the inputs that share weights
//! form the components. With as many equations as unknowns the weights are solved for.
//!
//! ```text
//! equations:   samples · members             < unknowns                  (honest client)
//! bits:        samples · members · slot_bits < unknowns · weight_bits    (any client)
//!
//! weight_bits = f_w + 1 − ⌈½·log2 n⌉, at least 1              n: unknowns of a row of the layer
//! ```
//!
//! The second line is the one enforced: a client that packs out-of-range values into its slots
//! reads up to `slot_bits` bits from each (`docs/src/security.md`).
//!
//! Each direction has an account of its own: rows by forward sums, columns by backward ones. Across
//! them nothing is counted. A query of a unit vector returns a column, and 0 the biases; an error that is
//! a unit vector returns a whole row from one backward sample. So the budget keeps something unknown in
//! each row from whoever only asks, and in each row and column from a client that trains as the protocol
//! says. It does not keep a dishonest client that trains from reading a row a sample.
//!
//! A weight is not worth the bits of its format, because most weights are far smaller than the
//! largest, and a client knows. Weights of a layer with n inputs are of the order of 1/√n, or its sums
//! would saturate (Glorot, Bengio 2010); so a weight counts as one of the 2·2^f_w/√n integers within
//! ±1/√n. No layer of our trained networks for MNIST has less entropy a weight than that, and it
//! depends on nothing but the architecture and the format, so that the budget says nothing about the
//! weights.
//!
//! Where the loss ignores a constant added to all scores, as softmax does, it also ignores one added
//! to a column of the last layer, and the errors, which add up to zero, do not ask for it: backwards,
//! that layer has one unknown less.
//!
//! A layer that is [frozen](Network::freeze) is asked forward alone, with its true weights, in a training as in an
//! inference. No lease makes its weights new, so the [ledger](super::Ledger) counts it over all versions together.
//!
//! # What the server learns about the data
//! At the end of a lease it sees the sum of the true updates, Σ a·δ'. While the different samples of the
//! lease are few, that sum determines or spans the inputs, and several sums over the same samples do so
//! for more of them; the client's [ledger](super::data) counts both. So the model wants short leases and
//! the data long ones; [`Exposure`] shows both, side by side, and few networks satisfy both.
//!
//! Source: the paper, section 4.1 (the bound m + 2) and 4.5; it counts iterations, which with
//! mini-batches are samples, and it looks only at rows, although the last layer's columns are
//! usually the narrowest.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::error::Result;
use crate::fixed::{Format, Precision};
use crate::linear::Component;
use crate::network::{Network, Stage};
use crate::plan::{Direction, Plan, Purpose};

/// What one layer gives away in one direction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerExposure {
    /// The layer.
    pub layer: String,
    /// `forward`: rows, from weighted sums. `backward`: columns, from propagated errors.
    #[serde(serialize_with = "as_text")]
    pub direction: Direction,
    /// Weights (and biases) of the narrowest component, without what the loss ignores.
    pub unknowns: u64,
    /// Equations about them that one sample gives.
    pub equations_per_sample: u64,
    /// Bits of those unknowns.
    pub secret_bits: u64,
    /// Bits that one sample can reveal about them.
    pub revealed_bits_per_sample: u64,
    /// Whether it is [frozen](Network::freeze): all versions of the model have these weights in common, and
    /// what an account has seen of one it has seen of all.
    pub frozen: bool,
}

impl LayerExposure {
    /// Samples after which an honest client's equations still leave each row (or column) undetermined.
    pub fn safe_samples_honest(&self) -> u64 {
        (self.unknowns - 1) / self.equations_per_sample
    }

    /// Samples after which any client's revealed bits still leave each row (or column) undetermined.
    pub fn safe_samples(&self) -> u64 {
        (self.secret_bits - 1) / self.revealed_bits_per_sample
    }
}

/// What one layer's final update gives away about the data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataExposure {
    /// The layer.
    pub layer: String,
    /// Equations in the sum of a lease: weights and biases.
    pub equations: u64,
    /// Unknowns that each sample brings: its activations and its errors.
    pub unknowns_per_sample: u64,
    /// Those of them that it brings anew to each sum: its errors.
    pub outputs: u64,
    /// Components forward: with no more samples than this many rows, the sum spans the inputs.
    pub rows: u64,
    /// Unknowns of a row, its bias included: more samples than that span everything, whatever they are.
    pub width: u64,
    /// Rank-one terms that each sample adds to the sum.
    pub terms_per_sample: u64,
}

impl DataExposure {
    /// What the final update of each layer that `network` trains gives away; after them, the same of layers that have
    /// unknowns in common, counted together.
    ///
    /// Two layers of the same input share its activations; two whose sums meet in an addition share their errors. Their
    /// updates are then equations about fewer unknowns than each would have by itself. A shortcut without weights adds no
    /// equation: what it adds, and the gradient that comes back through it, never leave the client.
    pub fn of(network: &Network) -> Vec<Self> {
        let of_stage = |stage: usize| {
            let Stage { name, linear } = &network.stages()[stage];
            let rows = linear.output_components();
            Self {
                layer: name.clone(),
                equations: (linear.weights() + linear.biases()) as u64,
                unknowns_per_sample: (linear.inputs() + linear.outputs()) as u64,
                outputs: linear.outputs() as u64,
                rows: rows.iter().map(|c| c.count).sum(),
                width: rows.iter().map(|c| c.unknowns).max().unwrap_or(1),
                terms_per_sample: rows.iter().map(|c| c.members).min().unwrap_or(1),
            }
        };
        let trained = network.frozen()..network.stages().len();
        let alone: Vec<_> = trained.map(of_stage).collect();
        let together: Vec<_> =
            joined(network).iter().map(|stages| Self::together(network, stages, &alone)).collect();
        alone.into_iter().chain(together).collect()
    }

    /// Of `stages` that share unknowns; `alone` are those of all trained stages.
    fn together(network: &Network, stages: &BTreeSet<usize>, alone: &[Self]) -> Self {
        let each: Vec<_> = stages.iter().map(|stage| &alone[stage - network.frozen()]).collect();
        let sum = |part: fn(&Self) -> u64| each.iter().map(|d| part(d)).sum::<u64>();
        let distinct = |value: &dyn Fn(usize) -> usize| {
            let values: BTreeSet<_> = stages.iter().map(|&stage| value(stage)).collect();
            values.into_iter().map(|value| network.width(value) as u64).sum::<u64>()
        };
        let outputs = distinct(&|stage| network.meeting(stage));
        let names: Vec<_> = each.iter().map(|d| d.layer.as_str()).collect();
        Self {
            layer: names.join(" and "),
            equations: sum(|d| d.equations),
            unknowns_per_sample: distinct(&|stage| network.source(stage)) + outputs,
            outputs,
            rows: sum(|d| d.rows),
            width: sum(|d| d.width),
            terms_per_sample: each.iter().map(|d| d.terms_per_sample).min().unwrap_or(1),
        }
    }

    /// The fewest different samples of a lease whose sum, the only one over them, neither determines
    /// nor spans the layer's inputs.
    pub fn least_samples(&self) -> u64 {
        self.least_samples_linked(1)
    }

    /// The fewest different samples of the last of `sums` sums that are
    /// [linked](super::data) by samples in common.
    ///
    /// ```text
    /// determined   min( E·(s·I + O) / (I + O)²,  E / O ) + 1       E: equations, I: inputs, O: outputs
    /// spanned      min( s·rows, max(rows, width) ) / terms + 1
    /// ```
    ///
    /// **Not determined.** The last of t ≤ s linked sums has n ≥ D(t) samples, the others n ≥ D(1) >
    /// E/(I + O), and there are k ≥ D(t) different ones. Where D(t) is the first term of the minimum,
    /// k·I + O·Σn ≥ (I + O)·D(t) + (t−1)·O·D(1) > t·E. Where it is the second, O·n > E: the sum alone
    /// brings more unknowns than equations, and its predecessors hold the law among themselves.
    ///
    /// **Not spanned.** t sums span at most t·rows dimensions, which must be fewer than the samples have;
    /// more samples than the layer is wide span the whole space, and then their span says nothing.
    pub fn least_samples_linked(&self, sums: u64) -> u64 {
        let [s, equations, outputs, unknowns, rows, width, terms] = [
            sums,
            self.equations,
            self.outputs,
            self.unknowns_per_sample,
            self.rows,
            self.width,
            self.terms_per_sample,
        ]
        .map(u128::from);
        let inputs = unknowns - outputs;
        let determined = equations * (s * inputs + outputs) / (unknowns * unknowns);
        let determined = determined.min(equations / outputs);
        let spanned = (s * rows).min(rows.max(width)) / terms;
        u64::try_from(determined.max(spanned)).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// The account of a whole plan: one table for the model, one for the data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exposure {
    /// What a client learns about the model, in the order of the plan's exchanges.
    pub model: Vec<LayerExposure>,
    /// What the server learns about the data, by layer; empty for inference.
    pub data: Vec<DataExposure>,
}

impl Exposure {
    /// Counts unknowns and equations of every exchange of `plan`.
    pub fn new<L>(network: &Network, precision: &Precision, plan: &Plan<L>) -> Self {
        let model = plan.exchanges().map(|(i, direction, exchange)| {
            let linear = &network.stages()[i].linear;
            let rows = linear.output_components();
            let widest = rows.iter().map(|row| row.unknowns).max().expect("a component");
            let weight_bits = weight_bits(precision.weights, widest);
            let ignored = u64::from(direction == Direction::Backward && ignores_shift(network, i));
            let of = |c: &Component| {
                let unknowns = (c.unknowns - ignored).max(1);
                LayerExposure {
                    layer: plan.stages[i].name.clone(),
                    direction,
                    unknowns,
                    equations_per_sample: c.members,
                    secret_bits: unknowns * weight_bits,
                    revealed_bits_per_sample: c.members * exchange.revealed_bits_per_output(),
                    frozen: !network.trains(i),
                }
            };
            let all = match direction {
                Direction::Forward => rows,
                Direction::Backward => linear.input_components(),
            };
            all.iter().map(of).min_by_key(LayerExposure::safe_samples).expect("a component")
        });
        let data = match plan.purpose {
            Purpose::Inference => Vec::new(),
            Purpose::Training { .. } => DataExposure::of(network),
        };
        Self { model: model.collect(), data }
    }

    /// Samples that leave every row undetermined by forward sums and every column by backward ones, and
    /// the layer that decides.
    pub fn safe_samples(&self) -> (u64, &LayerExposure) {
        let narrowest = self.model.iter().min_by_key(|l| l.safe_samples()).expect("a layer");
        (narrowest.safe_samples(), narrowest)
    }

    /// The fewest samples of a lease that protect the data, and the layer that decides.
    pub fn least_samples(&self) -> Option<(u64, &DataExposure)> {
        let neediest = self.data.iter().max_by_key(|d| d.least_samples())?;
        Some((neediest.least_samples(), neediest))
    }

    /// One sentence: whether both protections can hold, and what gives way if not.
    pub fn verdict(&self) -> String {
        if let Some(verdict) = self.blind_verdict() {
            return verdict;
        }
        let (safe, layer) = self.safe_samples();
        let (name, direction) = (&layer.layer, layer.direction);
        match self.least_samples() {
            None if safe == 0 => format!(
                "a single query can determine weights of {name} ({direction}): whoever may query \
                 this model can extract it"
            ),
            None => format!(
                "{safe} queries per client and model version leave every row of weights undetermined, \
                 though not each weight of it; {name} ({direction}) is the narrowest"
            ),
            Some((least, _)) if least <= safe => format!(
                "leases of {least} to {safe} samples protect the data, and against an honest client \
                 every row and column of weights; {name} ({direction}) is the narrowest"
            ),
            Some((least, data)) => format!(
                "no lease protects both: more than {safe} samples can determine weights ({name}, \
                 {direction}), fewer than {least} different ones expose the data ({})",
                data.layer
            ),
        }
    }
}

/// What a weight is worth in a layer whose rows have `unknowns`: see the [module](self).
pub(super) fn weight_bits(format: Format, unknowns: u64) -> u64 {
    let halvings = (0..32).find(|k| unknowns <= 1 << (2 * k)).unwrap_or(32);
    u64::from(format.fraction + 1).saturating_sub(halvings).max(1)
}

/// Whether the outputs of a stage are scores, or are added to others that are, and the loss ignores a constant added to all of them.
fn ignores_shift(network: &Network, stage: usize) -> bool {
    network.meeting(stage) == network.steps().len() && network.loss().ignores_shift()
}

/// Trained stages that have inputs or errors in common, directly or through others: sets of two or more.
fn joined(network: &Network) -> Vec<BTreeSet<usize>> {
    let mut sets: Vec<BTreeSet<usize>> = Vec::new();
    for stage in network.frozen()..network.stages().len() {
        let shares = |&other: &usize| {
            network.source(stage) == network.source(other)
                || network.meeting(stage) == network.meeting(other)
        };
        let (with, apart): (Vec<_>, Vec<_>) =
            sets.into_iter().partition(|set| set.iter().any(shares));
        sets = apart;
        sets.push(with.into_iter().flatten().chain([stage]).collect());
    }
    sets.retain(|set| set.len() > 1);
    sets
}

fn as_text<S: serde::Serializer>(d: &Direction, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(d)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clear::{Clear, ClearKey};
    use crate::tests::networks;

    /// What each verdict promises, it promises of rows and columns, not of every weight: a chosen query
    /// reads a column of weights, whatever the budget.
    #[test]
    fn verdicts_promise_no_more_than_is_counted() {
        let mut exposure = exposure(Purpose::Training { steps: 1 });
        let impossible = exposure.verdict();
        assert_eq!(
            impossible,
            "no lease protects both: more than 0 samples can determine weights (first, forward), fewer \
             than 6 different ones expose the data (second)"
        );
        exposure.model.iter_mut().for_each(|layer| layer.secret_bits = 1_000_000);
        let both = exposure.verdict();
        assert!(both.contains("against an honest client every row and column"), "{both}");
        // The shortest lease that hides the data is the longest that hides the weights.
        let first = &mut exposure.model[0];
        first.secret_bits = 6 * first.revealed_bits_per_sample + 1;
        let one = exposure.verdict();
        assert!(one.starts_with("leases of 6 to 6 samples protect the data"), "{one}");
        exposure.data.clear();
        let queries = exposure.verdict();
        assert!(
            queries.contains("every row of weights undetermined, though not each"),
            "{queries}"
        );
        exposure.model[0].secret_bits = 1;
        assert!(exposure.verdict().starts_with("a single query can determine weights"));
    }

    fn exposure_of(network: &Network, purpose: Purpose) -> Exposure {
        let (key, precision) = (ClearKey::new(2048).unwrap(), Precision::TRAINING);
        let plan = Plan::new::<Clear>(network, &precision, 1, purpose, &key).unwrap();
        Exposure::new(network, &precision, &plan)
    }

    /// That of the test network.
    pub(in crate::ledger) fn exposure(purpose: Purpose) -> Exposure {
        exposure_of(&networks::network(), purpose)
    }

    /// By hand: the convolution has 2 weights and a bias and gives 4 equations a sample; rows of
    /// the dense layers have 4 + 1 and 5 + 1 unknowns, columns 5 and 3.
    #[test]
    fn unknowns_and_equations_by_hand() {
        let exposure = exposure(Purpose::Training { steps: 1 });
        let counts: Vec<_> = exposure
            .model
            .iter()
            .map(|l| (l.layer.as_str(), l.direction, l.unknowns, l.equations_per_sample))
            .collect();
        use Direction::{Backward, Forward};
        assert_eq!(
            counts,
            [
                ("first", Forward, 3, 4),
                ("second", Forward, 5, 1),
                ("third", Forward, 6, 1),
                ("third", Backward, 3, 1),
                ("second", Backward, 5, 1),
            ]
        );
        let safe: Vec<_> = exposure.model.iter().map(LayerExposure::safe_samples_honest).collect();
        assert_eq!(safe, [0, 4, 5, 2, 4]);
        let least: Vec<_> = exposure.data.iter().map(DataExposure::least_samples).collect();
        assert_eq!(least, [1, 6, 4]);
        assert!(exposure.verdict().starts_with("no lease protects both"));
        let sums = exposure.data.iter().map(|d| {
            let members = (d.rows, d.width, d.terms_per_sample);
            (d.equations, d.unknowns_per_sample, d.outputs, members)
        });
        let second = (4 * 5 + 5, 4 + 5, 5, (5, 4 + 1, 1));
        let third = (5 * 3 + 3, 5 + 3, 3, (3, 5 + 1, 1));
        assert_eq!(sums.collect::<Vec<_>>(), [(3, 9 + 4, 4, (1, 3, 4)), second, third]);
    }

    /// A block of 6 inputs and a shortcut with weights: `left` and `short` take the same input, and the sums of `right` and
    /// `short` meet. Their 28 + 20 + 28 equations are about 6 + 4 inputs and 4 + 4 errors a sample. A shortcut without
    /// weights joins nothing: `body`, around which it leads, is counted by itself.
    #[test]
    fn layers_that_share_unknowns_are_counted_together() {
        let network = networks::residual(Box::new(networks::Centred));
        let data = DataExposure::of(&network);
        let names: Vec<_> = data.iter().map(|d| d.layer.as_str()).collect();
        let alone = ["first", "body", "left", "right", "short", "last"];
        assert_eq!(names[..6], alone);
        assert_eq!(names[6..], ["left and right and short"]);
        let together = &data[6];
        let sizes = (together.equations, together.unknowns_per_sample, together.outputs);
        assert_eq!(sizes, ((6 * 4 + 4) + (4 * 4 + 4) + (6 * 4 + 4), 6 + 4 + 4 + 4, 8));
        assert_eq!((together.rows, together.width, together.terms_per_sample), (12, 7 + 5 + 7, 1));
        let frozen = networks::residual(Box::new(networks::Centred)).freeze(4).unwrap();
        assert_eq!(DataExposure::of(&frozen).len(), 2, "what is frozen has no update");
        // The sums of no stage but the last are scores.
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|s| ignores_shift(&network, s)),
            [false, false, false, false, false, true]
        );
    }

    /// As many bits as are secret determine everything; one fewer does not.
    #[test]
    fn the_last_bit_stays_unknown() {
        let mut layer = exposure(Purpose::Inference).model.remove(1);
        for (secret, revealed, safe) in [(1, 7, 0), (7, 7, 0), (8, 7, 1), (14, 7, 1), (15, 7, 2)] {
            (layer.secret_bits, layer.revealed_bits_per_sample) = (secret, revealed);
            (layer.unknowns, layer.equations_per_sample) = (secret, revealed);
            assert_eq!((layer.safe_samples(), layer.safe_samples_honest()), (safe, safe));
        }
    }

    /// 64-32-10: equations 2080, a sample brings 64 inputs and, to each sum, 32 errors.
    #[test]
    fn more_sums_over_the_same_samples_need_more_of_them_by_hand() {
        let wide = DataExposure {
            layer: "dense1".into(),
            equations: 2080,
            unknowns_per_sample: 96,
            outputs: 32,
            rows: 32,
            width: 65,
            terms_per_sample: 1,
        };
        let least = |d: &DataExposure| [1, 2, 3, 4, u64::MAX].map(|s| d.least_samples_linked(s));
        assert_eq!(least(&wide), [33, 65, 66, 66, 66]);
        // Many terms a sample, as a convolution has: equations decide.
        assert_eq!(least(&DataExposure { terms_per_sample: 144, ..wide }), [22, 37, 51, 66, 66]);
        // More rows than inputs: one sum spans them all already.
        let tall = DataExposure {
            rows: 100,
            width: 5,
            equations: 0,
            ..DataExposure::of(&networks::network()).remove(1)
        };
        assert_eq!(least(&tall), [101; 5]);
    }

    /// Three classes, so two samples determine what softmax sees of a column: one is safe.
    #[test]
    fn a_loss_that_ignores_a_shift_has_one_unknown_less() {
        let centred = networks::network_with(Box::new(networks::Centred));
        let purpose = Purpose::Training { steps: 1 };
        let (centred, plain) = (exposure_of(&centred, purpose), exposure(purpose));
        let changed: Vec<_> =
            centred.model.iter().zip(&plain.model).filter(|(a, b)| a != b).collect();
        let [(with, without)] = changed[..] else { panic!("{changed:?}") };
        assert_eq!((with.layer.as_str(), with.direction), ("third", Direction::Backward));
        assert_eq!((with.unknowns, without.unknowns), (2, 3));
        assert_eq!((with.safe_samples_honest(), without.safe_samples_honest()), (1, 2));
        assert_eq!(3 * with.secret_bits, 2 * without.secret_bits);
    }

    /// Neither sums in the middle nor what an activation is still applied to.
    #[test]
    fn a_loss_ignores_the_shift_of_its_scores_alone() {
        for (activated, ignored) in [(false, [false, true]), (true, [false, false])] {
            let tanh = || activated.then(|| Box::new(networks::Tanh) as _).into_iter().collect();
            let stages = vec![
                ("first", networks::dense(4, 5), tanh()),
                ("second", networks::dense(5, 3), tanh()),
            ];
            let network = networks::chain(4, stages, Box::new(networks::Centred));
            assert_eq!([0, 1].map(|stage| ignores_shift(&network, stage)), ignored);
        }
    }

    /// 2·2^f/√n values; the format's integer bits count for nothing.
    #[test]
    fn weights_are_worth_what_their_layer_makes_of_them() {
        for (n, expected) in [(1, 7), (4, 6), (5, 5), (16, 5), (17, 4), (785, 2), (1 << 20, 1)] {
            for integer in [0, 3] {
                assert_eq!(weight_bits(Format::new(integer, 6), n), expected, "{n}");
            }
        }
    }
}
