//! Every operator's functions on arguments nobody would write.

use kiln_loops::{Fold, Index};
use kiln_tensor::{DType, Shape, Tensor};

use super::OPS;
use crate::attrs::{Attr, AttrKind, Attrs};
use crate::builder::{Builder, Var};
use crate::graph::{InputKind, Type};
use crate::op::{Access, Arity, Grad, Lower, OpDef, OpView, Reduction};

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

const WHOLE: &[i64] =
    &[-1, 0, 0, 0, 1, 1, 1, 2, 2, 3, 5, 64, 1 << 31, 1 << 40, i64::MAX, i64::MAX - 1, i64::MIN];
const SIZES: &[usize] =
    &[0, 1, 1, 2, 2, 3, 3, 5, 7, 8, 9, 1 << 16, 1 << 31, (1 << 38) - 1, 1 << 38];

fn any_type(rng: &mut Rng) -> Type {
    let dtype = rng.pick(&[DType::F32, DType::F32, DType::I32, DType::Bool]);
    let dims: Vec<usize> = (0..rng.below(7)).map(|_| rng.pick(SIZES)).collect();
    Type::new(dtype, Shape::new(dims).unwrap_or_default())
}

fn any_attr(rng: &mut Rng, kind: AttrKind) -> Attr {
    match kind {
        AttrKind::Int => Attr::Int(rng.pick(WHOLE)),
        AttrKind::Float => Attr::Float(rng.pick(&[0.0, -1.5, 1e300, f64::NAN, f64::INFINITY, 0.1])),
        AttrKind::Bool => Attr::Bool(rng.below(2) == 0),
        AttrKind::Text => Attr::Text(rng.pick(&["", "data", "param", "x"]).to_owned()),
        AttrKind::Ints => Attr::Ints((0..rng.below(6)).map(|_| rng.pick(WHOLE)).collect()),
        AttrKind::DType => Attr::DType(rng.pick(&DType::ALL)),
        AttrKind::Tensor => Attr::Tensor(Tensor::scalar(1.0).into()),
    }
}

/// Operand types and attributes: of no sense at all, or a sample with some of it changed.
fn case(op: &OpDef, rng: &mut Rng) -> (Vec<Type>, Attrs) {
    if op.samples.is_empty() || rng.below(3) == 0 {
        let n = match op.arity {
            Arity::Exact(n) => n,
            Arity::AtLeast(n) => n + rng.below(3),
        };
        let types = (0..n).map(|_| any_type(rng)).collect();
        let with =
            |attrs: Attrs, def: &crate::op::AttrDef| attrs.with(def.name, any_attr(rng, def.kind));
        return (types, op.attrs.iter().fold(Attrs::new(), with));
    }
    let sample = &op.samples[rng.below(op.samples.len())];
    let mut attrs = (sample.attrs)();
    let mut types: Vec<Type> = sample
        .operands
        .iter()
        .map(|o| Type::checked(o.dtype, o.shape).expect("samples are small"))
        .collect();
    for t in &mut types {
        if rng.below(4) == 0 && t.shape.rank() > 0 {
            let mut dims = t.shape.to_vec();
            let axis = rng.below(dims.len());
            dims[axis] = rng.pick(SIZES);
            t.shape = Shape::new(dims).unwrap_or_default();
        }
    }
    for def in op.attrs {
        match attrs.get(def.name) {
            Some(Attr::Ints(list)) if !list.is_empty() && rng.below(2) == 0 => {
                let mut list = list.clone();
                let i = rng.below(list.len());
                list[i] = rng.pick(WHOLE);
                attrs = attrs.with(def.name, list);
            }
            Some(_) if rng.below(6) == 0 => attrs = attrs.with(def.name, any_attr(rng, def.kind)),
            _ => {}
        }
    }
    (types, attrs)
}

#[test]
fn type_rules_refuse_nonsense_and_what_they_accept_has_gradients_and_lowers_in_bounds() {
    for op in OPS {
        let mut rng =
            Rng(op.name.bytes().fold(1, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b))));
        let mut accepted = 0;
        for _ in 0..4000 {
            let (types, attrs) = case(op, &mut rng);
            let b = Builder::new();
            let x: Vec<Var<'_>> = types
                .iter()
                .enumerate()
                .map(|(i, t)| b.input(&i.to_string(), InputKind::Data, t.dtype, &t.shape))
                .collect();
            let Ok(y) = b.try_op(op, attrs.clone(), &x) else { continue };
            accepted += 1;
            let operands: Vec<&Type> = types.iter().collect();
            let ty = y.ty();
            bounds(op, &OpView { attrs: &attrs, operands: &operands, ty: &ty });
            if ty.dtype == DType::F32 {
                gradient(op, &b, &x, y, &attrs);
            }
        }
        assert!(accepted > 10, "`{}` accepted {accepted}", op.name);
    }
}

fn gradient<'b>(op: &OpDef, b: &'b Builder, x: &[Var<'b>], y: Var<'b>, attrs: &Attrs) {
    let Some(grad) = op.grad else { return };
    let ty = y.ty();
    let dy = b.input("dy", InputKind::Data, ty.dtype, &ty.shape);
    let dx = grad(&Grad { x, y, dy, attrs });
    if b.take_error().is_some() {
        return; // too large
    }
    assert_eq!(dx.len(), x.len(), "{}", op.name);
    for (x, dx) in x.iter().zip(dx).filter_map(|(x, dx)| Some((x, dx?))) {
        assert_eq!(dx.ty(), x.ty(), "{} {attrs:?}", op.name);
    }
}

/// The places an operator reads or writes are inside the arrays: at the first and last index,
/// between which all others lie because the maps are affine along each axis.
fn bounds(op: &OpDef, v: &OpView<'_>) {
    let shape = &v.ty.shape;
    let inside = |index: &[Index], shape: &[usize]| {
        assert_eq!(index.len(), shape.len(), "{} {v:?}", op.name);
        for (i, &size) in index.iter().zip(shape) {
            let i = i.affine.as_constant().expect("constant at a constant index");
            assert!(0 <= i && i < size as i64, "{} {v:?} asks for {i}", op.name);
        }
    };
    let corners = |space: &[usize]| {
        let end = |last: bool| {
            space.iter().map(|&n| Index::constant(if last { n as i64 - 1 } else { 0 })).collect()
        };
        let corners: [Vec<Index>; 2] = [end(false), end(true)];
        // An empty space has no index.
        if space.contains(&0) { Vec::new() } else { corners.to_vec() }
    };
    let space = |reduced: &[usize], operands: &[Access]| {
        for corner in corners(&[shape, reduced].concat()) {
            assert_eq!(operands.len(), v.operands.len());
            for (access, ty) in operands.iter().zip(v.operands) {
                inside(&access.index(&corner), &ty.shape);
            }
        }
    };
    match op.lower {
        Lower::View(map) => {
            for corner in corners(shape) {
                inside(&map(v, &corner), &v.operands[0].shape);
            }
        }
        Lower::Reduce(of, reduction) => {
            let of = of(v);
            let taps: usize = of.reduced.iter().product();
            assert!(
                reduction == Reduction::Fold(Fold::Add)
                    || taps > 0
                    || op.name.starts_with("reduce")
            );
            space(&of.reduced, &of.operands);
        }
        Lower::Contract(of) => {
            let of = of(v);
            space(&of.reduced, &of.operands);
        }
        Lower::Place(pieces, _) => {
            for piece in pieces(v) {
                for corner in corners(&v.operands[piece.operand].shape) {
                    let at = |(i, axis): (&Index, usize)| {
                        i.times(piece.step[axis] as i64).offset(piece.start[axis] as i64)
                    };
                    let index: Vec<Index> = corner.iter().zip(0..).map(at).collect();
                    inside(&index, shape);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn the_table_is_sorted_and_found_by_name() {
    assert!(OPS.is_sorted_by(|a, b| a.name < b.name));
    for op in OPS {
        assert_eq!(super::find(op.name), Some(*op));
        assert!(!op.doc.is_empty() && op.doc.ends_with('.'), "`{}` is not documented", op.name);
        assert!(op.attrs.iter().all(|a| !a.doc.is_empty()), "`{}` is not documented", op.name);
    }
    assert_eq!(super::find("tan"), None);
}
