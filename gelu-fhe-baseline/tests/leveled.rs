//! Encrypted circuits against the same circuits in the clear, bit for bit, and lying peers.

use gelu_core::Error;
use gelu_core::linear::{LinearMap, Tap};
use gelu_fhe_baseline::leveled::{Client, Parameters, Server};
use gelu_fhe_baseline::{Circuit, Step};
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

fn linear(name: &str, inputs: usize, rows: &[Vec<Tap>], weights: Vec<i128>, bias: i128) -> Step {
    let bias_of = (0..rows.len()).map(|o| u32::try_from(o).unwrap()).collect();
    let biases = (0..rows.len()).map(|o| bias * o as i128).collect();
    let map = LinearMap::new(inputs, weights.len(), rows, bias_of).unwrap();
    Step::Linear { name: name.into(), map: Box::new(map), weights, biases }
}

fn dense(name: &str, inputs: u32, outputs: u32, weights: Vec<i128>) -> Step {
    let row = |o| (0..inputs).map(|i| Tap { source: i, weight: o * inputs + i }).collect();
    linear(name, inputs as usize, &(0..outputs).map(row).collect::<Vec<_>>(), weights, -3)
}

/// Sums of pairs, all with the weight 1.
fn pool(inputs: u32) -> Step {
    let row = |o| [2 * o, 2 * o + 1].map(|source| Tap { source, weight: 0 }).to_vec();
    let rows: Vec<_> = (0..inputs / 2).map(row).collect();
    linear("pool", inputs as usize, &rows, vec![1], 0)
}

/// Conv-1 in small: 3 features, sums, squares, a pooling, squares, 2 results.
fn small_conv1(rng: &mut ChaCha20Rng, bound: u64) -> Circuit {
    let mut weights = |count| (0..count).map(|_| rng.random_range(-7i128..=7)).collect();
    let first = dense("conv", 3, 4, weights(12));
    let last = dense("dense", 2, 2, weights(4));
    Circuit::new(bound, vec![first, Step::Square, pool(4), Step::Square, last]).unwrap()
}

fn batch(rng: &mut ChaCha20Rng, circuit: &Circuit, samples: usize) -> Array2<i128> {
    let bound = i128::from(circuit.input_bound());
    Array2::from_shape_fn((circuit.inputs(), samples), |_| rng.random_range(-bound..=bound))
}

/// A whole inference, in bytes.
fn encrypted(
    circuit: &Circuit,
    parameters: &Parameters,
    x: &Array2<i128>,
    seed: u64,
) -> Array2<i128> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let client = Client::generate(circuit, parameters, &mut rng);
    let server = Server::new(circuit, parameters, &client.evaluation_key(&mut rng)).unwrap();
    let residues: Vec<_> = (0..parameters.plaintext_moduli().len())
        .map(|index| {
            let query = client.encrypt(index, x.view(), &mut rng).unwrap();
            let answer = server.answer(index, &query, |_| ()).unwrap();
            client.decrypt(index, &answer).unwrap()
        })
        .collect();
    client.combine(&residues, x.ncols()).unwrap()
}

#[test]
fn random_circuits_are_exact_at_an_insecure_degree() {
    for seed in 0..20 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let circuit = small_conv1(&mut rng, 15);
        let needs = circuit.requirements().last().unwrap().bits;
        let (count, bits) = if seed % 2 == 0 { (2, needs / 2 + 1) } else { (1, needs + 1) };
        let parameters = Parameters::danger_insecure(2048, 4, bits, count).unwrap();
        assert_eq!(parameters.security_bits(), 0);
        let x = batch(&mut rng, &circuit, 2048);
        assert_eq!(encrypted(&circuit, &parameters, &x, seed), circuit.evaluate(&x).unwrap());
    }
}

#[test]
fn squares_may_come_first_last_and_twice() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let middle = dense("middle", 2, 2, vec![1, -2, 3, 1]);
    let steps = vec![Step::Square, middle, Step::Square, Step::Square];
    let circuit = Circuit::new(3, steps).unwrap();
    let parameters = Parameters::danger_insecure(2048, 4, 29, 2).unwrap();
    let x = batch(&mut rng, &circuit, 5);
    assert_eq!(encrypted(&circuit, &parameters, &x, 2), circuit.evaluate(&x).unwrap());
}

/// Results modulo a t of 45 bits need more than one limb of 50, with room for the noise.
#[test]
fn wide_results_come_back_in_two_limbs() {
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    let circuit = small_conv1(&mut rng, 15);
    let x = batch(&mut rng, &circuit, 2048);
    for (bits, count, limbs) in [(45, 1, 2), (35, 2, 1)] {
        let parameters = Parameters::danger_insecure(2048, 4, bits, count).unwrap();
        let client = Client::generate(&circuit, &parameters, &mut rng);
        let server = Server::new(&circuit, &parameters, &client.evaluation_key(&mut rng)).unwrap();
        let (_, kept, _) = server.plan().last().unwrap();
        assert_eq!(kept, limbs);
        let query = client.encrypt(0, x.view(), &mut rng).unwrap();
        let answer = server.answer(0, &query, |_| ()).unwrap();
        assert_eq!(answer.len(), 16 + 2 * 2 * limbs * 2048 * 50 / 8);
        assert_eq!(encrypted(&circuit, &parameters, &x, 9), circuit.evaluate(&x).unwrap());
    }
}

#[test]
fn a_full_batch_is_exact_with_128_bits_of_security() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let circuit = small_conv1(&mut rng, 15);
    let parameters = Parameters::for_circuit(&circuit, 2).unwrap();
    assert_eq!((parameters.slots(), parameters.security_bits()), (8192, 128));
    assert!(parameters.modulus_bits() <= 214.0);
    let x = batch(&mut rng, &circuit, 8192);
    assert_eq!(encrypted(&circuit, &parameters, &x, 4), circuit.evaluate(&x).unwrap());
}

#[test]
fn a_seed_replays_a_session() {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let circuit = small_conv1(&mut rng, 15);
    let parameters = Parameters::danger_insecure(2048, 4, 25, 2).unwrap();
    let x = batch(&mut rng, &circuit, 8);
    let bytes = |seed| {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let client = Client::generate(&circuit, &parameters, &mut rng);
        let key = client.evaluation_key(&mut rng);
        (client.encrypt(0, x.view(), &mut rng).unwrap(), key)
    };
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1).0, bytes(2).0);
    assert_ne!(bytes(1).1, bytes(2).1);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let deep = |squares: usize, weight| {
        let mut steps = vec![dense("first", 1, 1, vec![weight])];
        steps.extend((0..squares).map(|_| Step::Square));
        Circuit::new(1, steps).unwrap()
    };
    let why = |circuit, count| Parameters::for_circuit(&circuit, count).unwrap_err().to_string();
    // Every value is 0, 1 or −1, so only the noise is too much.
    let noisy = why(deep(8, 1), 1);
    assert!(noisy.contains("square: is too deep or too wide"), "{noisy}");
    let wide = why(deep(3, 1 << 14), 1);
    assert!(wide.contains("square needs 114 bits"), "{wide}");
    assert!(Parameters::for_circuit(&deep(1, 1), 0).is_err());
    assert!(Parameters::for_circuit_with_degree(&deep(1, 1), 1, 4000).is_err());
    // Five limbs of 50 bits are 250 bits: beyond 214.
    let secure = Parameters::danger_insecure(8192, 5, 20, 1).unwrap();
    let plaintexts: Vec<_> = secure.plaintext_moduli().collect();
    let refused = Parameters::new(8192, &secure.moduli(), &plaintexts).unwrap_err().to_string();
    assert!(refused.contains("allows 214"), "{refused}");
    Parameters::new(8192, &secure.moduli()[..4], &plaintexts).unwrap();
    assert!(Parameters::new(8192, &[15], &plaintexts).is_err(), "no prime");
    assert!(Parameters::new(8192, &secure.moduli()[..1], &[]).is_err());
    let same = &secure.moduli()[..1].repeat(2);
    assert!(Parameters::new(8192, same, &plaintexts).is_err(), "twice the same limb");
}

/// What a party does with bytes.
type Reader<'a> = &'a dyn Fn(&[u8]) -> Result<(), Error>;

/// A server that gets bytes of a liar, or a client that does, refuses or computes: it never panics.
#[test]
fn bytes_are_checked() {
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    let circuit = small_conv1(&mut rng, 15);
    let parameters = Parameters::danger_insecure(2048, 4, 25, 2).unwrap();
    let client = Client::generate(&circuit, &parameters, &mut rng);
    let key = client.evaluation_key(&mut rng);
    let server = Server::new(&circuit, &parameters, &key).unwrap();
    let query = client.encrypt(0, batch(&mut rng, &circuit, 2048).view(), &mut rng).unwrap();
    let answer = server.answer(0, &query, |_| ()).unwrap();

    let read: [(&[u8], Reader); 3] = [
        (&key, &|bytes| Server::new(&circuit, &parameters, bytes).map(|_| ())),
        (&query, &|bytes| server.answer(0, bytes, |_| ()).map(|_| ())),
        (&answer, &|bytes| client.decrypt(0, bytes).map(|_| ())),
    ];
    for (good, read) in read {
        read(good).unwrap();
        for length in [0, 1, 8, 15, 16, 40, good.len() - 1] {
            assert!(matches!(read(&good[..length]), Err(Error::PeerMisbehaved(_))), "{length}");
        }
        assert!(read(&[good, &[0]].concat()).is_err());
        for at in 0..16 {
            let mut bad = good.to_vec();
            bad[at] ^= 1;
            assert!(read(&bad).is_err(), "byte {at} of the header");
        }
        // All ones are no residues, at either end of the body.
        for range in [good.len() - 16..good.len(), good.len() - 7 * 2048..good.len() - 6 * 2048] {
            let mut bad = good.to_vec();
            bad[range].fill(0xff);
            assert!(matches!(read(&bad), Err(Error::PeerMisbehaved(_))));
        }
        for _ in 0..50 {
            let mut bad = good.to_vec();
            let at = rng.random_range(0..bad.len());
            bad[at] ^= 1 << rng.random_range(0..8);
            let _ = read(&bad);
        }
    }
    assert!(server.answer(1, &query, |_| ()).is_err(), "a query modulo another t");
    assert!(server.answer(2, &query, |_| ()).is_err(), "there is no third t");
    let other = Parameters::danger_insecure(2048, 4, 26, 2).unwrap();
    assert!(matches!(Server::new(&circuit, &other, &key), Err(Error::PeerIncompatible(_))));
}

#[test]
fn inputs_are_checked() {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let circuit = small_conv1(&mut rng, 15);
    let parameters = Parameters::danger_insecure(2048, 4, 25, 2).unwrap();
    let client = Client::generate(&circuit, &parameters, &mut rng);
    let mut refused = |x: Array2<i128>| client.encrypt(0, x.view(), &mut rng).is_err();
    assert!(!refused(Array2::from_elem((3, 2048), 15)));
    assert!(refused(Array2::from_elem((3, 2049), 15)), "more samples than slots");
    assert!(refused(Array2::from_elem((2, 2048), 15)), "a feature is missing");
    assert!(refused(Array2::from_elem((3, 2048), -16)), "beyond the bound");
    assert!(refused(Array2::from_elem((3, 2048), i128::MIN)));
    assert!(client.combine(&[Array2::zeros((2, 2048))], 2048).is_err(), "one residue of two");
    let t = parameters.plaintext_moduli().max().unwrap();
    let beyond = [(); 2].map(|()| Array2::from_elem((2, 2048), t));
    assert!(client.combine(&beyond, 2048).is_err(), "no residue");
    assert!(!format!("{client:?}").contains("coefficients"));
}
