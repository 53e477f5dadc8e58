//! The strongest test: the encrypted run equals the plaintext fixed-point run, bit for bit.
//!
//! Every kind of layer, activation, update mode and batch runs over the open mock, whose plans are
//! those of a 2048-bit Paillier key; a selection runs over Paillier itself, with small keys here
//! and with a real one in `one_real_key`.

use crate::common::{assert_equals_oracle, batches, client, host, model, oracle, rate};
use gelu_core::clear::ClearKey;
use gelu_core::plan::{Plan, Purpose};
use gelu_core::server::Host;
use gelu_core::{Clear, Precision};
use gelu_lattice::Lattice;
use gelu_nn::{Activation, LayerSpec, Rate, Sequential, Shape, Sides, zoo};
use gelu_paillier::{InsecurePaillier, Paillier};

const PUBLIC: Rate = Rate::Public(0.1);
const SECRET: Rate = Rate::Secret { g: 3, g_max: 6 };

const fn conv(filters: usize, kernel: usize, stride: usize, padding: usize) -> LayerSpec {
    wide_conv(filters, [kernel; 2], [stride; 2], [padding; 2], 1)
}

/// Rows and columns each.
const fn sides([height, width]: [usize; 2]) -> Sides {
    Sides { height, width }
}

const fn wide_conv(
    filters: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    groups: usize,
) -> LayerSpec {
    let (kernel, stride, padding) = (sides(kernel), sides(stride), sides(padding));
    LayerSpec::Conv2d { filters, kernel, stride, padding, groups }
}

const fn grouped(filters: usize, kernel: usize, stride: usize, groups: usize) -> LayerSpec {
    wide_conv(filters, [kernel; 2], [stride; 2], [1; 2], groups)
}

const RELU: LayerSpec = LayerSpec::Activation { function: Activation::Relu };
const POOL: LayerSpec = LayerSpec::MeanPool2d { window: Sides::equal(2) };
const MAX_POOL: LayerSpec = LayerSpec::MaxPool2d {
    window: Sides::equal(3),
    stride: Some(Sides::equal(2)),
    padding: Sides::ONE,
};
const GLOBAL: LayerSpec = LayerSpec::GlobalAveragePool;
const PAD: LayerSpec = LayerSpec::ZeroPad2d { top: 1, bottom: 0, left: 0, right: 2 };

fn image(channels: usize, side: usize, layers: &[LayerSpec]) -> Sequential {
    Sequential::new(Shape::image(channels, side, side), layers.to_vec()).unwrap()
}

/// The paper's networks; those for MNIST with smaller images and fewer neurons.
fn paper_networks() -> Vec<Sequential> {
    let dense = |outputs| LayerSpec::Dense { outputs };
    let conv1 = [conv(2, 5, 2, 0), RELU, POOL, RELU, dense(10)];
    let lenet5 = [
        conv(2, 3, 1, 0),
        POOL,
        RELU,
        conv(3, 3, 1, 0),
        POOL,
        RELU,
        dense(6),
        RELU,
        dense(5),
        RELU,
        dense(10),
    ];
    vec![
        zoo::iris(),
        zoo::diabetes(),
        zoo::kr_vs_kp(),
        Sequential::dense(49, &[20], 10, Activation::Sigmoid).unwrap(),
        image(1, 11, &conv1),
        image(1, 14, &lenet5),
    ]
}

#[test]
fn paper_networks_in_both_modes() {
    for architecture in paper_networks() {
        for by in [PUBLIC, SECRET] {
            assert_equals_oracle::<Clear>(&architecture, (3, 3), by, 2048);
        }
    }
}

#[test]
fn every_activation() {
    for activation in Activation::ALL {
        let architecture = Sequential::dense(4, &[5, 4], 3, activation).unwrap();
        assert_equals_oracle::<Clear>(&architecture, (5, 4), PUBLIC, 2048);
    }
}

#[test]
fn padding_stride_and_channels() {
    let last = LayerSpec::Dense { outputs: 3 };
    let cases: [&[LayerSpec]; 6] = [
        &[conv(2, 3, 1, 1), RELU, last],
        &[conv(3, 3, 2, 1), RELU, last],
        &[conv(2, 3, 1, 1), POOL, RELU, last],
        &[conv(2, 2, 2, 0), conv(3, 3, 1, 1), POOL, RELU, last],
        &[POOL, conv(2, 3, 1, 1), RELU, POOL, last],
        // The second convolution steps over its last row and column: nothing flows back there.
        &[conv(2, 3, 1, 1), RELU, conv(2, 3, 2, 0), RELU, last],
    ];
    for layers in cases {
        for by in [PUBLIC, SECRET] {
            assert_equals_oracle::<Clear>(&image(2, 8, layers), (2, 2), by, 2048);
        }
    }
}

/// What the client pools, and convolutions whose channels do not all meet: in two groups, pooled, and each by itself with
/// a stride.
fn pooled_and_grouped() -> [Sequential; 2] {
    let last = LayerSpec::Dense { outputs: 3 };
    [
        image(2, 8, &[grouped(4, 3, 1, 2), POOL, RELU, MAX_POOL, last]),
        image(3, 7, &[MAX_POOL, grouped(6, 3, 2, 3), RELU, PAD, conv(2, 1, 2, 0), GLOBAL, last]),
    ]
}

#[test]
fn pooling_at_the_client_and_groups() {
    for architecture in pooled_and_grouped() {
        for by in [PUBLIC, SECRET] {
            assert_equals_oracle::<Clear>(&architecture, (3, 2), by, 2048);
        }
    }
}

/// Images that are wider than tall, kernels along one axis, other strides and paddings along the other, poolings of both
/// kinds, fused and at the client.
fn rectangular() -> [Sequential; 2] {
    let mean = |window| LayerSpec::MeanPool2d { window: sides(window) };
    let (window, padding) = (sides([3, 2]), sides([1, 0]));
    let max = LayerSpec::MaxPool2d { window, stride: Some(sides([1, 2])), padding };
    let (last, one) = (LayerSpec::Dense { outputs: 3 }, [1, 1]);
    let long = wide_conv(2, [1, 5], [1, 2], [0, 2], 1);
    let tall = wide_conv(4, [3, 1], one, [1, 0], 2);
    let network = |shape, layers: &[LayerSpec]| Sequential::new(shape, layers.to_vec()).unwrap();
    [
        network(Shape::image(1, 4, 12), &[long, mean([1, 2]), RELU, tall, RELU, max, last]),
        network(Shape::image(2, 6, 3), &[max, RELU, tall, RELU, mean([2, 1]), last]),
    ]
}

#[test]
fn kernels_and_images_that_are_not_square() {
    for architecture in rectangular() {
        for by in [PUBLIC, SECRET] {
            assert_equals_oracle::<Clear>(&architecture, (3, 2), by, 2048);
        }
    }
}

/// Two blocks of a residual network, by shortcuts with weights and without; and one whose shortcut leads around a pooling
/// of the input, before any weight.
fn residual() -> [Sequential; 2] {
    let add = |from| LayerSpec::Add { from };
    let last = LayerSpec::Dense { outputs: 3 };
    let blocks = [
        conv(2, 3, 1, 1),
        RELU,
        conv(2, 3, 1, 1),
        RELU,
        conv(2, 3, 1, 1),
        add(2),
        RELU,
        LayerSpec::Branch { from: 7 },
        conv(4, 1, 2, 0),
        LayerSpec::Branch { from: 7 },
        conv(4, 3, 2, 1),
        RELU,
        conv(4, 3, 1, 1),
        add(9),
        RELU,
        GLOBAL,
        last,
    ];
    let first = [POOL, grouped(2, 3, 1, 2), add(1), RELU, last];
    [image(1, 6, &blocks), image(2, 6, &first)]
}

#[test]
fn residual_networks_in_both_modes() {
    for architecture in residual() {
        for by in [PUBLIC, SECRET] {
            assert_equals_oracle::<Clear>(&architecture, (3, 2), by, 2048);
        }
    }
}

/// Batches of one, of seven, of exactly the slots of one ciphertext, and of one more.
#[test]
fn batches_up_to_and_beyond_a_slot_row() {
    let architecture = zoo::iris();
    let steps = 2;
    let purpose = Purpose::Training { steps };
    let (network, key) = (architecture.network(), ClearKey::new(2048).unwrap());
    let plan = Plan::new::<Clear>(&network, &Precision::TRAINING, 1, purpose, &key).unwrap();
    let full = plan.exchanges().map(|(_, _, e)| e.layout().slots).min().unwrap();
    for batch in [1, 7, full, full + 1, 3 * full] {
        for by in [PUBLIC, SECRET] {
            assert_equals_oracle::<Clear>(&architecture, (batch, steps as usize), by, 2048);
        }
    }
}

/// Three clients with their own keys take turns; the second one is lost in mid-lease, which leaves
/// no trace.
#[test]
fn clients_in_turn_and_one_lost() {
    let architecture = zoo::iris();
    let start = model(&architecture);
    for by in [PUBLIC, SECRET] {
        let host = host(&start);
        let mut expected = start.clone();
        for turn in 0..6 {
            let (mut pair, mut rng) = client::<Clear>(&host, rate(by, 2048), 2048, turn);
            let batches = batches(&architecture, 4, 3, 50 + turn);
            if turn % 3 == 1 {
                pair.client.request_lease(4, 3).unwrap();
                pair.run(&mut rng).unwrap();
                pair.client.train(&batches[0].0, &batches[0].1, &mut rng).unwrap();
                pair.run(&mut rng).unwrap();
                drop(pair);
            } else {
                pair.train(&batches, &mut rng).unwrap();
                let (weights, _) = oracle(&expected, &batches, by);
                expected = expected.successor(weights).unwrap();
            }
            assert_eq!(host.model().version, expected.version());
            assert!(host.model().parameters == *expected.parameters(), "turn {turn}");
        }
    }
}

/// A lease of which only two steps of nine are used commits exactly those.
#[test]
fn a_lease_that_ends_early() {
    let architecture = zoo::diabetes();
    let start = model(&architecture);
    for by in [PUBLIC, SECRET] {
        let host = host(&start);
        let (mut pair, mut rng) = client::<Clear>(&host, rate(by, 2048), 2048, 1);
        let batches = batches(&architecture, 5, 2, 3);
        pair.client.request_lease(5, 9).unwrap();
        pair.run(&mut rng).unwrap();
        for (inputs, labels) in &batches {
            pair.client.train(inputs, labels, &mut rng).unwrap();
            pair.run(&mut rng).unwrap();
        }
        pair.client.finish().unwrap();
        pair.run(&mut rng).unwrap();
        assert!(host.model().parameters == oracle(&start, &batches, by).0);
    }
}

/// The same over Paillier, with keys of 512 bits (four slots), so that rows and groups occur.
#[test]
fn over_paillier_with_small_keys() {
    let small = image(1, 6, &[conv(2, 3, 1, 1), POOL, RELU, LayerSpec::Dense { outputs: 3 }]);
    for by in [PUBLIC, SECRET] {
        assert_equals_oracle::<InsecurePaillier>(&zoo::iris(), (1, 3), by, 512);
        assert_equals_oracle::<InsecurePaillier>(&zoo::iris(), (7, 2), by, 512);
        assert_equals_oracle::<InsecurePaillier>(&small, (2, 2), by, 512);
    }
    let ([grouped, _], [residual, _]) = (pooled_and_grouped(), residual());
    assert_equals_oracle::<InsecurePaillier>(&grouped, (2, 2), PUBLIC, 512);
    assert_equals_oracle::<InsecurePaillier>(&residual, (2, 2), PUBLIC, 512);
}

/// And with keys for real use: a full row of samples; a convolution whose positions share slots
/// when it is queried; the paper's networks of MNIST queried once.
#[test]
fn over_paillier_with_real_keys() {
    let small = image(1, 6, &[conv(2, 3, 1, 1), POOL, RELU, LayerSpec::Dense { outputs: 3 }]);
    for bits in [2048, 3072] {
        for by in [PUBLIC, SECRET] {
            assert_equals_oracle::<Paillier>(&zoo::iris(), (16, 2), by, bits);
            assert_equals_oracle::<Paillier>(&small, (3, 2), by, bits);
        }
        for architecture in [zoo::conv1(), zoo::lenet5()] {
            let start = model(&architecture).requantised(Precision::INFERENCE).unwrap();
            let (inputs, _) = batches(&architecture, 1, 1, 9).remove(0);
            let (mut pair, mut rng) =
                client::<Paillier>(&host(&start), rate(PUBLIC, bits), bits, 1);
            let (expected, _) = start.probabilities(&inputs).unwrap();
            assert_eq!(pair.classify(&inputs, &mut rng).unwrap(), expected, "{bits}");
        }
    }
}

/// Over a lattice, with masks modulo a power of two and the keys of real use: the paper's networks, and what
/// convolutions can be, in batches that fill a tile, leave it half empty, and take several.
#[test]
fn over_a_lattice() {
    let last = LayerSpec::Dense { outputs: 3 };
    let images = [
        image(2, 8, &[conv(2, 3, 1, 1), POOL, RELU, last]),
        image(2, 8, &[conv(2, 3, 1, 1), RELU, conv(2, 3, 2, 0), RELU, last]),
        image(1, 8, &[conv(2, 2, 2, 0), conv(3, 3, 1, 1), POOL, RELU, last]),
    ];
    let more = [pooled_and_grouped(), rectangular(), residual()].concat();
    for architecture in paper_networks().iter().chain(&images).chain(&more) {
        assert_equals_oracle::<Lattice>(architecture, (3, 3), PUBLIC, 8192);
    }
    for batch in [1, 64, 100] {
        assert_equals_oracle::<Lattice>(&zoo::iris(), (batch, 2), PUBLIC, 8192);
        assert_equals_oracle::<Lattice>(&images[0], (batch, 2), PUBLIC, 8192);
    }
    for architecture in [zoo::conv1(), zoo::lenet5()] {
        let start = model(&architecture).requantised(Precision::INFERENCE).unwrap();
        let (mut pair, mut rng) = client::<Lattice>(&host(&start), rate(PUBLIC, 4096), 4096, 1);
        for batch in [1, 5] {
            let (inputs, _) = batches(&architecture, batch, 1, 9).remove(0);
            let (expected, _) = start.probabilities(&inputs).unwrap();
            assert_eq!(pair.classify(&inputs, &mut rng).unwrap(), expected, "{batch}");
        }
    }
}

/// The secret rate rests on masks over the integers: where values wrap it is refused before a lease.
#[test]
fn no_secret_rate_over_a_lattice() {
    let host = host(&model(&zoo::iris()));
    let (mut pair, mut rng) = client::<Lattice>(&host, rate(SECRET, 8192), 8192, 1);
    let refused = pair.train(&batches(&zoo::iris(), 3, 2, 2), &mut rng).unwrap_err().to_string();
    assert!(refused.contains("lattice"), "{refused}");
}

/// Two exact schemes give the same integers, hence the same probabilities.
#[test]
fn two_backends_agree() {
    let architecture = zoo::iris();
    let start = model(&architecture);
    let (inputs, _) = batches(&architecture, 2, 1, 9).remove(0);
    let (mut clear, mut rng) = client::<Clear>(&host(&start), rate(PUBLIC, 512), 512, 1);
    let (mut paillier, mut other) =
        client::<InsecurePaillier>(&host(&start), rate(PUBLIC, 512), 512, 1);
    assert_eq!(
        clear.classify(&inputs, &mut rng).unwrap(),
        paillier.classify(&inputs, &mut other).unwrap()
    );
    let lengths = |frames: &[gelu_core::pair::Frame]| {
        frames.iter().skip(1).map(|f| f.bytes().len()).collect::<Vec<_>>()
    };
    assert_eq!(
        lengths(&clear.transcript),
        lengths(&paillier.transcript),
        "the mock's messages are as long as Paillier's (but for the key)"
    );
}
