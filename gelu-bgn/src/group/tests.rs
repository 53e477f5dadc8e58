//! The laws of the three groups and of the pairing.

use super::*;
use rand::{SeedableRng, rngs::ChaCha20Rng};

fn laws<G: Group>() {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let (a, b) = (Scalar::random(rng), Scalar::random(rng));
    let (g, zero) = (G::generator(), G::identity());
    let (ag, bg) = (g.times(&a), g.times(&b));
    assert_ne!(g, zero);
    assert_eq!(ag.plus(&bg), bg.plus(&ag));
    assert_eq!(ag.plus(&zero), ag);
    assert_eq!(zero.plus(&zero), zero);
    assert_eq!(ag.plus(&ag), ag.double());
    assert_eq!(ag.plus(&ag.minus()), zero);
    assert_eq!(ag.times(&b), bg.times(&a), "the same multiple both ways");
    assert_eq!(ag.times(&b), g.times(&a.product(&b)));
    assert_eq!(ag.plus(&bg), g.times(&a.plus(&b)));
    assert_eq!(g.times(&a.negated()), ag.minus());
    assert_eq!(zero.times(&a), zero);
    assert_eq!(ag.times(&Scalar::from_i128(0)), zero);
    assert_eq!(zero.double(), zero);
    for (k, expected) in [(1, g), (-1, g.minus()), (2, g.double()), (3, g.double().plus(&g))] {
        assert_eq!(g.times(&Scalar::from_i128(k)), expected, "{k}");
    }
    let large = Scalar::from_i128(1 << 100);
    let doubled = (0..100).fold(g, |sum, _| sum.double());
    assert_eq!(g.times(&large), doubled);

    for element in [zero, g, ag, bg.minus()] {
        let mut bytes = Vec::new();
        element.write(&mut bytes);
        assert_eq!(bytes.len(), G::LEN);
        assert_eq!(G::read(&bytes), Some(element));
        assert_eq!(G::read(&bytes[1..]), None, "too short");
        bytes[G::LEN - 1] ^= 1;
        assert_ne!(G::read(&bytes), Some(element));
        bytes.fill(0xff);
        assert_eq!(G::read(&bytes), None);
    }
}

#[test]
fn all_three_are_groups() {
    laws::<G1>();
    laws::<G2>();
    laws::<Gt>();
}

#[test]
fn the_pairing_is_bilinear() {
    let rng = &mut ChaCha20Rng::seed_from_u64(2);
    let (a, b) = (Scalar::random(rng), Scalar::random(rng));
    let (p, q) = (G1::generator().times(&a), G2::generator().times(&b));
    let e = |p: &G1, q: &G2| pair(&[*p], &[*q]);
    assert_eq!(e(&p, &q), Gt::generator().times(&a.product(&b)));
    assert_eq!(e(&p.minus(), &q), e(&p, &q).minus());
    assert_eq!(e(&G1::identity(), &q), Gt::identity());
    assert_eq!(e(&p, &G2::identity()), Gt::identity());
    assert_ne!(Gt::generator(), Gt::identity());
    // More than the 16 pairs that the library takes at once, identities among them.
    let ps: Vec<_> = (0..40).map(|k| p.times(&Scalar::from_i128(k % 7))).collect();
    let qs: Vec<_> = (0..40).map(|k| q.times(&Scalar::from_i128(k % 5))).collect();
    let sum = (0..40).map(|k| (k % 7) * (k % 5)).sum();
    assert_eq!(pair(&ps, &qs), e(&p, &q).times(&Scalar::from_i128(sum)));
    assert_eq!(pair(&[], &[]), Gt::identity());
}

/// A point of the curve that is not of order r, and a field element outside GT.
#[test]
fn elements_outside_the_groups_are_refused() {
    // About half of all x are on the curve, and one point in 2^125 is in the group.
    let mut found = 0;
    for x in 0..64u8 {
        let mut bytes = [0u8; 48];
        (bytes[0], bytes[47]) = (0x80, x);
        let mut affine = blst_p1_affine::default();
        // SAFETY: 48 bytes and a whole point.
        let error = unsafe { blst::blst_p1_uncompress(&mut affine, bytes.as_ptr()) };
        if error == BLST_ERROR::BLST_SUCCESS {
            found += 1;
            assert_eq!(G1::read(&bytes), None, "x = {x} is on the curve, not in the group");
        }
    }
    assert!(found > 10);
    let mut two = [0u8; 576];
    two[47] = 2;
    assert_eq!(Gt::read(&two), None);
    assert_eq!(Gt::read(&[0; 576]), None);
    // 1 + p is another encoding of 1.
    let p = "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaac";
    let mut other = [0u8; 576];
    for (byte, digits) in other.iter_mut().zip(p.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(core::str::from_utf8(digits).unwrap(), 16).unwrap();
    }
    assert_eq!(Gt::read(&other), None);
    let mut one = Vec::new();
    Gt::identity().write(&mut one);
    assert_eq!(Gt::read(&one), Some(Gt::identity()));
}

#[test]
fn scalars_are_checked_and_never_shown() {
    assert!(Scalar::from_bytes(&[0xff; 32]).is_none());
    let secret = Scalar::from_i128(77);
    assert_eq!(*Scalar::from_bytes(&secret.to_bytes()).unwrap().to_bytes(), *secret.to_bytes());
    assert_eq!(format!("{secret:?}"), "Scalar(..)");
    assert!(Scalar::from_i128(0).is_zero() && !secret.is_zero());
    fn wiped<T: ZeroizeOnDrop>(_: &T) {}
    wiped(&secret);
}
