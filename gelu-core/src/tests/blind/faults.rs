//! What honest peers never send: an error on the living side, no panic, and nothing leaves.

use serde_bytes::ByteBuf;

use super::session::{Event, Session};
use super::*;
use crate::blind::numbers;
use crate::error::Error;
use crate::message::{ClientMessage, EncryptedStage, PROTOCOL_VERSION, ServerMessage, Wire};

/// Bytes that are one longer, one shorter, and none.
fn spoilt(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut spoilt = vec![[bytes, &[0]].concat()];
    if !bytes.is_empty() {
        spoilt.extend([bytes[1..].to_vec(), Vec::new()]);
    }
    spoilt
}

/// The same for each block, and with a block less and more.
fn spoilt_blocks(blocks: &[ByteBuf]) -> Vec<Vec<ByteBuf>> {
    let mut all = vec![[blocks, &[ByteBuf::new()]].concat()];
    for (n, block) in blocks.iter().enumerate() {
        for bytes in spoilt(block) {
            let mut changed = blocks.to_vec();
            changed[n] = ByteBuf::from(bytes);
            all.push(changed);
        }
        let mut fewer = blocks.to_vec();
        fewer.remove(n);
        all.push(fewer);
    }
    all
}

/// Numbers that are too short, too long, or outside their ring, where its numbers do not fill their bytes.
fn spoilt_numbers(numbers: &[u8], bits: u32) -> Vec<Vec<u8>> {
    let mut all = spoilt(numbers);
    if !bits.is_multiple_of(8) {
        let mut large = numbers.to_vec();
        large[numbers::width(bits) - 1] = 0xff;
        all.push(large);
    }
    all
}

fn spoilt_up(message: &ClientMessage, rings: &[u32]) -> Vec<ClientMessage> {
    match message.clone() {
        ClientMessage::OpenBlind { backend, public_key, nonce, answer } => {
            let keys = spoilt(&public_key).into_iter().map(|public_key| ClientMessage::OpenBlind {
                backend: backend.clone(),
                public_key,
                nonce,
                answer,
            });
            keys.collect()
        }
        ClientMessage::TransferAnswer { answer } => spoilt(&answer)
            .into_iter()
            .map(|answer| ClientMessage::TransferAnswer { answer })
            .collect(),
        ClientMessage::EncryptedMasks { tickets, stages } => {
            let masks = |tickets, stages| ClientMessage::EncryptedMasks { tickets, stages };
            let mut all = vec![
                masks(0, stages.clone()),
                masks(tickets + 100, stages.clone()),
                masks(65537, stages.clone()),
                masks(tickets, stages[1..].to_vec()),
                masks(tickets, [&stages[..], &stages[..1]].concat()),
            ];
            for n in 0..stages.len() {
                let mut named = stages.clone();
                named[n].layout = "elsewhere".into();
                all.push(masks(tickets, named));
                for ciphertexts in spoilt(&stages[n].ciphertexts) {
                    let mut changed = stages.clone();
                    changed[n] = EncryptedStage { ciphertexts, ..changed[n].clone() };
                    all.push(masks(tickets, changed));
                }
            }
            all
        }
        ClientMessage::TransferRequest { stages } => spoilt_blocks(&stages)
            .into_iter()
            .map(|stages| ClientMessage::TransferRequest { stages })
            .collect(),
        ClientMessage::HiddenInputs { tickets, numbers } => {
            let inputs = |tickets, numbers| ClientMessage::HiddenInputs { tickets, numbers };
            let mut all = vec![
                inputs(vec![], vec![]),
                inputs(vec![tickets[0]], numbers.clone()),
                inputs(vec![tickets[0]; 2], numbers.clone()),
                inputs(vec![tickets[0], 77], numbers.clone()),
                inputs(vec![0; 65537], vec![]),
            ];
            let numbers = spoilt_numbers(&numbers, rings[0]).into_iter();
            all.extend(numbers.map(|numbers| inputs(tickets.clone(), numbers)));
            all
        }
        ClientMessage::HiddenActivations { stage, numbers } => {
            let activations = |stage, numbers| ClientMessage::HiddenActivations { stage, numbers };
            let mut all = vec![0, stage - 1, stage + 1, u32::MAX];
            all.retain(|other| *other != stage);
            let mut all: Vec<_> =
                all.into_iter().map(|stage| activations(stage, numbers.clone())).collect();
            let numbers = spoilt_numbers(&numbers, rings[stage as usize]).into_iter();
            all.extend(numbers.map(|numbers| activations(stage, numbers)));
            all
        }
        other => panic!("{} is no message of a blind client", other.name()),
    }
}

fn spoilt_down(message: &ServerMessage, rings: &[u32]) -> Vec<ServerMessage> {
    match message.clone() {
        ServerMessage::TransferOffer { nonce, offer } => spoilt(&offer)
            .into_iter()
            .map(|offer| ServerMessage::TransferOffer { nonce, offer })
            .collect(),
        ServerMessage::EncryptedShares { version, first, stages } => spoilt_blocks(&stages)
            .into_iter()
            .map(|stages| ServerMessage::EncryptedShares { version, first, stages })
            .collect(),
        ServerMessage::GarbledTicket { stages } => spoilt_blocks(&stages)
            .into_iter()
            .map(|stages| ServerMessage::GarbledTicket { stages })
            .collect(),
        ServerMessage::ShareLabels { stage, samples } => {
            let labels = |stage, samples| ServerMessage::ShareLabels { stage, samples };
            let mut all =
                vec![labels(stage + 1, samples.clone()), labels(u32::MAX, samples.clone())];
            all.extend(spoilt_blocks(&samples).into_iter().map(|samples| labels(stage, samples)));
            all
        }
        ServerMessage::ScoreShares { numbers } => spoilt_numbers(&numbers, rings[rings.len() - 1])
            .into_iter()
            .map(|numbers| ServerMessage::ScoreShares { numbers })
            .collect(),
        ServerMessage::ClassLabels { samples, rho } => {
            let labels = |samples, rho| ServerMessage::ClassLabels { samples, rho };
            let mut all: Vec<_> = spoilt_numbers(&rho, 2)
                .into_iter()
                .map(|rho| labels(samples.clone(), rho))
                .collect();
            let samples = spoilt_blocks(&samples).into_iter();
            all.extend(samples.map(|samples| labels(samples, rho.clone())));
            all
        }
        other => panic!("{} is no message of a blind server", other.name()),
    }
}

#[test]
fn malformed_messages_end_the_session() {
    let mut tried = 0;
    for answer in [Answer::Class, Answer::Scores] {
        let events = Session::events(answer);
        let plan = Session::new(answer).pair.client.plan(2).unwrap();
        let rings: Vec<_> = plan.circuits.stages().iter().map(|stage| stage.ring_bits).collect();
        for (n, event) in events.iter().enumerate() {
            match event {
                Event::Up(message) => {
                    for spoilt in spoilt_up(message, &rings) {
                        let mut session = Session::until(answer, n);
                        while session.pair.server.poll_transmit().is_some() {}
                        let error = session.tell(spoilt.clone()).unwrap_err();
                        let fair = matches!(error, Error::PeerMisbehaved(_));
                        assert!(fair, "{spoilt:?}: {error}");
                        assert!(session.pair.server.poll_transmit().is_none(), "nothing leaves");
                        let again = session.tell(message.clone()).unwrap_err().to_string();
                        assert!(again.contains("expected nothing"), "{again}");
                        tried += 1;
                    }
                }
                Event::Down(message) => {
                    for spoilt in spoilt_down(message, &rings) {
                        let mut session = Session::until(answer, n);
                        while session.pair.client.poll_transmit().is_some() {}
                        let error = session.hear(spoilt.clone()).unwrap_err();
                        let fair = matches!(error, Error::PeerMisbehaved(_) | Error::Decryption);
                        assert!(fair, "{spoilt:?}: {error}");
                        assert!(session.pair.client.poll_transmit().is_none(), "nothing leaves");
                        tried += 1;
                    }
                }
                Event::End => unreachable!("not recorded"),
            }
        }
    }
    assert!(tried > 200, "{tried}");
}

#[test]
fn cut_frames_are_no_messages() {
    assert_eq!(PROTOCOL_VERSION, 9);
    for answer in [Answer::Class, Answer::Scores] {
        for event in Session::events(answer) {
            let bytes = match &event {
                Event::Up(message) => message.to_bytes(),
                Event::Down(message) => message.to_bytes(),
                Event::End => unreachable!("not recorded"),
            };
            for end in (0..bytes.len()).step_by(bytes.len() / 100 + 1) {
                let up = matches!(event, Event::Up(_));
                let read = match up {
                    true => ClientMessage::from_bytes(&bytes[..end]).map(|m| m.name()),
                    false => ServerMessage::from_bytes(&bytes[..end]).map(|m| m.name()),
                };
                assert!(read.is_err(), "{event:?} cut to {end}");
            }
        }
    }
}

/// Messages of which a byte is another one, as far as they are messages still: an error of the peer's, or none where
/// only a number is another one.
#[test]
fn changed_bytes_end_the_session_or_change_a_number() {
    let (mut taken, mut refused, mut undecodable) = (0, 0, 0);
    for answer in [Answer::Class, Answer::Scores] {
        let events = Session::events(answer);
        let rng = &mut ChaCha20Rng::seed_from_u64(51);
        for (n, event) in events.iter().enumerate() {
            for _ in 0..12 {
                let mut bytes = match event {
                    Event::Up(message) => message.to_bytes(),
                    Event::Down(message) => message.to_bytes(),
                    Event::End => unreachable!("not recorded"),
                };
                // The first bytes are names and numbers, which matter most.
                let end = if rng.random() { bytes.len() } else { bytes.len().min(8) };
                bytes[rng.random_range(0..end)] = rng.random();
                let mut session = Session::until(answer, n);
                let result = match event.up().is_some() {
                    true => ClientMessage::from_bytes(&bytes).map(|m| session.tell(m)),
                    false => ServerMessage::from_bytes(&bytes).map(|m| session.hear(m)),
                };
                match result {
                    Ok(Ok(())) => taken += 1,
                    Ok(Err(
                        Error::PeerMisbehaved(_) | Error::PeerIncompatible(_) | Error::Decryption,
                    )) => refused += 1,
                    Ok(Err(other)) => panic!("{event:?}: {other}"),
                    Err(_) => undecodable += 1,
                }
            }
        }
    }
    assert!(taken > 20 && refused > 20 && undecodable > 20, "{taken}, {refused}, {undecodable}");
}
