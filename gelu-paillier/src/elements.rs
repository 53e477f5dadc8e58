//! Many residues in one block of memory.

use zeroize::Zeroize;

use crate::kernel::Line;

/// Residues in Montgomery form, one behind the other.
///
/// They are public or secret: secret ones are held as `Zeroizing<Elements>`, because wiping every
/// ciphertext would cost a tenth of a product. What grows here leaves no copies behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Elements {
    lines: Vec<Line>,
    stride: usize,
}

impl Zeroize for Elements {
    fn zeroize(&mut self) {
        self.lines.zeroize();
    }
}

impl Elements {
    /// No elements yet.
    pub(crate) fn new(stride: usize) -> Self {
        Self { lines: Vec::new(), stride }
    }

    /// Room for `count` elements.
    pub(crate) fn zeros(count: usize, stride: usize) -> Self {
        Self { lines: vec![Line::default(); count * stride], stride }
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.len() / self.stride
    }

    pub(crate) fn get(&self, i: usize) -> &[Line] {
        &self.lines[i * self.stride..][..self.stride]
    }

    pub(crate) fn get_mut(&mut self, i: usize) -> &mut [Line] {
        &mut self.lines[i * self.stride..][..self.stride]
    }

    pub(crate) fn lines_mut(&mut self) -> &mut [Line] {
        &mut self.lines
    }

    /// Makes room for `count` more.
    pub(crate) fn reserve(&mut self, count: usize) {
        let needed = self.lines.len() + count * self.stride;
        if needed > self.lines.capacity() {
            self.lines = moved(&mut self.lines, needed);
        }
    }

    pub(crate) fn push(&mut self, element: &[Line]) {
        debug_assert_eq!(element.len(), self.stride);
        self.extend(element);
    }

    /// Copies of all elements of `other`, whose owner wipes it if need be.
    pub(crate) fn append(&mut self, other: &Self) {
        debug_assert_eq!(other.stride, self.stride);
        self.extend(&other.lines);
    }

    fn extend(&mut self, lines: &[Line]) {
        let needed = self.lines.len() + lines.len();
        if needed > self.lines.capacity() {
            let room = needed.max(2 * self.lines.len());
            self.lines = moved(&mut self.lines, room);
        }
        self.lines.extend_from_slice(lines);
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &[Line]> {
        self.lines.chunks_exact(self.stride)
    }

    /// References to all elements, as [`Ring::multiply`](crate::ring::Ring::multiply) wants them.
    pub(crate) fn refs(&self) -> Vec<&[Line]> {
        self.iter().collect()
    }
}

/// The same lines in a place with more room; the old place is wiped.
fn moved(lines: &mut Vec<Line>, capacity: usize) -> Vec<Line> {
    let mut new = Vec::with_capacity(capacity);
    new.extend_from_slice(lines);
    lines.zeroize();
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::LANES;

    /// Only wiping empties the old place.
    #[test]
    fn growth_leaves_no_copy_behind() {
        let mut old = vec![Line([7; LANES]); 5];
        let new = moved(&mut old, 9);
        assert_eq!((new.len(), new.capacity() >= 9), (5, true));
        assert!(new.iter().all(|line| line.0 == [7; LANES]));
        assert!(old.is_empty());
        let mut elements = Elements::new(2);
        let element = |x: u64| [Line([x; LANES]), Line([x + 1; LANES])];
        (0..20).for_each(|x| elements.push(&element(x)));
        let copy = elements.clone();
        elements.append(&copy);
        elements.reserve(100);
        assert_eq!(elements.len(), 40);
        assert!((0..40).all(|i| *elements.get(i) == element(i as u64 % 20)));
    }
}
