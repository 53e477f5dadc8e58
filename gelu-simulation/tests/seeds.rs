//! Two hundred seeds, and what they are worth.

use gelu_simulation::{Broken, Counts, Found, Plant, run, search};

#[test]
fn every_law_holds_in_two_hundred_seeds_and_every_fault_comes() {
    let again = |found: Found| {
        format!("{found}; again: gelu-bench simulate --from {} --seeds 1", found.seed)
    };
    let counts = search(0..200, None, &|| {}).map_err(again).unwrap();
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
    let Found { seed, broken } =
        search(0..1000, Some(Plant::ChargeAfterAnswer), &|| {}).unwrap_err();
    println!("seed {seed}: {broken}");
    assert!(matches!(broken, Broken::Unbooked(_)), "{broken}");
    assert_eq!(run(seed, Some(Plant::ChargeAfterAnswer)), Err(broken), "a seed is a run");
    run(seed, None).unwrap();
}
