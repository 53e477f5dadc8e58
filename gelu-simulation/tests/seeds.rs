//! Two hundred seeds, and what they are worth.

use gelu_simulation::{Broken, Counts, Plant, run};

fn told(seed: u64) -> impl Fn(Broken) -> String {
    move |broken| format!("{broken}; once more: gelu-bench simulate --from {seed} --seeds 1")
}

#[test]
fn every_law_holds_in_two_hundred_seeds_and_every_fault_comes() {
    let counts = (0..200).fold(Counts::default(), |counts, seed| {
        counts.plus(run(seed, None).map_err(told(seed)).unwrap().counts)
    });
    println!("{counts}");
    let Counts { crashes, failed_writes, cuts, silences, jumps, cancelled, .. } = counts;
    for (what, number) in [
        ("crashes", crashes),
        ("failed writes", failed_writes),
        ("cut links", cuts),
        ("silent links", silences),
        ("jumps of the clock", jumps),
        ("clients that went away", cancelled),
        ("versions", counts.versions),
        ("tickets", counts.tickets),
    ] {
        assert!(number >= 20, "{number} {what}");
    }
}

#[test]
fn a_seed_is_a_run() {
    let runs: Vec<_> = (0..8).map(|seed| run(seed, None).unwrap()).collect();
    for (seed, before) in (0..8).zip(&runs) {
        assert_eq!(run(seed, None).unwrap(), *before, "seed {seed}");
    }
    assert_ne!(runs[0].trace, runs[1].trace);
}

#[test]
fn a_charge_after_the_answer_is_found_within_a_thousand_seeds() {
    let found = (0..1000).find_map(|seed| Some((seed, run(seed, Some(Plant::ChargeAfterAnswer)).err()?)));
    let (seed, broken) = found.expect("the simulation is blind to it");
    println!("seed {seed}: {broken}");
    assert!(matches!(broken, Broken::Unbooked(_)), "{broken}");
}
