//! The laws that the books keep, whatever has happened.

use std::collections::BTreeMap;

use gelu_core::ledger::{Account, Policy};
use gelu_nn::Model;
use gelu_service::server::content;
use gelu_store::{Ended, Store};

use crate::subject::{NAME, Subject};
use crate::world::{Broken, World};

/// See the [laws](crate).
pub(crate) fn check(world: &World, store: &Store) -> Result<(), Broken> {
    let checked = store.verify().map_err(unreadable)?;
    if let Some(damage) = checked.damages.first() {
        return Err(Broken::Books(format!("{}: {}", damage.key, damage.why)));
    }
    current(store)?;
    versions(world, store)?;
    booked(world, store)
}

/// The model that the books hold, which is whole; `None` before it was published.
pub(crate) fn current(store: &Store) -> Result<Option<Model>, Broken> {
    let Some((version, bytes)) = store.weights(NAME).map_err(unreadable)? else { return Ok(None) };
    let broken = |why: String| Broken::Version(format!("version {}: {why}", version.version));
    let model = Model::from_bytes(&bytes).map_err(|error| broken(error.to_string()))?;
    let holds = content(&model).map_err(|error| broken(error.to_string()))?;
    if (model.version(), &holds) != (version.version, &version.content) {
        return Err(broken(format!("its bytes are version {} and hold {holds}", model.version())));
    }
    Ok(Some(model))
}

/// Every version is the end of one lease, and whoever was told of one has made it.
fn versions(world: &World, store: &Store) -> Result<(), Broken> {
    let mut ends = Vec::new();
    let journal = store.leases(NAME, |number, lease| {
        if let Some(Ended::Committed(version)) = lease.ended {
            ends.push((number, version, lease.account));
        }
        Ok(())
    });
    journal.map_err(unreadable)?;
    let last = store.current(NAME).map_err(unreadable)?.map_or(0, |current| current.version);
    let versions: Vec<_> = ends.iter().map(|(_, version, _)| *version).collect();
    if versions != (1..=last).collect::<Vec<_>>() {
        let why = format!("the model is at version {last}, and leases have ended as {versions:?}");
        return Err(Broken::Lease(why));
    }
    let mut told = world.witness().committed.clone();
    told.sort_by_key(|(_, version)| *version);
    if let Some([(one, version), (other, _)]) = told.windows(2).find(|two| two[0].1 == two[1].1) {
        return Err(Broken::Lease(format!("{one} and {other} were told of version {version}")));
    }
    for (account, version) in &told {
        let made = ends.iter().any(|(_, end, of)| (end, of) == (version, account));
        if !made {
            return Err(Broken::Lease(format!("{account} was told of version {version}")));
        }
    }
    Ok(())
}

/// Bits of all answers that have arrived ≤ bits in the books, of every account and layer.
fn booked(world: &World, store: &Store) -> Result<(), Broken> {
    let mut seen: BTreeMap<String, Account> = BTreeMap::new();
    for ((account, kind), samples) in &world.witness().answered {
        let exposure = Subject::get().exposure(*kind);
        let exposure = exposure.map_err(|error| Broken::Setup(error.to_string()))?;
        let seen = seen.entry(account.clone()).or_default();
        // One line of versions: what counts here is the sum of all.
        seen.charge(0, &exposure, *samples, Policy::AllowModelExtraction)
            .map_err(|error| Broken::Setup(error.to_string()))?;
    }
    for (name, seen) in &seen {
        let booked = sums(&store.account(NAME, name).map_err(unreadable)?);
        for (layer, arrived) in sums(seen) {
            let booked = booked.get(&layer).copied().unwrap_or(0);
            if booked < arrived {
                let why = format!(
                    "{arrived} bits of {layer} have arrived at {name}, {booked} are booked"
                );
                return Err(Broken::Unbooked(why));
            }
        }
    }
    Ok(())
}

/// Bits by layer and direction, of all versions together.
fn sums(account: &Account) -> BTreeMap<String, u64> {
    let mut sums = account.frozen().clone();
    for (_, bits) in account.lines() {
        for (layer, bits) in bits {
            *sums.entry(layer.clone()).or_default() += bits;
        }
    }
    sums
}

fn unreadable(error: gelu_store::Error) -> Broken {
    Broken::Books(error.to_string())
}
