//! The learning rate on the command line: a number, or a power of two that only the server knows.

use clap::Args;
use gelu_nn::Rate;
use serde::Serialize;

/// The learning rate of every lease.
#[derive(Debug, Clone, Copy, PartialEq, Args, Serialize)]
#[command(next_help_heading = "Learning rate")]
pub struct RateArgs {
    /// Learning rate, known to the clients [default: 0.1; in train 0.5 or the recipe's]
    #[arg(long, value_name = "ETA", conflicts_with = "secret_rate", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<f64>,
    /// Keep the rate from the clients: 2^-G; updates then travel under the server's key, and the clients
    /// must trust the server, which could send ⟦0⟧ for ⟦2^G⟧ and read every update
    #[arg(long, value_name = "G", value_parser = clap::value_parser!(u32).range(0..=16))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_rate: Option<u32>,
    /// The largest G that clients must allow for; so many fractional bits of the weights pay for it
    #[arg(long, value_name = "G", default_value_t = 6, value_parser = clap::value_parser!(u32).range(0..=16))]
    pub(crate) secret_rate_max: u32,
}

impl RateArgs {
    /// A rate that the clients know.
    pub fn public(eta: f64) -> Self {
        Self { rate: Some(eta), secret_rate: None, secret_rate_max: 6 }
    }

    /// The rate, `otherwise` where none was given.
    pub(crate) fn or(self, otherwise: f64) -> Self {
        match (self.rate, self.secret_rate) {
            (None, None) => Self { rate: Some(otherwise), ..self },
            _ => self,
        }
    }

    /// As the trainers want it.
    pub fn rate(self) -> Rate {
        match self.secret_rate {
            Some(g) => Rate::Secret { g, g_max: self.secret_rate_max.max(g) },
            None => Rate::Public(self.rate.unwrap_or(DEFAULT)),
        }
    }

    /// As a real number.
    pub(crate) fn eta(self) -> f64 {
        match self.rate() {
            Rate::Public(eta) => eta,
            Rate::Secret { g, .. } => gelu_core::fixed::exp2(g).recip(),
        }
    }

    /// For the command line of a server.
    pub(crate) fn arguments(self) -> Vec<String> {
        match self.rate() {
            Rate::Public(eta) => vec!["--rate".into(), eta.to_string()],
            Rate::Secret { g, g_max } => vec![
                "--secret-rate".into(),
                g.to_string(),
                "--secret-rate-max".into(),
                g_max.to_string(),
            ],
        }
    }
}

/// For the report.
impl std::fmt::Display for RateArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.rate() {
            Rate::Public(eta) => write!(f, "{eta}, known to the clients"),
            Rate::Secret { g, .. } => write!(f, "2^-{g}, kept by the server"),
        }
    }
}

const DEFAULT: f64 = 0.1;

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(x) if x > 0.0 && f64::is_finite(x) => Ok(x),
        _ => Err("must be a positive number".into()),
    }
}
