//! Law: a data party takes what a compute party sends, or refuses it; it never panics. Honest messages are taken, and so is a state
//! that it wrote; a state that is read is written again as it was.
#![no_main]
use gelu_fuzz::transfer::{DOWN, changed, data_party, row_owner};
use gelu_transfer::{RowOwner, State};

thread_local! {
    static OWNER: RowOwner = row_owner().0;
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(state) = State::from_bytes(data) {
        assert_eq!(&state.to_bytes().expect("few iterations")[..], data);
    }
    let Some((kind, message, honest)) = changed(&*DOWN, data) else { return };
    let taken = match kind {
        0 => OWNER.with(|owner| owner.receive(0, &message).is_ok()),
        _ => data_party().0.receive(&message).is_ok(),
    };
    assert!(taken || !honest, "an honest message is refused");
});
