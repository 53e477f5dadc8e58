//! Every message in every state: what a machine waits for passes, all else ends the session.

use super::secret_rate;
use super::session::{Event, Session};
use crate::clear::Clear;
use crate::error::{Error, PeerMisbehaved, Result};
use crate::message::{ClientMessage, ServerMessage};
use crate::server::LearningRate;

/// A state: that before the `nth` event of a name; what the machine takes then, and how it says so.
type State = (&'static str, usize, &'static [&'static str], &'static str);

/// The server's states. Stages 0 to 2: three exchanges forward, two backward.
const SERVER: [State; 15] = [
    ("Open", 1, &["Open"], "Open"),
    ("EncryptedActivations", 1, READY, "EncryptedActivations or RequestLease"),
    ("EncryptedActivations", 2, &["EncryptedActivations"], "EncryptedActivations"),
    ("EncryptedActivations", 3, &["EncryptedActivations"], "EncryptedActivations"),
    ("RequestLease", 1, READY, "EncryptedActivations or RequestLease"),
    ("a lease is asked for", 1, &[], "nothing"),
    // The first step of the lease: nothing to reveal yet, but it can be given back.
    ("EncryptedActivations", 4, &["EncryptedActivations", "ReturnLease"], "EncryptedActivations"),
    ("EncryptedActivations", 5, &["EncryptedActivations"], "EncryptedActivations"),
    ("EncryptedActivations", 6, &["EncryptedActivations"], "EncryptedActivations"),
    ("EncryptedErrors", 1, &["EncryptedErrors"], "EncryptedErrors"),
    ("EncryptedErrors", 2, &["EncryptedErrors"], "EncryptedErrors"),
    // Between two steps it may end both ways, in the middle of the second one in none.
    (
        "EncryptedActivations",
        7,
        &["EncryptedActivations", "FinalUpdate", "ReturnLease"],
        "EncryptedActivations",
    ),
    ("EncryptedActivations", 8, &["EncryptedActivations"], "EncryptedActivations"),
    // After the last step only its sum is due.
    ("FinalUpdate", 1, &["FinalUpdate"], "FinalUpdate"),
    ("a commit is asked for", 1, &[], "nothing"),
];
const READY: &[&str] = &["EncryptedActivations", "RequestLease"];

/// The client's states.
const CLIENT: [State; 13] = [
    ("Opened", 1, &["Opened", "Refused"], "Opened"),
    ("the client is told", 1, &[], "nothing"),
    ("WeightedSums", 1, &["WeightedSums", "Refused"], "WeightedSums"),
    ("WeightedSums", 3, &["WeightedSums", "Refused"], "WeightedSums"),
    ("LeaseGranted", 1, &["LeaseGranted", "Refused"], "LeaseGranted"),
    ("the client may train", 1, &[], "nothing"),
    ("WeightedSums", 4, &["WeightedSums", "Refused"], "WeightedSums"),
    ("WeightedSums", 6, &["WeightedSums", "Refused"], "WeightedSums"),
    ("PropagatedErrors", 1, &["PropagatedErrors", "Refused"], "PropagatedErrors"),
    ("UpdateApplied", 1, &["UpdateApplied", "Refused"], "UpdateApplied"),
    ("Committed", 1, &["Committed", "Refused"], "Committed"),
    ("LeaseReturned", 1, &["LeaseReturned", "Refused"], "LeaseReturned"),
    ("the end", 1, &[], "nothing"),
];

/// One message of each kind, from honest sessions.
fn kinds() -> (Vec<ClientMessage>, Vec<ServerMessage>) {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for rate in [LearningRate::Public(0.1), secret_rate()] {
        let (sent, received) = Session::events(&rate);
        up.extend(sent);
        down.extend(received);
    }
    down.push(ServerMessage::Refused { reason: "no".into() });
    up.sort_by_key(ClientMessage::name);
    up.dedup_by_key(|message| message.name());
    down.sort_by_key(ServerMessage::name);
    down.dedup_by_key(|message| message.name());
    assert_eq!((up.len(), down.len()), (8, 8));
    (up, down)
}

/// Whether `result` says that the message named `got` belongs elsewhere, where `expected` does not.
fn check(result: Result<()>, takes: bool, expected: &str, got: &'static str, place: &str) -> bool {
    match result {
        Err(Error::PeerMisbehaved(PeerMisbehaved::UnexpectedMessage { expected: e, got: g })) => {
            assert!(!takes, "{got} before {place} is turned away");
            assert_eq!(g, got, "before {place}");
            assert!(e.contains(expected), "{got} before {place}: expected {e}, not {expected}");
            true
        }
        // What was due elsewhere may still have the wrong stage, length or shape.
        _ => {
            assert!(takes, "{got} before {place} is taken");
            false
        }
    }
}

fn server_states(rate: &LearningRate<Clear>, states: &[State]) {
    for message in &kinds().0 {
        for &(name, nth, takes, expected) in states {
            let (mut session, got) = (Session::until(rate, name, nth), message.name());
            let place = format!("{name} {nth}");
            let result = session.tell(message.clone());
            if !check(result, takes.contains(&got), expected, got, &place) {
                continue;
            }
            assert!(session.server.client_key().is_none() && !session.server.holds_lease());
            if let Event::Up(due) = session.pending {
                let (result, got) = (
                    session.server.handle_message(due.clone(), &session.books, &mut session.rng),
                    due.name(),
                );
                assert!(check(result, false, "nothing", got, "a failed server"));
            }
        }
    }
}

#[test]
fn a_server_takes_what_it_waits_for_and_nothing_else() {
    let public: State = ("MaskedUpdate", 1, &["MaskedUpdate", "FinalUpdate"], "MaskedUpdate");
    let secret: State = (
        "EncryptedMaskedUpdate",
        1,
        &["EncryptedMaskedUpdate", "FinalUpdate"],
        "EncryptedMaskedUpdate",
    );
    server_states(&LearningRate::Public(0.1), &[&SERVER[..], &[public]].concat());
    server_states(&secret_rate(), &[&SERVER[..], &[secret]].concat());
}

#[test]
fn a_client_takes_what_it_waits_for_and_nothing_else() {
    for rate in [LearningRate::Public(0.1), secret_rate()] {
        for message in &kinds().1 {
            for (name, nth, takes, expected) in CLIENT {
                let (mut session, got) = (Session::until(&rate, name, nth), message.name());
                let place = format!("{name} {nth}");
                let result = session.hear(message.clone());
                if !check(result, takes.contains(&got), expected, got, &place) {
                    continue;
                }
                if let Event::Down(due) = session.pending {
                    let (result, got) =
                        (session.client.handle_message(due.clone(), &mut session.rng), due.name());
                    assert!(check(result, false, "nothing", got, "a failed client"));
                }
            }
        }
    }
}
