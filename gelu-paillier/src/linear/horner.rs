//! Π factor^(2^position), by Horner's rule, eight products of this kind side by side.
//!
//! This is how bit planes become a number, and how numbers become the slots of one ciphertext:
//!
//! ```text
//! Π_j out_j^(2^(s·j))  =  Π_j Π_p plane_(j,p)^(2^(s·j + p))
//! ```
//!
//! needs s squarings for an output, whatever its number of planes; apart it would be s + planes − 1.

use rayon::prelude::*;

use super::products::{concatenate, threads};
use crate::elements::Elements;
use crate::kernel::{LANES, Line};
use crate::ring::Ring;

/// One product: its factors, and the power of 2 in the exponent of each. In any order.
pub(super) type Chain<'f> = Vec<(usize, &'f [Line])>;

/// The value of each chain; 1 if it is empty.
pub(super) fn evaluate(ring: &Ring, mut chains: Vec<Chain<'_>>) -> Elements {
    for chain in &mut chains {
        if !chain.is_sorted_by(|a, b| a.0 >= b.0) {
            chain.sort_by_key(|factor| core::cmp::Reverse(factor.0));
        }
    }
    let longest = chains.iter().filter_map(|c| c.first()).map(|f| f.0).max().unwrap_or(0);
    if chains.len() <= LANES || threads(chains.len() * longest) == 1 {
        let parts = chains.chunks(LANES).map(|chains| side_by_side(ring, chains)).collect();
        return concatenate(ring, parts);
    }
    let parts = chains.par_chunks(LANES).map(|chains| side_by_side(ring, chains)).collect();
    concatenate(ring, parts)
}

/// Up to eight chains in the lanes; their factors are sorted, the highest positions first.
fn side_by_side(ring: &Ring, chains: &[Chain<'_>]) -> Elements {
    let stride = ring.stride();
    let kernel = ring.kernel();
    let mut values = vec![Line::default(); chains.len() * stride];
    let mut results = values.clone();
    let mut lanes: Vec<Lane<'_>> = chains.iter().map(|chain| Lane { rest: chain }).collect();
    let highest = |lanes: &[Lane<'_>]| lanes.iter().filter_map(Lane::position).max();

    let mut position = highest(&lanes).unwrap_or(0);
    for (value, lane) in values.chunks_exact_mut(stride).zip(&mut lanes) {
        value.copy_from_slice(lane.next(ring, position));
    }
    while let Some(below) = highest(&lanes) {
        let a: Vec<&[Line]> = values.chunks_exact(stride).collect();
        let b: Vec<&[Line]> = lanes.iter_mut().map(|lane| lane.next(ring, below)).collect();
        kernel.run(&a, position - below, Some(&b), &mut results);
        core::mem::swap(&mut values, &mut results);
        position = below;
    }
    if position > 0 {
        let a: Vec<&[Line]> = values.chunks_exact(stride).collect();
        kernel.run(&a, position, None, &mut results);
        core::mem::swap(&mut values, &mut results);
    }
    let mut elements = ring.empty();
    values.chunks_exact(stride).for_each(|value| elements.push(value));
    elements
}

/// A chain on its way down.
struct Lane<'f> {
    rest: &'f [(usize, &'f [Line])],
}

impl<'f> Lane<'f> {
    /// Where its next factor stands.
    fn position(&self) -> Option<usize> {
        self.rest.first().map(|factor| factor.0)
    }

    /// Its next factor, if that stands at `position`; otherwise 1.
    fn next(&mut self, ring: &'f Ring, position: usize) -> &'f [Line] {
        match self.rest {
            [(at, factor), rest @ ..] if *at == position => {
                self.rest = rest;
                rest.first().iter().for_each(|(_, soon)| ring.kernel().prefetch(soon));
                factor
            }
            _ => ring.one(0),
        }
    }
}
