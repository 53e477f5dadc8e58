//! Question 1: what limits encryption imposes on models.
//!
//! Leveled CKKS computes sums and products, and each product of ciphertexts or with weights takes a
//! level:
//!
//! ```text
//! levels of a network = Σ linear maps (1 each) + Σ activations (a square 1, a polynomial ⌈log₂(degree + 1)⌉)
//! levels of a ring    = the most for which log₂ of all primes stays below the limit of its degree N
//! ```
//!
//! Linear layers that follow each other are multiplied out first. The exact protocol has neither bound:
//! an activation is computed by the client, so depth costs round trips, and only the width of sums must
//! fit.

use anyhow::Result;
use gelu_ckks::{Chain, Parameters, polynomial};
use gelu_core::clear::ClearKey;
use gelu_core::plan::Purpose;
use gelu_core::{Clear, Plan as Exchanges, Precision};
use gelu_fhe_baseline::packed::{Layer, Network};
use gelu_nn::{Activation, FloatParameters, Sequential, zoo};
use gelu_ring::limits::SECURITY_128;
use gelu_transfer::{Plan, Settings, Sigmoid};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::exhibit::{Cell, Claim, Column, Exhibit, Part, Row, Source, Table};
use crate::setting::{Progress, Setting};

/// Bits of q₀ and of the primes that products take: for training, and the narrowest that a network of
/// images takes.
const WIDTHS: [(u32, u32); 2] = [(46, 36), (33, 28)];
/// Degrees of the rings that a CKKS program takes.
const DEGREES: [usize; 4] = [1 << 13, 1 << 14, 1 << 15, 1 << 16];
/// Degrees of polynomials in place of an activation; 2 is the square.
const POLYNOMIALS: [usize; 4] = [2, 3, 7, 15];
/// Stages of a network that no ring here bears.
const DEEP: usize = 40;

/// A network, and its depth.
struct Counted {
    name: &'static str,
    architecture: Sequential,
}

impl Counted {
    /// Linear maps that are left when those in a row are multiplied out, and activations between them.
    /// A mean between two activations is a sum of rotations, whose factor goes into what stands before
    /// it: it takes no level.
    fn shape(&self) -> (usize, usize) {
        let blocks = self.architecture.blocks();
        let active =
            |names: &mut dyn Iterator<Item = &str>| names.filter(|name| !is_linear(name)).count();
        let (mut maps, mut activations, mut open) = (0, 0, false);
        for block in blocks {
            maps += usize::from(!open);
            let after = active(&mut block.local_names());
            activations += after;
            open = after == 0;
        }
        (maps, activations)
    }

    /// Levels, with polynomials of a degree.
    fn levels(&self, degree: usize) -> usize {
        let (maps, activations) = self.shape();
        maps + activations * depth(degree)
    }
}

/// Whether what a client computes between two layers is linear: a pooling, which needs no product of
/// ciphertexts.
fn is_linear(local: &str) -> bool {
    local.starts_with("mean") || local.starts_with("flatten")
}

/// Levels of a polynomial; a square is one product.
fn depth(degree: usize) -> usize {
    if degree == 2 {
        return 1;
    }
    let mut coefficients = vec![0.0; degree + 1];
    coefficients[degree] = 1.0;
    polynomial::depth(&coefficients)
}

/// The chain with the most levels, by primes of these widths.
fn deepest(degree: usize, (first, scale): (u32, u32)) -> Option<Chain> {
    let limit = gelu_ring::limits::most_bits(degree)?;
    // Digits of `group` primes, and special primes that are as wide together. More than 7 digits make
    // keys that nobody sends.
    let chain = |levels: usize, group: u32, wider: u32| {
        let width = (first + (group - 1) * scale).div_ceil(group).max(scale) + wider;
        let digits = (levels + 1).div_ceil(group as usize);
        Chain { degree, first, scale: (scale, levels), special: (width, group as usize), digits }
    };
    // Primes lie below these powers of two, so more may fit than their widths say: the parameters
    // decide.
    let most = limit / scale + 1;
    let candidates = (1..=most as usize).rev().flat_map(|levels| {
        (1..=12).flat_map(move |group| [0, 1].map(|wider| chain(levels, group, wider)))
    });
    let tried = |chain: &Chain| bits(chain) < limit + scale && chain.digits <= 7;
    candidates.filter(tried).find(|chain| Parameters::new(chain).is_ok())
}

/// Of all primes of a chain together.
fn bits(chain: &Chain) -> u32 {
    let of = |(width, count): (u32, usize)| width * u32::try_from(count).unwrap_or(u32::MAX >> 8);
    chain.first + of(chain.scale) + of(chain.special)
}

/// Counts.
///
/// # Errors
/// What a planner refuses, which would be a bug.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit> {
    progress.begin("rings, networks and heads", 3);
    let of_widths = |widths| DEGREES.into_iter().filter_map(move |degree| deepest(degree, widths));
    let rings: Vec<Chain> = WIDTHS.into_iter().flat_map(of_widths).collect();
    let refused = rings.iter().all(|chain| {
        let one_more = Chain { scale: (chain.scale.0, chain.scale.1 + 1), ..*chain };
        Parameters::new(&one_more).is_err()
    });
    progress.step();
    let networks = networks();
    let exact = exact(&networks)?;
    progress.step();
    let packed = packed(setting)?;
    let heads = heads()?;
    progress.step();
    let levels_of = |degree: usize| {
        let of = rings.iter().filter(|chain| chain.degree == degree);
        of.map(|chain| chain.scale.1).collect::<Vec<_>>()
    };
    let deepest_ring = rings.iter().map(|chain| chain.scale.1).max().unwrap_or(0);
    let claims = vec![
        Claim::new(
            format!(
                "{} rings are accepted with so many levels, and refused with one more",
                rings.len()
            ),
            rings.len() == WIDTHS.len() * DEGREES.len() && refused,
        ),
        Claim::new(
            format!(
                "the counted levels of Conv-1 and LeNet-5 with squares, {} and {}, are those of the packed programs, {} and {}",
                networks[0].levels(2),
                networks[1].levels(2),
                packed[0],
                packed[1]
            ),
            networks.iter().zip(packed).all(|(network, packed)| network.levels(2) == packed),
        ),
        Claim::new(
            format!(
                "{DEEP} layers with an activation each take {} levels at degree 7, more than any ring's {deepest_ring}; the exact \
                 protocol plans them, in as many round trips, with sums of the same {} bits as at {} layers",
                networks[networks.len() - 1].levels(7),
                exact[networks.len() - 1].1,
                exact[networks.len() - 2].0
            ),
            networks[networks.len() - 1].levels(7) > deepest_ring
                && exact[networks.len() - 1] == (DEEP, exact[networks.len() - 2].1),
        ),
    ];
    let finding = format!(
        "A ring of N = 2^13, 2^14, 2^15, 2^16 bears {} levels of 36 or 28 bits. Conv-1 with squares takes {}, LeNet-5 with squares {}, \
         LeNet-5 with a degree-7 polynomial for each ReLU {}; an iteration of training a head 2 to 6. The exact protocol has no such bound: \
         depth costs it a round trip a layer.",
        DEGREES
            .map(|degree| levels_of(degree)
                .iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join(" or "))
            .join(", "),
        networks[0].levels(2),
        networks[1].levels(2),
        networks[3].levels(7),
    );
    Ok(Exhibit {
        id: "table-limits".into(),
        title: "Question 1: what encryption imposes on models".into(),
        finding,
        claims,
        parts: vec![
            Part::Table(ring_table(&rings)),
            Part::Table(network_table(&networks, &exact, &rings)),
            Part::Table(head_table(&heads)),
            Part::Table(kinds()),
        ],
        notes: vec![
            "Linear layers in a row are multiplied out, poolings into the layer before. No bootstrapping: with it depth is \
             not bounded, at seconds a ciphertext."
                .into(),
            "What a ring bears is what 128 bits of security leave room for (IACR ePrint 2024/463), special primes \
             counted, dense ternary secrets, at most 7 digits a key. Packing decides the rest: the rows of a batch, or an image, must fit the N/2 slots."
                .into(),
            "The exact protocol's bound is the width of a layer's sums: planned here at the precision of inference, for a key of 2048 bits, one sample."
                .into(),
        ],
    })
}

/// What is counted: squares first, in the order of the claims.
fn networks() -> Vec<Counted> {
    let chain = |layers: usize| {
        Sequential::dense(64, &vec![64; layers - 1], 10, Activation::Relu).expect("sizes in order")
    };
    let of = |name, architecture| Counted { name, architecture };
    vec![
        of("Conv-1, squares", zoo::conv1_square()),
        of("LeNet-5, squares", zoo::lenet5_square()),
        of("Conv-1, ReLU", zoo::conv1()),
        of("LeNet-5, ReLU", zoo::lenet5()),
        of("784-300-10, ReLU", zoo::mnist_dense().with_activation(Activation::Relu)),
        of("10 dense layers of 64, ReLU", chain(10)),
        of("40 dense layers of 64, ReLU", chain(DEEP)),
    ]
}

/// Round trips, and bits of the widest sum, of each network under the exact protocol.
fn exact(networks: &[Counted]) -> Result<Vec<(usize, u32)>> {
    let key = ClearKey::new(2048)?;
    let plan = |counted: &Counted| {
        let network = counted.architecture.network();
        let plan =
            Exchanges::new::<Clear>(&network, &Precision::INFERENCE, 1, Purpose::Inference, &key)?;
        let widest = plan.exchanges().map(|(_, _, exchange)| exchange.value_bits()).max();
        Ok((plan.stages.len(), widest.unwrap_or(0)))
    };
    networks.iter().map(plan).collect()
}

/// Levels of the packed programs of Conv-1 and LeNet-5.
fn packed(setting: &Setting) -> Result<[usize; 2]> {
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    let mut depth = |network: Network, architecture: &Sequential| {
        let weights = FloatParameters::initialise(architecture, rng);
        let layers = weights.layers.iter();
        let layers: Vec<_> =
            layers.map(|l| Layer { weights: &l.weights, biases: &l.biases }).collect();
        Ok::<_, anyhow::Error>(network.program(&layers, 1 << 12)?.depth())
    };
    Ok([
        depth(Network::Conv1, &zoo::conv1_square())?,
        depth(Network::LeNet5, &zoo::lenet5_square())?,
    ])
}

/// Plans of a head on the abstracts: degree, unattended iterations, plan.
fn heads() -> Result<Vec<Plan>> {
    let plan = |(degree, unattended): (usize, usize)| {
        let range = if degree == 1 { 8.0 } else { 12.0 };
        Ok(Plan::new(Settings {
            rows: 2048,
            features: 384,
            heads: 1,
            batch: 1024,
            sigmoid: Sigmoid::fit(degree, range)?,
            rate: 1.0,
            unattended,
        })?)
    };
    [(1, 1), (3, 1), (7, 1), (15, 1), (1, 4), (3, 4), (3, 9), (1, 14)]
        .map(plan)
        .into_iter()
        .collect()
}

/// log₂ of the deviation of a slot after a product of numbers up to 1, as `gelu-ckks` bounds it:
/// √N·√(N/18)/Δ.
fn precision(chain: &Chain) -> f64 {
    let degree = chain.degree as f64;
    libm::log2(degree / 18f64.sqrt()) - f64::from(chain.scale.0)
}

fn ring_table(rings: &[Chain]) -> Table {
    let row = |chain: &Chain| {
        let deep = |degree: usize| Cell::from(chain.scale.1 / (1 + depth(degree)));
        let mut cells = vec![
            Cell::from(format!("2^{}", chain.degree.ilog2())),
            Cell::from(u64::from(gelu_ring::limits::most_bits(chain.degree).unwrap_or(0))),
            Cell::from(u64::from(chain.scale.0)),
            Cell::from(chain.scale.1),
            Cell::from(format!("2^{:.0}", precision(chain))),
            Cell::from(chain.degree / 2),
        ];
        cells.extend(POLYNOMIALS.map(deep));
        Row { source: Source::Counted, cells }
    };
    let mut columns = vec![
        Column::new("N"),
        Column::with_unit("limit of log PQ", "bits"),
        Column::with_unit("primes", "bits"),
        Column::new("levels"),
        Column::new("a product is off by"),
        Column::new("slots"),
        Column::new("layers with squares"),
    ];
    columns.extend(POLYNOMIALS[1..].iter().map(|d| Column::new(&format!("with degree {d}"))));
    let smaller = SECURITY_128.len() - DEGREES.len();
    Table {
        caption: format!(
            "What a ring bears without bootstrapping: levels, and layers with an activation each (the {smaller} smaller rings bear no such layer)"
        ),
        columns,
        rows: rings.iter().map(row).collect(),
    }
}

fn network_table(networks: &[Counted], exact: &[(usize, u32)], rings: &[Chain]) -> Table {
    let row = |(counted, (rounds, bits)): (&Counted, &(usize, u32))| {
        let (maps, activations) = counted.shape();
        let ring = |degree: usize| {
            let levels = counted.levels(degree);
            let bearing = rings.iter().filter(|chain| chain.scale.1 >= levels);
            let ring = bearing.map(|chain| chain.degree.ilog2()).min();
            let ring = ring.map_or("none".into(), |log| format!("2^{log}"));
            Cell::from(format!("{levels} ({ring})"))
        };
        let mut cells = vec![counted.name.into(), maps.into(), activations.into()];
        cells.extend(POLYNOMIALS.map(ring));
        cells.extend([Cell::from(*rounds), Cell::from(u64::from(*bits))]);
        Row { source: Source::Counted, cells }
    };
    let mut columns = ["network", "linear maps", "activations"].map(Column::new).to_vec();
    columns.push(Column::new("levels (ring), squares"));
    columns.extend(POLYNOMIALS[1..].iter().map(|d| Column::new(&format!("degree {d}"))));
    columns.extend(["exact: round trips", "exact: bits of a sum"].map(Column::new));
    Table {
        caption: "Which network fits which ring, by the polynomial in place of each activation"
            .into(),
        columns,
        rows: networks.iter().zip(exact).map(row).collect(),
    }
}

fn head_table(plans: &[Plan]) -> Table {
    let row = |plan: &Plan| {
        let settings = plan.settings();
        let cells = vec![
            Cell::from(settings.sigmoid.degree()),
            Cell::from(settings.unattended),
            Cell::from(plan.parameters().top_level()),
            Cell::from(format!("2^{}", plan.parameters().degree().ilog2())),
        ];
        Row { source: Source::Counted, cells }
    };
    Table {
        caption: "Training a head: iterations between two refreshes, 1,024 rows of 384 features"
            .into(),
        columns: ["degree of the sigmoid", "unattended iterations", "levels", "N"]
            .map(Column::new)
            .to_vec(),
        rows: plans.iter().map(row).collect(),
    }
}

/// What kinds of layers each engine takes.
fn kinds() -> Table {
    let rows = [
        ["ReLU, sigmoid, tanh", "a polynomial on a range that must not be left", "exact"],
        [
            "maximum, comparison, division",
            "polynomials of high degree: tens of levels",
            "computed by the client",
        ],
        [
            "convolution, dense layer, mean",
            "one level each, or less when multiplied out",
            "one round trip a layer",
        ],
        ["depth", "bounded by the ring", "not bounded"],
        ["batch", "rows or pixels in N/2 slots", "1 to 65,536 samples"],
        [
            "numbers",
            "approximate, about 2^-20 of the range",
            "fixed point, the same bits as in the clear",
        ],
        ["rounds", "one, or one a refresh", "one a layer and direction"],
    ];
    let row =
        |cells: [&str; 3]| Row { source: Source::Counted, cells: cells.map(Cell::from).to_vec() };
    Table {
        caption: "Layer by layer".into(),
        columns: ["what", "leveled CKKS", "the exact protocol"].map(Column::new).to_vec(),
        rows: rows.map(row).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::{Extent, Quiet};

    /// By hand: a convolution, a square, a mean (which the second map takes in), a square, a dense
    /// layer.
    #[test]
    fn levels_by_hand() {
        let networks = networks();
        assert_eq!(networks[0].shape(), (2, 2));
        assert_eq!(networks[1].shape(), (3, 2));
        assert_eq!([2, 3, 4, 7, 8, 15].map(depth), [1, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn what_a_ring_bears_is_accepted_and_one_level_more_is_not() {
        for degree in [1 << 13, 1 << 14] {
            let chain = deepest(degree, WIDTHS[1]).unwrap();
            assert!(Parameters::new(&chain).is_ok(), "{chain:?}");
            let more = Chain { scale: (chain.scale.0, chain.scale.1 + 1), ..chain };
            assert!(Parameters::new(&more).is_err(), "{more:?}");
        }
        assert!(deepest(1 << 10, WIDTHS[0]).is_none());
        // A layer with a square takes two levels.
        for (degree, _) in SECURITY_128.into_iter().filter(|(n, _)| !DEGREES.contains(n)) {
            let levels = WIDTHS.map(|widths| deepest(degree, widths).map_or(0, |c| c.scale.1));
            assert!(levels.iter().all(|&levels| levels < 2), "{degree}: {levels:?}");
        }
    }

    #[test]
    fn everything_that_is_claimed_holds() {
        let setting =
            Setting { extent: Extent::Quick, data: None, models: None, seed: 1, key_bits: 2048 };
        let made = exhibit(&setting, &Quiet).unwrap();
        for claim in &made.claims {
            assert!(claim.holds, "{}", claim.text);
        }
        for part in &made.parts {
            let Part::Table(table) = part else { panic!("a table") };
            assert!(table.rows.iter().all(|row| row.cells.len() == table.columns.len()));
        }
    }
}
