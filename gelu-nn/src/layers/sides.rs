//! A number for each axis of an image.

use core::fmt;

use serde::{Deserialize, Serialize};

/// A number for each axis of an image: what a kernel, a step or a padding is along its rows and along its columns.
///
/// Written down it is one number where both are equal, and a pair otherwise: `3` or `[1, 5]`, rows first, as PyTorch has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Sides {
    /// Along the rows' axis: top to bottom.
    pub height: usize,
    /// Along the columns' axis: left to right.
    pub width: usize,
}

impl Sides {
    /// Neither step nor size beyond 1.
    pub const ONE: Self = Self::equal(1);

    /// No padding.
    pub const ZERO: Self = Self::equal(0);

    /// The same number for both axes.
    pub const fn equal(side: usize) -> Self {
        Self { height: side, width: side }
    }
}

impl From<usize> for Sides {
    fn from(side: usize) -> Self {
        Self::equal(side)
    }
}

impl From<[usize; 2]> for Sides {
    fn from([height, width]: [usize; 2]) -> Self {
        Self { height, width }
    }
}

/// `1x5`.
impl fmt::Display for Sides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

/// As it is written down.
#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number, or one for the rows and one for the columns: [1, 5]"
)]
enum Written {
    Both(usize),
    Each([usize; 2]),
}

impl From<Written> for Sides {
    fn from(written: Written) -> Self {
        match written {
            Written::Both(side) => side.into(),
            Written::Each(sides) => sides.into(),
        }
    }
}

impl From<Sides> for Written {
    fn from(Sides { height, width }: Sides) -> Self {
        match height == width {
            true => Self::Both(height),
            false => Self::Each([height, width]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sides_are_one_number_and_others_two() {
        for (sides, text) in [(Sides::from(3), "3"), (Sides::from([1, 5]), "[1,5]")] {
            assert_eq!(serde_json::to_string(&sides).unwrap(), text);
            assert_eq!(serde_json::from_str::<Sides>(text).unwrap(), sides);
        }
        assert_eq!(serde_json::from_str::<Sides>("[2, 2]").unwrap(), Sides::from(2));
        for refused in ["[]", "[1]", "[1,2,3]", "-1", "[1,-2]", "\"3\"", "null", "1.5"] {
            let error = serde_json::from_str::<Sides>(refused).unwrap_err().to_string();
            assert!(error.contains("[1, 5]"), "{refused}: {error}");
        }
    }
}
