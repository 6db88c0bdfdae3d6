//! The reference evaluator: every operator as plain loops in f64.
//!
//! Shares no code with the compiler beyond the graph itself; every other engine is compared with
//! it. Whole numbers and truth values are held as f64 too, exactly.

use kiln_tensor::Shape;

/// A dense array of f64, row-major: a value of any element type in the reference evaluator.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Sizes of the axes.
    pub shape: Shape,
    /// The elements.
    pub data: Vec<f64>,
}

impl Value {
    /// A value whose element at each multi-index is `f` of it.
    pub fn from_fn(shape: &Shape, mut f: impl FnMut(&[usize]) -> f64) -> Value {
        let mut data = Vec::with_capacity(shape.elements());
        each_index(shape, |index| data.push(f(index)));
        Value { shape: shape.clone(), data }
    }

    /// A value of rank 0.
    pub fn scalar(x: f64) -> Value {
        Value { shape: Shape::scalar(), data: vec![x] }
    }

    /// The element at a multi-index; a value of rank 0 is the same at every index.
    pub fn at(&self, index: &[usize]) -> f64 {
        if self.shape.rank() == 0 {
            return self.data[0];
        }
        let flat = index.iter().zip(self.shape.iter()).fold(0, |flat, (i, d)| flat * d + i);
        self.data[flat]
    }
}

/// Calls `f` with every multi-index of `dims`, in row-major order.
pub fn each_index(dims: &[usize], mut f: impl FnMut(&[usize])) {
    if dims.contains(&0) {
        return;
    }
    let mut index = vec![0; dims.len()];
    loop {
        f(&index);
        let Some(axis) = (0..dims.len()).rev().find(|&a| index[a] + 1 < dims[a]) else { return };
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
}
