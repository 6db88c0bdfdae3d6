//! What the operators on sliding windows share: windows over the last two axes, H and W.
//!
//! No window reaches beyond the image; padding is a `pad` before the operator.

use kiln_tensor::DType;

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{Access, AttrDef, AxisAccess, OpView, Space};

const KERNEL: AttrDef =
    AttrDef { name: "kernel", kind: AttrKind::Ints, doc: "taps of the window in H and W" };
const STRIDE: AttrDef =
    AttrDef { name: "stride", kind: AttrKind::Ints, doc: "steps of the window in H and W" };
const DILATION: AttrDef =
    AttrDef { name: "dilation", kind: AttrKind::Ints, doc: "distance of the taps in H and W" };
const SIZE: AttrDef = AttrDef { name: "size", kind: AttrKind::Ints, doc: "H and W of the result" };

/// The attributes of an operator that slides a window.
pub const ATTRS: &[AttrDef] = &[KERNEL, STRIDE, DILATION];

/// [`ATTRS`] and the size of the image the window slides over.
pub const ATTRS_AND_SIZE: &[AttrDef] = &[KERNEL, STRIDE, DILATION, SIZE];

/// The attributes' values.
pub fn attrs(kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2]) -> Attrs {
    Attrs::new()
        .with("kernel", &kernel[..])
        .with("stride", &stride[..])
        .with("dilation", &dilation[..])
}

/// A window, after its attributes have been checked.
pub struct Window {
    /// Taps in H and W.
    pub kernel: [usize; 2],
    /// Steps in H and W.
    pub stride: [usize; 2],
    /// Distance of the taps in H and W.
    pub dilation: [usize; 2],
}

impl Window {
    /// The window that a checked node's attributes say.
    pub fn of(attrs: &Attrs) -> Window {
        let pair = |name| {
            let x = attrs.ints(name);
            [x[0] as usize, x[1] as usize]
        };
        Window { kernel: pair("kernel"), stride: pair("stride"), dilation: pair("dilation") }
    }

    /// The attributes that say it.
    pub fn attrs(&self) -> Attrs {
        attrs(self.kernel, self.stride, self.dilation)
    }

    /// The number of taps.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The multi-index in the image of the tap at row-major position `tap` of the window at the
    /// multi-index `place`.
    pub fn tap(&self, place: &[usize], tap: usize) -> Vec<usize> {
        let mut index = place.to_vec();
        let n = index.len();
        let tap = [tap / self.kernel[1], tap % self.kernel[1]];
        for axis in 0..2 {
            let i = &mut index[n - 2 + axis];
            *i = *i * self.stride[axis] + tap[axis] * self.dilation[axis];
        }
        index
    }
}

/// The shape of the places of a window that slides over `image`: its H and W replaced.
///
/// # Errors
/// If the image has fewer than two axes, or the window does not fit it.
pub fn places(image: &[usize], attrs: &Attrs) -> Result<Vec<usize>, String> {
    let n = image.len();
    if n < 2 {
        return Err(format!("slides over the last two axes, got {n}"));
    }
    let kernel = rules::pair(attrs, "kernel")?;
    let (stride, dilation) = (rules::pair(attrs, "stride")?, rules::pair(attrs, "dilation")?);
    let mut dims = image.to_vec();
    for axis in 0..2 {
        let size = &mut dims[n - 2 + axis];
        *size = rules::window(*size, kernel[axis], stride[axis], dilation[axis])?;
    }
    // Each is at most the size of an axis.
    let taps = kernel[0].checked_mul(kernel[1]).ok_or("window too large")?;
    rules::fits_i32(taps)?;
    Ok(dims)
}

/// The type of a reduction of windows of an f32 image.
///
/// # Errors
/// If the operand is not f32, or as [`places`].
pub fn reduced(x: &Type, attrs: &Attrs, dtype: DType) -> Result<Type, String> {
    if x.dtype != DType::F32 {
        return Err(format!("takes f32, got {x}"));
    }
    Type::checked(dtype, places(&x.shape, attrs)?)
}

/// The iteration space of a reduction of windows.
pub fn space(v: &OpView<'_>) -> Space {
    let window = Window::of(v.attrs);
    let rank = v.ty.shape.rank();
    let mut access: Vec<AxisAccess> = (0..rank - 2).map(AxisAccess::axis).collect();
    for axis in 0..2 {
        let (stride, dilation) = (window.stride[axis] as i64, window.dilation[axis] as i64);
        access.push(AxisAccess::window(rank - 2 + axis, stride, rank + axis, dilation));
    }
    Space { reduced: window.kernel.to_vec(), operands: vec![Access(access)] }
}

/// Evaluates a reduction of windows: `f` sees the elements of each.
pub fn eval(v: &OpView<'_>, x: &Value, f: impl Fn(&mut dyn Iterator<Item = f64>) -> f64) -> Value {
    let window = Window::of(v.attrs);
    Value::from_fn(&v.ty.shape, |i| f(&mut (0..window.taps()).map(|t| x.at(&window.tap(i, t)))))
}

/// Spreads `y`, a value for each window, out over the places of `image`, so that a window of the
/// same taps at every position sees the values of the windows that saw that position.
pub fn spread<'b>(y: Var<'b>, image: &[usize], window: &Window) -> Var<'b> {
    let (places, rank) = (y.shape(), image.len());
    let (mut low, mut high, mut inner) = (vec![0; rank], vec![0; rank], vec![0; rank]);
    for axis in 0..2 {
        let a = rank - 2 + axis;
        let reach = window.dilation[axis] * (window.kernel[axis] - 1);
        inner[a] = window.stride[axis] - 1;
        let covered = window.stride[axis] * places[a].saturating_sub(1) + reach + 1;
        low[a] = reach;
        high[a] = reach + image[a] - covered;
    }
    y.pad(&low, &high, &inner, 0.0)
}
