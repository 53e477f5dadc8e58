//! The circuits of a network: a stage's local functions with its rounding, and the class at the end.

use super::Circuit;
use super::builder::{Bit, Builder, ZERO};
use super::numbers::{Number, unsigned, with_sign};
use super::steps::Steps;
use crate::error::{ApiMisuse, Result};
use crate::fixed::{Format, Precision, Saturations, exp2};
use crate::linear::LinearMap;
use crate::network::{LocalFunction, Network, Step};

/// A local function that circuits can compute: see [`LocalFunction::circuit`].
#[derive(Debug, Clone)]
pub enum Local {
    /// max(z, 0).
    Relu,
    /// z².
    Square,
    /// A function that never falls: it becomes a table of the steps that it makes in the precision of the
    /// activations.
    Steps(fn(f64) -> f64),
    /// The largest of each window.
    Max(Windows),
    /// The mean of each window.
    Mean(Windows),
}

/// The features that go into each output of a pooling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows(pub Vec<Vec<usize>>);

/// The numbers of a stage.
#[derive(Debug, Clone, Copy)]
pub struct Numbers {
    /// Weighted sums z lie within ±bound.
    pub bound: i128,
    /// z stands for z / 2^fraction.
    pub fraction: u32,
    /// What comes out: the inputs of the next stage.
    pub activations: Format,
}

impl Numbers {
    /// Those of a stage called `name` whose sums lie within ±`bound`.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] when the layer's divisor is no power of two: its division is not exact.
    pub fn of(name: &str, linear: &LinearMap, precision: &Precision, bound: i128) -> Result<Self> {
        let divisor = linear.divisor();
        if !divisor.is_power_of_two() {
            let why = format!("divides by {divisor}: only powers of two are exact in a circuit");
            return Err(ApiMisuse::configuration(name, why).into());
        }
        let fraction =
            precision.activations.fraction + precision.weights.fraction + divisor.ilog2();
        Ok(Self { bound, fraction, activations: precision.activations })
    }

    /// Bits that are dropped when z is encoded again.
    fn shift(&self) -> u32 {
        self.fraction - self.activations.fraction
    }

    /// Bits of an activation's magnitude.
    fn bits(&self) -> u32 {
        self.activations.integer + self.activations.fraction
    }
}

/// The circuit of one output of a stage, and what goes into each.
///
/// It takes shares of z + `offset` mod 2^`bits`: the first party adds the offset to its share.
#[derive(Debug, Clone)]
pub struct StageCircuit {
    /// For one output; its inputs are the first party's shares of one window, value by value, and then the
    /// second's. One number comes out.
    pub circuit: Circuit,
    /// l: shares are numbers modulo 2^l, for l of 64 at most.
    pub bits: u32,
    /// What is added to every z.
    pub offset: i128,
    /// For each output of the stage the outputs of the linear map that go in.
    pub neurons: Vec<Vec<usize>>,
}

impl StageCircuit {
    /// The circuit of a chain of local functions, with their names for errors, after a linear map with `inputs`
    /// outputs; and of the rounding and the saturation with which their result is encoded.
    ///
    /// # Law
    /// For all z within the bound, evaluated on shares of z + `offset`, it gives
    /// `activations.encode(locals(z / 2^fraction))`.
    ///
    /// ReLUs and maxima cost least: they only rise, so they are taken after the rounding. Means and squares are
    /// taken exactly before it. A function with [steps](Local::Steps) is rounded by its table, so nothing can be
    /// averaged after it.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] naming the local function that does not fit behind another one, or would
    /// leave the 53 bits in which the clear network is exact.
    pub fn new(chain: &[(&str, Local)], inputs: usize, numbers: &Numbers) -> Result<Self> {
        let refuse = |what: &str, why: &str| Err(ApiMisuse::configuration(what, why).into());
        if numbers.fraction < numbers.activations.fraction {
            return refuse("weighted sums", "have fewer fractional bits than activations");
        }
        if numbers.bound < 0 || numbers.bound >= 1 << EXACT_BITS || numbers.bits() > MOST_BITS {
            return refuse("weighted sums", "are wider than the 53 bits in which they are exact");
        }
        let neurons = match windows(chain, inputs) {
            Ok(neurons) => neurons,
            Err((what, why)) => return refuse(what, why),
        };
        let window = neurons.first().map_or(1, Vec::len);
        let relus = chain.iter().filter(|(_, local)| matches!(local, Local::Relu)).count();
        let maxima = chain.iter().filter(|(_, local)| matches!(local, Local::Max(_))).count();
        let built = if chain.iter().any(|(_, local)| matches!(local, Local::Steps(_))) {
            table(chain, window, numbers)
        } else if relus > 0 && relus + maxima == chain.len() {
            Ok(relu(window, numbers))
        } else {
            exact(chain, window, numbers)
        };
        match built {
            Ok((_, bits, _)) if bits > u64::BITS => refuse(
                "weighted sums",
                "with half a unit of the activations need more than 64 bits",
            ),
            Ok((circuit, bits, offset)) => Ok(Self { circuit, bits, offset, neurons }),
            Err((what, why)) => refuse(what, why),
        }
    }
}

/// The circuit of a network's local functions: see [`StageCircuit::new`].
///
/// # Errors
/// [`ApiMisuse::Configuration`] naming the first local function that has no circuit, and as there.
pub fn stage(
    locals: &[&dyn LocalFunction],
    inputs: usize,
    numbers: &Numbers,
) -> Result<StageCircuit> {
    let chain = locals.iter().map(|local| match local.circuit() {
        Some(circuit) => Ok((local.name(), circuit)),
        None => {
            let why = "has no circuit, so it cannot be computed blindly";
            Err(ApiMisuse::configuration(local.name(), why))
        }
    });
    StageCircuit::new(&chain.collect::<Result<Vec<_>, _>>()?, inputs, numbers)
}

/// The local functions through which the sums of `stage` go, up to the next linear map or the end of the network.
///
/// # Errors
/// [`ApiMisuse::Configuration`] naming the stage where a value on the way is added to another one or taken twice.
///
/// # Panics
/// When the network has no such stage.
pub fn locals(network: &Network, stage: usize) -> Result<Vec<&dyn LocalFunction>> {
    let steps = network.steps();
    let (mut value, mut locals) = (network.step_of(stage) + 1, Vec::new());
    loop {
        let takes = |step: &Step| step.sources().contains(&value);
        let mut takers = steps.iter().enumerate().filter(|(_, step)| takes(step));
        match (takers.next(), takers.next()) {
            (Some((number, Step::Local { function, .. })), None) => {
                locals.push(&**function);
                value = number + 1;
            }
            (Some((_, Step::Linear { .. })), None) | (None, _) => return Ok(locals),
            _ => {
                let why = "goes into a shortcut, which has no circuit";
                return Err(ApiMisuse::configuration(&network.stages()[stage].name, why).into());
            }
        }
    }
}

/// The index of the largest of `values` numbers of `bits` bits, the first of equals, as
/// [`pass::argmax`](crate::pass::argmax). The inputs are shares, value by value, as in [`StageCircuit`].
///
/// # Errors
/// [`ApiMisuse::Configuration`] for no value, or for fewer than 2 or more than 64 bits.
pub fn argmax(values: usize, bits: u32) -> Result<Circuit> {
    if values == 0 || !(2..=64).contains(&bits) {
        let why = format!("of {values} values of {bits} bits: needs one or more, of 2 to 64 bits");
        return Err(ApiMisuse::configuration("argmax", why).into());
    }
    let (mut builder, values) = from_shares(values, bits);
    let index_bits = values.len().next_power_of_two().ilog2();
    let index = |n: usize| (0..index_bits).map(move |place| Bit::Known(n >> place & 1 == 1));
    let mut best: (Number, Vec<Bit>) = (values[0].clone(), index(0).collect());
    for (n, value) in values.iter().enumerate().skip(1) {
        let larger = builder.less(&best.0, value);
        let index: Vec<_> = index(n).collect();
        best = (
            builder.select_all(larger, value, &best.0),
            builder.select_all(larger, &index, &best.1),
        );
    }
    Ok(builder.finish([unsigned(&best.1)]))
}

/// A circuit with its l and its offset.
type Built = (Circuit, u32, i128);
/// What cannot be built, and why.
type Refused<'a> = (&'a str, &'static str);
/// Local functions with their names.
type Chain<'a> = [(&'a str, Local)];

/// For each output what goes in: the windows of the one pooling, or each value alone.
fn windows<'a>(chain: &Chain<'a>, inputs: usize) -> Result<Vec<Vec<usize>>, Refused<'a>> {
    let mut found = None;
    for (name, local) in chain {
        let (Local::Max(Windows(windows)) | Local::Mean(Windows(windows))) = local else {
            continue;
        };
        if found.is_some() {
            return Err((name, "is a second pooling between two linear layers: it has no circuit"));
        }
        let size = windows.first().map_or(0, Vec::len);
        let fit = |window: &Vec<usize>| window.len() == size && window.iter().all(|i| *i < inputs);
        if size == 0 || !windows.iter().all(fit) {
            return Err((name, "has windows of different sizes, or outside its input"));
        }
        if matches!(local, Local::Mean(_)) && !size.is_power_of_two() {
            return Err((name, "divides by a number that is no power of two: that is not exact"));
        }
        found = Some(windows.clone());
    }
    Ok(found.unwrap_or_else(|| (0..inputs).map(|i| vec![i]).collect()))
}

/// A builder, and `window` numbers of `bits` bits from their shares.
fn from_shares(window: usize, bits: u32) -> (Builder, Vec<Number>) {
    let bits = bits as usize;
    let mut builder = Builder::new([window * bits; 2]);
    let (first, second) = (builder.first(), builder.second());
    let shares = first.chunks(bits).zip(second.chunks(bits));
    let numbers = shares.map(|(a, b)| builder.add_shares(a, b)).collect();
    (builder, numbers)
}

/// The least l with |z + offset| < 2^(l−1).
fn ring_bits(numbers: &Numbers, offset: i128) -> u32 {
    129 - (numbers.bound + offset.abs()).leading_zeros()
}

/// ReLU, and maxima before or after it: half a unit is in the offset, so rounding is dropping bits.
fn relu(window: usize, numbers: &Numbers) -> Built {
    let half = 1 << numbers.shift() >> 1;
    let bits = ring_bits(numbers, half);
    let (mut builder, sums) = from_shares(window, bits);
    let rounded: Vec<Number> = sums
        .iter()
        .map(|z| {
            let dropped = z.len().min(numbers.shift() as usize + 1) - 1;
            let mut rounded = builder.clamp(&z[dropped..], numbers.bits());
            rounded.push(ZERO);
            rounded
        })
        .collect();
    let largest = builder.max(&rounded);
    (builder.finish([unsigned(&largest)]), bits, half)
}

/// A chain of functions that only rise, one of which has a table.
fn table<'a>(chain: &Chain<'a>, window: usize, numbers: &Numbers) -> Result<Built, Refused<'a>> {
    let mut name = "";
    for (other, local) in chain {
        match local {
            Local::Steps(_) => name = other,
            Local::Relu | Local::Max(_) => {}
            _ => return Err((other, "cannot be joined with a table of steps: it is not exact")),
        }
    }
    let value = |z: i128| {
        let z = z as f64 / exp2(numbers.fraction);
        let a = chain.iter().fold(z, |z, (_, local)| match local {
            Local::Steps(f) => f(z),
            Local::Relu => z.max(0.0),
            _ => z,
        });
        numbers.activations.encode(a, &Saturations::default())
    };
    let steps = Steps::of(value, numbers.bound).map_err(|why| (name, why))?;
    let offset = -steps.base();
    let bits = ring_bits(numbers, offset);
    let (mut builder, sums) = from_shares(window, bits);
    let largest = builder.max(&sums);
    let result = steps.build(&mut builder, &largest);
    Ok((builder.finish([result]), bits, offset))
}

/// Everything else: exact integers with a growing fraction, rounded at the end.
fn exact<'a>(chain: &Chain<'a>, window: usize, numbers: &Numbers) -> Result<Built, Refused<'a>> {
    let bits = ring_bits(numbers, 0);
    let (mut builder, mut values) = from_shares(window, bits);
    let mut fraction = numbers.fraction;
    let mut over = ZERO;
    for (n, (name, local)) in chain.iter().enumerate() {
        match local {
            Local::Relu => values = values.iter().map(|z| builder.relu(z)).collect(),
            Local::Max(_) => values = vec![builder.max(&values)],
            Local::Mean(_) => {
                fraction += values.len().ilog2();
                let (first, rest) = values.split_first().expect("a window has an element");
                values = vec![rest.iter().fold(first.clone(), |sum, z| builder.add(&sum, z))];
            }
            Local::Square => {
                let last = n + 1 == chain.len();
                for z in &mut values {
                    let mut magnitude = builder.magnitude(z);
                    if last {
                        // What is cut off at the end need not be squared: 2^bits and more.
                        let most = numbers.bits() + 2 * fraction - numbers.activations.fraction;
                        let most = magnitude.len().min(most.div_ceil(2) as usize);
                        let high = magnitude.split_off(most);
                        over = high.iter().fold(ZERO, |over, bit| builder.or(over, *bit));
                    }
                    if 2 * magnitude.len() > EXACT_BITS as usize {
                        return Err((
                            name,
                            "squares numbers of more than 26 bits, so it is not exact",
                        ));
                    }
                    *z = builder.square(&magnitude);
                    z.push(ZERO);
                }
                fraction *= 2;
            }
            Local::Steps(_) => unreachable!("a table of steps has its own circuit"),
        }
        if values.iter().any(|z| z.len() > EXACT_BITS as usize + 1) {
            return Err((name, "makes numbers of more than 53 bits, so it is not exact"));
        }
    }
    let [z] = &values[..] else { unreachable!("windows end in one value") };
    let magnitude = builder.rounded_magnitude(z, fraction - numbers.activations.fraction);
    let magnitude = builder.saturate(&magnitude, numbers.bits(), over);
    let sign = *z.last().expect("a sign");
    let result = with_sign(&mut builder, sign, &magnitude);
    Ok((builder.finish([result]), bits, 0))
}

/// Integers up to 2^53 are exact in the clear network's `f64`.
const EXACT_BITS: u32 = 53;
/// Bits of an activation at most.
const MOST_BITS: u32 = 48;
