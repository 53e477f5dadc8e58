//! A key from one decryption of an approximate scheme that somebody else sees.
//!
//! Decrypting (c₀, c₁) under CKKS gives m = c₀ + c₁·s exactly: the numbers *and* their noise. A server that computed the
//! ciphertext and is then shown the numbers, in all slots, encodes them again. Rounding gives the integers of m back, and
//!
//! ```text
//! s  =  (m − c₀) / c₁        modulo q₀, evaluation by evaluation
//! ```
//!
//! is the key: what the client encrypts afterwards, the server reads. Li and Micciancio, *On the security of homomorphic
//! encryption on approximate numbers*, EUROCRYPT 2021, section 3. The defence is fresh noise before a number is shown
//! ([`gelu_ckks::flood`]); training a head needs none, as what its owner decrypts goes back encrypted afresh.

use std::f64::consts::PI;

use gelu_ckks::{
    Chain, Ciphertext, Complex64, Flooding, KeyKind, Parameters, Plaintext, SecretKey,
};
use gelu_ring::{Basis, Evaluations, Poly};
use rand::rngs::ChaCha20Rng;
use rand::{CryptoRng, RngExt, SeedableRng};

use crate::Error;
use crate::exhibit::{Claim, Column, Exhibit, Part, Row, Source, Table};
use crate::setting::{Progress, Setting};

/// Numbers of another ciphertext that the attacker tries to read.
const WANTED: usize = 16;
/// How near it must come.
const NEAR: f64 = 1e-3;
/// Bits by which what is shown is flooded: the least that `gelu-ckks` takes.
const FLOOD_BITS: u32 = 30;

/// What an attack came to.
struct Outcome {
    /// Coefficients of the supposed key that are −1, 0 or 1, as those of every key are.
    ternary: usize,
    /// Of how many.
    degree: usize,
    /// Numbers of [`WANTED`] that were read right.
    read: usize,
}

/// What a server that computed a ciphertext, and was shown all slots of its decryption, takes for the key.
fn supposed_key(ciphertext: &Ciphertext, shown: &[Complex64]) -> Result<Vec<i64>, Error> {
    let ciphertext = ciphertext.at_level(0).map_err(refused)?;
    let minus: Vec<_> = shown.iter().map(|x| -x).collect();
    let m = Plaintext::encode_complex(ciphertext.parameters(), &minus, ciphertext.scale(), 0);
    // c₀ − m and c₁.
    let rest = ciphertext.add_plain(&m.map_err(refused)?).map_err(refused)?;
    let [rest, c1] = polynomials(&rest)?;
    let q = c1.basis().moduli().next().expect("one prime");
    let key = Poly::<Evaluations>::from_residues(c1.basis(), |_, row| {
        let pairs = rest.residues(0).iter().zip(c1.residues(0));
        row.iter_mut().zip(pairs).for_each(|(s, (&rest, &c1))| {
            *s = q.mul(q.neg(rest), q.inverse(c1));
        });
    });
    let key = key.into_coefficients();
    Ok(key.residues(0).iter().map(|&s| q.centre(s)).collect())
}

/// c₀ and c₁ of a ciphertext of level 0, from its bytes.
fn polynomials(ciphertext: &Ciphertext) -> Result<[Poly<Evaluations>; 2], Error> {
    let parameters = ciphertext.parameters();
    let first = parameters.primes().next().expect("a chain has a prime");
    let basis = Basis::new(parameters.degree(), &[first]).map_err(refused)?;
    let bytes = ciphertext.to_bytes();
    let length = Poly::<Evaluations>::bytes_len(&basis);
    let (_, both) = bytes.split_at(bytes.len() - 2 * length);
    let read = |bytes| Poly::from_bytes(&basis, bytes).map_err(refused);
    Ok([read(&both[..length])?, read(&both[length..])?])
}

/// The real parts of the first numbers in a ciphertext, by a key: slot j is m at the root exp(iπ·5^j/N), over the scale.
fn read(ciphertext: &Ciphertext, key: &[i64]) -> Result<Vec<f64>, Error> {
    let ciphertext = ciphertext.at_level(0).map_err(refused)?;
    let [mut phase, c1] = polynomials(&ciphertext)?;
    let s = Poly::from_words(c1.basis(), key).into_evaluations();
    phase.multiply_accumulate(&[(&c1, &s)]);
    let phase = phase.into_coefficients();
    let q = phase.basis().moduli().next().expect("one prime");
    let m: Vec<f64> = phase.residues(0).iter().map(|&x| q.centre(x) as f64).collect();
    let (degree, scale) = (m.len(), ciphertext.scale().to_f64());
    let slot = |power: usize| {
        let angle = |k: usize| PI * (power * k % (2 * degree)) as f64 / degree as f64;
        m.iter().enumerate().map(|(k, m)| m * libm::cos(angle(k))).sum::<f64>() / scale
    };
    let powers = std::iter::successors(Some(1), |power| Some(power * 5 % (2 * degree)));
    Ok(powers.take(WANTED).map(slot).collect())
}

/// A client that lets a server square its numbers, looks at the result, and encrypts something else afterwards.
struct Client {
    secret: SecretKey,
    squared: Ciphertext,
    later: Ciphertext,
    wanted: Vec<f64>,
}

impl Client {
    fn new(rng: &mut dyn CryptoRng) -> gelu_ckks::Result<Self> {
        let parameters = Parameters::new(&Chain::N13_LEVELS4)?;
        let secret = SecretKey::generate(parameters.clone(), rng);
        let top = parameters.top_level();
        let upload = |values: &[f64], rng: &mut dyn CryptoRng| {
            let plain = Plaintext::encode(&parameters, values, &parameters.scale(), top)?;
            Ok::<_, gelu_ckks::Error>(secret.encrypt(&plain, rng)?.expand())
        };
        let draw = |rng: &mut dyn CryptoRng| -> Vec<f64> {
            (0..parameters.slots()).map(|_| rng.random_range(-1.0..1.0)).collect()
        };
        let (first, wanted) = (draw(rng), draw(rng));
        let (x, later) = (upload(&first, rng)?, upload(&wanted, rng)?);
        let keys = secret.evaluation_keys([(KeyKind::Relinearization, top)], rng)?;
        Ok(Self { squared: x.square(&keys)?, later, wanted, secret })
    }

    /// What the server comes to that is shown this.
    fn outcome(&self, shown: &[Complex64]) -> Result<Outcome, Error> {
        let key = supposed_key(&self.squared, shown)?;
        let numbers = read(&self.later, &key)?;
        let near = |(a, b): &(&f64, &f64)| (*a - *b).abs() < NEAR;
        Ok(Outcome {
            ternary: key.iter().filter(|s| (-1..=1).contains(*s)).count(),
            degree: key.len(),
            read: numbers.iter().zip(&self.wanted).filter(near).count(),
        })
    }
}

/// The attack on numbers as they are decrypted, and on flooded ones.
///
/// # Errors
/// What `gelu-ckks` refuses, which would be a bug.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    progress.begin("one decryption, as it is and flooded", 2);
    let client = Client::new(rng).map_err(refused)?;
    let decrypt = || client.secret.decrypt(&client.squared).map_err(refused);
    let bare = client.outcome(&decrypt()?.danger_slots())?;
    progress.step();
    let parameters = client.secret.parameters();
    // Of a square of numbers up to 1, relinearised and rescaled: deviations added up, which is more than theirs together.
    let noise =
        2.0 * parameters.fresh_noise() + parameters.switching_noise() + parameters.rounding_noise();
    let flooding = Flooding { queries: 1, bits: FLOOD_BITS, noise };
    let shown = decrypt()?.flood(&flooding, rng).map_err(refused)?;
    let precision = shown.precision_bits();
    let flooded = client.outcome(shown.slots())?;
    progress.step();
    let fewer = Flooding { bits: FLOOD_BITS - 1, ..flooding };
    let claims = vec![
        Claim::new(
            format!(
                "one decryption shown as it is: {} of {} coefficients of the supposed key are −1, 0 or 1, and \
                 {} of {WANTED} numbers encrypted afterwards are read",
                bare.ternary, bare.degree, bare.read
            ),
            bare.ternary == bare.degree && bare.read == WANTED,
        ),
        Claim::new(
            format!(
                "the same flooded by {FLOOD_BITS} bits: {} coefficients, and {} numbers (chance reads none)",
                flooded.ternary, flooded.read
            ),
            flooded.ternary * 100 < flooded.degree && flooded.read == 0,
        ),
        Claim::new(
            format!("what is shown still has {precision:.1} bits behind the point"),
            precision > 4.0,
        ),
        Claim::new(
            format!("flooding by {} bits is refused", FLOOD_BITS - 1),
            decrypt()?.flood(&fewer, rng).is_err(),
        ),
    ];
    let row = |what: &str, outcome: &Outcome| Row {
        source: Source::Measured,
        cells: vec![
            what.into(),
            outcome.ternary.into(),
            outcome.degree.into(),
            outcome.read.into(),
        ],
    };
    Ok(Exhibit {
        id: "attack-approximate".into(),
        title: "A key from one decryption of an approximate scheme".into(),
        finding: format!(
            "A server that is shown one result as CKKS decrypts it divides the secret key out, and reads {} of {WANTED} \
             numbers encrypted afterwards. Flooded by {FLOOD_BITS} bits, the result has {precision:.1} bits behind the \
             point and says nothing of the key.",
            bare.read
        ),
        claims,
        parts: vec![Part::Table(Table {
            caption: "One result shown to the server that computed it".into(),
            columns: ["shown", "coefficients like a key's", "of", "numbers read"]
                .map(Column::new)
                .to_vec(),
            rows: vec![row("as decrypted", &bare), row("flooded", &flooded)],
        })],
        notes: vec![
            "Degree 8192, a square of 4096 random numbers, all slots shown as complex numbers. One division is no \
             proof that nothing is left in flooded numbers: that is the theorem that the flooding's width comes from, for \
             one decryption here."
                .into(),
            "Training a head under CKKS shows the server no decrypted number: its owner decrypts the head and \
             encrypts it afresh."
                .into(),
        ],
    })
}

/// Nothing here is refused unless there is a bug.
fn refused(why: impl std::fmt::Display) -> Error {
    Error::Program { program: "gelu-ckks".into(), reason: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever has the key reads the same: slots are where the attacker looks for them.
    #[test]
    fn the_real_key_reads_what_was_encrypted() {
        let client = Client::new(&mut ChaCha20Rng::seed_from_u64(7)).unwrap();
        let shown = client.secret.decrypt(&client.later).unwrap().danger_slots();
        let key = supposed_key(&client.later, &shown).unwrap();
        for (got, wanted) in read(&client.later, &key).unwrap().iter().zip(&client.wanted) {
            assert!((got - wanted).abs() < 1e-5, "{got} {wanted}");
        }
        let wrong: Vec<_> = key.iter().map(|s| -s).collect();
        assert!((read(&client.later, &wrong).unwrap()[0] - client.wanted[0]).abs() > 1e-3);
    }
}
