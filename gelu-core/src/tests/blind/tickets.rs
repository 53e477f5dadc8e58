//! A ticket is good for one answer, of one version, in one session; and what the operator and the ledger say.

use super::*;
use crate::error::{ApiMisuse, Error, PeerMisbehaved, Refused};
use crate::message::{ClientMessage, ServerMessage, Wire};
use crate::pair::Frame;
use crate::server::{BlindServer, BlindTerms};

/// The query of a session that is over.
fn last_query(pair: &Pair) -> ClientMessage {
    let up = |frame: &Frame| match frame {
        Frame::Up(bytes) => Some(ClientMessage::from_bytes(bytes).unwrap()),
        Frame::Down(_) => None,
    };
    let mut messages = pair.transcript.iter().filter_map(up);
    messages.rfind(|message| message.name() == "HiddenInputs").unwrap()
}

#[test]
fn a_ticket_is_answered_once() {
    let model = model(network());
    let (mut first, host, mut rng) = pair(model.clone(), Answer::Class).unwrap();
    first.make_tickets(3, &mut rng).unwrap();
    first.ask(&inputs(&model, 1), &mut rng).unwrap();
    let replay = last_query(&first);
    let error = first.server.handle_message(replay.clone(), &*host, &mut rng).unwrap_err();
    assert_eq!(error, PeerMisbehaved::NoTicket { ticket: 0 }.into());
    assert!(first.server.poll_transmit().is_none() && first.server.tickets() == 0);
    // Nor by a session that has made none of this number.
    let (mut other, host, mut rng) = pair(model, Answer::Class).unwrap();
    let error = other.server.handle_message(replay, &*host, &mut rng).unwrap_err();
    assert_eq!(error, PeerMisbehaved::NoTicket { ticket: 0 }.into());
}

#[test]
fn a_query_needs_a_ticket_for_each_sample() {
    let model = model(network());
    let (mut pair, _, mut rng) = pair(model.clone(), Answer::Class).unwrap();
    let said = pair.ask(&inputs(&model, 1), &mut rng).unwrap_err().to_string();
    assert!(said.contains("tickets: are 0 for a query of 1 samples"), "{said}");
    pair.make_tickets(2, &mut rng).unwrap();
    assert!(pair.ask(&inputs(&model, 3), &mut rng).is_err());
    let wrong = pair.ask(&Array2::zeros((8, 1)), &mut rng).unwrap_err();
    assert!(matches!(wrong, Error::ApiMisuse(ApiMisuse::Shape { .. })), "{wrong}");
    assert_eq!(pair.client.tickets(), 2, "what is not asked spends nothing");
    pair.ask(&inputs(&model, 2), &mut rng).unwrap();
    pair.client.request_tickets(1, &mut rng).unwrap();
    let busy = pair.client.request_tickets(1, &mut rng).unwrap_err().to_string();
    assert!(busy.contains("cannot ask for tickets while it waits for tickets"), "{busy}");
}

#[test]
fn a_new_version_voids_tickets_but_no_query_on_its_way() {
    let old = model(network());
    let (mut pair, host, mut rng) = pair(old.clone(), Answer::Scores).unwrap();
    let inputs = inputs(&old, 2);
    let new = ServedModel { parameters: old.parameters.map(|w| -w), version: 2, ..old.clone() };
    pair.make_tickets(4, &mut rng).unwrap();
    // In the middle of a query: it sees its version to the end.
    pair.client.classify(&inputs).unwrap();
    let question = pair.client.poll_transmit().unwrap();
    pair.server.handle_message(question, &*host, &mut rng).unwrap();
    assert_eq!(host.commit(new.parameters.clone()), 2);
    let answer = pair.run(&mut rng).unwrap().pop().unwrap();
    assert_eq!(answer, expected(&old, &inputs, Answer::Scores));
    // The next one is told, and spends what it named.
    let refused = pair.ask(&inputs, &mut rng).unwrap_err();
    assert_eq!(refused, Refused::TicketsExpired { made: 1, now: 2 }.into());
    assert_eq!((pair.client.tickets(), pair.server.tickets()), (0, 0));
    pair.make_tickets(2, &mut rng).unwrap();
    assert_eq!(pair.client.version(), Some(2));
    assert_eq!(pair.ask(&inputs, &mut rng).unwrap(), expected(&new, &inputs, Answer::Scores));
    // Tickets of two versions are not mixed: new ones replace old ones.
    pair.make_tickets(2, &mut rng).unwrap();
    assert_eq!(host.commit(old.parameters.clone()), 3);
    pair.make_tickets(3, &mut rng).unwrap();
    assert_eq!((pair.client.tickets(), pair.server.tickets()), (3, 3));
    assert_eq!(pair.ask(&inputs, &mut rng).unwrap(), expected(&old, &inputs, Answer::Scores));
}

#[test]
fn what_the_ledger_refuses_is_not_answered_and_its_tickets_are_gone() {
    let model = model(network());
    let host = Arc::new(PairHost::new(model.clone(), "test", Policy::Enforce));
    let (key, mut rng) = (Arc::new(ClearKey::new(2048).unwrap()), ChaCha20Rng::seed_from_u64(1));
    let mut pair = Pair::open(host, key, Answer::Class, &mut rng).unwrap();
    // 233 bits, 2 a sample.
    pair.make_tickets(130, &mut rng).unwrap();
    pair.ask(&inputs(&model, 116), &mut rng).unwrap();
    let labels = |pair: &Pair| pair.counted().query_down;
    let before = labels(&pair);
    let refused = pair.ask(&inputs(&model, 1), &mut rng).unwrap_err().to_string();
    assert!(
        refused.contains("the whole model") && refused.contains("would reach 234"),
        "{refused}"
    );
    assert_eq!(labels(&pair), before, "no label leaves");
    assert_eq!((pair.client.tickets(), pair.server.tickets()), (13, 13));
}

/// Noise that both sides made in idle time is all that the next request for tickets needs, and is used once.
#[test]
fn what_was_prepared_is_used_by_the_next_tickets() {
    let model = model(network());
    let host = Arc::new(PairHost::new(model.clone(), "test", Policy::AllowModelExtraction));
    let (key, mut rng) = (Arc::new(ClearKey::new(2048).unwrap()), ChaCha20Rng::seed_from_u64(1));
    let mut pair = Pair::open(host, Arc::clone(&key), Answer::Class, &mut rng).unwrap();
    // Of three tickets: encryptions and seals, and those of them that were prepared.
    let mut made = |prepare: usize| {
        for _ in 0..prepare {
            pair.client.precompute(3, &mut rng).unwrap();
            pair.server.precompute(&mut rng);
        }
        pair.make_tickets(3, &mut rng).unwrap();
        let server = pair.server.client_key().unwrap().meter().take();
        let client = key.meter().take();
        assert_eq!((server.encryptions, client.rerandomizations), (0, 0));
        let all = [client.encryptions, server.rerandomizations];
        (all, [client.prepared_encryptions, server.prepared_seals])
    };
    let (all, none) = made(0);
    assert!(all.iter().all(|&count| count > 0), "{all:?}");
    assert_eq!(none, [0, 0]);
    assert_eq!(made(1), (all, all));
    assert_eq!(made(0), (all, [0, 0]), "used once");
    assert_eq!(made(2), (all, all));
    assert_eq!(made(0), (all, [0, 0]), "no more is made than the next request needs");
    let asked = inputs(&model, 15);
    assert_eq!(pair.ask(&asked, &mut rng).unwrap(), expected(&model, &asked, Answer::Class));
}

#[test]
fn the_operators_terms_are_kept() {
    let model = model(network());
    let (mut pair, host, mut rng) = pair(model, Answer::Scores).unwrap();
    pair.make_tickets(200, &mut rng).unwrap();
    let said = pair.make_tickets(57, &mut rng).unwrap_err().to_string();
    assert!(said.contains("at most 256 tickets") && said.contains("200 are held and 57"), "{said}");
    pair.make_tickets(56, &mut rng).unwrap();
    assert_eq!(pair.client.tickets(), 256);
    pair.server = BlindServer::sharing(Arc::default(), BlindTerms::default());
    let Some(Frame::Up(open)) = pair.transcript.first() else { panic!("the key comes first") };
    let open = ClientMessage::from_bytes(open).unwrap();
    pair.server.handle_message(open, &*host, &mut rng).unwrap();
    let Some(ServerMessage::Refused { reason }) = pair.server.poll_transmit() else {
        panic!("scores are not told")
    };
    assert!(reason.contains("tells classes and no scores"), "{reason}");
}
