//! Law: a compute party answers what a data party sends, or refuses it; it never panics. Honest messages are answered.
#![no_main]
use std::cell::RefCell;

use gelu_fuzz::rng;
use gelu_fuzz::transfer::{UP, base, base_plan, changed, compute_party, plan};
use gelu_transfer::{BaseOwner, ComputeParty};

thread_local! {
    static PARTY: RefCell<ComputeParty> = RefCell::new(compute_party().0);
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, message, honest)) = changed(&*UP, data) else { return };
    let taken = match kind {
        0 => BaseOwner::new(base_plan(), base(), &message).is_ok(),
        1 => {
            let mut owner = BaseOwner::new(base_plan(), base(), &UP[0]).expect("honest keys");
            owner.receive(&message, &mut rng()).is_ok_and(|features| features.is_some())
        }
        2 => ComputeParty::new(plan(), &message).is_ok(),
        3 => PARTY.with_borrow_mut(|party| party.receive_batch(&message).is_ok()),
        _ => PARTY.with_borrow(|party| party.train(&message).is_ok()),
    };
    assert!(taken || !honest, "an honest message is refused");
});
