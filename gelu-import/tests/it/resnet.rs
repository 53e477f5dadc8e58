//! ResNet-20 as an ONNX file (He et al. 2016, section 4.2; shortcuts of option B), with random weights: 0.27 million of
//! them, made anew at each run.

use gelu_core::clear::Clear;
use gelu_import::{Samples, calibrate, onnx};
use gelu_nn::zoo;
use ndarray::{Array2, Array4, Axis};
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

use super::build::{File, Setting};
use super::files::{probabilities, under_encryption, worst};

/// Images of `[channels, height, width]` for each sample, `[samples, channels, height, width]`.
type Image = Array4<f64>;

/// The file in the making, and the same network on some images beside it: x ↦ (name of the tensor, its values).
struct Network {
    file: Option<File>,
    rng: ChaCha20Rng,
    made: usize,
}

impl Network {
    fn name(&mut self, what: &str) -> String {
        self.made += 1;
        format!("{what}{}", self.made)
    }

    fn reals(&mut self, dims: &[i64], low: f32, high: f32) -> (String, Vec<f32>) {
        let count = usize::try_from(dims.iter().product::<i64>()).unwrap();
        let values: Vec<f32> = (0..count).map(|_| self.rng.random_range(low..high)).collect();
        let name = self.name("w");
        self.file = self.file.take().map(|file| file.reals(&name, dims, &values));
        (name, values)
    }

    fn node(&mut self, operator: &str, inputs: &[&str], settings: &[Setting<'_>]) -> String {
        let name = self.name("t");
        self.file = self.file.take().map(|file| file.node(operator, inputs, &name, settings));
        name
    }

    /// A convolution with padding to the same size at stride 1, and its batch normalisation.
    fn conv(
        &mut self,
        (from, x): &(String, Image),
        filters: usize,
        side: usize,
        stride: usize,
    ) -> (String, Image) {
        let channels = x.len_of(Axis(1));
        let size = |n: usize| n as i64;
        let bound = (6.0 / (channels * side * side) as f32).sqrt();
        let dims = [size(filters), size(channels), size(side), size(side)];
        let (kernel, w) = self.reals(&dims, -bound, bound);
        let (pad, step) = (size(side / 2), size(stride));
        let settings =
            [Setting::Integers("pads", &[pad; 4]), Setting::Integers("strides", &[step; 2])];
        let z = self.node("Conv", &[from.as_str(), kernel.as_str()], &settings);
        let of_channels = [size(filters)];
        let (scale_name, scale) = self.reals(&of_channels, 0.5, 1.0);
        let (bias_name, bias) = self.reals(&of_channels, -0.2, 0.2);
        let (mean_name, mean) = self.reals(&of_channels, -0.2, 0.2);
        let (variance_name, variance) = self.reals(&of_channels, 0.8, 1.6);
        let inputs = [&z, &scale_name, &bias_name, &mean_name, &variance_name].map(String::as_str);
        let name = self.node("BatchNormalization", &inputs, &[]);
        let mut out = convolution(x, &w, filters, side, stride);
        for (f, mut plane) in out.axis_iter_mut(Axis(1)).enumerate() {
            let [s, b, m, v] = [&scale, &bias, &mean, &variance].map(|list| f64::from(list[f]));
            plane.mapv_inplace(|z| (z - m) / (v + 1e-5).sqrt() * s + b);
        }
        (name, out)
    }

    fn relu(&mut self, (from, x): (String, Image)) -> (String, Image) {
        (self.node("Relu", &[from.as_str()], &[]), x.mapv(|z| z.max(0.0)))
    }
}

/// As a product of matrices: the kernels, and beside each output the inputs that they meet.
fn convolution(x: &Image, w: &[f32], filters: usize, side: usize, stride: usize) -> Image {
    let (samples, channels, height, width) = x.dim();
    let (rows, columns) = (height.div_ceil(stride), width.div_ceil(stride));
    let met = channels * side * side;
    let kernels = Array2::from_shape_fn((filters, met), |(f, k)| f64::from(w[f * met + k]));
    let mut out = Array4::zeros((samples, filters, rows, columns));
    for (x, mut out) in x.outer_iter().zip(out.outer_iter_mut()) {
        let inputs = Array2::from_shape_fn((met, rows * columns), |(k, at)| {
            let (c, u, v) = (k / (side * side), k / side % side, k % side);
            let i = (stride * (at / columns) + u).checked_sub(side / 2);
            let j = (stride * (at % columns) + v).checked_sub(side / 2);
            i.zip(j).and_then(|(i, j)| x.get((c, i, j))).copied().unwrap_or(0.0)
        });
        let planes = kernels.dot(&inputs).into_shape_with_order((filters, rows, columns));
        out.assign(&planes.unwrap());
    }
    out
}

/// The file, and its scores `[10, samples]` for some images.
fn resnet20(images: &Image) -> (Vec<u8>, Array2<f64>) {
    let file = File::new(&[None, Some(3), Some(32), Some(32)]);
    let mut network = Network { file: Some(file), rng: ChaCha20Rng::seed_from_u64(20), made: 0 };
    let first = network.conv(&("x".into(), images.clone()), 16, 3, 1);
    let mut x = network.relu(first);
    for (filters, strides) in [(16, [1, 1, 1]), (32, [2, 1, 1]), (64, [2, 1, 1])] {
        for stride in strides {
            let shortcut = (stride > 1).then(|| network.conv(&x, filters, 1, stride));
            let a = network.conv(&x, filters, 3, stride);
            let a = network.relu(a);
            let (a_name, a) = network.conv(&a, filters, 3, 1);
            let (b_name, b) = shortcut.unwrap_or(x);
            let sum = network.node("Add", &[a_name.as_str(), b_name.as_str()], &[]);
            x = network.relu((sum, a + b));
        }
    }
    let (name, x) = x;
    let pooled = network.node("GlobalAveragePool", &[name.as_str()], &[]);
    let flat = network.node("Flatten", &[pooled.as_str()], &[]);
    let (matrix, m) = network.reals(&[10, 64], -0.3, 0.3);
    let (bias, b) = network.reals(&[10], -0.1, 0.1);
    let inputs = [flat.as_str(), matrix.as_str(), bias.as_str()];
    let file = network.file.unwrap().node("Gemm", &inputs, "y", &[Setting::Integer("transB", 1)]);
    let means = x.mean_axis(Axis(3)).unwrap().mean_axis(Axis(2)).unwrap();
    let scores = Array2::from_shape_fn((10, images.len_of(Axis(0))), |(class, s)| {
        let weighted = (0..64).map(|c| f64::from(m[64 * class + c]) * means[[s, c]]);
        f64::from(b[class]) + weighted.sum::<f64>()
    });
    (file.bytes(), scores)
}

/// From the file to an architecture, to fixed point, and to an answer of the protocol: the architecture of the zoo; in
/// floating point what the network gives when it is computed step by step; the protocol's answers are those of fixed point.
#[test]
fn resnet20_from_a_file_to_an_answer() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let images = Array4::from_shape_simple_fn((2, 3, 32, 32), || rng.random_range(0.0..1.0));
    let (bytes, scores) = resnet20(&images);
    let imported = onnx(&bytes).unwrap();
    assert_eq!(imported.architecture.to_string(), zoo::resnet20().to_string());
    let inputs = images.into_shape_with_order((2, 3 * 32 * 32)).unwrap().reversed_axes();
    let inputs = inputs.as_standard_layout().into_owned();
    let expected = probabilities(&scores, imported.outputs);
    let float = worst(&imported.probabilities(&inputs).unwrap(), &expected);
    assert!(float < 1e-9, "{float}");

    let samples = Samples { inputs: inputs.clone(), labels: None };
    let calibrated = calibrate(&imported, "resnet20", &samples, 0.0).unwrap();
    assert_eq!(calibrated.report.agreement, 1.0);
    assert_eq!(calibrated.report.cut_off.iter().sum::<u64>(), 0);
    let one = inputs.select(Axis(1), &[0]);
    let (fixed, _) = calibrated.model.probabilities(&one).unwrap();
    assert_eq!(under_encryption::<Clear>(&calibrated.model, &one, 2048), fixed);
}
