//! Type rules, gradient rules and evaluators that many operators share.

use kiln_loops::{Binary, Builder as Loops, Index, Inst, Reg};
use kiln_tensor::DType;

use crate::attrs::{AttrKind, Attrs};
use crate::builder::Var;
use crate::eval::{Value, each_index};
use crate::graph::Type;
use crate::op::{Access, AttrDef, AxisAccess, Grad, OpView, Space};

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

/// [`same`] for i32.
pub fn same_i32(x: &[&Type], a: &Attrs) -> Result<Type, String> {
    match same(x, a)? {
        t if t.dtype == DType::I32 => Ok(t),
        t => Err(format!("takes i32, got {t}")),
    }
}

/// [`same`] for bool and i32.
pub fn same_bits(x: &[&Type], a: &Attrs) -> Result<Type, String> {
    match same(x, a)? {
        t if t.dtype != DType::F32 => Ok(t),
        t => Err(format!("takes bool or i32, got {t}")),
    }
}

/// A truth value for operands that are [`same`].
pub fn compare_any(x: &[&Type], a: &Attrs) -> Result<Type, String> {
    Ok(Type::new(DType::Bool, same(x, a)?.shape))
}

/// A truth value for operands that are [`same_number`].
pub fn compare_numbers(x: &[&Type], a: &Attrs) -> Result<Type, String> {
    Ok(Type::new(DType::Bool, same_number(x, a)?.shape))
}

/// The one element type of all operands.
///
/// # Errors
/// If they differ.
pub fn same_dtype(x: &[&Type]) -> Result<DType, String> {
    let dtype = x.first().ok_or("takes operands")?.dtype;
    match x.iter().find(|t| t.dtype != dtype) {
        Some(other) => Err(format!("element types differ: {} and {other}", x[0])),
        None => Ok(dtype),
    }
}

/// A list of sizes or axes, checked to be not negative.
///
/// # Errors
/// If one is negative.
pub fn sizes(attrs: &Attrs, name: &str) -> Result<Vec<usize>, String> {
    let convert = |&x: &i64| usize::try_from(x).map_err(|_| format!("`{name}` holds {x}"));
    attrs.ints(name).iter().map(convert).collect()
}

/// [`sizes`] of exactly two.
///
/// # Errors
/// If there are not two or one is negative.
pub fn pair(attrs: &Attrs, name: &str) -> Result<[usize; 2], String> {
    <[usize; 2]>::try_from(sizes(attrs, name)?)
        .map_err(|x| format!("`{name}` needs 2 entries, has {}", x.len()))
}

/// Axes of an array of this rank, checked to be strictly ascending.
///
/// # Errors
/// If they are not, or one is out of range.
pub fn axes(attrs: &Attrs, name: &str, rank: usize) -> Result<Vec<usize>, String> {
    let axes = sizes(attrs, name)?;
    if axes.windows(2).any(|w| w[0] >= w[1]) {
        return Err(format!("`{name}` {axes:?} are not ascending"));
    }
    match axes.last() {
        Some(&last) if last >= rank => {
            Err(format!("`{name}` {axes:?} are not all below the rank {rank}"))
        }
        _ => Ok(axes),
    }
}

/// The attribute `axis` of an array of this rank.
///
/// # Errors
/// If it is out of range.
pub fn axis(attrs: &Attrs, rank: usize) -> Result<usize, String> {
    let axis = attrs.int("axis");
    match usize::try_from(axis) {
        Ok(a) if a < rank => Ok(a),
        _ => Err(format!("axis {axis} of an array of rank {rank}")),
    }
}

/// A list of sizes or axes of a node, which its type rule has checked.
pub fn known(attrs: &Attrs, name: &str) -> Vec<usize> {
    attrs.ints(name).iter().map(|&x| x as usize).collect()
}

/// The axes in ascending order.
pub fn sorted(axes: &[usize]) -> Vec<usize> {
    let mut axes = axes.to_vec();
    axes.sort_unstable();
    axes
}

/// Checks that positions along a size can be counted by i32.
///
/// # Errors
/// If they cannot.
pub fn fits_i32(size: usize) -> Result<(), String> {
    match i32::try_from(size) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{size} positions are more than an i32 counts")),
    }
}

/// The value of an index, as an i32.
pub fn index_value(b: &mut Loops, index: &Index) -> Reg {
    let mut sum = b.inst(Inst::Affine(index.affine.clone()));
    for &(reg, stride) in &index.dynamic {
        // Wraps, as the affine part does.
        let stride = b.i32(stride as i32);
        let part = b.binary(Binary::Mul, reg, stride);
        sum = b.binary(Binary::Add, sum, part);
    }
    sum
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

/// [`map`] for operands of i32.
pub fn map_i32(x: &[&Value], f: impl Fn(&[i32]) -> i32) -> Value {
    map(x, |row| {
        // Operators take at most three operands of i32.
        let mut whole = [0; 3];
        whole.iter_mut().zip(row).for_each(|(w, &x)| *w = x as i32);
        f64::from(f(&whole[..row.len()]))
    })
}

/// The sum of two elements of this type: i32 wraps.
pub fn add(dtype: DType, a: f64, b: f64) -> f64 {
    if dtype == DType::I32 { f64::from((a as i32).wrapping_add(b as i32)) } else { a + b }
}

/// The greater, NaN if either is; of equal ones the second, which tells 0 from -0 (`f64::max` gives
/// what the processor does).
pub fn max(a: f64, b: f64) -> f64 {
    if a > b || a.is_nan() { a } else { b }
}

/// The smaller, in the same way.
pub fn min(a: f64, b: f64) -> f64 {
    if a < b || a.is_nan() { a } else { b }
}

/// The position of the first greatest element, or of the first NaN if there is one.
pub fn first_greatest(x: impl Iterator<Item = f64>) -> f64 {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, x) in x.enumerate() {
        if !best.1.is_nan() && (x > best.1 || x.is_nan()) {
            best = (i, x);
        }
    }
    best.0 as f64
}

/// An index from data, limited to `0..extent`.
pub fn clamp(x: f64, extent: usize) -> usize {
    (x.max(0.0) as usize).min(extent - 1)
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
pub fn window(size: usize, taps: usize, stride: usize, dilation: usize) -> Result<usize, String> {
    if stride < 1 || dilation < 1 || taps < 1 {
        return Err(format!(
            "window of {taps}, stride {stride}, dilation {dilation}: each must be at least 1"
        ));
    }
    let reach = (taps - 1)
        .checked_mul(dilation)
        .and_then(|r| r.checked_add(1))
        .ok_or("window too large")?;
    if reach > size {
        return Err(format!("a window that spans {reach} does not fit an axis of {size}"));
    }
    Ok((size - reach) / stride + 1)
}

/// The attributes of a reduction.
pub const REDUCED_AXES: &[AttrDef] =
    &[AttrDef { name: "axes", kind: AttrKind::Ints, doc: "axes that are reduced, ascending" }];

/// The attributes of a reduction over these axes.
pub fn over(axes: &[usize]) -> Attrs {
    Attrs::new().with("axes", &sorted(axes)[..])
}

/// The type of a reduction of numbers.
pub fn reduced(x: &[&Type], attrs: &Attrs) -> Result<Type, String> {
    let t = same_number(x, attrs)?;
    let axes = axes(attrs, "axes", t.shape.rank())?;
    let kept = kept(t.shape.rank(), &axes);
    Type::checked(t.dtype, kept.into_iter().map(|a| t.shape[a]).collect::<Vec<_>>())
}

/// The axes of an array of this rank that are not among `axes`.
fn kept(rank: usize, axes: &[usize]) -> Vec<usize> {
    (0..rank).filter(|a| !axes.contains(a)).collect()
}

/// The iteration space of a reduction.
pub fn reduce_space(v: &OpView<'_>) -> Space {
    let shape = &v.operands[0].shape;
    let axes = known(v.attrs, "axes");
    let order = [kept(shape.rank(), &axes), axes.clone()].concat();
    let mut access = vec![AxisAccess::default(); shape.rank()];
    for (position, axis) in order.into_iter().enumerate() {
        access[axis] = AxisAccess::axis(position);
    }
    Space { reduced: axes.iter().map(|&a| shape[a]).collect(), operands: vec![Access(access)] }
}

/// Evaluates a reduction from `init` by `f`.
pub fn reduce(v: &OpView<'_>, x: &Value, init: f64, f: impl Fn(f64, f64) -> f64) -> Value {
    let kept = kept(x.shape.rank(), &known(v.attrs, "axes"));
    let strides = v.ty.shape.strides();
    let mut data = vec![init; v.ty.shape.elements()];
    each_index(&x.shape, |i| {
        let at: usize = kept.iter().zip(&strides).map(|(&a, s)| i[a] * s).sum();
        data[at] = f(data[at], x.at(i));
    });
    Value { shape: v.ty.shape.clone(), data }
}

/// The value `y` of a reduction of `x` over `axes`, repeated along them again.
pub fn unreduce<'b>(y: Var<'b>, x: Var<'b>, axes: &[usize]) -> Var<'b> {
    let shape = x.shape();
    y.broadcast(&shape, &kept(shape.rank(), axes))
}

/// The gradient of the greatest or least element: shared evenly by all that equal it.
pub fn grad_extremum<'b>(g: &Grad<'b, '_>) -> Var<'b> {
    let (x, axes) = (g.x[0], known(g.attrs, "axes"));
    let winner = x.eq(unreduce(g.y, x, &axes)).cast(DType::F32);
    let share = g.dy / winner.sum(&axes);
    winner * unreduce(share, x, &axes)
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
