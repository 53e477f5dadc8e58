//! The scheme from outside: its laws, its attackers, and another implementation.

mod laws;
mod privacy;
mod python_paillier;
