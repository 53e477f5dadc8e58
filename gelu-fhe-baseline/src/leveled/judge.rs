//! The crate `fhe` as the other party: its parameters, its secret key with our coefficients, its multiplication, its
//! decryption.

use fhe::bfv;
use fhe_math::rq::traits::TryConvertFrom;
use fhe_math::rq::{Poly as TheirPoly, Representation};
use fhe_traits::{DeserializeParametrized, FheDecoder, FheDecrypter};
use gelu_ring::{Coefficients, Evaluations, Poly};
use ndarray::Array2;

use super::evaluate::tests::Party;
use super::scheme::Ciphertext;

const DEGREE: usize = 2048;
const LIMBS: usize = 3;

#[test]
fn the_crate_fhe_agrees() {
    let mut party = Party::new(DEGREE, LIMBS, 20, 1);
    let t = party.parameters.plaintext_moduli().next().unwrap();
    let parameters = bfv::BfvParametersBuilder::new()
        .set_degree(DEGREE)
        .set_plaintext_modulus(t)
        .set_moduli(&party.parameters.moduli())
        .build_arc()
        .unwrap();
    // A secret key of that crate is protobuf: field 1, packed, zigzag.
    let zigzag = |s: i64| u8::try_from(if s < 0 { 1 } else { 2 * s }).unwrap();
    let mut bytes = vec![0x0a, 0x80, 0x10];
    bytes.extend(party.secret.coefficients().into_iter().map(zigzag));
    let secret = bfv::SecretKey::from_bytes(&bytes, &parameters).unwrap();
    // Evaluations of that crate have another order, so coefficients go over.
    let theirs = |c: &Ciphertext| {
        let context = parameters.context_at_level(LIMBS - c.limbs()).unwrap();
        let poly = |c: &Poly<Evaluations>| {
            let c = c.clone().into_coefficients();
            let shape = (c.basis().moduli().len(), DEGREE);
            let rows = Array2::from_shape_fn(shape, |(i, j)| c.residues(i)[j]);
            let basis = Representation::PowerBasis;
            let mut poly = TheirPoly::try_convert_from(rows, context, true, basis).unwrap();
            poly.change_representation(Representation::Ntt);
            poly
        };
        bfv::Ciphertext::new(vec![poly(&c.c0), poly(&c.c1)], &parameters).unwrap()
    };
    let plain = party.parameters.plaintext(0).clone();
    let decrypted = |c: &bfv::Ciphertext| {
        let plaintext = secret.try_decrypt(c).unwrap();
        let level = LIMBS - c[0].ctx().moduli().len();
        let polynomial =
            Vec::<u64>::try_decode(&plaintext, bfv::Encoding::poly_at_level(level)).unwrap();
        let ours =
            Poly::<Coefficients>::from_residues(&plain, |_, row| row.copy_from_slice(&polynomial));
        ours.into_evaluations().residues(0).to_vec()
    };
    let (x, y) = (party.values(), party.values());
    let (cx, cy) = (party.encrypt(&x), party.encrypt(&y));
    let product: Vec<_> = x.iter().zip(&y).map(|(x, y)| x * y).collect();
    let reduced = |values: &[i64]| -> Vec<u64> {
        values.iter().map(|v| v.rem_euclid(t.cast_signed()).cast_unsigned()).collect()
    };
    assert_eq!(decrypted(&theirs(&cx)), reduced(&x), "our encryption");
    let of_theirs = decrypted(&(&theirs(&cx) * &theirs(&cy)));
    assert_eq!(of_theirs, reduced(&product), "their multiplication");
    let mut of_ours = party.evaluator().multiply(&cx, &cy);
    assert_eq!(decrypted(&theirs(&of_ours)), reduced(&product));
    assert_eq!(party.decrypt(&of_ours), product);
    of_ours.drop_to(2);
    assert_eq!(decrypted(&theirs(&of_ours)), reduced(&product));
}
