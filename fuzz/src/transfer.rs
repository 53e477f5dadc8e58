//! A training of a head on a base: honest parties, and messages with changes.
//!
//! A message has hundreds of kilobytes, and one of noise is refused at its first length. So the fuzzer changes honest ones:
//!
//! ```text
//! byte 0      which message
//! bytes 1, 2  how many bytes it loses at its end (little-endian)
//! rest        changes: place (3 bytes, modulo the message's length), then 1 byte to write there
//! ```

use std::sync::LazyLock;

use gelu_ckks::SecretKey;
use gelu_transfer::base::Layer;
use gelu_transfer::{
    Base, BaseOwner, BasePlan, BaseSettings, ComputeParty, DataParty, Plan, Preparation, RowOwner,
    Rows, Settings, Sigmoid,
};

use crate::rng;

/// What both parties of a head know.
pub fn plan() -> Plan {
    let sigmoid = Sigmoid::fit(1, 8.0).expect("a sigmoid");
    let settings = Settings {
        rows: 128,
        features: 3,
        heads: 1,
        batch: 128,
        sigmoid,
        rate: 1.0,
        unattended: 1,
    };
    Plan::new(settings).expect("a small plan")
}

/// A data party that waits for gradients, and its message.
pub fn data_party() -> (DataParty, Vec<u8>) {
    let raw = Rows::new((0..384).map(|i| f64::from(i * i % 37)).collect(), 3).expect("rows");
    let x = Preparation::fit(&raw).and_then(|fit| fit.apply(&raw)).expect("rows that differ");
    let classes: Vec<_> = (0..128).map(|i| i % 2).collect();
    let secret = SecretKey::from_root(plan().parameters().clone(), &[1; 32]);
    let mut data = DataParty::new(plan(), secret, x, &classes).expect("rows of the plan");
    let heads = data.heads(1, &mut rng()).expect("a first lease");
    (data, heads)
}

/// A compute party whose batch is there, and the data party's three messages.
pub fn compute_party() -> (ComputeParty, [Vec<u8>; 3]) {
    let (data, heads) = data_party();
    let keys = data.evaluation_keys(&mut rng()).expect("keys");
    let batch = data.batch(0, &mut rng()).expect("the only batch");
    let mut compute = ComputeParty::new(plan(), &keys).expect("its keys");
    compute.receive_batch(&batch).expect("its batch");
    (compute, [keys, batch, heads])
}

/// What both parties of a base know.
pub fn base_plan() -> BasePlan {
    let (rows, inputs, features) = (3, 2, 2);
    BasePlan::new(BaseSettings { rows, inputs, features, squares: 1, least: 0.0, most: 1.0 })
        .expect("a small plan")
}

/// The base.
pub fn base() -> Base {
    let rows = vec![vec![(0, 0.5), (1, -0.25)], vec![(1, 1.0)]];
    Base::new(2, vec![Layer { rows, offsets: vec![0.0, 0.125] }]).expect("two outputs")
}

/// The owner of rows, and its two messages.
pub fn row_owner() -> (RowOwner, [Vec<u8>; 2]) {
    let owner = RowOwner::generate(base_plan(), &mut rng());
    let x = Rows::new(vec![0.5, 0.25, 1.0, 0.0, 0.125, 0.75], 2).expect("three rows");
    let keys = owner.keys(&mut rng()).expect("keys");
    let inputs = owner.inputs(&x, 0, 0, &mut rng()).expect("both inputs");
    (owner, [keys, inputs])
}

/// All messages of the data party, in order: of the base, then of the head.
pub static UP: LazyLock<[Vec<u8>; 5]> = LazyLock::new(|| {
    let (_, [base_keys, inputs]) = row_owner();
    let (_, [keys, batch, heads]) = compute_party();
    [base_keys, inputs, keys, batch, heads]
});

/// All messages of the compute party: features, gradients.
pub static DOWN: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let (compute, [.., heads]) = compute_party();
    let (_, [keys, inputs]) = row_owner();
    let mut owner = BaseOwner::new(base_plan(), base(), &keys).expect("its keys");
    let features = owner.receive(&inputs, &mut rng()).expect("its inputs").expect("all of them");
    [features, compute.train(&heads).expect("its heads")]
});

/// One of these messages with the changes that the fuzzer wants; which one, and whether it is as it was.
pub fn changed(messages: &[Vec<u8>], data: &[u8]) -> Option<(usize, Vec<u8>, bool)> {
    let ([kind, less @ ..], changes) = data.split_first_chunk::<3>()?;
    let kind = usize::from(*kind) % messages.len();
    let honest = &messages[kind];
    let left = honest.len() - usize::from(u16::from_le_bytes(*less)).min(honest.len());
    let mut message = honest[..left].to_vec();
    for [low, middle, high, byte] in changes.as_chunks::<4>().0 {
        let place = u32::from_le_bytes([*low, *middle, *high, 0]) as usize;
        if let Some(place) = place.checked_rem(left) {
            message[place] = *byte;
        }
    }
    let same = message == *honest;
    Some((kind, message, same))
}
