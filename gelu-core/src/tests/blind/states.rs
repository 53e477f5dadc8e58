//! Every message in every state: what a machine waits for passes, all else ends the session.

use super::session::{Event, Session};
use super::*;
use crate::error::{Error, PeerMisbehaved};
use crate::message::{ClientMessage, ServerMessage};

/// Whether the message is turned away as one that belongs elsewhere.
fn unexpected(result: Result<()>) -> Option<(&'static str, &'static str)> {
    match result {
        Err(Error::PeerMisbehaved(PeerMisbehaved::UnexpectedMessage { expected, got })) => {
            Some((expected, got))
        }
        _ => None,
    }
}

#[test]
fn machines_take_what_they_wait_for_and_nothing_else() {
    for answer in [Answer::Class, Answer::Scores] {
        let events = Session::events(answer);
        let other = match answer {
            Answer::Class => Session::events(Answer::Scores),
            Answer::Scores => Session::events(Answer::Class),
        };
        let all = events.iter().chain(&other);
        let (lease, opened) = (ClientMessage::ReturnLease, ServerMessage::Opened);
        let refused = ServerMessage::Refused { reason: "no".into() };
        let expired = ServerMessage::TicketsExpired { version: 9 };
        let mut up: Vec<_> = all.clone().filter_map(Event::up).chain([&lease]).collect();
        let mut down: Vec<_> =
            all.filter_map(Event::down).chain([&refused, &expired, &opened]).collect();
        up.sort_by_key(|message| message.name());
        up.dedup_by_key(|message| message.name());
        down.sort_by_key(|message| message.name());
        down.dedup_by_key(|message| message.name());
        assert_eq!((up.len(), down.len()), (7, 9));
        for n in 0..=events.len() {
            up.iter().for_each(|message| server_state(answer, &events, n, message));
            down.iter().for_each(|message| client_state(answer, &events, n, message));
        }
    }
}

/// The server before event number `n`.
fn server_state(answer: Answer, events: &[Event], n: usize, message: &ClientMessage) {
    let (mut session, name) = (Session::until(answer, n), message.name());
    // Between tickets and a query, and after it, either may come.
    let ready = ["EncryptedMasks", "HiddenInputs"];
    let due = events[n..].iter().find_map(Event::up).map_or(ready[0], ClientMessage::name);
    let takes = if ready.contains(&due) { ready.contains(&name) } else { due == name };
    let got = unexpected(session.tell(message.clone()));
    assert_eq!(got.is_none(), takes, "{n}: {name} {got:?}");
    if let Some((expected, got)) = got {
        assert!(expected.contains(due) && got == name, "{n}: {expected}");
        assert!(session.pair.server.client_key().is_none());
        assert_eq!(unexpected(session.tell(message.clone())), Some(("nothing", name)));
    }
}

/// The client before event number `n`.
fn client_state(answer: Answer, events: &[Event], n: usize, message: &ServerMessage) {
    let (mut session, name) = (Session::until(answer, n), message.name());
    // With its answer to the base transfers it is open, and has asked for nothing yet.
    let idle = matches!(events.get(n), Some(Event::Up(ClientMessage::TransferAnswer { .. })));
    let due = events[n..].iter().find_map(Event::down).filter(|_| !idle);
    let due = due.map_or("nothing", ServerMessage::name);
    let takes = match due {
        due if due == name => true,
        "nothing" => false,
        "ShareLabels" | "ClassLabels" | "ScoreShares" => {
            ["Refused", "TicketsExpired"].contains(&name)
        }
        _ => name == "Refused",
    };
    let got = unexpected(session.hear(message.clone()));
    assert_eq!(got.is_none(), takes, "{n}: {name} {got:?}");
    if let Some(got) = got {
        assert_eq!(got, (due, name), "{n}");
        assert_eq!(unexpected(session.hear(message.clone())), Some(("nothing", name)));
    }
}
