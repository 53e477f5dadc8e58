//! Five questions about transfer learning under homomorphic encryption, each answered with numbers of
//! this run.
//!
//! The questions are those of a poster (P. Mészáros, *Transfer Deep Learning using Homomorphic
//! Encryption*); it has no results. The case that they are put to is its own: a hospital's texts, about
//! cancer or not ([`case`]).
//!
//! | question | module |
//! |---|---|
//! | what limits does encryption impose on models? | [`limits`] |
//! | what does it do to accuracy in training? | [`training`] |
//! | does private inference reach the same accuracy? | [`inference`] |
//! | what are the overheads? | [`overheads`] |
//! | is it suitable? | [`suitable`] |
//!
//! Figures of HETAL, the system nearest to the poster's, stand beside ours as published ones
//! ([`published`]).

pub mod case;
pub mod inference;
pub mod limits;
pub mod overheads;
pub mod published;
pub mod suitable;
pub mod training;
