//! Networks as arithmetic circuits over the integers.

use gelu_core::error::{ApiMisuse, Error, RangeError, Result};
use gelu_core::fixed::signed_bits_for;
use gelu_core::linear::LinearMap;
use gelu_core::slots::MAX_SLOT_BITS;
use ndarray::Array2;

/// One step of a circuit.
#[derive(Debug, Clone)]
pub enum Step {
    /// Z = E·X + constant·B with known integers; a sum pooling is one with all weights 1.
    Linear {
        /// Its name, for errors and tables.
        name: String,
        /// Its shape.
        map: Box<LinearMap>,
        /// Its weights.
        weights: Vec<i128>,
        /// Its biases, in the scale of the outputs.
        biases: Vec<i128>,
    },
    /// Y = Z·Z, element by element: the activation of CryptoNets, one multiplication of ciphertexts.
    Square,
}

/// What a scheme must bring to come through a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The step.
    pub step: String,
    /// Bits of the widest value after the step, sign included.
    pub bits: u32,
    /// Multiplications of ciphertexts on top of each other so far.
    pub depth: u32,
}

/// A checked sequence of steps over inputs of bounded size.
#[derive(Debug, Clone)]
pub struct Circuit {
    input_bound: u64,
    steps: Vec<Step>,
}

impl Circuit {
    /// A circuit for inputs of magnitude `input_bound` at most.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] naming the first step that does not fit the one before it.
    pub fn new(input_bound: u64, steps: Vec<Step>) -> Result<Self> {
        let mut width = None;
        for step in &steps {
            let Step::Linear { name, map, weights, biases } = step else { continue };
            let wrong = |why: String| Err(ApiMisuse::configuration(name, why).into());
            if width.is_some_and(|w| w != map.inputs()) {
                return wrong(format!("takes {} inputs, gets {width:?}", map.inputs()));
            }
            if (weights.len(), biases.len()) != (map.weights(), map.biases()) {
                return wrong(format!(
                    "needs {} weights and {} biases",
                    map.weights(),
                    map.biases()
                ));
            }
            width = Some(map.outputs());
        }
        if width.is_none() {
            return Err(ApiMisuse::configuration("circuit", "has no linear step").into());
        }
        Ok(Self { input_bound, steps })
    }

    /// The bound of the inputs' magnitude.
    pub fn input_bound(&self) -> u64 {
        self.input_bound
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Number of features of one sample.
    pub fn inputs(&self) -> usize {
        let mut maps = self.maps();
        maps.next().map_or(0, LinearMap::inputs)
    }

    /// Number of results for one sample.
    pub fn outputs(&self) -> usize {
        self.maps().last().map_or(0, LinearMap::outputs)
    }

    fn maps(&self) -> impl Iterator<Item = &LinearMap> {
        self.steps.iter().filter_map(|step| match step {
            Step::Linear { map, .. } => Some(&**map),
            Step::Square => None,
        })
    }

    /// Bits and depth after each step, from the actual weights and the bound of the inputs.
    ///
    /// The bound of an output is Σ|E|·bound + |B|, the largest over the outputs: it is reached by
    /// some input, so a scheme with one bit less is too small.
    pub fn requirements(&self) -> Vec<Requirement> {
        let (mut bound, mut depth) = (self.input_bound as f64, 0);
        let mut after = |step: &Step| {
            let name = match step {
                Step::Linear { name, map, weights, biases } => {
                    let entries = map.entries(weights);
                    let taps = map.forward_taps();
                    let row = |o: usize| {
                        let taps = taps.of(o).iter();
                        let sum: f64 =
                            taps.map(|t| entries[t.weight as usize].unsigned_abs() as f64).sum();
                        let bias = biases[map.bias_of(o)].unsigned_abs() as f64;
                        sum * bound + bias
                    };
                    bound = (0..map.outputs()).map(row).fold(0.0, f64::max);
                    name.clone()
                }
                Step::Square => {
                    bound *= bound;
                    depth += 1;
                    "square".into()
                }
            };
            Requirement { step: name, bits: signed_bits_for(bound), depth }
        };
        self.steps.iter().map(&mut after).collect()
    }

    /// The exact result for `inputs` of shape `[features, batch]`.
    ///
    /// # Errors
    /// [`RangeError::Slot`] naming the step whose values leave 127 bits, [`ApiMisuse::Shape`], and
    /// [`ApiMisuse::Configuration`] for an input beyond the circuit's bound.
    pub fn evaluate(&self, inputs: &Array2<i128>) -> Result<Array2<i128>> {
        if let Some(wide) = self.requirements().into_iter().find(|r| r.bits > MAX_SLOT_BITS) {
            let (layer, needed, available) = (wide.step, wide.bits, MAX_SLOT_BITS);
            return Err(Error::Range(RangeError::Slot { layer, needed, available }));
        }
        if inputs.iter().any(|x| x.unsigned_abs() > u128::from(self.input_bound)) {
            let why = format!("must be at most {}", self.input_bound);
            return Err(ApiMisuse::configuration("inputs of the circuit", why).into());
        }
        self.steps.iter().try_fold(inputs.clone(), |x, step| match step {
            Step::Linear { map, .. } if x.nrows() != map.inputs() => {
                let expected = vec![map.inputs(), x.ncols()];
                Err(ApiMisuse::Shape { expected, got: x.shape().to_vec() }.into())
            }
            Step::Linear { map, weights, biases, .. } => {
                Ok(map.forward(weights, biases, x.view(), 1))
            }
            Step::Square => Ok(&x * &x),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use gelu_core::linear::Tap;
    use gelu_core::slots::signed_bits;
    use ndarray::array;
    use proptest::prelude::*;

    pub(crate) fn dense(weights: Vec<i128>, inputs: u32, biases: Vec<i128>) -> Step {
        let outputs = u32::try_from(biases.len()).unwrap();
        let row = |o| (0..inputs).map(|i| Tap { source: i, weight: o * inputs + i }).collect();
        let rows: Vec<Vec<Tap>> = (0..outputs).map(row).collect();
        let map =
            LinearMap::new(inputs as usize, weights.len(), &rows, (0..outputs).collect()).unwrap();
        Step::Linear { name: format!("dense{outputs}"), map: Box::new(map), weights, biases }
    }

    /// (3x − 2y + 1)² by hand, and its requirements: |z| ≤ 5·7 + 1 = 36, z² ≤ 1296.
    #[test]
    fn a_square_by_hand() {
        let circuit = Circuit::new(7, vec![dense(vec![3, -2], 2, vec![1]), Step::Square]).unwrap();
        assert_eq!(circuit.evaluate(&array![[7, 1], [-7, 2]]).unwrap(), array![[1296, 0]]);
        let needs: Vec<_> = circuit.requirements().iter().map(|r| (r.bits, r.depth)).collect();
        assert_eq!(needs, [(7, 0), (12, 1)]);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let squares = vec![dense(vec![1 << 20], 1, vec![0]), Step::Square, Step::Square];
        let circuit = Circuit::new(1 << 20, squares).unwrap();
        assert_eq!(
            circuit.evaluate(&array![[1]]).unwrap_err().to_string(),
            "the numbers do not fit: square needs 162 bits, the plaintext slot has 127"
        );
        let small = Circuit::new(3, vec![dense(vec![1], 1, vec![0])]).unwrap();
        assert!(small.evaluate(&array![[4]]).is_err(), "beyond the input's bound");
        assert!(small.evaluate(&array![[1], [1]]).is_err(), "one input too many");
        let mismatched = vec![dense(vec![1, 1], 1, vec![0, 0]), dense(vec![1], 1, vec![0])];
        assert!(Circuit::new(3, mismatched).is_err());
        assert!(Circuit::new(3, vec![Step::Square]).is_err());
    }

    proptest! {
        /// The requirement bounds every result, and the worst input reaches it.
        #[test]
        fn requirements_are_tight(w in prop::array::uniform3(-50i128..50), b in -50i128..50) {
            let circuit = Circuit::new(9, vec![dense(w.to_vec(), 3, vec![b]), Step::Square]).unwrap();
            let bits = circuit.requirements()[1].bits;
            let worst = |sign: i128| {
                Array2::from_shape_fn((3, 1), |(i, _)| 9 * sign * w[i].signum())
            };
            let reached = [1, -1].map(|s| signed_bits(circuit.evaluate(&worst(s)).unwrap()[[0, 0]]));
            prop_assert_eq!(reached.into_iter().max().unwrap(), bits);
        }
    }
}
