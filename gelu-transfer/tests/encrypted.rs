//! Encrypted training against the one in the clear.

use gelu_ckks::{Chain, Parameters, SecretKey};
use gelu_transfer::plain::Training;
use gelu_transfer::{
    Activation, ComputeParty, DataParty, Error, Plan, Preparation, Rows, Settings, Sigmoid, State,
};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::Rng;

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Rows of a few classes that differ in their means.
fn data(rows: usize, features: usize, classes: usize) -> (Rows, Vec<usize>) {
    let rng = &mut rng(7);
    let mut number = || f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5;
    let labels: Vec<usize> = (0..rows).map(|i| i * i % 7 % classes).collect();
    let values = labels.iter().flat_map(|&class| {
        (0..features).map(move |f| if f % classes == class { 0.25 } else { 0.0 })
    });
    let raw = Rows::new(values.map(|mean| mean + number()).collect(), features).unwrap();
    (Preparation::fit(&raw).unwrap().apply(&raw).unwrap(), labels)
}

/// Both parties, and one training in the clear for each head.
struct Pair {
    data: DataParty,
    compute: ComputeParty,
    rng: ChaCha20Rng,
}

fn pair(settings: &Settings, classes: usize) -> Pair {
    let (x, labels) = data(settings.rows, settings.features, classes);
    let plan = Plan::new(settings.clone()).unwrap();
    let mut rng = rng(1);
    let secret = SecretKey::generate(plan.parameters().clone(), &mut rng);
    let data = DataParty::new(plan.clone(), secret, x, &labels).unwrap();
    let keys = data.evaluation_keys(&mut rng).unwrap();
    let close = |got: usize, planned: u64| {
        let ratio = got as f64 / planned as f64;
        assert!((1.0..1.01).contains(&ratio), "{got} bytes and not {planned}");
    };
    close(keys.len(), plan.key_bytes());
    let mut compute = ComputeParty::new(plan.clone(), &keys).unwrap();
    let mut bytes = 0;
    for index in 0..plan.batches() {
        let batch = data.batch(index, &mut rng).unwrap();
        bytes += batch.len();
        compute.receive_batch(&batch).unwrap();
    }
    close(bytes, plan.data_bytes());
    Pair { data, compute, rng }
}

/// Trains and compares after each refresh. The bound is relative to the largest weight.
fn check(settings: &Settings, classes: usize, refreshes: &[usize], bound: f64) {
    let mut pair = pair(settings, classes);
    let (x, labels) = data(settings.rows, settings.features, classes);
    let y: Vec<Vec<bool>> = match settings.heads {
        1 => vec![labels.iter().map(|&class| class == 1).collect()],
        heads => (0..heads).map(|h| labels.iter().map(|&class| class == h).collect()).collect(),
    };
    let activation = Activation::Polynomial(settings.sigmoid.clone());
    let mut plain: Vec<_> = y
        .iter()
        .map(|y| Training::new(&x, y, settings.batch, settings.rate, activation.clone()).unwrap())
        .collect();
    for &iterations in refreshes {
        let heads = pair.data.heads(iterations, &mut pair.rng).unwrap();
        let gradients = pair.compute.train(&heads).unwrap();
        pair.data.receive(&gradients).unwrap();
        for _ in 0..iterations {
            plain.iter_mut().for_each(Training::step);
        }
        let mut worst: f64 = 0.0;
        for (head, plain) in pair.data.state().heads().iter().zip(&plain) {
            let largest = plain.head().weights().iter().map(|w| w.abs()).fold(0.0, f64::max);
            let pairs = head.weights().iter().zip(plain.head().weights());
            let pairs = pairs.chain(head.lookahead().iter().zip(plain.head().lookahead()));
            worst = pairs.map(|(a, b)| (a - b).abs() / largest).fold(worst, f64::max);
        }
        let iteration = pair.data.state().iteration();
        println!("degree {}, iteration {iteration}: {worst:.1e}", settings.sigmoid.degree());
        assert!(worst < bound && worst > bound / 1e4, "iteration {iteration}: {worst:e}");
    }
}

fn settings(degree: usize, range: f64, heads: usize, unattended: usize) -> Settings {
    let sigmoid = Sigmoid::fit(degree, range).unwrap();
    Settings { rows: 256, features: 20, heads, batch: 128, sigmoid, rate: 1.0, unattended }
}

#[test]
fn refreshed_training_follows_the_clear_one_cubic_and_binary() {
    check(&settings(3, 12.0, 1, 1), 2, &[1; 4], 1e-5);
}

#[test]
fn refreshed_training_follows_the_clear_one_linear_with_three_classes() {
    check(&settings(1, 8.0, 3, 1), 3, &[1; 3], 1e-5);
}

#[test]
fn two_unattended_iterations_follow_the_clear_ones_and_a_shorter_lease_too() {
    check(&settings(3, 12.0, 1, 2), 2, &[2, 1, 2], 1e-4);
}

#[test]
fn three_unattended_iterations_with_a_line_and_three_classes() {
    check(&settings(1, 8.0, 3, 3), 3, &[3, 3], 1e-4);
}

#[test]
fn degrees_five_seven_and_fifteen() {
    for (degree, range) in [(5, 12.0), (7, 16.0), (15, 24.0)] {
        check(&settings(degree, range, 1, 1), 2, &[1, 1], 1e-5);
    }
}

#[test]
fn a_head_that_leaves_the_range_is_stopped_and_resumed_with_a_smaller_rate() {
    let fast = Settings { rate: 900.0, ..settings(3, 12.0, 1, 1) };
    let mut pair = pair(&fast, 2);
    let start = pair.data.state().to_bytes().unwrap();
    let heads = pair.data.heads(1, &mut pair.rng).unwrap();
    pair.data.receive(&pair.compute.train(&heads).unwrap()).unwrap();
    let refused = pair.data.heads(1, &mut pair.rng).unwrap_err();
    let Error::LeftRange { iteration: 1, got, range: 12.0 } = refused else { panic!("{refused}") };
    assert!(got > 12.0);

    // Bytes of an earlier refresh, another rate.
    let slow = Settings { rate: 1.0, ..fast };
    let (x, labels) = data(slow.rows, slow.features, 2);
    let plan = Plan::new(slow.clone()).unwrap();
    let secret = SecretKey::generate(plan.parameters().clone(), &mut pair.rng);
    let party = DataParty::new(plan, secret, x, &labels).unwrap();
    let state = State::from_bytes(&start).unwrap();
    let mut party = party.resume(state).unwrap();
    assert_eq!(party.state().iteration(), 0);
    assert!(party.heads(1, &mut pair.rng).is_ok());
    let refused = party.resume(State::from_bytes(&wider(&start)).unwrap()).unwrap_err();
    assert!(matches!(refused, Error::State(_)));
}

/// The state of a head with one weight more.
fn wider(state: &[u8]) -> Vec<u8> {
    let mut bytes = state.to_vec();
    bytes[16..20].copy_from_slice(&22u32.to_le_bytes());
    bytes.resize(bytes.len() + 16, 0);
    bytes
}

#[test]
fn a_head_that_leaves_the_range_unattended_is_lost_but_not_its_last_state() {
    let fast = Settings { rate: 900.0, ..settings(3, 12.0, 1, 2) };
    let mut pair = pair(&fast, 2);
    let before = pair.data.state().clone();
    let heads = pair.data.heads(2, &mut pair.rng).unwrap();
    let refused = pair.data.receive(&pair.compute.train(&heads).unwrap()).unwrap_err();
    assert!(matches!(refused, Error::Lost { iteration: 1, .. }), "{refused}");
    assert!(*pair.data.state() == before);
}

#[test]
fn messages_of_other_plans_iterations_and_rings_are_refused() {
    let settings = settings(1, 8.0, 1, 1);
    let mut pair = pair(&settings, 2);
    let (data, compute, rng) = (&mut pair.data, &mut pair.compute, &mut pair.rng);
    let heads = data.heads(1, rng).unwrap();
    let changed = |at: usize, value: u8| {
        let mut bytes = heads.clone();
        bytes[at] = value;
        bytes
    };
    for bytes in [changed(4, 0), changed(4, 2), changed(5, 1), changed(8, 255), heads[1..].to_vec()]
    {
        assert!(matches!(compute.train(&bytes), Err(Error::Peer(_) | Error::Unreadable(_))));
    }
    // Whatever a byte is changed to, an answer or an error comes.
    for at in (0..heads.len()).step_by(heads.len() / 20 + 1) {
        let _ = compute.train(&changed(at, heads[at] ^ 0x81));
    }
    // The level of the ciphertext.
    assert!(compute.train(&changed(9, 1)).is_err());
    assert!(matches!(compute.train(&[&heads[..], &[0]].concat()), Err(Error::Peer(_))));
    let gradients = compute.train(&changed(0, 1)).unwrap();
    assert!(matches!(data.receive(&gradients), Err(Error::Peer("gradients of another iteration"))));
    let gradients = compute.train(&heads).unwrap();
    assert!(data.receive(&gradients[..gradients.len() - 1]).is_err());
    data.receive(&gradients).unwrap();
    assert!(matches!(
        data.receive(&gradients),
        Err(Error::Peer("gradients that nobody asked for"))
    ));
    assert!(compute.receive_batch(&data.batch(0, rng).unwrap()[1..]).is_err());
    assert!(matches!(data.batch(2, rng), Err(Error::Setting(_))));
    assert!(matches!(data.heads(2, rng), Err(Error::Setting(_))));

    let plan = Plan::new(settings.clone()).unwrap();
    let keys = data.evaluation_keys(rng).unwrap();
    let empty = ComputeParty::new(plan.clone(), &keys).unwrap();
    assert!(matches!(empty.train(&heads), Err(Error::Setting(_))));
    let other = Parameters::new(&Chain::N13_LEVELS4).unwrap();
    let other_plan = Plan::with_parameters(settings, other.clone()).unwrap();
    assert!(matches!(ComputeParty::new(other_plan, &keys), Err(Error::Unreadable(_))));
    assert!(matches!(ComputeParty::new(plan.clone(), &[0; 4]), Err(Error::Peer(_))));
    let (x, labels) = self::data(256, 20, 2);
    let secret = SecretKey::generate(other, rng);
    let refused = DataParty::new(plan, secret, x, &labels).unwrap_err();
    assert_eq!(refused, Error::Ckks(gelu_ckks::Error::OtherParameters));
}

#[test]
fn data_that_are_not_the_plans_are_refused() {
    let plan = Plan::new(settings(1, 8.0, 1, 1)).unwrap();
    let new = |x: Rows, labels: &[usize]| {
        let secret = SecretKey::generate(plan.parameters().clone(), &mut rng(3));
        DataParty::new(plan.clone(), secret, x, labels).unwrap_err()
    };
    let (x, mut labels) = data(256, 20, 2);
    assert!(matches!(new(x.clone(), &labels[1..]), Error::Shape { what: "labels", .. }));
    let (short, _) = data(255, 20, 2);
    assert!(matches!(new(short, &labels), Error::Shape { what: "rows", .. }));
    let raw = Rows::new(vec![100.0; 256 * 21], 21).unwrap();
    assert!(matches!(new(raw, &labels), Error::FeatureTooLarge { feature: 0, .. }));
    labels[5] = 2;
    assert!(matches!(new(x, &labels), Error::Setting(_)));
}
