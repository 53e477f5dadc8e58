//! `gelu bench kernels`: the arithmetic, beside what it could be.

use std::time::Duration;

use anyhow::Result;
#[cfg(feature = "paillier")]
use gelu_paillier::{SecretKey, measure};
use serde::Serialize;

use super::Circumstances;
use crate::output::{Output, table};
use crate::problem::problem;

/// Time products modulo n², encryptions and decryptions on one core
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu bench kernels
  gelu bench kernels --json
  GELU_FORCE_PORTABLE=1 gelu bench kernels         what a processor without vectors would do

`at issue rate` is what a product's multiplications would take if the processor did nothing else;
it is measured in the same run. Operations are timed in batches of 64, tables built before.")]
pub(super) struct Args {
    /// Milliseconds for each figure
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    budget: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    products: Vec<Product>,
    operations: Vec<Operation>,
    #[serde(flatten)]
    circumstances: Circumstances,
}

/// A product modulo n², in nanoseconds.
#[derive(Debug, Serialize)]
struct Product {
    bits: u32,
    kernel: &'static str,
    product_ns: f64,
    square_ns: f64,
    portable_product_ns: f64,
    portable_square_ns: f64,
    speedup_over_portable: f64,
    product_at_issue_rate_ns: Option<f64>,
    part_of_issue_rate: Option<f64>,
}

/// An operation of the scheme, in microseconds.
#[derive(Debug, Serialize)]
struct Operation {
    bits: u32,
    operation: &'static str,
    microseconds: f64,
    per_second: f64,
}

const SIZES: [u32; 2] = [2048, 3072];
const BATCH: usize = 64;

/// Measures.
pub(super) fn run(args: &Args, output: Output) -> Result<()> {
    let budget = Duration::from_millis(args.budget);
    let circumstances = Circumstances::now(None);
    let (mut products, mut operations) = (Vec::new(), Vec::new());
    for bits in SIZES {
        measure(bits, budget, &mut products, &mut operations)?;
    }
    let report = Report { products, operations, circumstances };
    let text = report.text();
    output.show(&report, text)
}

#[cfg(feature = "paillier")]
fn measure(
    bits: u32,
    budget: Duration,
    products: &mut Vec<Product>,
    operations: &mut Vec<Operation>,
) -> Result<()> {
    let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
    let unknown = || problem(format!("no kernel for {bits} bits"), "this is a bug");
    let t = measure::kernel_times(bits, budget, rng).ok_or_else(unknown)?;
    products.push(Product {
        bits,
        kernel: t.kernel,
        product_ns: t.product,
        square_ns: t.square,
        portable_product_ns: t.portable_product,
        portable_square_ns: t.portable_square,
        speedup_over_portable: t.speedup(),
        product_at_issue_rate_ns: t.product_at_issue_rate,
        part_of_issue_rate: t.utilization(),
    });
    let secret = SecretKey::generate(bits, rng).ok_or_else(unknown)?;
    for t in measure::operation_times(&secret, BATCH, budget, rng)? {
        operations.push(Operation {
            bits,
            operation: t.name,
            microseconds: t.microseconds,
            per_second: t.rate(),
        });
    }
    Ok(())
}

#[cfg(not(feature = "paillier"))]
fn measure(_: u32, _: Duration, _: &mut Vec<Product>, _: &mut Vec<Operation>) -> Result<()> {
    Err(problem("this program was built without Paillier", "build it with --features paillier"))
}

impl Report {
    fn text(&self) -> String {
        let mut arithmetic = table(&[
            "#bits",
            "kernel",
            "#product",
            "#square",
            "#portable",
            "#times as fast",
            "#at issue rate",
            "#part reached",
        ]);
        let ns = |ns: f64| format!("{ns:.0} ns");
        for p in &self.products {
            arithmetic.add_row([
                p.bits.to_string(),
                p.kernel.to_owned(),
                ns(p.product_ns),
                ns(p.square_ns),
                ns(p.portable_product_ns),
                format!("{:.1}", p.speedup_over_portable),
                p.product_at_issue_rate_ns.map_or_else(|| "–".into(), ns),
                p.part_of_issue_rate.map_or_else(|| "–".into(), |x| format!("{:.0} %", 100.0 * x)),
            ]);
        }
        let mut scheme = table(&["#bits", "operation, one core", "#each", "#a second"]);
        for o in &self.operations {
            let each = format!("{:.1} µs", o.microseconds);
            let rate = format!("{:.0}", o.per_second);
            scheme.add_row([o.bits.to_string(), o.operation.to_owned(), each, rate]);
        }
        format!(
            "Products modulo n², for n of so many bits\n{arithmetic}\n\n\
             Paillier in batches of {BATCH}\n{scheme}\n\n{}",
            self.circumstances
        )
    }
}
