//! Out-of-range packing: a client reads weights instead of a sum.
//!
//! A plaintext of Paillier has 2048 bits, an honest sum 30. A client that encrypts, instead of
//! pixels, the numbers xᵢ = 2^(8·i), gets
//!
//! ```text
//! Σ wᵢ·xᵢ + b  =  b + Σ wᵢ·2^(8·i)
//! ```
//!
//! which is the weights of 8 bits themselves, side by side, 255 of them: a layer of 784 inputs
//! takes 4 questions instead of the 785 that solving equations takes.
//!
//! What stops it: sealing adds a random multiple of 2^30 above the slot, so that the response has
//! the 30 bits of a slot and nothing else; and the ledger counts those bits, not questions.

mod exhibit;

use std::ops::Range;

use gelu_core::ledger::{Exposure, Ledger, Policy};
use gelu_core::plan::{Plan, Purpose};
use gelu_core::slots::signed_bits;
use gelu_core::{AdditiveHE, Plaintext, SlotShape};
use gelu_nn::Model;
use gelu_paillier::{Ciphertext, InsecurePaillier, SecretKey};
use num_bigint_dig::{BigInt, BigUint, Sign};
use rand_core::CryptoRng;

pub use exhibit::exhibit;

use super::digits;
use super::target::{self, Session, Target};
use crate::setting::Progress;

/// Paillier in every key size, those of tests included.
type P = InsecurePaillier;

/// One question: which inputs carry a power of two, and from which place on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Inputs whose weights it asks for.
    pub inputs: Range<usize>,
    /// Place of the first of them.
    pub first: usize,
}

/// The questions that read rows of `inputs` weights, `places` to a response. The first one leaves
/// `free` places below its weights, where the bias shows.
pub fn questions(inputs: usize, places: usize, free: usize) -> Vec<Question> {
    let mut questions = Vec::new();
    let mut next = 0;
    while next < inputs {
        let first = if next == 0 { free } else { 0 };
        let end = inputs.min(next + places - first);
        questions.push(Question { inputs: next..end, first });
        next = end;
    }
    questions
}

/// Encrypts xᵢ = 2^(w·place) for the inputs asked for, 0 for all others.
///
/// # Errors
/// When the places are more than the key has room for.
pub fn encrypt(
    secret: &SecretKey,
    question: &Question,
    target: &Target,
    rng: &mut dyn CryptoRng,
) -> gelu_core::Result<Vec<Ciphertext>> {
    let width = u32::try_from(target.weight_bits).expect("a weight has few bits");
    let input = |i: usize| {
        let mut slots = vec![0; question.first + question.inputs.len()];
        if question.inputs.contains(&i) {
            slots[question.first + i - question.inputs.start] = 1;
        }
        Plaintext::new(width, slots)
    };
    let plaintexts: Vec<_> = (0..target.inputs()).map(input).collect::<gelu_core::Result<_>>()?;
    P::encrypt_many(secret, &plaintexts, rng)
}

/// The integers that bare responses hold, as far as the key has room: not what a slot holds.
///
/// # Errors
/// When a ciphertext belongs to another key.
pub fn integers(secret: &SecretKey, responses: &[Ciphertext]) -> gelu_core::Result<Vec<BigInt>> {
    // Wide slots that fill the plaintext: their values, side by side, are the whole of it.
    let capacity = P::slots(secret.public_key(), 1);
    let width = (1..=127).rev().find(|w| capacity.is_multiple_of(*w)).expect("1 divides");
    let bits = u32::try_from(width).expect("at most 127");
    let whole = SlotShape { bits, count: capacity / width };
    let integer = |values: Vec<i128>| {
        values.iter().enumerate().map(|(j, &v)| BigInt::from(v) << (width * j)).sum()
    };
    Ok(slots(secret, responses, whole)?.into_iter().map(integer).collect())
}

/// The slots of responses. −2^(b−1) is no value of an honest slot and does not decode, but weights of
/// 0 below one power of two are just that: so all slots but the top one are moved first, then back.
fn slots(
    secret: &SecretKey,
    responses: &[Ciphertext],
    shape: SlotShape,
) -> gelu_core::Result<Vec<Vec<i128>>> {
    let moved = shape.count.saturating_sub(1).max(1);
    let offset = MOVE & ((1 << (shape.bits - 2)) - 1);
    let by = Plaintext::new(shape.bits, vec![offset; moved])?;
    let shaped: Vec<_> =
        responses.iter().map(|c| (P::add_plain(secret.public_key(), c, &by), shape)).collect();
    let back = |plaintext: Plaintext| {
        let mut values = plaintext.values().to_vec();
        values[..moved].iter_mut().for_each(|v| *v -= offset);
        values
    };
    Ok(P::decrypt_many(secret, &shaped)?.into_iter().map(back).collect())
}

/// Bits without a pattern, those of π.
const MOVE: i128 = 0x0324_3f6a_8885_a308_d313_198a_2e03_7073;

/// The same for sealed responses. They are numbers between 0 and n, so the wide slots may show one
/// less by n; the low bits, as an honest client reads them from its slot, tell.
///
/// # Errors
/// As [`integers`].
pub fn sealed_integers(
    secret: &SecretKey,
    responses: &[Ciphertext],
    slot: SlotShape,
) -> gelu_core::Result<Vec<BigInt>> {
    let n = BigUint::from_bytes_be(&secret.public_key().modulus());
    let n = BigInt::from_biguint(Sign::Plus, n);
    let modulus = BigInt::from(1) << slot.bits as usize;
    let choose = |(sum, low): (BigInt, Vec<i128>)| {
        let low = BigInt::from(low[0]);
        let agrees = |candidate: &BigInt| (candidate - &low) % &modulus == BigInt::from(0);
        [sum.clone(), &sum + &n].into_iter().find(agrees).unwrap_or(sum)
    };
    let (sums, lows) = (integers(secret, responses)?, slots(secret, responses, slot)?);
    Ok(sums.into_iter().zip(lows).map(choose).collect())
}

/// What was read of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Questions asked.
    pub questions: usize,
    /// For each output, a weight for each input.
    pub rows: Vec<Vec<i128>>,
    /// For each output, what is added to it.
    pub offsets: Vec<i128>,
}

/// How a server ends its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Sends the sums as they are.
    Bare,
    /// Seals them.
    Sealing,
}

/// The attack: reads the whole layer as fast as the plaintext has room.
///
/// # Errors
/// When the layer does not fit the key.
pub fn read_layer(
    secret: &SecretKey,
    target: &Target,
    server: Server,
    progress: &dyn Progress,
    rng: &mut dyn CryptoRng,
) -> gelu_core::Result<Reading> {
    let (public, width) = (secret.public_key(), target.weight_bits);
    let places = P::slots(public, u32::try_from(width).expect("few bits"));
    // The bias is a weight of the constant 2^f_a: a few places for it.
    let free = (target.slot.bits as usize).div_ceil(width) - 1;
    let questions = questions(target.inputs(), places, free);
    let mut rows = vec![vec![0; target.inputs()]; target.outputs()];
    let mut offsets = vec![0; target.outputs()];
    progress.begin("questions", questions.len());
    for question in &questions {
        let inputs = encrypt(secret, question, target, rng)?;
        let responses = target.answer_bare::<P>(public, &inputs)?;
        let integers = match server {
            Server::Bare => integers(secret, &responses)?,
            Server::Sealing => {
                let sealed = target::sealed::<P>(public, &responses, target.slot, rng)?;
                sealed_integers(secret, &sealed, target.slot)?
            }
        };
        for ((integer, row), offset) in integers.iter().zip(&mut rows).zip(&mut offsets) {
            if question.first > 0 {
                *offset = digits::read(integer, width * question.first, 1)[0];
            }
            let read = read_response(&(integer - BigInt::from(*offset)), question, target, server);
            row[question.inputs.clone()].copy_from_slice(&read);
        }
        progress.step();
    }
    Ok(Reading { questions: questions.len(), rows, offsets })
}

/// The weights in one response. If it is sealed, those that the slot holds are read from its bits
/// alone: a topmost one that does not fit wholly takes its sign from the bits that do.
fn read_response(
    integer: &BigInt,
    question: &Question,
    target: &Target,
    server: Server,
) -> Vec<i128> {
    let (width, slot) = (target.weight_bits, target.slot.bits as usize);
    let mut places = digits::read(integer, width, question.first + question.inputs.len());
    if server == Server::Sealing {
        let low = digits::read_short(integer, width, slot);
        places.iter_mut().zip(low).for_each(|(place, low)| *place = low);
    }
    places.split_off(question.first)
}

/// What the real server's answers give: as many weights of each row as fit a slot at `spacing` bits
/// each, question by question, until it refuses or `most` questions have been asked. The first one,
/// of zeros, tells the biases.
///
/// Weights are often smaller than their format, so the spacing may be less than their bits; a weight
/// that does not fit it is read wrongly and spoils the next one by 1.
///
/// # Errors
/// When the server says that we misbehave.
pub fn read_slots(
    session: &mut Session<P>,
    target: &Target,
    spacing: usize,
    most: usize,
    progress: &dyn Progress,
    rng: &mut dyn CryptoRng,
) -> gelu_core::Result<Reading> {
    let slot = target.slot.bits as usize;
    let places = slot / spacing;
    let mut reading =
        Reading { questions: 0, rows: vec![Vec::new(); target.outputs()], offsets: Vec::new() };
    progress.begin("questions", most);
    while reading.questions < most {
        let start = reading.rows[0].len();
        let end = target.inputs().min(start + places);
        if start == end {
            break;
        }
        let mut inputs = vec![0; target.inputs()];
        if reading.questions > 0 {
            (start..end).for_each(|i| inputs[i] = 1 << (spacing * (i - start)));
        }
        let Some(sums) = session.ask(&inputs, rng)? else { break };
        if reading.questions == 0 {
            reading.offsets = sums;
        } else {
            for ((row, sum), offset) in reading.rows.iter_mut().zip(&sums).zip(&reading.offsets) {
                let low = digits::read_short(&BigInt::from(sum - offset), spacing, slot);
                row.extend(&low[..end - start]);
            }
        }
        reading.questions += 1;
        progress.step();
    }
    Ok(reading)
}

/// The spacing that an attacker would choose who knows about how small the weights are: 99 of 100 fit.
pub fn tight_spacing(rows: &[Vec<i128>]) -> usize {
    let mut bits: Vec<_> = rows.iter().flatten().map(|&w| signed_bits(w)).collect();
    bits.sort_unstable();
    bits.get(bits.len() * 99 / 100).map_or(1, |&bits| bits as usize)
}

/// Questions that the ledger lets one account ask of one version of `model`: counted by asking it.
///
/// # Errors
/// What the range analysis says.
pub fn questions_allowed(model: &Model, secret: &SecretKey) -> gelu_core::Result<u64> {
    let (network, precision) = (model.network(), model.precision());
    let plan = Plan::new::<P>(network, precision, 1, Purpose::Inference, secret.public_key())?;
    let exposure = Exposure::new(network, precision, &plan);
    let mut ledger = Ledger::default();
    let answered = |_: &u64| ledger.charge("attacker", 1, &exposure, 1, Policy::Enforce).is_ok();
    Ok((0..).take_while(answered).count() as u64)
}

/// Counts what was read of all rows, input by input: how many outputs' weights are right.
pub fn right_by_input(reading: &Reading, rows: &[Vec<i128>]) -> Vec<usize> {
    let inputs = reading.rows[0].len();
    let right = |i: usize| reading.rows.iter().zip(rows).filter(|(a, b)| a[i] == b[i]).count();
    (0..inputs).map(right).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_core::Cryptosystem;
    use std::sync::Arc;

    use crate::setting::Quiet;
    use gelu_core::{Format, Precision};
    use gelu_nn::{Activation, Sequential};
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;
    use rand_core::Rng;

    /// 60 inputs, 20 outputs, weights over the whole of their 12 bits; a key of 512 bits has room for
    /// 42 of them.
    fn scene() -> (Model, Arc<SecretKey>, ChaCha20Rng) {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let architecture = Sequential::dense(60, &[20], 3, Activation::Sigmoid).unwrap();
        let mut parameters = architecture.network().zeros();
        let mut draw = || i128::from(rng.next_u32() % 4095) - 2047;
        parameters.values_mut().for_each(|w| *w = draw());
        let precision = Precision { weights: Format::new(3, 8), ..Precision::INFERENCE };
        let model = Model::new("test", architecture, precision, parameters).unwrap();
        let secret = P::keygen(512, &mut rng).unwrap();
        (model, Arc::new(secret), rng)
    }

    #[test]
    fn questions_ask_for_every_input_once() {
        let asked = questions(784, 170, 2);
        assert_eq!(asked.len(), 5);
        assert_eq!(asked[0], Question { inputs: 0..168, first: 2 });
        assert_eq!(asked[1], Question { inputs: 168..338, first: 0 });
        assert_eq!(asked[4].inputs.end, 784);
    }

    #[test]
    fn bare_sums_give_the_layer() {
        let (model, secret, mut rng) = scene();
        let target = Target::first_layer::<P>(&model, secret.public_key()).unwrap();
        let read = read_layer(&secret, &target, Server::Bare, &Quiet, &mut rng).unwrap();
        assert_eq!(read.questions, 2);
        assert_eq!(read.rows, target.rows());
        assert_eq!(read.offsets, target.offsets());
    }

    #[test]
    fn sealed_sums_give_what_a_slot_holds() {
        let (model, secret, mut rng) = scene();
        let target = Target::first_layer::<P>(&model, secret.public_key()).unwrap();
        let slot = target.slot.bits as usize;
        assert_eq!((slot / 12, slot.div_ceil(12)), (2, 3));
        let read = read_layer(&secret, &target, Server::Sealing, &Quiet, &mut rng).unwrap();
        let by_input = right_by_input(&read, &target.rows());
        // The first question has its bias in the places of the slot, the second two weights; the
        // third place of each is in the slot in part.
        let masked: usize = by_input[1..40].iter().chain(&by_input[43..]).sum();
        assert_eq!(by_input[40..42], [20, 20], "the two weights that the slot holds wholly");
        assert!(masked <= 5, "{masked} of 1120 under the mask; chance makes 0.3");
    }

    #[test]
    fn the_server_answers_until_the_ledger_refuses() {
        let (model, secret, mut rng) = scene();
        let target = Target::first_layer::<P>(&model, secret.public_key()).unwrap();
        let allowed = questions_allowed(&model, &secret).unwrap();
        let mut session = Session::open(&model, &secret, &mut rng).unwrap();
        let read = read_slots(&mut session, &target, 12, 1000, &Quiet, &mut rng).unwrap();
        assert_eq!(read.questions as u64, allowed);
        assert_eq!(read.offsets, target.offsets());
        let known = read.rows[0].len();
        assert!(known > 0 && known < 60, "{known} weights of a row before the refusal");
        for (row, truth) in read.rows.iter().zip(&target.rows()) {
            assert_eq!(row[..], truth[..known]);
        }
    }

    /// Three weights of 0 and a fourth that ends in binary 10: the slot of 32 bits would hold −2^31.
    #[test]
    fn the_one_value_that_no_slot_holds_is_read() {
        let (_, secret, mut rng) = scene();
        let public = secret.public_key();
        for (bits, value) in [(32, 1 << 31), (32, 7 << 31), (102, -(1 << 101)), (102, 1 << 101)] {
            let plaintext = Plaintext::new(126, vec![value]).unwrap();
            let ciphertext = P::encrypt(public, &plaintext, &mut rng).unwrap();
            let slot = SlotShape { bits, count: 1 };
            assert!(P::decrypt(&secret, &ciphertext, slot).is_err());
            let read = slots(&secret, std::slice::from_ref(&ciphertext), slot).unwrap();
            assert_eq!((read[0][0] - value).rem_euclid(1 << bits), 0);
            let sum = integers(&secret, &[ciphertext]).unwrap();
            assert_eq!(sum, [BigInt::from(value)]);
        }
    }

    #[test]
    fn small_weights_are_read_more_tightly() {
        let rows = [vec![3; 100], [vec![-40], vec![-7; 99]].concat()];
        assert_eq!(tight_spacing(&rows), 4, "one in 200 is an outlier");
        assert_eq!(tight_spacing(&[vec![2047; 3]]), 12);
    }
}
