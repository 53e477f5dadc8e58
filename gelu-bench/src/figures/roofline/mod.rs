//! A roofline of both schemes' kernels: how near products modulo n², and transforms of polynomials, come to what
//! the processor could do.
//!
//! A kernel can be no faster than its multiplier, and no faster than its operands arrive:
//!
//! ```text
//! products a second  ≤  min(issue rate,  intensity · bytes a second)       intensity = products / bytes
//! ```
//!
//! | axis | how it is counted |
//! |---|---|
//! | products | of two 64-bit words. A product modulo n² takes 5·k² products of limbs for k limbs, a square 4·k²; one of b-bit limbs is worth (b/64)². Headroom in the limbs is included: it is multiplied as well. A transform takes N/2·log₂ N multiplications modulo q, each of 1.2 to 1.5 products of limbs or three of words |
//! | bytes | of operands and results that cross the border of the kernel, whichever cache they come from |
//!
//! The roof of `avx512ifma` is the rate of sixteen independent `vpmadd52` chains, that of `avx2` the rate of
//! products of limbs (five instructions each) into twelve independent sums, that of the portable kernel the
//! rate of eight chains of 64-bit multiplications in compiled Rust; slopes are the rates at
//! which one core sums words from memory and from its own cache. All is measured in this run, on one
//! core. A *stream* is one product with operands and result in memory, a *chain* squares a number many
//! times; of layers, products, squares and bytes are counted while the layer runs, and its answer is
//! checked.

mod paillier;
mod ring;

use std::hint::black_box;
use std::time::{Duration, Instant};

use gelu_core::Cryptosystem;
use gelu_core::stats::median;
use gelu_paillier::Paillier;
use gelu_paillier::measure::{self, KernelTimes};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::Error;
use crate::exhibit::{
    Axis, Cell, Claim, Column, Exhibit, Lines, Mark, Part, Row, Series, Source, Table,
};
use crate::setting::{Extent, Progress, Setting};
use crate::timing::on_one_core;

/// What is measured.
struct Plan {
    keys: Vec<u32>,
    layers: Vec<(usize, usize)>,
    /// For the times of a kernel at one size.
    budget: Duration,
    runs: usize,
    /// Bytes of the buffers that stand for memory and for a core's own cache.
    buffers: [usize; 2],
}

impl Plan {
    fn of(extent: Extent) -> Self {
        let quick = extent == Extent::Quick;
        Self {
            keys: if quick { vec![2048, 3072] } else { vec![2048, 3072, 4096] },
            layers: if quick {
                vec![(38, 15), (256, 120)]
            } else {
                vec![(38, 15), (256, 120), (784, 300), (1000, 1000)]
            },
            budget: Duration::from_millis(if quick { 300 } else { 3000 }),
            runs: if quick { 3 } else { 7 },
            buffers: [256 << 20, 512 << 10],
        }
    }
}

/// A rate and what bounds it.
#[derive(Debug, Clone)]
struct Point {
    what: String,
    /// Bits of the key, or the degree of the ring.
    size: usize,
    kernel: &'static str,
    /// Of one product, square or layer.
    nanoseconds: f64,
    /// 10⁹ products of words a second.
    rate: f64,
    /// Products of words a byte.
    intensity: f64,
    /// Part of the lanes that had something to do.
    filled: f64,
}

/// The roof and slopes of a kernel.
#[derive(Debug, Clone, Copy)]
struct Roof {
    /// 10⁹ products of words a second.
    issue: f64,
    /// 10⁹ bytes a second from memory, and from a core's own cache.
    bytes: [f64; 2],
}

impl Roof {
    /// What it allows at an intensity, with operands from memory (0) or from the cache (1).
    fn at(&self, intensity: f64, from: usize) -> f64 {
        self.issue.min(intensity * self.bytes[from])
    }

    /// Where slope and roof meet.
    fn ridge(&self, from: usize) -> f64 {
        self.issue / self.bytes[from]
    }
}

/// Measures.
///
/// # Errors
/// A wrong answer.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let plan = Plan::of(setting.extent);
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    progress.begin("kernels", 2 + 2 * plan.keys.len());
    let (bytes, kernels, points) = on_one_core(|| {
        let bytes = plan.buffers.map(read_rate);
        progress.step();
        let mut kernels = Vec::new();
        for &bits in &plan.keys {
            let times = measure::kernel_times(bits, plan.budget, rng);
            kernels.push(times.ok_or_else(|| Error::Missing {
                what: format!("a kernel for {bits} bits"),
                advice: "this is a bug".into(),
            })?);
            progress.step();
        }
        let mut points: Vec<Point> = kernels.iter().flat_map(paillier::products).collect();
        for &bits in &plan.keys {
            let secret = Paillier::keygen(bits, rng)?;
            points.extend(paillier::layers(&secret, &plan, paillier::has_two(&kernels), rng)?);
            progress.step();
        }
        points.extend(ring::transforms(plan.budget)?);
        progress.step();
        Ok::<_, Error>((bytes, kernels, points))
    })?;
    Ok(show(setting, &plan, bytes, &kernels, points))
}

/// 10⁹ bytes that this core reads a second from a buffer of so many bytes: the median of pieces that
/// are short enough to fall between the turns of other programs.
fn read_rate(bytes: usize) -> f64 {
    const PIECE: usize = 1 << 16;
    let words: Vec<u64> = (0..).take(bytes / 8).collect();
    let mut times = Vec::new();
    // The first pass only fetches what a cache can hold.
    for pass in 0..3 {
        for piece in black_box(&words).chunks(PIECE) {
            let start = Instant::now();
            let mut sums = [0u64; 16];
            for block in piece.chunks_exact(16) {
                for (sum, word) in sums.iter_mut().zip(block) {
                    *sum = sum.wrapping_add(*word);
                }
            }
            black_box(sums);
            if pass > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e9 / size_of_val(piece) as f64);
            }
        }
    }
    1.0 / median(times).expect("some pieces")
}

fn show(
    setting: &Setting,
    plan: &Plan,
    bytes: [f64; 2],
    kernels: &[KernelTimes],
    points: Vec<Point>,
) -> Exhibit {
    let best = |rates: &mut dyn Iterator<Item = f64>| rates.fold(0.0, f64::max);
    let words =
        |times: &KernelTimes| Some(times.form.words_a_product() / times.product_at_issue_rate?);
    let scalar = |times: &KernelTimes| {
        times.portable_form.words_a_product() / times.portable_product_at_issue_rate
    };
    let portable = Roof { issue: best(&mut kernels.iter().map(scalar)), bytes };
    let fast = best(&mut kernels.iter().filter_map(words));
    let fast = (fast > 0.0).then_some(Roof { issue: fast, bytes });
    let portable_name = kernels[0].portable_form.kernel;
    let roof = |point: &Point| match fast {
        Some(fast) if point.kernel != portable_name => fast,
        _ => portable,
    };
    let part = |point: &Point| point.rate / roof(point).issue;

    let (main, main_roof) = (&kernels[0], fast.unwrap_or(portable));
    let stream = &points[0];
    let mine = |kind_of: &str| {
        let of = |point: &&Point| point.kernel == main.kernel && kind(point) == kind_of;
        points.iter().filter(of).collect::<Vec<_>>()
    };
    let layer = mine("layers").into_iter().rfind(|point| point.size == main.bits as usize);
    let layer = layer.expect("layers were measured");
    let transforms = mine("transforms");
    let transform = transforms[0];
    let finding = format!(
        "At {} bits the {} kernel does {:.1}·10⁹ products of 64-bit words a second, {:.0} % of the {:.1}·10⁹ \
         that this core's multipliers could; a whole {} does {:.1}·10⁹ ({:.0} %). A transform of {} residues \
         takes {:.1} µs, which is {:.0} % of that rate.",
        main.bits,
        main.kernel,
        stream.rate,
        100.0 * part(stream),
        main_roof.issue,
        layer.what,
        layer.rate,
        100.0 * part(layer),
        transform.size,
        transform.nanoseconds / 1e3,
        100.0 * part(transform),
    );
    let modular: Vec<_> = points.iter().filter(|point| kind(point) != "transforms").collect();
    let bound = modular.iter().filter(|point| point.intensity > roof(point).ridge(0)).count();
    let cached = transforms.iter().filter(|point| point.intensity > roof(point).ridge(1)).count();
    let highest = points.iter().map(part).fold(0.0, f64::max);
    let mut claims = vec![
        Claim::new("All layers equal the same in integers.", true),
        Claim::new(
            format!(
                "Multipliers bind Paillier, not memory: {bound} of {} points lie right of their ridge, even \
                 were every operand read from memory ({:.1} GB/s).",
                modular.len(),
                bytes[0]
            ),
            bound == modular.len(),
        ),
        Claim::new(
            format!(
                "Multipliers bind transforms whose residues are in the core's own cache ({:.1} GB/s): {cached} of \
                 {} lie right of that ridge.",
                bytes[1],
                transforms.len()
            ),
            cached == transforms.len(),
        ),
        Claim::new(
            format!("No point is above its roof: the highest reaches {:.0} %.", 100.0 * highest),
            // Roof and points are sampled at different moments of a machine that others use.
            highest <= 1.05,
        ),
    ];
    if fast.is_some() {
        let least = points.iter().filter(|point| point.what == stream.what);
        let least = least.filter(|point| point.kernel != portable_name).map(part);
        let least = least.fold(f64::INFINITY, f64::min);
        claims.push(Claim::new(
            format!(
                "Products reach at least {:.0} % of the issue rate at every key.",
                100.0 * least
            ),
            least >= 0.6,
        ));
    }
    let mut notes = vec![
        format!(
            "Bytes are those of operands and results at the kernel's border: {} for a product in {} \
             bytes an element at {} bits. A layer's tables are mostly read from caches, so its way to \
             memory is shorter than the figure says.",
            3 * main.form.element_bytes,
            main.form.element_bytes,
            main.bits
        ),
        "Products are timed in samples that fall between the turns of other programs; layers are too \
         long for that, so theirs is processor time, where the system tells it."
            .into(),
        "Work is what is multiplied, headroom in the top limbs included; lanes that had nothing to do \
         are not counted as work. Inverting, copying and choosing are in a layer's time, but are no \
         work."
            .into(),
        format!(
            "Slopes: one core sums 64-bit words of {} MiB and of {} KiB. A shared cache may hold part \
             of the large buffer.",
            plan.buffers[0] >> 20,
            plan.buffers[1] >> 10
        ),
    ];
    if fast.is_none() {
        notes.push(
            "This processor has neither AVX-512 IFMA nor AVX2, or GELU_FORCE_PORTABLE is set: only the \
             portable kernels are shown."
                .into(),
        );
    }
    if setting.extent == Extent::Quick {
        notes.push("A quick look: small layers and short samples.".into());
    }
    let picture = picture(fast, portable, portable_name, &points);
    let table = table(&points, &part);
    Exhibit {
        id: "figure-roofline".into(),
        title: "A roofline of both schemes' kernels".into(),
        finding,
        claims,
        parts: vec![picture, table],
        notes,
    }
}

fn picture(fast: Option<Roof>, portable: Roof, portable_name: &str, points: &[Point]) -> Part {
    let x = |f: fn(f64, f64) -> f64, start| points.iter().map(|p| p.intensity).fold(start, f);
    let ridges = [Some(portable), fast].into_iter().flatten().map(|roof| roof.ridge(1));
    let left = ridges.fold(x(f64::min, f64::INFINITY), f64::min) / 4.0;
    let right = x(f64::max, 0.0) * 2.0;
    let line = |name: &str, roof: Roof, from| {
        let xs = [left, roof.ridge(from).clamp(left, right), right];
        Series {
            name: name.into(),
            points: xs.iter().map(|&x| (x, roof.at(x, from))).collect(),
            mark: Mark::Line,
        }
    };
    let mut series = Vec::new();
    if let Some(roof) = fast {
        series.push(line("issue rate of the fast kernel, operands from memory", roof, 0));
        series.push(line("issue rate of the fast kernel, operands from cache", roof, 1));
    }
    series.push(line("64-bit multiplier, operands from memory", portable, 0));
    let mut kinds: Vec<(&str, &str)> = Vec::new();
    for point in points {
        let kind = (point.kernel, kind(point));
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.sort_by_key(|kind| kind.0 == portable_name);
    for (kernel, name) in kinds {
        let mine = points.iter().filter(|point| (point.kernel, kind(point)) == (kernel, name));
        series.push(Series {
            name: format!("{kernel}: {name}"),
            points: mine.map(|point| (point.intensity, point.rate)).collect(),
            mark: Mark::Points,
        });
    }
    Part::Lines(Lines {
        caption: "Products of 64-bit words against the bytes they need".into(),
        x: Axis::log("products a byte"),
        y: Axis::log("products a second (10⁹)"),
        series,
    })
}

/// Its series in the picture.
fn kind(point: &Point) -> &'static str {
    match point.what.as_str() {
        what if what.starts_with("product") => "products, streamed",
        what if what.starts_with("square") => "chains of squares",
        what if what.ends_with("transform") => "transforms",
        _ => "layers",
    }
}

fn table(points: &[Point], part: &dyn Fn(&Point) -> f64) -> Part {
    let row = |point: &Point| Row {
        source: Source::Measured,
        cells: vec![
            Cell::from(&*point.what),
            Cell::from(point.size),
            Cell::from(point.kernel),
            Cell::Number(point.nanoseconds / 1e3),
            Cell::Number(point.rate),
            Cell::Number(100.0 * part(point)),
            Cell::Number(point.intensity),
            Cell::Number(100.0 * point.filled),
        ],
    };
    Part::Table(Table {
        caption: "Points of the roofline, one core".into(),
        columns: vec![
            Column::new("what"),
            Column::new("bits of the key, or degree"),
            Column::new("kernel"),
            Column::with_unit("time", "µs"),
            Column::with_unit("products of words", "10⁹/s"),
            Column::with_unit("of the roof", "%"),
            Column::with_unit("intensity", "products/B"),
            Column::with_unit("lanes filled", "%"),
        ],
        rows: points.iter().map(row).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// min(roof, slope), by hand.
    #[test]
    fn roofs() {
        let roof = Roof { issue: 12.0, bytes: [6.0, 48.0] };
        assert_eq!((roof.ridge(0), roof.ridge(1)), (2.0, 0.25));
        assert_eq!([0.5, 2.0, 9.0].map(|x| roof.at(x, 0)), [3.0, 12.0, 12.0]);
        assert_eq!(roof.at(0.125, 1), 6.0);
    }

    fn times(kernel: &'static str) -> KernelTimes {
        let form = measure::Form { kernel, radix: 64, limbs: 16, element_bytes: 256 };
        KernelTimes {
            bits: 960,
            kernel,
            form,
            portable_form: measure::Form { kernel: "portable", ..form },
            product: 1280.0,
            square: 512.0,
            portable_product: 2560.0,
            portable_square: 2048.0,
            product_at_issue_rate: Some(640.0),
            portable_product_at_issue_rate: 1280.0,
        }
    }

    /// 5·16² products of words in 1280 ns are 10⁹ a second; three elements of 256 bytes.
    #[test]
    fn points_by_hand() {
        let points = paillier::products(&times("fast"));
        let kernels: Vec<_> = points.iter().map(|point| point.kernel).collect();
        assert_eq!(kernels, ["fast", "fast", "portable", "portable"]);
        assert_eq!((points[0].rate, points[0].intensity), (1.0, 1280.0 / 768.0));
        assert_eq!((points[1].rate, points[1].intensity), (2.0, 64.0 * 1024.0 / 512.0));
        assert_eq!((points[3].rate, points[3].intensity), (0.5, 8.0 * 1024.0 / 512.0));
        assert_eq!(paillier::products(&times("portable")).len(), 2, "no twin of itself");
    }

    /// Layers are counted and checked; their exhibit has a roof, a series for each kind, and rows.
    #[test]
    fn layers_are_counted() {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let secret = Paillier::keygen(2048, rng).unwrap();
        let plan = Plan {
            keys: vec![2048],
            layers: vec![(12, 8)],
            budget: Duration::ZERO,
            runs: 1,
            buffers: [1 << 16, 1 << 12],
        };
        let kernels = [measure::kernel_times(2048, Duration::ZERO, rng).unwrap()];
        let two = paillier::has_two(&kernels);
        let mut points = paillier::products(&kernels[0]);
        let layers = paillier::layers(&secret, &plan, two, rng).unwrap();
        assert_eq!(layers.len(), if two { 2 } else { 1 });
        for point in &layers {
            assert!(point.rate > 0.0 && point.filled > 0.0 && point.filled <= 1.0, "{point:?}");
            // More than one product for three elements, less than for none.
            assert!(point.intensity > 0.5 && point.intensity < 1e3, "{point:?}");
        }
        points.extend(layers);
        let transforms = ring::transforms(Duration::ZERO).unwrap();
        assert!(transforms.iter().all(|point| point.nanoseconds > 0.0));
        points.extend(transforms);
        let bytes = plan.buffers.map(read_rate);
        assert!(bytes.iter().all(|&rate| rate > 0.0));
        let setting =
            Setting { extent: Extent::Quick, data: None, models: None, seed: 1, key_bits: 2048 };
        let count = points.len();
        let made = show(&setting, &plan, bytes, &kernels, points);
        let [Part::Lines(lines), Part::Table(table)] = &made.parts[..] else { panic!("two parts") };
        assert_eq!(lines.series.len(), if two { 3 + 8 } else { 1 + 4 });
        assert!(lines.series.iter().flat_map(|s| &s.points).all(|&(x, y)| x > 0.0 && y > 0.0));
        assert_eq!(table.rows.len(), count);
        assert!(table.rows.iter().all(|row| row.cells.len() == table.columns.len()));
        assert_eq!(made.notes.iter().any(|note| note.contains("neither AVX-512")), !two);
    }
}
