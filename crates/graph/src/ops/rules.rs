//! Type rules, gradient rules and evaluators that many operators share.

use kiln_tensor::DType;

use crate::attrs::Attrs;
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;

/// Every operand has one shape (rank 0 stands for any) and one element type; so has the result.
pub fn same(x: &[&Type], _: &Attrs) -> Result<Type, String> {
    let widest = x.iter().max_by_key(|t| t.shape.rank()).ok_or("takes operands")?;
    for t in x {
        if t.dtype != widest.dtype || (t.shape != widest.shape && t.shape.rank() != 0) {
            let list: Vec<String> = x.iter().map(ToString::to_string).collect();
            return Err(format!("operands differ: {}", list.join(" and ")));
        }
    }
    Ok((*widest).clone())
}

/// [`same`] for f32.
pub fn same_f32(x: &[&Type], a: &Attrs) -> Result<Type, String> {
    match same(x, a)? {
        t if t.dtype == DType::F32 => Ok(t),
        t => Err(format!("takes f32, got {t}")),
    }
}

/// [`same`] for f32 and i32.
pub fn same_number(x: &[&Type], a: &Attrs) -> Result<Type, String> {
    match same(x, a)? {
        t if t.dtype != DType::Bool => Ok(t),
        t => Err(format!("takes numbers, got {t}")),
    }
}

/// Evaluates an element-wise operator; operands of rank 0 are read at every index.
pub fn map(x: &[&Value], f: impl Fn(&[f64]) -> f64) -> Value {
    let shape = x.iter().map(|v| &v.shape).max_by_key(|s| s.rank()).cloned().unwrap_or_default();
    let mut row = vec![0.0; x.len()];
    let data = (0..shape.elements())
        .map(|i| {
            for (slot, v) in row.iter_mut().zip(x) {
                *slot = if v.shape.rank() == 0 { v.data[0] } else { v.data[i] };
            }
            f(&row)
        })
        .collect();
    Value { shape, data }
}

/// The gradient `g` of an element-wise result, summed up if operand `x` was read at every index.
pub fn sum_to<'b>(g: Var<'b>, x: Var<'b>) -> Var<'b> {
    if x.shape().rank() == 0 && g.shape().rank() != 0 {
        let axes: Vec<usize> = (0..g.shape().rank()).collect();
        g.sum(&axes)
    } else {
        g
    }
}

/// The number of places a dilated window has on an axis.
///
/// # Errors
/// If the window has no place or a parameter is not positive.
pub fn window(size: usize, taps: usize, stride: i64, dilation: i64) -> Result<usize, String> {
    if stride < 1 || dilation < 1 || taps < 1 {
        return Err(format!("window of {taps}, stride {stride}, dilation {dilation}: each must be at least 1"));
    }
    let reach = (taps - 1)
        .checked_mul(dilation as usize)
        .and_then(|r| r.checked_add(1))
        .ok_or("window too large")?;
    if reach > size {
        return Err(format!("a window that spans {reach} does not fit an axis of {size}"));
    }
    Ok((size - reach) / stride as usize + 1)
}

/// The product of matrices as a batch of one.
pub fn matmul<'b>(a: Var<'b>, b: Var<'b>) -> Var<'b> {
    let (s, t) = (a.shape(), b.shape());
    if s.rank() != 2 || t.rank() != 2 {
        return a.dot(b); // reports the ranks
    }
    let y = a.reshape(&[1, s[0], s[1]]).dot(b.reshape(&[1, t[0], t[1]]));
    let u = y.shape();
    if u.rank() != 3 { y } else { y.reshape(&[u[1], u[2]]) }
}

/// Implements a `std::ops` trait for values and numbers by an operator.
macro_rules! binary_operator {
    ($trait:ident, $method:ident, $op:ident) => {
        impl<'b> std::ops::$trait for crate::builder::Var<'b> {
            type Output = crate::builder::Var<'b>;

            fn $method(self, other: Self) -> Self {
                self.builder().op(&$op, crate::attrs::Attrs::new(), &[self, other])
            }
        }

        impl<'b> std::ops::$trait<f32> for crate::builder::Var<'b> {
            type Output = crate::builder::Var<'b>;

            fn $method(self, other: f32) -> Self {
                let other = self.builder().scalar_of(self.dtype(), f64::from(other));
                std::ops::$trait::$method(self, other)
            }
        }

        impl<'b> std::ops::$trait<crate::builder::Var<'b>> for f32 {
            type Output = crate::builder::Var<'b>;

            fn $method(self, other: crate::builder::Var<'b>) -> crate::builder::Var<'b> {
                let this = other.builder().scalar_of(other.dtype(), f64::from(self));
                std::ops::$trait::$method(this, other)
            }
        }
    };
}
pub(crate) use binary_operator;
