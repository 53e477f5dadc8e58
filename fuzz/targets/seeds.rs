//! Writes the seeds: real messages and whole honest sessions. No target, but linked like one.
#![no_main]
use std::fs;
use std::path::Path;

use gelu_core::message::{ClientMessage, ServerMessage, Wire};
use gelu_core::{AdditiveHE, Cryptosystem, Plaintext, Precision};
use gelu_fuzz::{CKKS, blind, key_of, open, paillier_key, rng, session};
use gelu_lattice::Lattice;
use gelu_nn::Model;
use gelu_paillier::phe::{EncryptedNumber, Number};
use gelu_paillier::{InsecurePaillier as P, StoredKey};

libfuzzer_sys::fuzz_target!(init: write_and_leave(), |data| {
    let _: &[u8] = data;
});

/// Before libFuzzer gets its turn.
fn write_and_leave() {
    let corpus = std::env::args().nth(1).expect("usage: seeds DIRECTORY");
    write_seeds(Path::new(&corpus));
    std::process::exit(0);
}

fn write_seeds(corpus: &Path) {
    let save = |target: &str, name: &str, bytes: &[u8]| {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder).expect("a folder for seeds");
        fs::write(folder.join(name), bytes).expect("a seed");
    };
    // Every kind of session: inference, the rates, a lease cut short, one to four steps.
    for kind in 0..64u8 {
        let machines = ["client_machine", "server_machine"];
        write_session(machines, kind, session::messages(open::parties(kind)), &save);
    }
    // Classes and scores, one sample or two, tickets that expire or are too many.
    for kind in 0..16u8 {
        let machines = ["blind_client_machine", "blind_server_machine"];
        write_session(machines, kind, session::messages(blind::parties(kind)), &save);
    }
    write_keys(&save);
    write_wire::<gelu_elgamal::ElGamal>("elgamal_wire", gelu_elgamal::KEY_BITS, &save);
    write_wire::<gelu_bgn::Bgn>("bgn_wire", gelu_bgn::KEY_BITS, &save);
    write_residues(&save);
    write_files(&save);
}

type Save<'a> = &'a dyn Fn(&str, &str, &[u8]);

fn write_session(
    [client, server]: [&str; 2],
    kind: u8,
    (up, down): (Vec<ClientMessage>, Vec<ServerMessage>),
    save: Save<'_>,
) {
    for message in &up {
        save("client_messages", message.name(), &message.to_bytes());
    }
    for message in &down {
        save("server_messages", message.name(), &message.to_bytes());
    }
    if let Some(ClientMessage::EncryptedActivations { ciphertexts, .. }) = up.get(1) {
        save("clear_bytes", "ciphertext", &ciphertexts[..64]);
    }
    let up: Vec<_> = up.iter().map(Wire::to_bytes).collect();
    let down: Vec<_> = down.iter().map(Wire::to_bytes).collect();
    for honest in 0..up.len().min(12) {
        let name = format!("session-{kind}-{honest}");
        let skip = u8::try_from(honest).expect("below 12");
        save(server, &name, &session::write(kind, skip, &up[honest..]));
        save(client, &name, &session::write(kind, skip, &down[honest.min(down.len())..]));
    }
    let frames = |bodies: &[Vec<u8>], variant: u8| -> Vec<u8> {
        let frame = |(n, body): (usize, &Vec<u8>)| {
            let sequence = u8::try_from(n).expect("few messages");
            let length = u32::try_from(body.len() + 2).expect("short messages");
            [&length.to_be_bytes()[..], &[sequence, variant], body].concat()
        };
        bodies.iter().enumerate().take(100).flat_map(frame).collect()
    };
    // Both `Up::Message` and `Down::Message` are variant 1.
    save("service_frames", &format!("{client}-{kind}"), &frames(&up, 1));
    save("service_frames", &format!("{server}-{kind}"), &frames(&down, 1));
}

fn write_keys(save: Save<'_>) {
    let (secret, rng) = (paillier_key(), &mut rng());
    let public = P::public_key(secret);
    save("paillier_key", "public", &public.to_bytes());
    let plaintext = Plaintext::new(100, vec![1, -2, 3, -4, 5]).expect("small values");
    let ciphertext = P::encrypt(public, &plaintext, rng).expect("five slots");
    let mut bytes = Vec::new();
    P::ciphertext_to_bytes(public, &ciphertext, &mut bytes);
    save("paillier_ciphertext", "one", &bytes);
    save("paillier_ciphertext", "two", &[&bytes[..], &bytes].concat());
    save("paillier_json", "public", public.to_phe_json().as_bytes());
    save("paillier_json", "secret", secret.to_phe_json().as_bytes());
    let number = EncryptedNumber::encrypt(public, &Number::new(-7, -3), rng);
    save("paillier_json", "number", number.expect("small").to_json(public).as_bytes());
    let path = std::env::temp_dir().join(format!("gelu-fuzz-seed-{}", std::process::id()));
    secret.save_replacing(&path).expect("a temporary file");
    save("paillier_key_file", "key", &fs::read(&path).expect("just written"));
    fs::remove_file(&path).expect("our own file");
    let lattice = key_of::<Lattice>(4096);
    let key = lattice.public_key_to_bytes();
    save("lattice_wire", "key", &[&[0], &key[..]].concat());
    let larger = key_of::<Lattice>(8192);
    let key = larger.public_key_to_bytes();
    save("lattice_wire", "key_with_packing", &[&[0], &key[..]].concat());
    save("lattice_wire", "upload", &[1; 1 + 32 + 3 * 4096 * 35 / 8]);
    save("lattice_wire", "answer", &[2; 1 + (4099usize * 33).div_ceil(8)]);
    write_ckks(save);
    write_transfer(save);
    // Each message of a garbled session, honest but for its first byte.
    (0..5).for_each(|kind| save("garble_wire", &kind.to_string(), &[kind, 0, 0, 1]));
}

/// Each kind of bytes, behind the byte that tells them apart.
fn write_ckks(save: Save<'_>) {
    use gelu_ckks::{KeyKind, Parameters, Plaintext, SecretKey};
    let parameters = Parameters::new(&CKKS).expect("a small ring");
    let (secret, rng) = (SecretKey::from_root(parameters.clone(), &[1; 32]), &mut rng());
    let plain = Plaintext::encode(&parameters, &[0.5], &parameters.scale(), 1).expect("small");
    let upload = secret.encrypt(&plain, rng).expect("the same ring");
    let kinds = [(KeyKind::Relinearization, 1), (KeyKind::Rotation(3), 0)];
    let keys = secret.evaluation_keys(kinds, rng).expect("levels");
    let all = [
        ("parameters", parameters.to_bytes()),
        ("ciphertext", upload.clone().expand().to_bytes()),
        ("upload", upload.to_bytes()),
        ("public", secret.public_key(rng).to_bytes()),
        ("keys", keys.to_bytes()),
    ];
    for (kind, (name, bytes)) in (0..).zip(all) {
        save("ckks_wire", name, &[&[kind], &bytes[..]].concat());
    }
}

/// Each message of a training: as it is, without its last byte, with another byte at its beginning.
fn write_transfer(save: Save<'_>) {
    for (target, messages) in [("transfer_compute", 5u8), ("transfer_data", 2)] {
        for kind in 0..messages {
            save(target, &format!("honest-{kind}"), &[kind, 0, 0]);
            save(target, &format!("short-{kind}"), &[kind, 1, 0]);
            save(target, &format!("changed-{kind}"), &[kind, 0, 0, 4, 0, 0, 255]);
        }
    }
    let (data, _) = gelu_fuzz::transfer::data_party();
    save("transfer_data", "state", &data.state().to_bytes().expect("no iterations"));
}

/// A key and two ciphertexts, each behind the byte that tells them apart.
fn write_wire<H: AdditiveHE>(target: &str, key_bits: u32, save: Save<'_>) {
    let secret = key_of::<H>(key_bits);
    let public = H::public_key(&secret);
    save(target, "public", &[&[0], &H::public_key_to_bytes(&secret)[..]].concat());
    let plaintext = Plaintext::new(8, vec![-7]).expect("a small value");
    let ciphertext = H::encrypt(public, &plaintext, &mut rng()).expect("one slot");
    let mut bytes = vec![1];
    H::ciphertexts_to_bytes(public, &[ciphertext.clone(), ciphertext], &mut bytes);
    save(target, "two", &bytes);
}

/// Each width of primes, and a polynomial.
fn write_residues(save: Save<'_>) {
    for bits in 13..=50u8 {
        let q = gelu_ring::primes::descending(bits.into(), 1).next().expect("a prime");
        let mut bytes = vec![bits - 13, 9];
        let residues: Vec<_> = (1..10).map(|i| q.value() / i - 1).collect();
        gelu_ring::bytes::pack(q, &residues, &mut bytes);
        save("ring_bytes", &format!("bits-{bits}"), &bytes);
    }
    let basis = gelu_ring::Basis::new(2048, &[12_289]).expect("a basis");
    let poly = gelu_ring::sample::uniform(&basis, &[1; 32], 0);
    save("ring_bytes", "polynomial", &[&[0, 0], &poly.to_bytes()[..]].concat());
}

fn write_files(save: Save<'_>) {
    for entry in gelu_nn::zoo::entries() {
        save("architecture", entry.name, (entry.architecture)().to_json().as_bytes());
    }
    let model = Model::initialise("iris", gelu_nn::zoo::iris(), Precision::TRAINING, &mut rng());
    let bytes = model.and_then(|model| model.to_bytes()).expect("a model of our own");
    save("model_file", "iris", &bytes);
    save("import", "onnx", &onnx());
    let columns = include_bytes!("../../gelu-import/tests/data/columns_logistic.onnx");
    let quantised = include_bytes!("../../gelu-import/tests/data/quantised_channel.onnx");
    save("import", "columns", columns);
    save("import", "quantised", quantised);
    save("import", "array", b"\x93NUMPY\x01\x00\x45\x00{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }          \n\x01\x02\x03\x04\x05\x06");
    let table = b"a,b,class\n1,2.5,x\n-3,4e2,y\n?,7,x\n\"8\",9,\"y\"\n";
    for options in 0..32u8 {
        save("csv", &format!("table-{options}"), &[&[options], &table[..]].concat());
    }
    // Three rows and one, each of two features.
    let header = concat!(
        r#"{"test.x":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]},"#,
        r#""test.y":{"dtype":"U8","shape":[1],"data_offsets":[4,5]},"#,
        r#""train.x":{"dtype":"I8","shape":[3,2],"data_offsets":[5,11]},"#,
        r#""train.y":{"dtype":"U8","shape":[3],"data_offsets":[11,14]},"#,
        r#""x.scale":{"dtype":"F32","shape":[2],"data_offsets":[14,22]}}"#,
    );
    let length = (header.len() as u64).to_le_bytes();
    save("features", "eight-bits", &[&length[..], header.as_bytes(), &[1; 22]].concat());
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>();
    save("idx", "images", &[&words(&[2051, 2, 2, 3])[..], &[7; 12]].concat());
    save("idx", "labels", &[&words(&[2049, 3])[..], &[0, 1, 9]].concat());
}

/// A convolution, a normalisation, an activation, a pooling and a dense layer, as PyTorch writes them.
fn onnx() -> Vec<u8> {
    use gelu_import::proto::{
        AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
        TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
    };
    use prost::Message;
    let tensor = |name: &str, dims: &[i64]| {
        let float_data = (1..=dims.iter().product::<i64>()).map(|i| i as f32 / 8.0).collect();
        TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            float_data,
            data_type: 1,
            ..Default::default()
        }
    };
    let ints = |name: &str, ints: &[i64]| AttributeProto {
        name: name.into(),
        ints: ints.to_vec(),
        r#type: 7,
        ..Default::default()
    };
    let node =
        |operator: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>| NodeProto {
            input: inputs.iter().map(|name| (*name).into()).collect(),
            output: vec![output.into()],
            op_type: operator.into(),
            attribute,
            ..Default::default()
        };
    let info = |name: &str, sizes: &[i64]| {
        let dim = |&size: &i64| DimensionProto { dim_value: Some(size), dim_param: None };
        let shape = Some(TensorShapeProto { dim: sizes.iter().map(dim).collect() });
        let tensor_type = Some(TensorTypeProto { elem_type: 1, shape });
        ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }) }
    };
    let pair = |name| ints(name, &[2, 2]);
    let graph = GraphProto {
        node: vec![
            node("Conv", &["x", "w", "b"], "c", vec![ints("pads", &[1; 4])]),
            node("BatchNormalization", &["c", "b", "b", "b", "b"], "n", vec![]),
            node("Relu", &["n"], "r", vec![]),
            node("AveragePool", &["r"], "p", vec![pair("kernel_shape"), pair("strides")]),
            node("Flatten", &["p"], "f", vec![]),
            node("MatMul", &["f", "m"], "d", vec![]),
            node("Softmax", &["d"], "y", vec![]),
        ],
        initializer: vec![tensor("w", &[2, 1, 3, 3]), tensor("b", &[2]), tensor("m", &[8, 3])],
        input: vec![info("x", &[1, 1, 4, 4])],
        output: vec![info("y", &[1, 3])],
        ..Default::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
    ModelProto { graph: Some(graph), opset_import, ..Default::default() }.encode_to_vec()
}
