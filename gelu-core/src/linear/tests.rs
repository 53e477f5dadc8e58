//! Every map against its list of taps: the plain version of geometry.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::{Array2, ArrayView2, array};
use proptest::prelude::*;

use super::*;

/// A map as a list: for each output its taps, and for each entry the weights that add up to it.
struct Plain {
    inputs: usize,
    rows: Vec<Vec<Tap>>,
    bias_of: Vec<usize>,
    fold: Vec<Vec<usize>>,
}

/// The equations of a window, read aloud: one loop for each index.
fn plain(window: &Window) -> Plain {
    let (rows, columns) = (window.rows(), window.columns());
    let mut plain = Plain { inputs: window.inputs(), rows: vec![], bias_of: vec![], fold: vec![] };
    for f in 0..window.filters() {
        for y in 0..rows.outputs() {
            for x in 0..columns.outputs() {
                let mut taps = Vec::new();
                for c in (0..window.channels()).filter(|&c| meet(window, f, c)) {
                    for u in rows.offsets(y) {
                        for v in columns.offsets(x) {
                            let line = c * rows.size() + rows.source(y, u);
                            let kernel = (f * window.channels() + c) * rows.length() + u;
                            let source = line * columns.size() + columns.source(x, v);
                            taps.push(tap(source, kernel * columns.length() + v));
                        }
                    }
                }
                plain.rows.push(taps);
                plain.bias_of.push(f);
            }
        }
    }
    let mut kernel = 0;
    for (f, c) in (0..window.filters()).flat_map(|f| (0..window.channels()).map(move |c| (f, c))) {
        let seen = meet(window, f, c);
        for row in 0..rows.length() {
            for column in 0..columns.length() {
                let of_row = |u| {
                    let start = (kernel * rows.kernel() + u) * columns.kernel();
                    columns.parts(column).map(move |v| start + v)
                };
                plain.fold.push(rows.parts(row).filter(|_| seen).flat_map(of_row).collect());
            }
        }
        kernel += usize::from(seen);
    }
    plain
}

/// Whether filter and channel are of the same group.
fn meet(window: &Window, filter: usize, channel: usize) -> bool {
    filter / window.filters_per_channel() == channel / window.channels_per_filter()
}

impl Plain {
    fn transposed(&self) -> Vec<Vec<Tap>> {
        let mut columns = vec![Vec::new(); self.inputs];
        for (output, row) in self.rows.iter().enumerate() {
            for t in row {
                columns[t.source as usize].push(tap(output, t.weight as usize));
            }
        }
        columns
    }

    fn entries(&self, weights: &[f64]) -> Vec<f64> {
        self.fold.iter().map(|parts| parts.iter().fold(0.0, |sum, &k| sum + weights[k])).collect()
    }

    fn product(rows: &[Vec<Tap>], entries: &[f64], x: ArrayView2<'_, f64>) -> Array2<f64> {
        let mut z = Array2::zeros((rows.len(), x.ncols()));
        for ((o, s), z) in z.indexed_iter_mut() {
            for t in &rows[o] {
                *z += entries[t.weight as usize] * x[[t.source as usize, s]];
            }
        }
        z
    }

    /// dW, the samples of each tap added up as [`dot`] does.
    fn gradient(&self, x: &Array2<f64>, d: &Array2<f64>, weights: usize) -> Vec<f64> {
        let mut d_entries = vec![0.0; self.fold.len()];
        for (o, row) in self.rows.iter().enumerate() {
            for t in row {
                let (x, d) = (x.row(t.source as usize).to_vec(), d.row(o).to_vec());
                d_entries[t.weight as usize] += dot(&x, &d);
            }
        }
        let mut d_weights = vec![0.0; weights];
        for (parts, entry) in self.fold.iter().zip(d_entries) {
            parts.iter().for_each(|&k| d_weights[k] += entry);
        }
        d_weights
    }

    fn gain(&self, rows: &[Vec<Tap>]) -> usize {
        let of = |row: &Vec<Tap>| row.iter().map(|t| self.fold[t.weight as usize].len()).sum();
        rows.iter().map(of).max().unwrap()
    }

    /// Components by joining whatever shares an entry until nothing changes: (unknowns, members).
    fn components(&self, rows: &[Vec<Tap>], biases: bool) -> BTreeMap<(u64, u64), u64> {
        let mut groups: Vec<(BTreeSet<u32>, Vec<usize>)> = Vec::new();
        for (member, row) in rows.iter().enumerate().filter(|(_, row)| !row.is_empty()) {
            let mut joined = (row.iter().map(|t| t.weight).collect::<BTreeSet<_>>(), vec![member]);
            let (together, apart): (Vec<_>, _) =
                groups.into_iter().partition(|(entries, _)| !entries.is_disjoint(&joined.0));
            for (entries, members) in together {
                joined.0.extend(entries);
                joined.1.extend(members);
            }
            groups = apart;
            groups.push(joined);
        }
        let mut kinds = BTreeMap::new();
        for (entries, members) in groups {
            let weights: BTreeSet<_> =
                entries.iter().flat_map(|&e| &self.fold[e as usize]).collect();
            let of_outputs: BTreeSet<_> = members.iter().filter(|_| biases).collect();
            let biases: BTreeSet<_> = of_outputs.into_iter().map(|&o| self.bias_of[o]).collect();
            let kind = ((weights.len() + biases.len()) as u64, members.len() as u64);
            *kinds.entry(kind).or_default() += 1;
        }
        kinds
    }
}

fn kinds(components: Vec<Component>) -> BTreeMap<(u64, u64), u64> {
    let mut kinds = BTreeMap::new();
    for Component { unknowns, members, count } in components {
        *kinds.entry((unknowns, members)).or_default() += count;
    }
    kinds
}

/// Pooled by less than `pools`.
fn any_axis(pools: usize) -> impl Strategy<Value = Axis> {
    (1..9usize, 1..5usize, 1..4usize, 0..4usize, 1..pools).prop_filter_map(
        "a valid axis",
        |(size, kernel, stride, padding, pool)| {
            let axis = Axis::new(size, kernel, stride, padding).ok()?;
            Some(axis.pooled(pool).unwrap_or(axis))
        },
    )
}

fn any_window(pools: usize) -> impl Strategy<Value = Window> {
    (any_sizes(), any_axis(pools), any_axis(pools)).prop_map(
        |((channels, filters, groups), rows, columns)| {
            Window::grouped(channels, filters, groups, rows, columns).unwrap()
        },
    )
}

/// Channels, filters and groups.
fn any_sizes() -> impl Strategy<Value = (usize, usize, usize)> {
    let group = (1..4usize, 1..4usize).prop_map(|(channels, filters)| (channels, filters, 1));
    let groups = (1..3usize, 1..3usize, 2..4usize)
        .prop_map(|(channels, filters, groups)| (channels * groups, filters * groups, groups));
    prop_oneof![group, groups]
}

/// The same map without its geometry.
fn listed(plain: &Plain) -> LinearMap {
    let bias_of = plain.bias_of.iter().map(|&b| u32::try_from(b).unwrap()).collect();
    LinearMap::new(plain.inputs, plain.fold.len(), &plain.rows, bias_of).unwrap()
}

/// Reals with rounding errors.
fn reals(n: usize, seed: usize) -> Vec<f64> {
    (0..n).map(|i| libm::sin((i + seed) as f64) / 3.0).collect()
}

proptest! {
    /// Taps, counts, gains and components of a window are those of its list.
    #[test]
    fn a_window_is_its_list(window in any_window(4)) {
        let (plain, map) = (plain(&window), LinearMap::from(window));
        prop_assert_eq!(map.forward_taps(), Taps::from_rows(&plain.rows));
        let columns = plain.transposed();
        prop_assert_eq!(map.backward_taps(), Taps::from_rows(&columns));
        prop_assert_eq!((map.inputs(), map.outputs()), (plain.inputs, plain.rows.len()));
        prop_assert_eq!(map.entry_count(), plain.fold.len());
        let taps = plain.rows.iter().map(|row| row.len() as u64).sum();
        prop_assert_eq!(map.multiply_accumulates(), taps);
        let weights: BTreeSet<_> = plain.fold.iter().flatten().collect();
        prop_assert_eq!(map.weights(), weights.len());
        prop_assert_eq!(map.entry_gain(), plain.fold.iter().map(Vec::len).max().unwrap());
        prop_assert_eq!(map.forward_gain(), plain.gain(&plain.rows));
        prop_assert_eq!(map.backward_gain(), plain.gain(&columns));
        prop_assert!((0..map.outputs()).all(|o| map.bias_of(o) == plain.bias_of[o]));
        let outputs = plain.components(&plain.rows, true);
        prop_assert_eq!(kinds(map.output_components()), outputs);
        prop_assert_eq!(kinds(map.input_components()), plain.components(&columns, false));
    }

    /// So is a list by itself, and a dense matrix.
    #[test]
    fn lists_and_dense_matrices_are_their_lists(
        window in any_window(2).prop_filter("no zeros", |window| !window.folds()),
        (inputs, outputs) in (1..9usize, 1..9usize),
    ) {
        let mut plain = plain(&window);
        plain.fold = (0..plain.fold.len()).map(|e| vec![e]).collect();
        let map = listed(&plain);
        prop_assert_eq!(map.forward_gain(), plain.gain(&plain.rows));
        prop_assert_eq!(map.backward_gain(), plain.gain(&plain.transposed()));
        let components = plain.components(&plain.rows, true);
        prop_assert_eq!(kinds(map.output_components()), components);
        let components = plain.components(&plain.transposed(), false);
        prop_assert_eq!(kinds(map.input_components()), components);

        let row = |o| (0..inputs).map(|i| tap(i, o * inputs + i)).collect();
        let rows: Vec<Vec<Tap>> = (0..outputs).map(row).collect();
        let bias_of = (0..u32::try_from(outputs).unwrap()).collect();
        let list = LinearMap::new(inputs, inputs * outputs, &rows, bias_of).unwrap();
        let dense = LinearMap::from(Dense::new(inputs, outputs).unwrap());
        prop_assert_eq!(dense.forward_taps(), list.forward_taps());
        let pixel = Axis::new(1, 1, 1, 0).unwrap();
        let one_position = Window::new(inputs, outputs, pixel, pixel).unwrap();
        prop_assert_eq!(LinearMap::from(one_position.product()), dense.clone());
        prop_assert_eq!(LinearMap::from(one_position).forward_taps(), list.forward_taps());
        prop_assert_eq!(dense.backward_taps(), list.backward_taps());
        prop_assert_eq!(dense.gains(), list.gains());
        prop_assert_eq!(kinds(dense.output_components()), kinds(list.output_components()));
        prop_assert_eq!(kinds(dense.input_components()), kinds(list.input_components()));
        prop_assert_eq!((dense.weights(), dense.biases()), (list.weights(), list.biases()));
    }

    /// The products of real numbers are those of the list, to the last bit: the order of additions is a
    /// part of the trainers' results.
    #[test]
    fn products_add_up_in_the_order_of_the_list(
        window in any_window(4),
        batch in 1..12usize,
        seed in 0..1000usize,
    ) {
        let (plain, map) = (plain(&window), LinearMap::from(window));
        let weights = reals(map.weights(), seed);
        let biases = vec![0.0; map.biases()];
        let x = Array2::from_shape_vec((map.inputs(), batch), reals(map.inputs() * batch, seed + 1));
        let d = Array2::from_shape_vec((map.outputs(), batch), reals(map.outputs() * batch, seed + 2));
        let (x, d) = (x.unwrap(), d.unwrap());
        let entries = plain.entries(&weights);
        prop_assert_eq!(map.entries(&weights), entries.clone());
        let z = map.forward(&weights, &biases, x.view(), 1.0);
        prop_assert_eq!(z, Plain::product(&plain.rows, &entries, x.view()));
        let q = map.backward(&weights, d.view());
        prop_assert_eq!(q, Plain::product(&plain.transposed(), &entries, d.view()));
        let (dw, _) = map.gradient(x.view(), d.view(), 1.0);
        prop_assert_eq!(dw, plain.gradient(&x, &d, map.weights()));
    }

    /// ⟨D, W·X⟩ = ⟨W'·D, X⟩, and both are what the gradient says of W: Σ W·dW.
    #[test]
    fn transpose_and_gradient_are_adjoint(
        window in any_window(2),
        (inputs, outputs) in (1..9usize, 1..9usize),
        seed in 0..1000usize,
    ) {
        let dense = LinearMap::from(Dense::new(inputs, outputs).unwrap());
        let list = if window.folds() { dense.clone() } else { listed(&plain(&window)) };
        for layer in [LinearMap::from(window), list, dense] {
            let integers = |n: usize, seed: usize| -> Vec<i128> {
                (0..n).map(|i| ((i + seed) * 7919 + 13) as i128 % 199 - 99).collect()
            };
            let w = integers(layer.weights(), seed);
            let of = |n: usize, seed| Array2::from_shape_vec((n, 2), integers(2 * n, seed)).unwrap();
            let (x, d) = (of(layer.inputs(), seed + 1), of(layer.outputs(), seed + 2));
            let z = layer.forward(&w, &vec![0; layer.biases()], x.view(), 1);
            let q = layer.backward(&w, d.view());
            let (dw, _) = layer.gradient(x.view(), d.view(), 1);
            let by_gradient: i128 = dw.iter().zip(&w).map(|(g, w)| g * w).sum();
            prop_assert_eq!((&d * &z).sum(), (&q * &x).sum());
            prop_assert_eq!((&d * &z).sum(), by_gradient);
        }
    }

    /// E · gather(X) = W·X, row (f, s·batch + j) for row (f·positions + s, j).
    #[test]
    fn gathered_columns_give_the_same_product(window in any_window(4), seed in 0..1000usize) {
        let map = LinearMap::from(window);
        let w: Vec<i64> = (0..map.weights()).map(|i| ((i + seed) * 31 % 19) as i64 - 9).collect();
        let x = Array2::from_shape_fn((map.inputs(), 3), |(i, s)| ((i * 7 + s + seed) % 23) as i64);
        let z = map.forward(&w, &vec![0; map.biases()], x.view(), 1);
        let product = LinearMap::from(window.product());
        let biases = vec![0; product.biases()];
        let gathered = product.forward(&map.entries(&w), &biases, window.gather(x.view()).view(), 1);
        prop_assert_eq!(gathered.to_shape(z.dim()).unwrap(), z.view());
    }
}

/// Two outputs over three inputs: z0 = w0 x0 + w1 x1 + b0, z1 = w0 x1 + w1 x2 + b0.
fn convolution() -> [LinearMap; 2] {
    let rows = [vec![tap(0, 0), tap(1, 1)], vec![tap(1, 0), tap(2, 1)]];
    let listed = LinearMap::new(3, 2, &rows, vec![0, 0]).unwrap();
    [listed, LinearMap::from(window(Axis::new(3, 2, 1, 0).unwrap()))]
}

fn window(columns: Axis) -> Window {
    Window::new(1, 1, Axis::new(1, 1, 1, 0).unwrap(), columns).unwrap()
}

#[test]
fn forward_by_hand() {
    for map in convolution() {
        let z = map.forward(&[2, 3], &[5], array![[1], [10], [100]].view(), 1);
        assert_eq!(z, array![[2 + 30 + 5], [20 + 300 + 5]]);
    }
}

#[test]
fn fusion_is_the_sum_of_the_pooled_outputs() {
    let fused = LinearMap::from(window(Axis::new(3, 2, 1, 0).unwrap().pooled(2).unwrap()));
    assert_eq!(fused.divisor(), 2);
    let x = array![[1], [10], [100]];
    let z = fused.forward(&[2, 3], &[5], x.view(), 2);
    for map in convolution() {
        assert_eq!(z[[0, 0]], map.forward(&[2, 3], &[5], x.view(), 1).sum());
    }
}

#[test]
fn malformed_lists_are_refused() {
    let row = vec![vec![tap(0, 0)]];
    assert!(LinearMap::new(1, 1, &row, vec![0]).is_ok());
    assert!(LinearMap::new(1, 1, &[vec![tap(1, 0)]], vec![0]).is_err(), "no such input");
    assert!(LinearMap::new(1, 1, &[vec![tap(0, 1)]], vec![0]).is_err(), "no such weight");
    assert!(LinearMap::new(1, 2, &row, vec![0]).is_err(), "unused weight");
    assert!(LinearMap::new(1, 1, &row, vec![1]).is_err(), "unused bias");
    assert!(LinearMap::new(1, 1, &row, vec![u32::MAX]).is_err(), "a bias of a billion");
    assert!(LinearMap::new(1, 1, &[vec![]], vec![0]).is_err(), "an output without taps");
}
