//! A constant tensor of an ONNX file.

use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn};

use crate::proto::{TensorProto, data_type};

/// A constant: numbers, the integers of a shape, or words.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tensor {
    /// Of any floating-point type.
    Reals(ArrayD<f64>),
    /// Of any integer type; [`BATCH`] stands for the number of samples.
    Integers(ArrayD<i64>),
    /// Text.
    Words(Vec<String>),
}

/// The size of the batch, in the integers of a shape: no size that a tensor can have.
pub(crate) const BATCH: i64 = i64::MIN;

impl Tensor {
    /// Reads a tensor.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn new(proto: &TensorProto) -> Result<Self, String> {
        if proto.data_location != 0 {
            return Err("its values are in another file; save the model in one file".into());
        }
        let (shape, count) = shape(&proto.dims)?;
        let raw = proto.raw_data.as_deref();
        let (floats, integers) = (proto.float_data.as_slice(), proto.int32_data.as_slice());
        let reals = |values: Vec<f64>| Self::reals(&shape, values);
        let whole = |values: Vec<i64>| Self::integers(&shape, values);
        let of_bits = |bits: &i32| u16::try_from(*bits).map_err(|_| "a value beyond 16 bits");
        match (proto.data_type, raw) {
            (data_type::FLOAT, Some(raw)) => {
                reals(words(raw, count, |b| f32::from_le_bytes(b).into())?)
            }
            (data_type::FLOAT, None) => reals(floats.iter().map(|&v| v.into()).collect()),
            (data_type::DOUBLE, Some(raw)) => reals(words(raw, count, f64::from_le_bytes)?),
            (data_type::DOUBLE, None) => reals(proto.double_data.clone()),
            (data_type::FLOAT16, Some(raw)) => {
                reals(words(raw, count, |b| f16::from_le_bytes(b).into())?)
            }
            (data_type::FLOAT16, None) => {
                let read = |bits| Ok::<_, String>(f16::from_bits(of_bits(bits)?).into());
                reals(integers.iter().map(read).collect::<Result<_, _>>()?)
            }
            (data_type::BFLOAT16, Some(raw)) => {
                reals(words(raw, count, |b| bf16::from_le_bytes(b).into())?)
            }
            (data_type::INT64, Some(raw)) => whole(words(raw, count, i64::from_le_bytes)?),
            (data_type::INT64, None) => whole(proto.int64_data.clone()),
            (data_type::INT32, Some(raw)) => {
                whole(words(raw, count, |b| i32::from_le_bytes(b).into())?)
            }
            (data_type::INT8, Some(raw)) => {
                whole(words(raw, count, |b| i8::from_le_bytes(b).into())?)
            }
            (data_type::INT16, Some(raw)) => {
                whole(words(raw, count, |b| i16::from_le_bytes(b).into())?)
            }
            (data_type::UINT16, Some(raw)) => {
                whole(words(raw, count, |b| u16::from_le_bytes(b).into())?)
            }
            (data_type::UINT8 | data_type::BOOL, Some(raw)) => {
                whole(words(raw, count, |b| u8::from_le_bytes(b).into())?)
            }
            (
                data_type::INT32
                | data_type::INT16
                | data_type::UINT16
                | data_type::INT8
                | data_type::UINT8
                | data_type::BOOL,
                None,
            ) => whole(integers.iter().map(|&v| v.into()).collect()),
            (data_type::STRING, None) => {
                let text = proto.string_data.iter().map(|word| text(word));
                Ok(Self::Words(text.collect::<Result<_, _>>()?))
            }
            (other, _) => Err(format!("its element type is number {other}, which is not read")),
        }
    }

    /// Real numbers of a shape.
    pub(crate) fn reals(shape: &[usize], values: Vec<f64>) -> Result<Self, String> {
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(format!("a value is {value}")),
            None => array(shape, values).map(Self::Reals),
        }
    }

    /// Integers of a shape.
    pub(crate) fn integers(shape: &[usize], values: Vec<i64>) -> Result<Self, String> {
        array(shape, values).map(Self::Integers)
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Reals(values) => values.len(),
            Self::Integers(values) => values.len(),
            Self::Words(words) => words.len(),
        }
    }

    /// The elements as real numbers, unless they are words or depend on the batch.
    pub(crate) fn to_reals(&self) -> Option<ArrayD<f64>> {
        match self {
            Self::Reals(values) => Some(values.clone()),
            Self::Integers(values) if values.iter().any(|&v| v == BATCH) => None,
            Self::Integers(values) => Some(values.mapv(|v| v as f64)),
            Self::Words(_) => None,
        }
    }

    /// The only element as a real number.
    pub(crate) fn scalar(&self) -> Option<f64> {
        match self.len() {
            1 => self.to_reals()?.first().copied(),
            _ => None,
        }
    }

    /// The elements of a list of integers, or of a single one.
    pub(crate) fn to_integers(&self) -> Option<Vec<i64>> {
        match self {
            Self::Integers(values) if values.ndim() <= 1 => Some(values.iter().copied().collect()),
            _ => None,
        }
    }

    /// The elements as words, one for each class.
    pub(crate) fn to_words(&self) -> Option<Vec<String>> {
        match self {
            Self::Words(words) => Some(words.clone()),
            Self::Integers(values) => Some(values.iter().map(i64::to_string).collect()),
            Self::Reals(_) => None,
        }
    }
}

/// The least and the largest integer of a type that quantisers use, by [`data_type`].
pub(crate) fn integer_range(data_type: i32) -> Option<(f64, f64)> {
    match data_type {
        data_type::UINT8 => Some((0.0, u8::MAX.into())),
        data_type::INT8 => Some((i8::MIN.into(), i8::MAX.into())),
        data_type::UINT16 => Some((0.0, u16::MAX.into())),
        data_type::INT16 => Some((i16::MIN.into(), i16::MAX.into())),
        _ => None,
    }
}

/// Text, which must be UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a word that is not UTF-8".into())
}

/// The sizes of a tensor, and their product.
fn shape(dims: &[i64]) -> Result<(Vec<usize>, usize), String> {
    let broken = || format!("its shape {dims:?} is none");
    let shape = dims.iter().map(|&size| usize::try_from(size)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| broken())?;
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    Ok((shape, count.ok_or_else(broken)?))
}

fn array<T>(shape: &[usize], values: Vec<T>) -> Result<ArrayD<T>, String> {
    let got = values.len();
    ArrayD::from_shape_vec(IxDyn(shape), values)
        .map_err(|_| format!("{got} values for the shape {shape:?}"))
}

/// `count` numbers of N bytes each.
fn words<const N: usize, T>(
    raw: &[u8],
    count: usize,
    read: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, String> {
    let (values, rest) = raw.as_chunks();
    match values.len() == count && rest.is_empty() {
        true => Ok(values.iter().map(|&bytes| read(bytes)).collect()),
        false => Err(format!("{} bytes for {count} values of {N}", raw.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto(data_type: i32, dims: &[i64], raw: &[u8]) -> TensorProto {
        let (dims, raw_data) = (dims.to_vec(), Some(raw.to_vec()));
        TensorProto { data_type, dims, raw_data, ..Default::default() }
    }

    #[test]
    fn every_type_is_read_from_both_places() {
        let one = ArrayD::from_elem(IxDyn(&[1]), 1.0);
        let raws: [(i32, &[u8]); 4] = [
            (data_type::FLOAT, &1f32.to_le_bytes()),
            (data_type::DOUBLE, &1f64.to_le_bytes()),
            (data_type::FLOAT16, &f16::ONE.to_le_bytes()),
            (data_type::BFLOAT16, &bf16::ONE.to_le_bytes()),
        ];
        for (data_type, raw) in raws {
            assert_eq!(
                Tensor::new(&proto(data_type, &[1], raw)).unwrap(),
                Tensor::Reals(one.clone())
            );
        }
        let integers: [(i32, &[u8]); 7] = [
            (data_type::INT64, &3i64.to_le_bytes()),
            (data_type::INT32, &3i32.to_le_bytes()),
            (data_type::INT16, &[3, 0]),
            (data_type::UINT16, &[3, 0]),
            (data_type::INT8, &[3]),
            (data_type::UINT8, &[3]),
            (data_type::BOOL, &[3]),
        ];
        for (data_type, raw) in integers {
            let read = Tensor::new(&proto(data_type, &[], raw)).unwrap();
            assert_eq!((read.scalar(), read.to_integers()), (Some(3.0), Some(vec![3])));
        }
        let listed = TensorProto {
            dims: vec![2],
            data_type: 1,
            float_data: vec![1.0, 2.0],
            ..Default::default()
        };
        assert_eq!(Tensor::new(&listed).unwrap().len(), 2);
        let half = TensorProto {
            dims: vec![1],
            data_type: 10,
            int32_data: vec![0x3c00],
            ..Default::default()
        };
        assert_eq!(Tensor::new(&half).unwrap(), Tensor::Reals(one));
    }

    #[test]
    fn what_is_inconsistent_is_refused() {
        let nan = f32::NAN.to_le_bytes();
        let refused = [
            proto(1, &[2], &[0; 4]),
            proto(1, &[-1], &[0; 4]),
            proto(1, &[i64::MAX, i64::MAX], &[]),
            proto(1, &[1], &nan),
            proto(77, &[1], &[0; 4]),
            TensorProto { data_location: 1, ..proto(1, &[1], &[0; 4]) },
            TensorProto {
                data_type: 1,
                dims: vec![2],
                float_data: vec![1.0],
                ..Default::default()
            },
        ];
        for proto in refused {
            assert!(Tensor::new(&proto).is_err(), "{proto:?}");
        }
    }
}
