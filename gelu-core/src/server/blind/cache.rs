//! What blind queries need ready of a model: made once, and shared by all sessions of a server.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::blind::{Answer, Circuits};
use crate::circuit::two_party::Weighted;
use crate::error::Result;
use crate::fixed::Precision;
use crate::ledger::Exposure;
use crate::network::Network;
use crate::server::ServedModel;
use crate::server::layer::offsets;

/// Circuits of a network, and weights of its last version. Neither depends on a client's key.
#[derive(Default)]
pub(in crate::server) struct BlindCache {
    shapes: Mutex<Vec<Shape>>,
    weights: Mutex<Option<(Arc<ServedModel>, Weights)>>,
}

/// W and b of every stage.
pub(super) type Weights = Arc<Vec<Weighted>>;

/// What follows from a network, its formats and the kind of answer alone.
#[derive(Clone)]
pub(super) struct Shape {
    network: Arc<Network>,
    precision: Precision,
    pub(super) circuits: Arc<Circuits>,
    /// What a sample costs in the ledger.
    pub(super) exposure: Arc<Exposure>,
}

impl Shape {
    fn is_of(&self, model: &ServedModel) -> bool {
        Arc::ptr_eq(&self.network, &model.network) && self.precision == model.precision
    }
}

impl BlindCache {
    /// The circuits for answers of a kind. Nothing is kept of networks that were served before.
    ///
    /// # Errors
    /// As [`Circuits::new`].
    pub(super) fn shape(&self, model: &ServedModel, answer: Answer) -> Result<Shape> {
        let found = |shapes: &mut Vec<Shape>| {
            shapes.retain(|shape| shape.is_of(model));
            shapes.iter().find(|shape| shape.circuits.answer() == answer).cloned()
        };
        if let Some(shape) = found(&mut locked(&self.shapes)) {
            return Ok(shape);
        }
        // Nobody waits for it: of two sessions that begin at once both make it, and one is kept.
        let (network, precision) = (Arc::clone(&model.network), model.precision);
        let circuits = Arc::new(Circuits::new(&network, &precision, answer)?);
        let exposure = Arc::new(Exposure::blind(&network, &precision, &circuits));
        let made = Shape { network, precision, circuits, exposure };
        let mut shapes = locked(&self.shapes);
        Ok(found(&mut shapes).unwrap_or_else(|| {
            shapes.push(made.clone());
            made
        }))
    }

    /// The weights of a model, modulo 2^64. Those of the newest version that was asked for are kept.
    ///
    /// # Errors
    /// As [`Weighted::new`].
    pub(super) fn weights(&self, model: &Arc<ServedModel>) -> Result<Weights> {
        if let Some((of, weights)) = &*locked(&self.weights)
            && Arc::ptr_eq(of, model)
        {
            return Ok(Arc::clone(weights));
        }
        let layers = model.network.stages().iter().zip(&model.parameters.layers).enumerate();
        let weighted = layers.map(|(number, (stage, layer))| {
            Weighted::new(&stage.linear, &layer.weights, &offsets(model, number, layer))
        });
        let made = Arc::new(weighted.collect::<Result<Vec<_>>>()?);
        let mut kept = locked(&self.weights);
        if kept.as_ref().is_none_or(|(of, _)| of.version <= model.version) {
            *kept = Some((Arc::clone(model), Arc::clone(&made)));
        }
        Ok(made)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it is held")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ServedModel {
        ServedModel { precision: Precision::INFERENCE, ..crate::tests::model() }
    }

    #[test]
    fn circuits_are_made_once_for_a_network_and_a_kind_of_answer() {
        let (cache, model) = (BlindCache::default(), model());
        let made = |model, answer| cache.shape(model, answer).unwrap().circuits;
        let first = made(&model, Answer::Class);
        let next = ServedModel { version: model.version + 1, ..model.clone() };
        let scores = made(&next, Answer::Scores);
        assert_eq!(scores.answer(), Answer::Scores);
        assert!(Arc::ptr_eq(&first, &made(&next, Answer::Class)), "of all versions");
        let other = self::model();
        assert!(!Arc::ptr_eq(&first, &made(&other, Answer::Class)));
        assert_eq!(locked(&cache.shapes).len(), 1, "nothing is kept of another network");
    }

    #[test]
    fn weights_are_those_of_their_version() {
        let (cache, model) = (BlindCache::default(), Arc::new(model()));
        let first = cache.weights(&model).unwrap();
        assert!(Arc::ptr_eq(&first, &cache.weights(&model).unwrap()));
        let next = Arc::new(ServedModel { version: model.version + 1, ..(*model).clone() });
        let second = cache.weights(&next).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        // A query that began before still gets its own, and the newer ones stay.
        assert!(!Arc::ptr_eq(&second, &cache.weights(&model).unwrap()));
        assert!(Arc::ptr_eq(&second, &cache.weights(&next).unwrap()));
    }
}
