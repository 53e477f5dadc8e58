//! The values of a mini-batch between the linear maps of a network, and their gradients.
//!
//! ```text
//! forward    v[n+1] = W·v[s] + b   or   f(v[s])   or   v[s] + v[t]
//! backward   g[s] += W'·g[n+1]   or   f'(v[s], v[n+1], g[n+1])   or   g[n+1], to both terms
//! ```
//! A tape runs every step but the linear ones, for which it stops: who drives it multiplies, or asks who can. A value that
//! several steps take has the sum of their gradients, the last step first. Gradients that nobody asks for, below the first
//! weights that are trained, are not computed.
//!
//! Sums of values and of gradients are those of 64-bit floating point, in the order of the steps: every party that runs a
//! network gets the same bits.

use std::sync::Arc;

use ndarray::Array2;

use crate::network::{Network, Step};

/// A mini-batch on its way through a network: see the [module](self). Arrays are `[features, batch]`.
#[derive(Debug)]
pub struct Tape {
    network: Arc<Network>,
    values: Vec<Array2<f64>>,
    /// One for each value once the way back has begun.
    gradients: Vec<Option<Array2<f64>>>,
    /// Steps that the way back has still to go.
    left: usize,
}

impl Tape {
    /// Runs from the input, `[network.inputs(), batch]`, to the first linear map.
    ///
    /// # Panics
    /// As the local functions of the network, for another number of features.
    pub fn new(network: Arc<Network>, inputs: Array2<f64>) -> Self {
        let mut tape = Self { network, values: vec![inputs], gradients: Vec::new(), left: 0 };
        tape.run();
        tape
    }

    /// The stage whose sums come next, and what it takes; `None` when the way forward is over.
    pub fn stage(&self) -> Option<(usize, &Array2<f64>)> {
        match self.network.steps().get(self.values.len() - 1)? {
            Step::Linear { stage, source } => Some((*stage, &self.values[*source])),
            Step::Local { .. } | Step::Add { .. } => None,
        }
    }

    /// Takes z of that stage, and runs to the next linear map or to the end.
    ///
    /// # Panics
    /// When there is no such stage.
    pub fn advance(&mut self, z: Array2<f64>) {
        assert!(self.stage().is_some(), "there is a stage to take sums of");
        self.values.push(z);
        self.run();
    }

    fn run(&mut self) {
        while let Some(step) = self.network.steps().get(self.values.len() - 1) {
            let next = match step {
                Step::Linear { .. } => return,
                Step::Local { function, source } => function.forward(&self.values[*source]),
                Step::Add { sources: [a, b] } => &self.values[*a] + &self.values[*b],
            };
            self.values.push(next);
        }
    }

    /// The scores, once the way forward is over.
    pub fn scores(&self) -> Option<&Array2<f64>> {
        self.values.get(self.network.steps().len())
    }

    /// Takes the gradient of the scores, and runs back to the last linear map.
    ///
    /// # Panics
    /// Before the way forward is over, or twice.
    pub fn turn(&mut self, gradient: Array2<f64>) {
        assert!(self.scores().is_some() && self.gradients.is_empty(), "turns once, at the end");
        self.left = self.network.steps().len();
        self.gradients = vec![None; self.values.len()];
        self.gradients[self.left] = Some(gradient);
        self.run_back();
    }

    /// The stage that the way back has reached, and dL/dz; `None` when it has not begun or is over.
    pub fn errors(&self) -> Option<(usize, &Array2<f64>)> {
        match self.network.steps()[..self.left].last()? {
            Step::Linear { stage, .. } => Some((*stage, self.gradients[self.left].as_ref()?)),
            Step::Local { .. } | Step::Add { .. } => None,
        }
    }

    /// Takes what that stage propagates, dL/da = W'·dL/dz, if it [does](Network::propagates), and runs back to the linear
    /// map before it or to the end.
    ///
    /// # Panics
    /// When there is no such stage.
    pub fn retreat(&mut self, propagated: Option<Array2<f64>>) {
        let (stage, _) = self.errors().expect("there is a stage to retreat from");
        if let Some(gradient) = propagated {
            self.add(self.network.source(stage), gradient);
        }
        self.left -= 1;
        self.run_back();
    }

    fn run_back(&mut self) {
        let network = Arc::clone(&self.network);
        while let Some(step) = network.steps()[..self.left].last() {
            if network.is_live(self.left) {
                if matches!(step, Step::Linear { .. }) {
                    return;
                }
                let gradient = self.gradients[self.left].take().expect("every value is taken");
                match step {
                    Step::Local { function, source } if network.is_live(*source) => {
                        let (z, a) = (&self.values[*source], &self.values[self.left]);
                        self.add(*source, function.backward(z, a, &gradient));
                    }
                    Step::Add { sources: [a, b] } => {
                        self.add(*a, gradient.clone());
                        self.add(*b, gradient);
                    }
                    Step::Local { .. } | Step::Linear { .. } => {}
                }
            }
            self.left -= 1;
        }
    }

    fn add(&mut self, value: usize, gradient: Array2<f64>) {
        if self.network.is_live(value) {
            match &mut self.gradients[value] {
                Some(sum) => *sum += &gradient,
                none => *none = Some(gradient),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::LinearMap;
    use crate::network::Stage;
    use crate::tests::networks::{Squared, Tanh, dense, residual};

    /// Some weights of a stage.
    fn weights(linear: &LinearMap, stage: usize) -> Vec<f64> {
        (0..linear.weights()).map(|k| libm::sin((k * 7 + stage * 3 + 1) as f64)).collect()
    }

    fn product(network: &Network, stage: usize, x: &Array2<f64>) -> Array2<f64> {
        let linear = &network.stages()[stage].linear;
        linear.forward(&weights(linear, stage), &vec![0.25; linear.biases()], x.view(), 1.0)
    }

    /// The scores when `e` is added to the sums of stage `at`.
    fn scores(network: &Arc<Network>, at: usize, e: &Array2<f64>) -> Tape {
        let inputs =
            Array2::from_shape_fn((network.inputs(), 2), |(i, s)| libm::cos((i + 5 * s) as f64));
        let mut tape = Tape::new(Arc::clone(network), inputs);
        while let Some((stage, x)) = tape.stage() {
            let z = product(network, stage, x);
            tape.advance(if stage == at { z + e } else { z });
        }
        tape
    }

    /// ⟨g, s(z + h·e) − s(z − h·e)⟩ / 2h = ⟨dL/dz, e⟩ at every stage of a graph.
    #[test]
    fn gradients_of_a_graph_are_its_gradients() {
        let network = Arc::new(residual(Box::new(Squared)));
        for at in 0..network.stages().len() {
            let outputs = network.stages()[at].linear.outputs();
            let e = Array2::from_shape_fn((outputs, 2), |(i, s)| libm::sin((3 * i + s) as f64));
            let mut tape = scores(&network, at, &(&e * 0.0));
            let g = tape.scores().unwrap().mapv(|s| 1.0 - 0.5 * s);
            tape.turn(g.clone());
            let mut found = None;
            while let Some((stage, errors)) = tape.errors() {
                if stage == at {
                    found = Some((errors * &e).sum());
                }
                let linear = &network.stages()[stage].linear;
                let below = linear.backward(&weights(linear, stage), errors.view());
                let below = network.propagates(stage).then_some(below);
                tape.retreat(below);
            }
            let h = 1e-5;
            let by = |h: f64| scores(&network, at, &(&e * h)).scores().unwrap().clone();
            let numeric = (&g * &(by(h) - by(-h))).sum() / (2.0 * h);
            let exact = found.expect("every stage is reached");
            assert!((numeric - exact).abs() < 1e-6, "stage {at}: {numeric} or {exact}?");
        }
    }

    /// A value that an addition takes twice has twice the gradient.
    #[test]
    fn a_value_may_be_added_to_itself() {
        let stages = vec![Stage { name: "only".into(), linear: dense(1, 1) }];
        let steps = vec![
            Step::Linear { stage: 0, source: 0 },
            Step::Add { sources: [1, 1] },
            Step::Local { function: Box::new(Tanh), source: 2 },
        ];
        let network = Arc::new(Network::new(1, stages, steps, Box::new(Squared)).unwrap());
        assert_eq!(network.meeting(0), 1);
        let mut tape = Tape::new(network, Array2::zeros((1, 1)));
        tape.advance(Array2::zeros((1, 1)));
        tape.turn(Array2::ones((1, 1)));
        assert_eq!(tape.errors().unwrap(), (0, &Array2::from_elem((1, 1), 2.0)));
    }
}
