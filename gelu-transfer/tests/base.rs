//! A base on encrypted rows gives the features that it gives in the clear, within what hides it.

use gelu_transfer::base::Layer;
use gelu_transfer::{Base, BaseOwner, BasePlan, BaseSettings, Error, Result, RowOwner, Rows};
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// The last one has a ciphertext of its own, in a second message.
const INPUTS: usize = 35;

/// A layer of windows with two filters each, on pairs and across them, and a dense one of 3.
fn base() -> Base {
    let rng = &mut rng(1);
    let mut weight = move || f64::from(rng.random_range(-512..512)) / 1024.0;
    let windows = (0..12).map(|output| {
        let first = output / 2 * 6 + output / 2 % 2;
        (0..4).map(|tap| (first + tap, weight())).collect()
    });
    let windows: Vec<Vec<_>> = windows.collect();
    let first =
        Layer { rows: windows, offsets: (0..12).map(|i| f64::from(i) / 16.0 - 0.5).collect() };
    let mut dense: Vec<Vec<_>> =
        (0..3).map(|_| (0..12).map(|input| (input, weight())).collect()).collect();
    // An output that no input reaches.
    dense.push(Vec::new());
    Base::new(INPUTS, vec![first, Layer { rows: dense, offsets: vec![0.25, -0.5, 0.0, 1.5] }])
        .unwrap()
}

fn settings(rows: usize) -> BaseSettings {
    BaseSettings { rows, inputs: INPUTS, features: 4, squares: 2, least: 0.0, most: 1.0 }
}

fn rows(count: usize) -> Rows {
    let rng = &mut rng(2);
    Rows::new((0..INPUTS * count).map(|_| rng.random::<f64>()).collect(), INPUTS).unwrap()
}

/// All messages of all groups; the features of each.
fn run(plan: &BasePlan, base: &Base, x: &Rows) -> Result<Vec<Rows>> {
    let rng = &mut rng(3);
    let owner = RowOwner::generate(plan.clone(), rng);
    let keys = owner.keys(rng)?;
    assert!(keys.len() as u64 <= plan.key_bytes() + 1024);
    let mut host = BaseOwner::new(plan.clone(), base.clone(), &keys)?;
    let mut features = Vec::new();
    for group in 0..plan.groups() {
        for message in 0..plan.messages() {
            let inputs = owner.inputs(x, group, message, rng)?;
            assert!(inputs.len() as u64 <= plan.message_bytes() + 2048);
            let answer = host.receive(&inputs, rng)?;
            assert_eq!(answer.is_some(), message + 1 == plan.messages());
            if let Some(answer) = answer {
                assert!(answer.len() as u64 <= plan.feature_bytes() + 1024);
                features.push(owner.receive(group, &answer)?);
            }
        }
    }
    assert!(host.is_done());
    Ok(features)
}

#[test]
fn features_are_those_in_the_clear_and_are_off_by_what_hides_the_base() {
    let (base, x) = (base(), rows(40));
    let plan = BasePlan::new(settings(40)).unwrap();
    let features = &run(&plan, &base, &x).unwrap()[0];
    let (mut squares, mut count) = (0.0, 0.0);
    for row in 0..x.len() {
        for (a, b) in features.row(row).iter().zip(base.apply(x.row(row)).unwrap()) {
            squares += (a - b).powi(2);
            count += 1.0;
        }
    }
    // The flood: no more, and no less. Of a slot the real part is half of the variance.
    let (off, deviation) = ((squares / count).sqrt(), base.deviation(&plan));
    let ratio = off / (deviation / 2f64.sqrt());
    assert!((0.8..1.2).contains(&ratio), "{off:e} {deviation:e}");
    assert!(deviation < 1e-2, "{deviation:e}");
}

#[test]
fn messages_out_of_order_and_other_bytes_are_refused() {
    let (base, x, rng) = (base(), rows(9), &mut rng(4));
    let plan = BasePlan::new(settings(9)).unwrap();
    let owner = RowOwner::generate(plan.clone(), rng);
    let keys = owner.keys(rng).unwrap();
    let host = || BaseOwner::new(plan.clone(), base.clone(), &keys).unwrap();
    let mut inputs = |message| owner.inputs(&x, 0, message, rng).unwrap();
    let (first, second) = (inputs(0), inputs(1));
    assert!(matches!(host().receive(&second, rng), Err(Error::Peer(_))));
    assert!(matches!(host().receive(&first[..99], rng), Err(Error::Peer(_))));
    let mut other = host();
    assert_eq!(other.receive(&first, rng).unwrap(), None);
    assert!(matches!(other.receive(&first, rng), Err(Error::Peer(_))));
    let features = other.receive(&second, rng).unwrap().unwrap();
    assert!(matches!(owner.receive(1, &features), Err(Error::Peer(_))));
    assert!(owner.receive(0, &features[..features.len() - 1]).is_err());
    let mut another = first.clone();
    another[0] = 1;
    for over in [&first, &another] {
        assert!(matches!(other.receive(over, rng), Err(Error::Peer(_))), "the only group is over");
    }
    assert!(BaseOwner::new(plan.clone(), base.clone(), &keys[..keys.len() - 1]).is_err());
    assert!(owner.inputs(&rows(8), 0, 0, rng).is_err(), "rows are missing");
    let beyond = Rows::new(vec![1.5; 9 * INPUTS], INPUTS).unwrap();
    assert!(matches!(owner.inputs(&beyond, 0, 0, rng), Err(Error::Base(_))));
}

#[test]
fn what_no_ring_bears_or_hides_is_refused_before_any_key() {
    let plan = BasePlan::new(settings(9)).unwrap();
    let check = |base: &Base| BaseOwner::check(&plan, base);
    assert!(check(&base()).is_ok());
    let one = |weight: f64| {
        let layer = |inputs: usize, outputs: usize| Layer {
            rows: vec![(0..inputs).map(|input| (input, weight)).collect(); outputs],
            offsets: vec![0.0; outputs],
        };
        Base::new(INPUTS, vec![layer(INPUTS, 12), layer(12, 4)]).unwrap()
    };
    assert!(matches!(check(&one(8.0)), Err(Error::Hidden { .. })));
    let other = BasePlan::new(BaseSettings { features: 3, ..settings(9) }).unwrap();
    assert!(matches!(BaseOwner::check(&other, &base()), Err(Error::Base(_))));
    let layer =
        |row: Vec<(usize, f64)>, offsets| Base::new(2, vec![Layer { rows: vec![row], offsets }]);
    assert!(matches!(layer(vec![(2, 1.0)], vec![0.0]), Err(Error::Base(_))));
    let twice = layer(vec![(1, 1.0), (0, 0.5), (1, 2.0)], vec![0.0]).unwrap();
    assert_eq!(twice.apply(&[2.0, 1.0]).unwrap(), [16.0]);
    assert!(matches!(layer(vec![(1, 1.0)], vec![]), Err(Error::Base(_))));
    assert!(matches!(layer(vec![(1, f64::NAN)], vec![0.0]), Err(Error::NotFinite(_))));
}
