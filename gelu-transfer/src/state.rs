//! What a training goes on from: the heads at a refresh.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `gelu-hd1` |
//! | 4, 4, 4 | iteration, heads, inputs |
//! | 8 | l of the momentum |
//! | 8 each | for each head its v, then its w |
//!
//! Little-endian. Keys and data are not in it; weights are: the file is as secret as the head.

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::plain::{Head, MOST_ITERATIONS, Momentum};
use crate::plan::Plan;

const MAGIC: &[u8; 8] = b"gelu-hd1";

/// Heads between two iterations. Wiped on drop, never printed.
#[derive(Clone, PartialEq)]
pub struct State {
    pub(crate) iteration: usize,
    pub(crate) momentum: Momentum,
    pub(crate) heads: Vec<Head>,
}

impl State {
    /// Before the first iteration.
    pub(crate) fn new(heads: usize, inputs: usize) -> Self {
        let heads = vec![Head::zero(inputs); heads];
        Self { iteration: 0, momentum: Momentum::default(), heads }
    }

    /// Iterations that are done.
    #[must_use]
    pub fn iteration(&self) -> usize {
        self.iteration
    }

    /// One for each class; one alone for two.
    #[must_use]
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// Whether a plan's training can go on from it.
    ///
    /// # Errors
    /// [`Error::State`] when it is of other sizes.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        if self.heads.len() != plan.settings().heads
            || self.heads.iter().any(|head| head.v.len() != plan.inputs())
        {
            return Err(Error::State("it is of another number of heads or features"));
        }
        Ok(())
    }

    /// The state as bytes.
    ///
    /// # Errors
    /// [`Error::State`] for more than 2^32 iterations.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>> {
        let inputs = self.heads.first().map_or(0, |head| head.v.len());
        let mut out = Zeroizing::new(Vec::with_capacity(28 + 16 * inputs * self.heads.len()));
        out.extend(MAGIC);
        for number in [self.iteration, self.heads.len(), inputs] {
            let number =
                u32::try_from(number).map_err(|_| Error::State("a number is too large"))?;
            out.extend(number.to_le_bytes());
        }
        out.extend(self.momentum.l.to_le_bytes());
        for x in self.heads.iter().flat_map(|head| head.v.iter().chain(&head.w)) {
            out.extend(x.to_le_bytes());
        }
        Ok(out)
    }

    /// Reads a state.
    ///
    /// # Errors
    /// [`Error::State`] says what is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let short = Error::State("it ends early");
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(short.clone())?;
        if magic != MAGIC {
            return Err(Error::State("it begins with other bytes"));
        }
        let (numbers, rest) = rest.split_first_chunk::<12>().ok_or(short.clone())?;
        let [iteration, heads, inputs] = [0, 4, 8].map(|at| {
            let word = [numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]];
            u32::from_le_bytes(word) as usize
        });
        let (l, rest) = rest.split_first_chunk::<8>().ok_or(short)?;
        let l = f64::from_le_bytes(*l);
        let length = heads.checked_mul(inputs).and_then(|count| count.checked_mul(16));
        if heads == 0 || inputs == 0 || length != Some(rest.len()) {
            return Err(Error::State("its length is not that of its heads"));
        }
        if iteration > MOST_ITERATIONS {
            return Err(Error::State("it has more than 2^20 iterations"));
        }
        // The compute party counts it from the iteration.
        let mut momentum = Momentum::default();
        momentum.by_ref().take(iteration).for_each(drop);
        if l != momentum.l {
            return Err(Error::State("its momentum is not that of its iteration"));
        }
        let numbers = Zeroizing::new(
            rest.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect::<Vec<_>>(),
        );
        if numbers.iter().any(|x| !x.is_finite()) {
            return Err(Error::NotFinite("a weight of the state"));
        }
        let heads = numbers.chunks_exact(2 * inputs).map(|head| {
            let (v, w) = head.split_at(inputs);
            Head { v: v.to_vec(), w: w.to_vec() }
        });
        Ok(Self { iteration, momentum, heads: heads.collect() })
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State(iteration {}, {} heads)", self.iteration, self.heads.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let mut state = State::new(2, 3);
        for beta in state.momentum.take(2).collect::<Vec<_>>() {
            state.heads.iter_mut().for_each(|head| head.step(&[0.5, -1.0, 7.25], 0.1, beta));
        }
        state.momentum.nth(1);
        state.iteration = 2;
        state
    }

    #[test]
    fn a_state_comes_back_and_is_not_printed() {
        let bytes = state().to_bytes().unwrap();
        assert_eq!(bytes.len(), 28 + 16 * 6);
        assert!(State::from_bytes(&bytes).unwrap() == state());
        assert_eq!(format!("{:?}", state()), "State(iteration 2, 2 heads)");
    }

    proptest::proptest! {
        #[test]
        fn other_bytes_are_refused_or_are_a_state(at in 0..124usize, byte: u8) {
            let mut bytes = state().to_bytes().unwrap().to_vec();
            bytes[at] = byte;
            if let Ok(state) = State::from_bytes(&bytes) {
                proptest::prop_assert_eq!(&state.to_bytes().unwrap()[..], &bytes[..]);
            }
        }
    }

    #[test]
    fn bytes_that_are_no_state_are_refused() {
        let bytes = state().to_bytes().unwrap();
        for length in 0..bytes.len() {
            assert!(State::from_bytes(&bytes[..length]).is_err());
        }
        let changed = |at: usize, new: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes[at..at + new.len()].copy_from_slice(new);
            State::from_bytes(&bytes).unwrap_err()
        };
        assert!(matches!(changed(0, b"G"), Error::State(_)));
        assert!(matches!(changed(8, &[255; 4]), Error::State(_)));
        assert!(matches!(changed(12, &[0; 4]), Error::State(_)));
        assert!(matches!(changed(12, &[255; 8]), Error::State(_)));
        for l in [f64::NAN, 0.5, 9.0] {
            assert!(matches!(changed(20, &l.to_le_bytes()), Error::State(_)));
        }
        let refused = changed(28, &f64::INFINITY.to_le_bytes());
        assert_eq!(refused, Error::NotFinite("a weight of the state"));
        assert!(State::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }
}
