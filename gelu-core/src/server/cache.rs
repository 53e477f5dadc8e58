//! Weights made ready for queries, shared by all sessions of a server.

use std::sync::{Arc, Mutex, MutexGuard};

use super::ServedModel;
use super::blind::BlindCache;
use super::layer::prepare;
use crate::backend::{Backend, Layout};
use crate::error::Result;

/// How many layouts of a stage are kept: clients who ask for batches of many sizes take time, not memory.
const LAYOUTS: usize = 4;

/// Weights of a model in the layouts that queries used last.
///
/// A backend may spend long on making weights ready ([`Layout::prepare`]), and they depend on no client's
/// key. So they are made once for a version of the model and a layout, by the first session that asks.
pub struct WeightCache<B: Backend> {
    /// The last used first.
    entries: Mutex<Vec<Entry<B>>>,
    pub(super) blind: BlindCache,
}

/// The weights of a stage in a layout.
struct Entry<B: Backend> {
    model: Arc<ServedModel>,
    stage: usize,
    layout: B::Layout,
    biased: bool,
    weights: Weights<B>,
}

type Weights<B> = Arc<<<B as Backend>::Layout as Layout<B>>::Weights>;

impl<B: Backend> Default for WeightCache<B> {
    fn default() -> Self {
        Self { entries: Mutex::default(), blind: BlindCache::default() }
    }
}

impl<B: Backend> WeightCache<B> {
    /// The weights of a stage of `model`, ready in `layout`, with or without its bias.
    pub(super) fn get(
        &self,
        model: &Arc<ServedModel>,
        stage: usize,
        layout: &B::Layout,
        biased: bool,
    ) -> Result<Weights<B>> {
        let found = |entries: &mut Vec<Entry<B>>| {
            let at = entries.iter().position(|entry| {
                let same =
                    (entry.stage, entry.biased) == (stage, biased) && entry.layout == *layout;
                same && Arc::ptr_eq(&entry.model, model)
            })?;
            entries[..=at].rotate_right(1);
            Some(Arc::clone(&entries[0].weights))
        };
        if let Some(weights) = found(&mut self.entries()) {
            return Ok(weights);
        }
        // Nobody waits for it: of two sessions that begin at once both make it, and one is kept.
        let layer = &model.parameters.layers[stage];
        let made = Arc::new(prepare::<B>(layout, model, stage, layer, biased)?);
        let mut entries = self.entries();
        if let Some(weights) = found(&mut entries) {
            return Ok(weights);
        }
        let (version, weights) = (model.version, Arc::clone(&made));
        let (model, layout) = (Arc::clone(model), layout.clone());
        entries.insert(0, Entry { model, stage, layout, biased, weights });
        let mut kept = 0;
        entries.retain(|entry| {
            kept += usize::from(entry.stage == stage && entry.model.version >= version);
            entry.stage != stage || (entry.model.version >= version && kept <= LAYOUTS)
        });
        Ok(made)
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry<B>>> {
        self.entries.lock().expect("nothing panics while it is held")
    }
}

impl<B: Backend> core::fmt::Debug for WeightCache<B> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("WeightCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clear::{Clear, ClearKey};
    use crate::plan::{Plan, Purpose};
    use crate::tests::model;

    fn layout(model: &ServedModel, batch: usize) -> <Clear as Backend>::Layout {
        let (key, purpose) = (ClearKey::new(2048).unwrap(), Purpose::Inference);
        let (network, precision) = (&model.network, &model.precision);
        let plan = Plan::new::<Clear>(network, precision, batch, purpose, &key).unwrap();
        plan.stages[0].forward.layout().clone()
    }

    #[test]
    fn the_same_weights_are_made_once() {
        let (cache, model) = (WeightCache::<Clear>::default(), Arc::new(model()));
        let made = |batch, model| cache.get(model, 0, &layout(model, batch), true).unwrap();
        let first = made(1, &model);
        assert!(Arc::ptr_eq(&first, &made(1, &model)));
        let next = Arc::new(ServedModel { version: model.version + 1, ..(*model).clone() });
        assert!(!Arc::ptr_eq(&first, &made(1, &next)), "another version has weights of its own");
        assert_eq!(cache.entries().len(), 1, "nothing is kept of an older version");
        // A query that began before still gets its own version's.
        made(1, &model);
        assert_eq!(cache.entries().len(), 2);
        assert!(cache.entries().iter().any(|entry| entry.model.version == next.version));
    }

    #[test]
    fn batches_of_many_sizes_are_not_all_kept() {
        let (cache, model) = (WeightCache::<Clear>::default(), Arc::new(model()));
        let layouts: Vec<_> = (0..10).map(|log| layout(&model, 1 << log)).collect();
        let different = (1..layouts.len()).filter(|&i| !layouts[..i].contains(&layouts[i]));
        assert!(different.count() >= LAYOUTS, "{layouts:?}");
        let first = cache.get(&model, 0, &layouts[0], true).unwrap();
        for layout in &layouts[1..] {
            cache.get(&model, 0, layout, true).unwrap();
            // What is used again stays.
            assert!(Arc::ptr_eq(&first, &cache.get(&model, 0, &layouts[0], true).unwrap()));
        }
        assert_eq!(cache.entries().len(), LAYOUTS);
    }
}
