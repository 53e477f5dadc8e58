//! BFV: the polynomial on all slots at once, and a slot's share of it.

use std::time::Duration;

use gelu_fhe_baseline::leveled::{ActivationCost, Polynomial, measure_activation};
use rand::rngs::ChaCha20Rng;

use super::{Amount, Cost};
use crate::Error;
use crate::timing::Patience;

/// Slots, and the ring's degree: the smallest that is secure for both polynomials.
const DEGREE: usize = 8192;

/// Both polynomials, alone and of many. Each run checks every slot.
pub(super) fn costs(patience: Patience, rng: &mut ChaCha20Rng) -> Result<Vec<Cost>, Error> {
    let mut all = Vec::new();
    for (polynomial, name) in [(Polynomial::Square, "square"), (Polynomial::Taylor5, "5th order")] {
        let runs = patience.runs(|| Ok(measure_activation(polynomial, DEGREE, rng)?))?;
        let amounts = [(Amount::Alone, 1.0), (Amount::Of(DEGREE), DEGREE as f64)];
        all.extend(amounts.map(|(amount, share)| cost(name, amount, share, &runs)));
    }
    Ok(all)
}

fn cost(name: &str, amount: Amount, values: f64, runs: &[ActivationCost]) -> Cost {
    let median = |part: fn(&ActivationCost) -> Duration| {
        let times = runs.iter().map(|run| part(run).as_secs_f64());
        gelu_core::stats::median(times).expect("some runs") / values
    };
    let run = &runs[0];
    Cost {
        system: format!("BFV, {name}"),
        amount,
        communication: 0.0,
        seal: 0.0,
        decrypt: median(|run| run.decrypt),
        encrypt: median(|run| run.encrypt),
        activation: median(|run| run.evaluate),
        bytes: (run.bytes_up + run.bytes_down) as f64 / values,
        interactive: false,
        remarks: format!(
            "the polynomial, exact; {} slots, q of {:.0} bits, key of {:.1} MB once",
            run.slots,
            run.modulus_bits,
            run.key_bytes as f64 / 1e6
        ),
    }
}
