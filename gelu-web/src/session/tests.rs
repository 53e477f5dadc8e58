//! A page's session beside a server's machine: the clear network's answers, and the ends of a session.

use std::sync::Arc;

use gelu_core::Precision;
use gelu_core::ledger::Policy;
use gelu_core::pair::PairHost;
use gelu_core::server::{BlindServer, BlindTerms, Host, ServedModel, Server};
use gelu_nn::schema::{Description, Label, VERSION};
use gelu_nn::{Model, Schema, zoo};
use gelu_wire::handshake::{CardSchema, GREETING_BYTES};
use rand::RngExt;

use super::*;

const SEED: [u8; 32] = [3; 32];

/// The digits of 8 by 8 pixels, by random weights.
fn model() -> Model {
    let rng = &mut ChaCha20Rng::seed_from_u64(41);
    let image = Image { shape: [1, 8, 8], max: 255, scale: Vec::new() };
    let classes = (0..10).map(|digit| format!("digit {digit}")).collect();
    let label = Some(Label { name: "digit".into(), classes });
    let description =
        Description { version: VERSION, image: Some(image), label, ..Description::default() };
    let model = Model::initialise("digits", zoo::digits(), Precision::INFERENCE, rng).unwrap();
    model.with_schema(Schema::new(description).unwrap()).unwrap()
}

fn card(model: &Model, modes: &[Mode], scores: bool) -> ModelCard {
    ModelCard {
        name: model.name().into(),
        version: model.version(),
        id: String::new(),
        architecture: model.architecture().to_json(),
        precision: *model.precision(),
        backend: Lattice::ID.into(),
        key_bits: (4096, 8192),
        policy: Policy::AllowModelExtraction,
        account: "alice".into(),
        modes: modes.to_vec(),
        scores,
        tickets: 4,
        inference: "open".into(),
        blind: "blind".into(),
        training: "none".into(),
        lease_samples: 1,
        schema: model.schema().map(|schema| CardSchema::from(&**schema)),
    }
}

/// A server's end, in the same process.
struct Far {
    model: Model,
    card: ModelCard,
    host: Arc<PairHost>,
    machine: FarMachine,
    rng: ChaCha20Rng,
    incoming: Incoming,
    outgoing: Outgoing,
    said_bye: bool,
}

enum FarMachine {
    Open(Box<Server<Lattice>>),
    Blind(Box<BlindServer<Lattice, HalfGates>>),
}

impl Far {
    fn new(modes: &[Mode], scores: bool) -> Self {
        let model = model();
        let policy = Policy::AllowModelExtraction;
        let machine = if modes.contains(&Mode::Blind) {
            let terms = BlindTerms { scores, ..BlindTerms::default() };
            FarMachine::Blind(Box::new(BlindServer::sharing(Arc::default(), terms)))
        } else {
            FarMachine::Open(Box::new(Server::sharing(Arc::default())))
        };
        Self {
            card: card(&model, modes, scores),
            host: Arc::new(PairHost::new(ServedModel::from(&model), "alice", policy)),
            model,
            machine,
            rng: ChaCha20Rng::seed_from_u64(42),
            incoming: Incoming::new(GREETING_BYTES),
            outgoing: Outgoing::new(FRAME_BYTES),
            said_bye: false,
        }
    }

    /// What it answers to bytes.
    fn receive(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.incoming.push(bytes);
        let mut answers = Vec::new();
        while let Some((frame, _)) = self.incoming.poll().unwrap() {
            match frame {
                Up::Hello(hello) => assert_eq!(hello, Hello::ours()),
                Up::Choose(model) => {
                    assert_eq!(model, "digits");
                    let (version, card) = (VERSIONS.1, self.card.clone());
                    answers.push(Down::Welcome(Box::new(Welcome { version, card })));
                    self.incoming.set_limit(FRAME_BYTES);
                }
                Up::Message(message) => answers.extend(self.answer(message)),
                Up::Bye => self.said_bye = true,
            }
        }
        let frames = answers.iter().map(|frame| self.outgoing.frame(frame).unwrap());
        frames.collect::<Vec<_>>().concat()
    }

    fn answer(&mut self, message: ClientMessage) -> Vec<Down> {
        let (host, rng): (&dyn Host, _) = (&*self.host, &mut self.rng);
        let mut answers = vec![Down::Working];
        match &mut self.machine {
            FarMachine::Open(server) => {
                server.handle_message(message, host, rng).unwrap();
                answers.extend(std::iter::from_fn(|| server.poll_transmit()).map(Down::Message));
            }
            FarMachine::Blind(server) => {
                server.handle_message(message, host, rng).unwrap();
                answers.extend(std::iter::from_fn(|| server.poll_transmit()).map(Down::Message));
            }
        }
        answers
    }
}

/// Carries bytes, in pieces, until both sides wait; what the page is told meanwhile, but for frames.
fn carry(session: &mut Session, far: &mut Far) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        events.extend(std::iter::from_fn(|| session.poll_event()));
        let Some(bytes) = session.poll_transmit() else { break };
        for piece in far.receive(&bytes).chunks(1000) {
            session.receive(piece);
        }
    }
    events.retain(|event| !matches!(event, Event::Sent { .. } | Event::Received { .. }));
    events
}

fn opened(modes: &[Mode], scores: bool) -> (Session, Far) {
    let (mut session, mut far) = (Session::new(SEED, "digits"), Far::new(modes, scores));
    let welcome = carry(&mut session, &mut far);
    let [Event::Welcome(terms)] = &welcome[..] else { panic!("{welcome:?}") };
    assert_eq!((terms.image, terms.classes[7].as_str()), ([8, 8], "digit 7"));
    session.open();
    assert_eq!(carry(&mut session, &mut far), [Event::Opened]);
    (session, far)
}

fn pixels(number: u64) -> Vec<u8> {
    let rng = &mut ChaCha20Rng::seed_from_u64(number);
    (0..64).map(|_| rng.random()).collect()
}

#[test]
fn answers_are_the_clear_network_s_in_every_mode() {
    for (modes, scores) in
        [(&[Mode::Open][..], false), (&[Mode::Open, Mode::Blind], false), (&[Mode::Blind], true)]
    {
        let (mut session, mut far) = opened(modes, scores);
        for number in 0..3 {
            let pixels = pixels(number);
            session.ask(&pixels);
            let events = carry(&mut session, &mut far);
            let Some(Event::Answer { class, probabilities, cut_off: 0 }) = events.last() else {
                panic!("{events:?}")
            };
            let features = pixels.iter().map(|&pixel| f64::from(pixel) / 255.0).collect();
            let inputs = Array2::from_shape_vec((64, 1), features).unwrap();
            let clear = far.model.probabilities(&inputs).unwrap().0;
            assert_eq!(*class, argmax(clear.iter().copied()), "{modes:?}");
            let tells = scores || modes == [Mode::Open];
            let expected = tells.then(|| clear.iter().copied().collect::<Vec<_>>());
            assert_eq!(*probabilities, expected, "{modes:?}");
        }
        session.close();
        carry(&mut session, &mut far);
        assert!(far.said_bye);
    }
}

#[test]
fn tickets_are_made_in_idle_time_as_many_as_the_server_keeps() {
    let (mut session, mut far) = opened(&[Mode::Blind], false);
    session.prepare(9);
    let held = |held| Event::Tickets { held };
    assert_eq!(carry(&mut session, &mut far), [held(1), held(2), held(3), held(4)]);
    session.ask(&pixels(1));
    // A ready one is spent and made again, since nine are wanted still.
    let events = carry(&mut session, &mut far);
    assert!(matches!(events[..], [Event::Answer { .. }, Event::Tickets { held: 4 }]), "{events:?}");
}

#[test]
fn a_new_version_voids_tickets_and_the_query_is_asked_again() {
    let (mut session, mut far) = opened(&[Mode::Blind], false);
    session.prepare(1);
    carry(&mut session, &mut far);
    far.host.commit(far.model.parameters().clone());
    session.ask(&pixels(1));
    let events = carry(&mut session, &mut far);
    assert!(events.iter().any(|event| matches!(event, Event::Answer { .. })), "{events:?}");
    assert!(!events.iter().any(|event| matches!(event, Event::Refused { .. })), "{events:?}");
}

#[test]
fn what_cannot_be_asked_ends_before_there_is_a_key() {
    let refused = |change: &dyn Fn(&mut ModelCard)| {
        let (mut session, mut far) =
            (Session::new(SEED, "digits"), Far::new(&[Mode::Blind], false));
        change(&mut far.card);
        let mut events = carry(&mut session, &mut far);
        if matches!(events[..], [Event::Welcome(_)]) {
            session.open();
            events = carry(&mut session, &mut far);
        }
        match &events[..] {
            [Event::Ended { reason }] => reason.clone(),
            other => panic!("{other:?}"),
        }
    };
    let schema = |card: &mut ModelCard, description| {
        card.schema = Some(CardSchema::from(&Schema::new(description).unwrap()));
    };
    assert!(refused(&|card| card.schema = None).contains("what its inputs mean"));
    let wide = Image { shape: [4, 4, 4], max: 255, scale: Vec::new() };
    let wide = Description { version: VERSION, image: Some(wide), ..Description::default() };
    assert!(refused(&|card| schema(card, wide.clone())).contains("4 channels"));
    assert!(refused(&|card| card.backend = "paillier".into()).contains("paillier"));
    assert!(refused(&|card| card.key_bits = (2048, 3072)).contains("2048 to 3072"));
    assert!(refused(&|card| card.architecture = "{}".into()).contains("architecture"));
}

#[test]
fn bytes_that_are_no_frames_end_the_session_and_it_stays_over() {
    let (mut session, mut far) = opened(&[Mode::Blind], false);
    session.receive(&[0, 0, 0, 1, 0xff]);
    let events = carry(&mut session, &mut far);
    assert!(matches!(&events[..], [Event::Ended { .. }]), "{events:?}");
    session.ask(&pixels(0));
    session.receive(&[0; 100]);
    assert!(session.poll_transmit().is_none());
}

#[test]
fn an_image_of_another_size_ends_the_session_without_a_word() {
    let (mut session, mut far) = opened(&[Mode::Open], false);
    session.ask(&[0; 63]);
    let events = carry(&mut session, &mut far);
    let [Event::Ended { reason }] = &events[..] else { panic!("{events:?}") };
    assert!(reason.contains("1 x 8 x 8"), "{reason}");
}
