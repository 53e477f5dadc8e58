//! Arrays of NumPy in `.npy` files, versions 1 to 3 of the format
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).
//!
//! The header names the element type, the shape, and whether the first index runs fastest (`fortran_order`), as it
//! does in arrays that were transposed before they were saved. Here the last index always runs fastest.

use gelu_core::linear::MAX_PARAMETERS;
use ndarray::{ArrayD, IxDyn, ShapeBuilder};

use crate::error::{Error, Result};

/// The most elements of an array.
const MOST_ELEMENTS: u64 = 16 * MAX_PARAMETERS;

/// Reads an array of numbers: 32 or 64 bits of floating point, or integers of 8 to 64 bits, little-endian.
///
/// # Errors
/// [`Error::NotA`] for another file, another element type, or a file that is cut off; [`Error::TooLarge`].
pub fn read(bytes: &[u8]) -> Result<ArrayD<f64>> {
    let wrong = |why: &str| Error::NotA { expected: "a .npy file of numbers", why: why.into() };
    let rest =
        bytes.strip_prefix(b"\x93NUMPY").ok_or_else(|| wrong("it does not begin like one"))?;
    let cut = || wrong("it is cut off");
    let (version, rest) = rest.split_at_checked(2).ok_or_else(cut)?;
    let (length, rest) = match version[0] {
        1 => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
            (u16::from_le_bytes(*length).into(), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        other => return Err(wrong(&format!("it has version {other} of the format"))),
    };
    let (header, data) = rest.split_at_checked(length).ok_or_else(cut)?;
    let header = core::str::from_utf8(header).map_err(|_| wrong("its header is no text"))?;
    let field = |name: &str| Some(header.split_once(&format!("'{name}':"))?.1.trim_start());
    let kind = field("descr").and_then(|text| text.strip_prefix('\'')?.split('\'').next());
    let fortran = match field("fortran_order") {
        Some(text) if text.starts_with("True") => true,
        Some(text) if text.starts_with("False") => false,
        _ => return Err(wrong("its header names no order")),
    };
    let shape = field("shape").and_then(|text| text.strip_prefix('(')?.split(')').next());
    let sizes = shape.unwrap_or_default().split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape: Vec<usize> = sizes
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| wrong("its header has no shape"))?;
    let count = shape.iter().try_fold(1u64, |count, &size| count.checked_mul(size as u64));
    let count = count.unwrap_or(u64::MAX);
    if count > MOST_ELEMENTS {
        return Err(Error::TooLarge { what: "numbers", got: count, limit: MOST_ELEMENTS });
    }
    let values = match kind.unwrap_or_default() {
        "<f4" => numbers(data, |b| f32::from_le_bytes(b).into()),
        "<f8" => numbers(data, f64::from_le_bytes),
        "<i8" => numbers(data, |b| i64::from_le_bytes(b) as f64),
        "<i4" => numbers(data, |b| i32::from_le_bytes(b).into()),
        "|u1" => numbers(data, |b: [u8; 1]| b[0].into()),
        "|i1" => numbers(data, |b| i8::from_le_bytes(b).into()),
        other => {
            let why = format!("its element type is {other:?}; save it with .astype('float32')");
            return Err(wrong(&why));
        }
    };
    let values = values.filter(|values| values.len() as u64 == count).ok_or_else(cut)?;
    let array = ArrayD::from_shape_vec(IxDyn(&shape).set_f(fortran), values).map_err(|_| cut())?;
    Ok(array.as_standard_layout().into_owned())
}

fn numbers<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f64) -> Option<Vec<f64>> {
    let (values, rest) = data.as_chunks();
    rest.is_empty().then(|| values.iter().map(|&bytes| read(bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
    }

    /// The same bytes, read along rows or along columns.
    #[test]
    fn both_orders_of_memory() {
        let read = |order: &str| {
            let header =
                format!("{{'descr': '|u1', 'fortran_order': {order}, 'shape': (2, 3), }}\n");
            read(&file(&header, &[1, 2, 3, 4, 5, 6])).unwrap()
        };
        assert_eq!(read("False"), array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]].into_dyn());
        assert_eq!(read("True"), array![[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]].into_dyn());
        assert!(read("True").is_standard_layout());
    }

    #[test]
    fn element_types() {
        let of = |kind: &str, data: &[u8]| {
            let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (1,), }}");
            read(&file(&header, data)).map(|array| array[[0]])
        };
        assert_eq!(of("<f4", &(-2.5f32).to_le_bytes()).unwrap(), -2.5);
        assert_eq!(of("<f8", &0.1f64.to_le_bytes()).unwrap(), 0.1);
        assert_eq!(of("<i8", &(-3i64).to_le_bytes()).unwrap(), -3.0);
        assert_eq!(of("<i4", &(-3i32).to_le_bytes()).unwrap(), -3.0);
        assert_eq!(of("|i1", &[0xff]).unwrap(), -1.0);
        let refused = of(">f4", &[0; 4]).unwrap_err().to_string();
        assert!(refused.contains(">f4") && refused.contains("astype"), "{refused}");
    }

    #[test]
    fn what_is_no_such_file_is_refused() {
        let good = file("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", &[1, 2]);
        assert!(read(&good).is_ok());
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "{length}");
        }
        let large =
            "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 99999999999), }";
        assert!(matches!(read(&file(large, &[])), Err(Error::TooLarge { .. })));
    }
}
