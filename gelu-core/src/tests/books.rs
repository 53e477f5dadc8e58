//! The ledger's numbers, exactly: what is left, what is booked where, what is drawn.

use core::convert::Infallible;

use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::{TryCryptoRng, TryRng};

use crate::error::Refused;
use crate::ledger::{Exposure, LayerExposure, LeaseTerms, Ledger, Policy};
use crate::plan::Direction::{Backward, Forward};

/// A layer worth `secret` bits that gives `per_sample` away.
fn layer(
    name: &str,
    direction: crate::plan::Direction,
    secret: u64,
    per_sample: u64,
) -> LayerExposure {
    LayerExposure {
        layer: name.into(),
        direction,
        unknowns: 10,
        equations_per_sample: 1,
        secret_bits: secret,
        revealed_bits_per_sample: per_sample,
        frozen: false,
    }
}

fn of(layers: &[LayerExposure]) -> Exposure {
    Exposure { model: layers.to_vec(), data: Vec::new() }
}

/// k samples are safe while k·per_sample < secret, and not one more.
#[test]
fn what_is_left_is_what_stays_below_the_bound() {
    for (secret, per_sample, safe) in
        [(100, 40, 2), (80, 40, 1), (81, 40, 2), (120, 40, 2), (121, 40, 3), (40, 40, 0), (7, 1, 6)]
    {
        let exposure = of(&[layer("a", Forward, secret, per_sample)]);
        let mut ledger = Ledger::default();
        for left in (0..=safe).rev() {
            assert_eq!(ledger.remaining("alice", 1, &exposure), left, "{secret}, {per_sample}");
            let all = ledger.clone().charge("alice", 1, &exposure, left, Policy::Enforce);
            all.unwrap();
            let refused = ledger.clone().charge("alice", 1, &exposure, left + 1, Policy::Enforce);
            let revealed = (safe + 1) * per_sample;
            let expected = Refused::Budget { layer: "a".into(), revealed, bound: secret };
            assert_eq!(refused.unwrap_err(), expected);
            if left > 0 {
                ledger.charge("alice", 1, &exposure, 1, Policy::Enforce).unwrap();
            }
        }
        // Where extraction is allowed it may go on; nothing is left then, and nothing underflows.
        ledger.charge("alice", 1, &exposure, 5, Policy::AllowModelExtraction).unwrap();
        assert_eq!(ledger.remaining("alice", 1, &exposure), 0);
        assert_eq!(ledger.revealed("alice", 1, &exposure.model[0]), (safe + 5) * per_sample);
    }
}

/// The narrowest layer decides, wherever it stands.
#[test]
fn the_least_of_all_layers_is_left() {
    let (wide, narrow) = (layer("a", Forward, 1000, 10), layer("b", Backward, 100, 30));
    for layers in [[wide.clone(), narrow.clone()], [narrow, wide]] {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.remaining("alice", 1, &of(&layers)), 3);
        let refused = ledger.charge("alice", 1, &of(&layers), 4, Policy::Enforce).unwrap_err();
        let expected = Refused::Budget { layer: "b".into(), revealed: 120, bound: 100 };
        assert_eq!(refused, expected);
        assert_eq!(ledger, Ledger::default(), "neither layer was booked");
    }
    assert_eq!(Ledger::default().remaining("alice", 1, &of(&[])), 0);
}

/// Two layers, two directions, two versions, two accounts: none is booked on another's page.
#[test]
fn every_page_of_the_books_is_its_own() {
    let pages = [
        layer("a", Forward, 100, 10),
        layer("a", Backward, 100, 10),
        layer("b", Forward, 100, 10),
        layer("b", Backward, 100, 10),
    ];
    for booked in &pages {
        let mut ledger = Ledger::default();
        ledger.charge("alice", 1, &of(core::slice::from_ref(booked)), 3, Policy::Enforce).unwrap();
        for page in &pages {
            let seen = if page == booked { 30 } else { 0 };
            assert_eq!(ledger.revealed("alice", 1, page), seen, "{page:?} after {booked:?}");
            assert_eq!(ledger.revealed("alice", 2, page), 0);
            assert_eq!(ledger.revealed("bob", 1, page), 0);
        }
    }
    // All at once: each adds up by itself.
    let mut ledger = Ledger::default();
    let widths = [10, 20, 30, 40];
    let each = |(page, per_sample): (&LayerExposure, u64)| LayerExposure {
        revealed_bits_per_sample: per_sample,
        secret_bits: 1000,
        ..page.clone()
    };
    let all: Vec<_> = pages.iter().zip(widths).map(each).collect();
    for samples in [1, 2] {
        ledger.charge("alice", 1, &of(&all), samples, Policy::Enforce).unwrap();
    }
    for (page, per_sample) in pages.iter().zip(widths) {
        assert_eq!(ledger.revealed("alice", 1, page), 3 * per_sample);
    }
}

/// A version that an account made begins with all that it has seen of the one before, page by page.
#[test]
fn a_version_of_ones_own_begins_with_what_was_seen() {
    let (a, b) = (layer("a", Forward, 100, 10), layer("b", Forward, 100, 20));
    let mut ledger = Ledger::default();
    ledger.charge("alice", 4, &of(&[a.clone(), b.clone()]), 2, Policy::Enforce).unwrap();
    ledger.charge("bob", 4, &of(core::slice::from_ref(&a)), 1, Policy::Enforce).unwrap();
    ledger.account("alice").carry(4, 5);
    for (account, version, expected) in
        [("alice", 4, [20, 40]), ("alice", 5, [20, 40]), ("bob", 4, [10, 0]), ("bob", 5, [0, 0])]
    {
        let seen = [&a, &b].map(|page| ledger.revealed(account, version, page));
        assert_eq!(seen, expected, "{account} {version}");
    }
    assert_eq!(ledger.remaining("alice", 5, &of(&[a, b])), 2);
}

/// Numbers given in advance.
struct Given(Vec<u64>);

impl TryRng for Given {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("lengths are drawn from 64 bits")
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.remove(0))
    }
    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Infallible> {
        unreachable!("lengths are drawn from 64 bits")
    }
}
impl TryCryptoRng for Given {}

/// Draws that would prefer some lengths are thrown away: for n lengths those at and above the last
/// multiple of n below 2^64 − 1.
#[test]
fn no_length_is_likelier_than_another() {
    let exposure = of(&[layer("a", Forward, 1000, 1)]);
    let draw = |lengths: u64, given: &[u64]| {
        let mut rng = Given(given.to_vec());
        let terms = LeaseTerms { batch: 1, steps: 99, least: 1, most_samples: lengths };
        let policy = Policy::AllowModelExtraction;
        let steps = Ledger::default().draw_lease("a", 1, &exposure, terms, policy, &mut rng);
        (steps.unwrap(), given.len() - rng.0.len())
    };
    assert_eq!(draw(2, &[0, 9]), (1, 1));
    assert_eq!(draw(2, &[u64::MAX - 2, 9]), (2 - u32::from(u64::MAX % 2 == 0), 1));
    assert_eq!(draw(2, &[u64::MAX, 0]), (1, 2));
    assert_eq!(draw(2, &[u64::MAX - 1, 1]), (2, 2));
    assert_eq!(draw(4, &[u64::MAX - 4, 9]), (4, 1));
    assert_eq!(draw(4, &[u64::MAX - 3, 6]), (3, 2));

    // And each comes as often as the others, within five standard deviations.
    let rng = &mut ChaCha20Rng::seed_from_u64(5);
    let mut counts = [0u32; 7];
    for _ in 0..7_000 {
        let terms = LeaseTerms { batch: 10, steps: 99, least: 2, most_samples: 89 };
        let policy = Policy::AllowModelExtraction;
        let steps = Ledger::default().draw_lease("a", 1, &exposure, terms, policy, rng).unwrap();
        counts[steps as usize - 2] += 1;
    }
    assert!(counts.iter().all(|&n| n.abs_diff(1000) < 5 * 30), "{counts:?}");
}
