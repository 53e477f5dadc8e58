//! Scales of rows that lie in several tables, whose owners show nobody their own: what they need are sums, and sums
//! add under masks (Bonawitz et al., CCS 2017, section 4.1: secure aggregation when nobody drops out).
//!
//! A value x is the integer q = ⌊2⁴⁴ x⌉ below 2⁸⁸. Of a table with n rows the sums are n and, for each feature whose scale
//! is open, the number k of rows that have it, Σq and Σq², exactly, modulo 2²⁵⁶. With [`MAX_ROWS`] rows, 2³⁴, even
//! kΣq² < 2²⁴⁵: nothing wraps. Of the sums of all tables together
//!
//! ```text
//! mean = Σq / k / 2⁴⁴      deviation² = (kΣq² − (Σq)²) / (k n) / 2⁸⁸
//! ```
//!
//! which is what [`Schema::fit`] finds in all rows together, missing values having taken the mean.
//!
//! Owners i < j share a seed; from it grows r_ij, uniform modulo 2²⁵⁶ for each sum. Owner i shows its sums + Σ_j ± r_ij,
//! where i adds and j subtracts. Each message alone is uniform, any of them together tell no more than the sums of those
//! whose masks cancel, and the sum of all is the sum of the sums.

use std::path::Path;

use crypto_bigint::U256;
use rand::rngs::ChaCha20Rng;
use rand::{Rng, SeedableRng};
use zeroize::Zeroizing;

use super::Schema;
use super::column::{Column, Scale};
use super::rows::{ReadOptions, RowReader};
use crate::data::csv::Records;
use crate::error::{DataError, Error, Result};

/// The most rows of all tables together.
pub const MAX_ROWS: u64 = 1 << 34;

/// Bits after the point.
const FRACTION: i32 = 44;

/// What the scales of a schema need to know of a table. Secret: wiped on drop.
pub struct Sums(Zeroizing<Vec<U256>>);

/// [`Sums`] under masks: to anybody who lacks the seeds they are uniform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedSums(Vec<U256>);

/// A seed that two owners share and nobody else has, used for one sum only. Wiped on drop.
pub struct PairSeed {
    /// The seed.
    pub seed: Zeroizing<[u8; 32]>,
    /// Whether this owner adds what grows from it; the other one subtracts it.
    pub adds: bool,
}

impl Schema {
    /// The features whose scales depend on rows: those of columns that have neither a scale nor a range that gives one.
    pub fn open_features(&self) -> Vec<usize> {
        let is_open = |c: &Column| c.scales().is_empty() && c.scale_of_range().is_none();
        let open = self.columns().iter().flat_map(|c| std::iter::repeat_n(is_open(c), c.width()));
        open.enumerate().filter_map(|(feature, open)| open.then_some(feature)).collect()
    }

    /// The sums of a table's rows.
    ///
    /// # Errors
    /// As [`RowReader::open`]; [`Error::Data`] naming file, row, column and value: a cell that does not fit, or whose
    /// feature is 2⁴⁴ or more in magnitude; a column whose values all round to 0 and are not 0.
    pub fn sums(&self, path: &Path, options: &ReadOptions) -> Result<Sums> {
        let (records, name) = (Records::open(path, &options.format)?, path.display().to_string());
        let open = self.open_features();
        let names = self.features();
        let refuse = |row, feature: usize, x: f64, why: &str| {
            let (column, value) = (names[feature].clone(), x.to_string());
            Error::data(&name)(DataError::Cell { row, column, value, why: why.into() })
        };
        let mut sums = Zeroizing::new(vec![U256::ZERO; words(&open)]);
        // The first value of each feature that is not 0 and becomes 0.
        let mut tiny = vec![None; open.len()];
        for row in RowReader::begin(records, name.clone(), self, options, false)? {
            let row = row?;
            let Some(features) = row.features else { continue };
            increase(&mut sums[0], &U256::ONE);
            let of_features = sums[1..].chunks_exact_mut(3).zip(&mut tiny);
            for (&feature, (of_feature, tiny)) in open.iter().zip(of_features) {
                let x = features[feature];
                if x.is_nan() {
                    continue;
                }
                let Some(q) = fixed(x) else {
                    return Err(refuse(row.number, feature, x, TOO_LARGE));
                };
                if q == 0 && x != 0.0 {
                    tiny.get_or_insert((row.number, x));
                }
                let magnitude = U256::from_u128(q.unsigned_abs());
                increase(&mut of_feature[0], &U256::ONE);
                increase(&mut of_feature[1], &magnitude.wrapping_neg_if(u8::from(q < 0).into()));
                increase(&mut of_feature[2], &magnitude.wrapping_mul(&magnitude));
            }
        }
        let of_features = sums[1..].chunks_exact(3).zip(tiny);
        for (&feature, (of_feature, tiny)) in open.iter().zip(of_features) {
            if let Some((row, x)) = tiny
                && of_feature[2] == U256::ZERO
            {
                return Err(refuse(row, feature, x, TOO_SMALL));
            }
        }
        match sums[0] == U256::ZERO {
            true => Err(Error::data(&name)(DataError::Empty)),
            false => Ok(Sums(sums)),
        }
    }

    /// The schema with the scales that the sums of all owners' rows give: their means and deviations; scales and ranges
    /// that it has stay.
    ///
    /// # Errors
    /// [`Error::Schema`] for sums of other features, for sums that no rows have (somebody's message was wrong), and for
    /// a column whose deviation is too small for steps of 2⁻⁴⁴.
    pub fn fit_sums(&self, sums: &Sums) -> Result<Self> {
        let open = self.open_features();
        let (got, expected) = (sums.0.len(), words(&open));
        if got != expected {
            return Err(Error::Schema(format!("{got} sums, but it needs {expected}")));
        }
        let names = self.features();
        let mut scales = vec![None; self.inputs()];
        for (&feature, of_feature) in open.iter().zip(sums.0[1..].chunks_exact(3)) {
            scales[feature] =
                Some(scale(sums.rows(), of_feature).map_err(|why| {
                    Error::Schema(format!("the sums of {}: {why}", names[feature]))
                })?);
        }
        self.with_scales(|feature| scales[feature].unwrap_or(Scale::IDENTITY))
    }
}

impl Sums {
    /// Rows.
    pub fn rows(&self) -> f64 {
        magnitude(&self.0[0])
    }

    /// Puts masks on them: one for each other owner.
    ///
    /// Law: `MaskedSums::total` of all owners' masked sums are the sums of all rows.
    pub fn mask(self, pairs: &[PairSeed]) -> MaskedSums {
        let mut masked = self.0.to_vec();
        for PairSeed { seed, adds } in pairs {
            let mut rng = ChaCha20Rng::from_seed(**seed);
            for word in &mut masked {
                let mut mask = Zeroizing::new([0; 32]);
                rng.fill_bytes(&mut *mask);
                let mask = Zeroizing::new(U256::from_le_slice(&*mask));
                increase(word, &mask.wrapping_neg_if(u8::from(!adds).into()));
            }
        }
        MaskedSums(masked)
    }
}

impl MaskedSums {
    /// The sums of all rows: all owners' masks cancel. Where one is missing the result is uniform.
    ///
    /// # Errors
    /// [`Error::Schema`] when they are of different schemas, or there are none.
    pub fn total(all: &[Self]) -> Result<Sums> {
        let first = all.first().ok_or_else(|| Error::Schema("there are no sums".into()))?;
        if let Some(other) = all.iter().find(|sums| sums.0.len() != first.0.len()) {
            let (got, expected) = (other.0.len(), first.0.len());
            return Err(Error::Schema(format!("{got} sums of one owner, {expected} of another")));
        }
        let mut total = Zeroizing::new(vec![U256::ZERO; first.0.len()]);
        for sums in all {
            total.iter_mut().zip(&sums.0).for_each(|(total, word)| increase(total, word));
        }
        Ok(Sums(total))
    }

    /// 32 bytes a sum, the least significant first.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes().as_ref().to_vec()).collect()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`Error::Schema`] when there are other bytes than the sums of this schema have.
    pub fn from_bytes(bytes: &[u8], schema: &Schema) -> Result<Self> {
        let (got, expected) = (bytes.len(), 32 * words(&schema.open_features()));
        match got == expected {
            true => Ok(Self(bytes.chunks_exact(32).map(U256::from_le_slice).collect())),
            false => Err(Error::Schema(format!("{got} bytes of sums, but it needs {expected}"))),
        }
    }
}

/// How many sums there are.
fn words(open: &[usize]) -> usize {
    1 + 3 * open.len()
}

fn increase(sum: &mut U256, by: &U256) {
    *sum = sum.wrapping_add(by);
}

/// ⌊2⁴⁴ x⌉, if it is below 2⁸⁸ in magnitude.
fn fixed(x: f64) -> Option<i128> {
    let scaled = (x * 2f64.powi(FRACTION)).round();
    #[expect(clippy::cast_possible_truncation, reason = "below 2^88")]
    (scaled.abs() < 2f64.powi(2 * FRACTION)).then_some(scaled as i128)
}

const TOO_LARGE: &str = "is not below 2^44: use a larger unit, log1p or a range";
const TOO_SMALL: &str =
    "and all others of the column are below the steps of the sum, 2^-44: use a smaller unit";

/// Mean and deviation of one feature, of n rows; see the [module](self). A constant is not scaled, as in
/// [`Standardiser`](crate::data::Standardiser).
fn scale(n: f64, sums: &[U256]) -> Result<Scale, String> {
    let [count, sum, squares] = [&sums[0], &sums[1], &sums[2]];
    let k = magnitude(count);
    let is_negative = sum.bit_vartime(255);
    let size = sum.wrapping_neg_if(u8::from(is_negative).into());
    let in_bounds = n >= 1.0
        && n <= MAX_ROWS as f64
        && k <= n
        && magnitude(&size) <= k * 2f64.powi(2 * FRACTION)
        && magnitude(squares) <= k * 2f64.powi(4 * FRACTION);
    // Below 2^245, both.
    let (of_squares, square) = match in_bounds {
        true => (count.wrapping_mul(squares), size.wrapping_mul(&size)),
        false => (U256::ZERO, U256::ONE),
    };
    if of_squares < square {
        return Err(
            "no rows have such sums; an owner's message was wrong, or one was missing".into()
        );
    }
    if k == 0.0 {
        return Ok(Scale::IDENTITY);
    }
    let sign = if is_negative { -1.0 } else { 1.0 };
    let mean = sign * magnitude(&size) / k / 2f64.powi(FRACTION);
    let variance = magnitude(&of_squares.wrapping_sub(&square)) / (k * n);
    let deviation = variance.sqrt() / 2f64.powi(FRACTION);
    match deviation {
        deviation if deviation <= 1e-12 * mean.abs() || deviation == 0.0 => {
            Ok(Scale { mean, deviation: 1.0 })
        }
        // A rounding of 2^-45 changes it by less than a part in 10,000.
        deviation if deviation < 2f64.powi(14 - FRACTION) => Err(format!(
            "a deviation of {deviation:e} is too small for steps of 2^-{FRACTION}; use a smaller unit"
        )),
        deviation => Ok(Scale { mean, deviation }),
    }
}

/// The nearest float, or one of its neighbours.
fn magnitude(number: &U256) -> f64 {
    let bytes = number.to_be_bytes();
    bytes.as_ref().iter().fold(0.0, |sum, &byte| 256.0 * sum + f64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Labels, Scaling};

    const SCHEMA: &str = r#"{"version": 1, "columns": [
        {"type": "number", "name": "age", "missing": "mean"},
        {"type": "number", "name": "income", "log1p": true},
        {"type": "number", "name": "score", "range": [0, 10]},
        {"type": "number", "name": "zero"},
        {"type": "category", "name": "drug", "words": ["none", "statin"]},
        {"type": "date", "name": "day", "as": ["days", "month_sin"]}],
        "label": {"name": "ill", "classes": ["no", "yes"]}}"#;
    const HEADER: &str = "age,income,score,zero,drug,day,ill\n";

    fn options() -> ReadOptions {
        ReadOptions { labels: Labels::Optional, ..ReadOptions::default() }
    }

    fn row(i: usize) -> String {
        let age =
            if i % 7 == 3 { String::new() } else { format!("{}", (i * 37 % 80) as f64 - 20.3) };
        let drug = ["none", "statin"][usize::from(i.is_multiple_of(3))];
        let (income, day) = (i * i * 1001, 1 + i % 28);
        format!(
            "{age},{income},{}.5,0.1,{drug},20{:02}-0{}-{day:02},yes\n",
            i % 9,
            i % 60,
            1 + i % 9
        )
    }

    /// Tables of so many rows each, with rows that differ.
    fn tables(rows: &[usize]) -> (tempfile::TempDir, Vec<std::path::PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let mut next = 0..;
        let table = |(owner, &rows): (usize, &usize)| {
            let path = folder.path().join(format!("{owner}.csv"));
            let rows: String = next.by_ref().take(rows).map(row).collect();
            std::fs::write(&path, HEADER.to_owned() + &rows).unwrap();
            path
        };
        let paths = rows.iter().enumerate().map(table).collect();
        (folder, paths)
    }

    /// The seeds of an owner with the others; those of a pair are equal.
    fn pairs(owner: u8, owners: u8) -> Vec<PairSeed> {
        let seed = |other: u8| {
            let pair = [owner.min(other), owner.max(other)];
            let seed = Zeroizing::new(std::array::from_fn(|i| pair[i % 2]));
            PairSeed { seed, adds: owner < other }
        };
        (0..owners).filter(|&other| other != owner).map(seed).collect()
    }

    fn masked(schema: &Schema, paths: &[std::path::PathBuf]) -> Vec<MaskedSums> {
        let owners = u8::try_from(paths.len()).unwrap();
        let mask = |(owner, path): (u8, &std::path::PathBuf)| {
            schema.sums(path, &options()).unwrap().mask(&pairs(owner, owners))
        };
        (0..owners).zip(paths).map(mask).collect()
    }

    #[test]
    fn sums_of_all_owners_give_the_scales_of_all_rows() {
        let schema = Schema::from_json(SCHEMA).unwrap();
        assert_eq!(schema.open_features(), [0, 1, 3, 4, 5, 6, 7]);
        let (_folder, paths) = tables(&[40, 1, 23]);
        let all = masked(&schema, &paths);
        let total = MaskedSums::total(&all).unwrap();
        assert_eq!(total.rows(), 64.0);
        let fitted = schema.fit_sums(&total).unwrap();
        // The plain way: all rows in one table.
        let (_folder, together) = tables(&[64]);
        let together = together[0].as_path();
        let records = Records::open(together, &options().format).unwrap();
        let mut rows = schema.raw_dataset(records, "all", &options()).unwrap();
        let fill = schema.fill(&rows);
        rows.map_features(|feature, x| if x.is_nan() { fill[feature] } else { x });
        let plain = schema.fit(&rows).unwrap();
        for (ours, theirs) in fitted.scales().iter().zip(plain.scales()) {
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs();
            let same = close(ours.mean, theirs.mean) && close(ours.deviation, theirs.deviation);
            assert!(same, "{ours:?} {theirs:?}");
        }
        assert!(fitted.is_fitted());
        let (read, _) = fitted.split(together, &options(), Scaling::Given, 1).unwrap();
        assert_eq!(read, fitted);
    }

    #[test]
    fn sums_that_lack_an_owner_or_have_another_are_refused() {
        let schema = Schema::from_json(SCHEMA).unwrap();
        let (_folder, paths) = tables(&[9, 9, 9]);
        let all = masked(&schema, &paths);
        let fit = |some: &[MaskedSums]| schema.fit_sums(&MaskedSums::total(some).unwrap());
        for some in [&all[..1], &all[1..], &[all[0].clone(), all[1].clone(), all[1].clone()]] {
            let error = fit(some).unwrap_err().to_string();
            assert!(error.contains("no rows have such sums"), "{error}");
        }
        assert!(MaskedSums::total(&[]).is_err());
        assert_eq!(MaskedSums::from_bytes(&all[0].to_bytes(), &schema).unwrap(), all[0]);
        assert!(MaskedSums::from_bytes(&all[0].to_bytes()[1..], &schema).is_err());
        let other = schema.fit_sums(&MaskedSums::total(&all).unwrap()).unwrap();
        assert!(other.fit_sums(&MaskedSums::total(&all).unwrap()).is_err(), "nothing is open");
    }

    #[test]
    fn values_beyond_the_bits_of_a_sum_are_refused_with_their_place() {
        let schema = r#"{"version": 1, "columns": [{"type": "number", "name": "x"}]}"#;
        let schema = Schema::from_json(schema).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        let sums = |values: [f64; 2]| {
            std::fs::write(&path, format!("x\n{}\n{}\n", values[0], values[1])).unwrap();
            schema.sums(&path, &options())
        };
        for (values, why) in
            [([1.0, -2f64.powi(44)], "larger unit"), ([0.0, 1e-14], "smaller unit")]
        {
            let error = sums(values).err().unwrap().to_string();
            assert!(error.contains("row 2, column x") && error.contains(why), "{error}");
        }
        // Beside larger ones it is a rounding, as of the sine of a month.
        assert!(sums([1.0, 1e-16]).is_ok());
        // The edges, exactly.
        let edge = 2f64.powi(44) - 1.0;
        let fitted = schema.fit_sums(&sums([edge, -edge]).unwrap()).unwrap();
        assert_eq!(fitted.scales(), [Scale { mean: 0.0, deviation: crate::schema::rounded(edge) }]);
        let error = schema.fit_sums(&sums([1e-10, -1e-10]).unwrap()).unwrap_err().to_string();
        assert!(error.contains("smaller unit"), "{error}");
    }
}
