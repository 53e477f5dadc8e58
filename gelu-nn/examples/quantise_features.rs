//! Rounds a file of features to 8 bits, one scale for each column: a quarter of the size.
//!
//! ```text
//! cargo run --release -p gelu-nn --example quantise_features -- features.safetensors small.safetensors
//! ```
//!
//! Both are files as `gelu_nn::data::tensors` reads them; identifiers of rows (`train.id`, `test.id`, I64) are kept
//! as I32. It made `src/data/abstracts.safetensors`.

use std::path::Path;

use gelu_nn::{Dataset, Split};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        eprintln!("usage: quantise_features FROM TO");
        std::process::exit(2);
    };
    let split = Split::from_safetensors(Path::new(from))?;
    let largest = |column: usize| {
        let rows = [&split.train, &split.test].map(|part| part.features().row(column));
        rows.iter().flatten().fold(0.0f64, |most, x| most.max(x.abs()))
    };
    let columns = split.train.inputs();
    #[expect(clippy::cast_possible_truncation, reason = "a scale of six digits is enough")]
    let scales: Vec<f32> =
        (0..columns).map(|column| (largest(column) / 127.0).max(1e-30) as f32).collect();
    let cells = |part: &Dataset| {
        let samples = part.features().columns().into_iter();
        #[expect(clippy::cast_possible_truncation, reason = "at most 127 by the choice of scales")]
        let cell = |(x, &scale): (&f64, &f32)| (x / f64::from(scale)).round() as i8;
        let rows = samples.flat_map(|row| row.iter().zip(&scales).map(cell).collect::<Vec<_>>());
        rows.map(i8::cast_unsigned).collect::<Vec<_>>()
    };
    let labels = |part: &Dataset| {
        part.labels().iter().map(|&l| u8::try_from(l)).collect::<Result<Vec<_>, _>>()
    };
    let bytes = std::fs::read(from)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let mut tensors = vec![(
        "x.scale".to_owned(),
        Dtype::F32,
        vec![columns],
        scales.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<_>>(),
    )];
    for (name, part) in [("train", &split.train), ("test", &split.test)] {
        tensors.push((format!("{name}.x"), Dtype::I8, vec![part.len(), columns], cells(part)));
        tensors.push((format!("{name}.y"), Dtype::U8, vec![part.len()], labels(part)?));
        let id = format!("{name}.id");
        let Ok(ids) = file.tensor(&id) else { continue };
        let (ids, _) = ids.data().as_chunks();
        let short = |&id: &[u8; 8]| i32::try_from(i64::from_le_bytes(id)).map(i32::to_le_bytes);
        let ids = ids.iter().map(short).collect::<Result<Vec<_>, _>>()?.concat();
        tensors.push((id, Dtype::I32, vec![part.len()], ids));
    }
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| Ok((name, TensorView::new(*dtype, shape.clone(), data)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    std::fs::write(to, safetensors::serialize(views, None)?)?;
    let rounded = Split::from_safetensors(Path::new(to))?;
    for (part, rounded) in [(&split.train, &rounded.train), (&split.test, &rounded.test)] {
        assert_eq!(part.labels(), rounded.labels());
        let columns = part.features().outer_iter().zip(rounded.features().outer_iter());
        for ((before, after), &scale) in columns.zip(&scales) {
            let half = 0.500_001 * f64::from(scale);
            assert!(before.iter().zip(after).all(|(x, y)| (x - y).abs() <= half), "by {half}");
        }
    }
    Ok(())
}
