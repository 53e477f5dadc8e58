//! Blind queries over real sockets: answers, tickets, and what a server offers.

use std::sync::Arc;

use gelu_core::blind::Answer;
use gelu_core::clear::ClearKey;
use gelu_core::client::{BlindClient, DataPolicy};
use gelu_core::ledger::Policy;
use gelu_core::message::{ClientMessage, ServerMessage};
use gelu_core::server::BlindTerms;
use gelu_core::{Clear, Precision};
use gelu_garble::HalfGates;
use gelu_nn::{Activation, Model, Sequential};
use gelu_service::Error;
use gelu_service::client::{Answers, BlindSession, Phase};
use gelu_service::handshake::{Down, Mode, Up};
use ndarray::{Array2, Axis};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::common::{BATCH, Raw, Running, Site, batches, batches_for, connect, frame, key};

/// A server's folder with a model that can be trained and computed blindly.
fn site() -> Site {
    let architecture = Sequential::dense(4, &[5], 3, Activation::Relu).unwrap();
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    Site::with(&Model::initialise("small", architecture, Precision::TRAINING, rng).unwrap())
}

/// Three queries of a few samples.
fn queries(seed: u64) -> Vec<Array2<f64>> {
    batches(seed, 3).into_iter().map(|(inputs, _)| inputs).collect()
}

/// What the clear fixed-point network gives.
fn clear(model: &Model, inputs: &Array2<f64>) -> Array2<f64> {
    model.probabilities(inputs).unwrap().0
}

fn scores(config: &mut crate::common::Setup) {
    config.offer.blind.scores = true;
}

async fn open(site: &Site, running: &Running, who: &str, answer: Answer) -> BlindSession<Clear> {
    let connection = connect(running.address, &site.tls(who)).await.unwrap();
    connection.open_blind(key(), answer).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn blind_answers_are_those_of_the_clear_network() {
    let site = site();
    let (model, running) = (site.stored(), site.start_with(scores).await);
    let mut told = open(&site, &running, "alice", Answer::Scores).await;
    let mut class = open(&site, &running, "bob", Answer::Class).await;
    told.prepare_tickets(2).await.unwrap();
    assert_eq!(told.tickets(), 2);
    for inputs in queries(1) {
        let expected = clear(&model, &inputs);
        let answer = told.classify(&inputs).await.unwrap();
        assert_eq!(answer, Answers::Probabilities(expected.clone()));
        let answer = class.classify(&inputs).await.unwrap();
        assert_eq!(answer, Answers::Classes(Answers::Probabilities(expected).classes()));
    }
    assert_eq!(told.tickets(), 0, "those that were missing are made, and no more");
    let statistics = told.close().await;
    let (offline, online) = (statistics.phase(Phase::Tickets), statistics.phase(Phase::Inference));
    assert_eq!(online.rounds, 3 * 2, "a round trip for each stage, whatever the samples");
    // Two tickets at once, then four, then twice as many as a query has samples.
    assert_eq!(offline.rounds, 4 + 3 * BATCH as u64);
    assert!(online.up + online.down < offline.up + offline.down);
    assert_eq!(class.close().await.phase(Phase::Inference).rounds, 3 * 2);
    running.shut_down().await;
}

/// With both sides preparing in idle time, tickets take no encryption that waits for noise, and answers are the same.
#[tokio::test(flavor = "multi_thread")]
async fn tickets_use_what_idle_time_has_prepared() {
    let site = site();
    let running = site.start_with(|config| config.offer.precompute = true).await;
    let connection = connect(running.address, &site.tls("alice")).await.unwrap();
    let key = key();
    let mut session = connection.open_blind(Arc::clone(&key), Answer::Class).await.unwrap();
    let (model, inputs) = (site.stored(), queries(1).remove(0));
    let expected = Answers::Probabilities(clear(&model, &inputs)).classes();
    for prepares in [false, true, false] {
        if prepares {
            session.precompute(BATCH).await.unwrap();
        }
        let answer = session.classify(&inputs).await.unwrap();
        assert_eq!(answer, Answers::Classes(expected.clone()));
        let used = key.meter().take();
        assert!(used.encryptions > 0);
        assert_eq!(used.prepared_encryptions, if prepares { used.encryptions } else { 0 });
    }
    session.close().await;
    running.shut_down().await;
}

/// What crosses is what the plan says, and a few bytes around each message.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_those_of_the_plan() {
    let site = site();
    let running = site.start().await;
    let mut session = open(&site, &running, "alice", Answer::Class).await;
    let plan = session.costs(BATCH).unwrap().of_session(BATCH);
    session.prepare_tickets(BATCH).await.unwrap();
    session.classify(&queries(1)[0]).await.unwrap();
    let statistics = session.close().await;
    let (offline, online) = (statistics.phase(Phase::Tickets), statistics.phase(Phase::Inference));
    let framing = |rounds: u64| 2 * 64 * rounds;
    for (crossed, planned, rounds) in [
        (
            offline.up + offline.down,
            plan.ciphertexts + plan.requests + plan.garbled,
            offline.rounds,
        ),
        (online.up, plan.query_up, online.rounds),
        (online.down, plan.query_down, online.rounds),
    ] {
        let planned = planned as u64;
        assert!((planned..planned + framing(rounds)).contains(&crossed), "{crossed}, {planned}");
    }
    running.shut_down().await;
}

/// Two hundred queries.
#[tokio::test(flavor = "multi_thread")]
async fn ten_clients_at_once_get_their_own_answers() {
    let site = site();
    let (model, running) = (Arc::new(site.stored()), site.start_with(scores).await);
    let clients = (0..10).map(|n| {
        let (model, who) = (Arc::clone(&model), format!("client{n}"));
        let (address, tls) = (running.address, site.tls(&who));
        tokio::spawn(async move {
            let connection = connect(address, &tls).await.unwrap();
            let mut session = connection.open_blind(key(), Answer::Scores).await.unwrap();
            for (inputs, _) in batches_for(4, n, 20) {
                let answer = session.classify(&inputs).await.unwrap();
                let expected = clear(&model, &inputs);
                assert_eq!(answer, Answers::Probabilities(expected), "{who}");
            }
            session.close().await;
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    running.shut_down().await;
}

/// A commit voids every ticket of the version before it; those of the next query are for the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_voids_tickets() {
    let site = site();
    let running = site.start_with(scores).await;
    let mut blind = open(&site, &running, "alice", Answer::Scores).await;
    let inputs = queries(1).remove(0);
    blind.prepare_tickets(2 * BATCH).await.unwrap();
    assert_eq!(
        blind.classify(&inputs).await.unwrap(),
        Answers::Probabilities(clear(&site.stored(), &inputs))
    );
    let mut training = site.client(&running, "bob").await;
    training.train(1, &mut batches(1, 1).into_iter().peekable()).await.unwrap();
    assert_eq!(
        blind.classify(&inputs).await.unwrap(),
        Answers::Probabilities(clear(&site.stored(), &inputs))
    );
    assert_eq!(blind.tickets(), 0);
    running.shut_down().await;
}

/// The server's terms: what it offers, what it tells, how many tickets it keeps.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_does_not_offer_is_refused_and_why_is_said() {
    let site = site();
    let running = site
        .start_with(|config| {
            config.offer.modes = Some(vec![Mode::Blind]);
            config.offer.blind = BlindTerms { tickets: 4, scores: false };
        })
        .await;
    let connection = connect(running.address, &site.tls("alice")).await.unwrap();
    let card = connection.card();
    assert_eq!((&card.modes[..], card.scores, card.tickets), (&[Mode::Blind][..], false, 4));
    assert!(card.blind.contains("2 bits about the"), "{}", card.blind);
    let mut session = connection.open(key(), DataPolicy::AllowInputReconstruction).await.unwrap();
    let inputs = queries(1).remove(0);
    let error = session.classify(&inputs).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert!(error.to_string().contains("answers blind queries alone"), "{error}");
    session.train(1, &mut batches(1, 1).into_iter().peekable()).await.unwrap();

    let connection = connect(running.address, &site.tls("bob")).await.unwrap();
    let error = connection.open_blind(key(), Answer::Scores).await.err().unwrap();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    // More samples than tickets are several queries, which whoever asks cuts: what was answered is in its hands then.
    let mut session = open(&site, &running, "bob", Answer::Class).await;
    assert_eq!(session.largest_query(), 4);
    let error = session.classify(&inputs).await.unwrap_err();
    assert!(error.to_string().contains("of 6 samples: needs 1 to 4"), "{error}");
    let expected = Answers::Probabilities(clear(&site.stored(), &inputs)).classes();
    for part in [0..4, 4..BATCH] {
        let asked = inputs.slice_axis(Axis(1), part.clone().into()).to_owned();
        let answer = session.classify(&asked).await.unwrap();
        assert_eq!(answer, Answers::Classes(expected[part].to_vec()));
    }
    assert_eq!(session.statistics().phase(Phase::Inference).rounds, 2 * 2);
    running.shut_down().await;

    let running = site.start_with(|config| config.offer.modes = Some(vec![Mode::Open])).await;
    let connection = connect(running.address, &site.tls("bob")).await.unwrap();
    let error = connection.open_blind(key(), Answer::Class).await.err().unwrap();
    assert!(error.to_string().contains("answers open queries alone"), "{error}");
    running.shut_down().await;
}

/// Answers are charged like any, and durably: their bits against the whole model.
#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_counts_blind_answers_across_restarts() {
    let site = site();
    let enforced = |config: &mut crate::common::Setup| {
        scores(config);
        config.offer.policy = Policy::Enforce;
    };
    let inputs = queries(1).remove(0).slice_axis(Axis(1), (0..1).into()).to_owned();
    let ask = async || {
        let running = site.start_with(enforced).await;
        let mut session = open(&site, &running, "alice", Answer::Scores).await;
        let mut answered = 0;
        let refused = loop {
            match session.classify(&inputs).await {
                Ok(_) => answered += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, Error::Refused(_)), "{refused}");
        assert!(refused.to_string().contains("the whole model"), "{refused}");
        running.shut_down().await;
        answered
    };
    assert!(ask().await > 0);
    assert_eq!(ask().await, 0);
}

/// A client whose machine is in the test's own hands.
struct Wire {
    raw: Raw,
    sequence: u64,
    machine: BlindClient<Clear, HalfGates>,
    rng: ChaCha20Rng,
}

impl Wire {
    /// With a ticket.
    async fn open(site: &Site, running: &Running, who: &str, seed: u64) -> Self {
        let mut wire = Self::begin(site, running, who, seed).await;
        wire.machine.request_tickets(1, &mut wire.rng).unwrap();
        wire.exchange().await;
        assert_eq!(wire.machine.tickets(), 1);
        wire
    }

    async fn begin(site: &Site, running: &Running, who: &str, seed: u64) -> Self {
        let raw = Raw::greeted(running.address, &site.tls(who)).await;
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (model, key) = (site.stored(), Arc::new(ClearKey::new(2048).unwrap()));
        let network = Arc::new(model.architecture().network());
        let machine =
            BlindClient::new(network, *model.precision(), key, Answer::Class, &mut rng).unwrap();
        let mut wire = Self { raw, sequence: 2, machine, rng };
        wire.exchange().await;
        wire
    }

    async fn send(&mut self, message: &ClientMessage) {
        self.raw.write(&frame(self.sequence, &Up::Message(message.clone()))).await;
        self.sequence += 1;
    }

    /// Until the machine has nothing more to say.
    async fn exchange(&mut self) {
        while let Some(message) = self.machine.poll_transmit() {
            self.send(&message).await;
            if !matches!(message, ClientMessage::TransferAnswer { .. }) {
                let Down::Message(answer) = self.raw.answer().await.unwrap() else { panic!() };
                self.machine.handle_message(answer, &mut self.rng).unwrap();
            }
        }
    }

    /// The first message of a query, which spends the ticket.
    fn ask(&mut self) -> ClientMessage {
        let inputs = queries(1).remove(0).slice_axis(Axis(1), (0..1).into()).to_owned();
        self.machine.classify(&inputs).unwrap();
        self.machine.poll_transmit().unwrap()
    }

    async fn answer(&mut self) -> Down {
        self.raw.answer().await.unwrap()
    }
}

/// In the same session, after it was answered; in another one of the same account; in one of another account; at
/// the server's next process.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_used_once() {
    let site = site();
    let running = site.start().await;
    let mut alice = Wire::open(&site, &running, "alice", 1).await;
    let query = alice.ask();
    alice.send(&query).await;
    let Down::Message(labels @ ServerMessage::ShareLabels { .. }) = alice.answer().await else {
        panic!("no answer")
    };
    alice.machine.handle_message(labels, &mut alice.rng).unwrap();
    alice.exchange().await;
    alice.send(&query).await;
    assert!(matches!(alice.answer().await, Down::Goodbye(_)));

    // A session of its own has tickets of its own: under the same name there is another one, or none.
    for who in ["alice", "bob"] {
        let mut other = Wire::open(&site, &running, who, 2).await;
        let ours = other.ask();
        other.send(&ours).await;
        assert!(matches!(other.answer().await, Down::Message(ServerMessage::ShareLabels { .. })));
        let mut fresh = Raw::greeted(running.address, &site.tls(who)).await;
        fresh.write(&frame(2, &Up::Message(query.clone()))).await;
        assert!(matches!(fresh.answer().await.unwrap(), Down::Goodbye(_)), "{who}");
    }

    let mut alice = Wire::open(&site, &running, "alice", 3).await;
    let unspent = alice.ask();
    running.kill().await;
    let running = site.start().await;
    let mut again = Raw::greeted(running.address, &site.tls("alice")).await;
    again.write(&frame(2, &Up::Message(unspent))).await;
    assert!(matches!(again.answer().await.unwrap(), Down::Goodbye(_)));
    running.shut_down().await;
}

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Opened,
    MasksSent,
    TransfersSent,
    Asked,
}

/// A session that ends in the middle.
async fn come_to(site: &Site, running: &Running, step: Step) -> Wire {
    let mut wire = Wire::begin(site, running, "alice", 7).await;
    if step == Step::Opened {
        return wire;
    }
    wire.machine.request_tickets(1, &mut wire.rng).unwrap();
    let masks = wire.machine.poll_transmit().unwrap();
    wire.send(&masks).await;
    if step == Step::MasksSent {
        return wire;
    }
    let Down::Message(shares) = wire.answer().await else { panic!("no shares") };
    wire.machine.handle_message(shares, &mut wire.rng).unwrap();
    if step == Step::TransfersSent {
        let transfers = wire.machine.poll_transmit().unwrap();
        wire.send(&transfers).await;
        return wire;
    }
    wire.exchange().await;
    let query = wire.ask();
    wire.send(&query).await;
    assert!(matches!(wire.answer().await, Down::Message(ServerMessage::ShareLabels { .. })));
    wire
}

/// Whoever dies, at whatever step: tickets are lost, an answered query stays booked, and the next session is as good as
/// the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_or_a_server_that_dies_loses_tickets_and_nothing_else() {
    let site = site();
    let inputs = queries(1).remove(0);
    let expected = Answers::Probabilities(clear(&site.stored(), &inputs)).classes();
    for step in [Step::Opened, Step::MasksSent, Step::TransfersSent, Step::Asked] {
        for server_dies in [false, true] {
            let mut running = site.start().await;
            let before = running.seen("alice");
            let wire = come_to(&site, &running, step).await;
            if server_dies {
                running.kill().await;
                drop(wire);
                running = site.start().await;
            } else {
                drop(wire);
            }
            let after = running.seen("alice");
            assert_eq!(after != before, step == Step::Asked, "{step:?}: {before:?} {after:?}");
            let mut again = open(&site, &running, "alice", Answer::Class).await;
            assert_eq!(again.tickets(), 0);
            let answer = again.classify(&inputs).await.unwrap();
            assert_eq!(answer, Answers::Classes(expected.clone()), "{step:?}");
            again.close().await;
            running.shut_down().await;
        }
    }
}
