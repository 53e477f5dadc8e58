//! An activation by the split protocol: two messages, and what both parties compute on ciphertexts.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use gelu_core::error::ApiMisuse;
use gelu_core::{AdditiveHE, Plaintext, SlotShape};
use gelu_nn::Activation;
use rand::rngs::ChaCha20Rng;

use super::{Amount, Cost, Plan};
use crate::Error;
use crate::timing::Patience;

/// Slots of Conv-1's first layer in an inference.
const SLOT_BITS: u32 = 30;

/// A round, for one value and for as many as `plan` says.
pub(super) fn costs<H: AdditiveHE>(
    backend: &str,
    key_bits: u32,
    plan: &Plan,
    rng: &mut ChaCha20Rng,
) -> Result<[Cost; 2], Error> {
    let secret = H::keygen(key_bits, rng)?;
    let one = round::<H>(backend, &secret, 1, plan.patience, rng)?;
    let many = round::<H>(backend, &secret, plan.many, plan.patience, rng)?;
    Ok([one, many])
}

/// The server seals `count` weighted sums; the client decrypts them, applies the exact sigmoid and
/// encrypts.
fn round<H: AdditiveHE>(
    backend: &str,
    secret: &H::SecretKey,
    count: usize,
    patience: Patience,
    rng: &mut ChaCha20Rng,
) -> Result<Cost, Error> {
    let public = H::public_key(secret);
    let slots = H::slots(public, SLOT_BITS).min(count);
    if slots == 0 {
        let why = format!("{backend} has none of {SLOT_BITS} bits");
        return Err(gelu_core::Error::from(ApiMisuse::configuration("slots", why)).into());
    }
    // Spread over 20 bits, both signs.
    let sums: Vec<i128> = (0..).take(count).map(|i| (i * 7919) % (1 << 20) - (1 << 19)).collect();
    let plaintexts: Vec<_> = sums
        .chunks(slots)
        .map(|row| Plaintext::new(SLOT_BITS, row.to_vec()))
        .collect::<Result<_, _>>()?;
    let shapes = plaintexts.iter().map(Plaintext::shape);
    let encrypted = H::encrypt_many(secret, &plaintexts, rng)?;
    let shaped: Vec<(_, SlotShape)> = encrypted.into_iter().zip(shapes).collect();
    let sealed = H::rerandomize_many(public, &shaped, rng);
    let received: Vec<_> = sealed.into_iter().zip(shaped.iter().map(|(_, s)| *s)).collect();
    if H::decrypt_many(secret, &received)? != plaintexts {
        return Err(Error::WrongAnswer(format!("a round of the split protocol under {backend}")));
    }
    let seal = patience.median(|| Ok(H::rerandomize_many(public, &shaped, rng)))?;
    let decrypt = patience.median(|| Ok(H::decrypt_many(secret, &received)?))?;
    let encrypt = patience.median(|| Ok(H::encrypt_many(secret, &plaintexts, rng)?))?;
    let activation = patience.median(|| {
        let scale = f64::from(1 << 16);
        let f = |&sum: &i128| Activation::Sigmoid.value(sum as f64 / scale);
        Ok(sums.iter().map(f).collect::<Vec<_>>())
    })?;
    let bytes = received.len() * H::ciphertext_len(public);
    let communication = round_trip(bytes, patience)?;
    let each = |whole: f64| whole / count as f64;
    let remarks = match received.len() {
        1 => "1 ciphertext each way; any function, exact".into(),
        ciphertexts => format!("{ciphertexts} ciphertexts each way; any function, exact"),
    };
    Ok(Cost {
        system: format!("split protocol, {backend}"),
        amount: if count == 1 { Amount::Alone } else { Amount::Of(count) },
        communication: each(communication),
        seal: each(seal),
        decrypt: each(decrypt),
        encrypt: each(encrypt),
        activation: each(activation),
        bytes: each(2.0 * bytes as f64),
        interactive: true,
        remarks,
    })
}

/// So many bytes there and back again, over TCP on this machine.
fn round_trip(bytes: usize, patience: Patience) -> Result<f64, Error> {
    exchange(bytes, patience)
        .map_err(|error| Error::File { path: "the loopback interface".into(), error })
}

fn exchange(bytes: usize, patience: Patience) -> std::io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; bytes];
        while stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&buffer)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut buffer = vec![7; bytes];
    let time = patience.median(|| {
        let there_and_back =
            stream.write_all(&buffer).and_then(|()| stream.read_exact(&mut buffer));
        there_and_back.map_err(|error| Error::File { path: "a connection".into(), error })
    });
    drop(stream);
    echo.join().expect("the echo does not panic")?;
    time.map_err(|error| match error {
        Error::File { error, .. } => error,
        other => std::io::Error::other(other),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::costs;
    use super::*;

    #[test]
    fn values_share_ciphertexts() {
        let [one, many] = costs();
        assert_eq!((one.amount, many.amount), (Amount::Alone, Amount::Of(40)));
        assert!(many.remarks.starts_with("3 ciphertexts"), "{}", many.remarks);
        // A ciphertext of n² has 128 bytes.
        assert_eq!((one.bytes, many.bytes), (256.0, 2.0 * 3.0 * 128.0 / 40.0));
        for cost in [&one, &many] {
            let parts =
                [cost.communication, cost.seal, cost.decrypt, cost.encrypt, cost.activation];
            assert!(parts.iter().all(|&part| part > 0.0), "{cost:?}");
            assert!((cost.total() - parts.iter().sum::<f64>()).abs() < 1e-12);
        }
    }
}
