//! Shapes: the sizes of a tensor's axes, with every product checked once, at construction.

use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

use crate::DType;

/// No single tensor may take more bytes than this (1 TiB): sizes beyond it are refused before any
/// allocation, so that products of sizes and of byte offsets never overflow 64-bit arithmetic.
pub const MAX_BYTES: usize = 1 << 40;

/// The sizes of a tensor's axes, outermost first. A scalar has none.
///
/// The element count of a `Shape` is known to be at most [`MAX_BYTES`]` / 4`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Shape(SmallVec<[usize; 4]>);

/// A shape whose element count is beyond [`MAX_BYTES`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tensor of shape [{}] is too large: the limit is 1 TiB", list(.0))]
pub struct ShapeError(pub Vec<usize>);

impl Shape {
    /// A shape of these axis sizes. Sizes of 0 are allowed (the tensor is empty).
    ///
    /// # Errors
    /// If the tensor would take more than [`MAX_BYTES`].
    pub fn new(dims: impl Into<Vec<usize>>) -> Result<Shape, ShapeError> {
        let dims = dims.into();
        // Zero sizes are left out of the product so that no partial product overflows unseen.
        let volume = dims.iter().filter(|&&d| d != 0).try_fold(1usize, |n, &d| n.checked_mul(d));
        match volume {
            Some(n) if n <= MAX_BYTES / 4 => Ok(Shape(SmallVec::from_slice(&dims))),
            _ => Err(ShapeError(dims)),
        }
    }

    /// The shape of a single value.
    pub const fn scalar() -> Shape {
        Shape(SmallVec::new_const())
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }

    /// The bytes a dense tensor of this shape takes.
    pub fn bytes(&self, dtype: DType) -> usize {
        self.elements() * dtype.bytes()
    }

    /// Row-major strides, in elements.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.0.len()];
        for axis in (1..self.0.len()).rev() {
            strides[axis - 1] = strides[axis] * self.0[axis].max(1);
        }
        strides
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl<const R: usize> TryFrom<[usize; R]> for Shape {
    type Error = ShapeError;

    fn try_from(dims: [usize; R]) -> Result<Shape, ShapeError> {
        Shape::new(dims)
    }
}

fn list(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", list(&self.0))
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_that_overflow_are_refused() {
        assert!(Shape::new([1 << 20, 1 << 18]).is_ok());
        assert!(Shape::new([1 << 20, 1 << 19]).is_err());
        assert!(Shape::new([usize::MAX, usize::MAX]).is_err());
        assert!(Shape::new([0, usize::MAX, 2]).is_err());
    }

    #[test]
    fn strides_are_row_major() {
        assert_eq!(Shape::new([2, 3, 4]).unwrap().strides(), [12, 4, 1]);
        assert_eq!(Shape::scalar().elements(), 1);
    }
}
