//! What an operator is: one static record.
//!
//! A record says what the operator means ([`OpDef::eval`]), what type it has ([`OpDef::infer`]),
//! its gradient ([`OpDef::grad`]) and how it becomes loops ([`OpDef::lower`]). No other code names
//! an operator, except simplification rules.

use kiln_loops::{Builder as Loops, Fold, Index, Reg, TileMap};
use kiln_tensor::DType;

use crate::attrs::{AttrKind, Attrs};
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;

/// One operator.
pub struct OpDef {
    /// Its name in every text form.
    pub name: &'static str,
    /// What it computes, in a sentence or two.
    pub doc: &'static str,
    /// How many operands it takes.
    pub arity: Arity,
    /// Its attributes; a node has exactly these, of these kinds.
    pub attrs: &'static [AttrDef],
    /// The type of the result, or why the operands do not fit. Sees attributes of the declared
    /// kinds and as many operands as the arity says, of any types and values.
    pub infer: fn(&[&Type], &Attrs) -> Result<Type, String>,
    /// For each operand the gradient of a scalar that depends on the result, built as graph;
    /// `None` where it is zero everywhere. No function: zero for all operands.
    pub grad: Option<GradFn>,
    /// How it becomes loops.
    pub lower: Lower,
    /// What it means: plain loops in f64 (i32 and bool values are whole numbers).
    pub eval: fn(&OpView<'_>, &[&Value]) -> Value,
    /// Operands and attributes that tests try it on.
    pub samples: &'static [Sample],
}

/// The gradients of a node's operands.
pub type GradFn = for<'b> fn(&Grad<'b, '_>) -> Vec<Option<Var<'b>>>;

/// The number of operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// This many.
    Exact(usize),
    /// This many or more.
    AtLeast(usize),
}

/// An attribute an operator has.
#[derive(Clone, Copy, Debug)]
pub struct AttrDef {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: AttrKind,
    /// What it says.
    pub doc: &'static str,
}

/// What a gradient function sees.
pub struct Grad<'b, 'a> {
    /// The operands.
    pub x: &'a [Var<'b>],
    /// The result.
    pub y: Var<'b>,
    /// The gradient with respect to the result.
    pub dy: Var<'b>,
    /// The attributes.
    pub attrs: &'a Attrs,
}

/// A node without its graph: what the functions of an operator see.
#[derive(Clone, Copy, Debug)]
pub struct OpView<'a> {
    /// The attributes.
    pub attrs: &'a Attrs,
    /// The operands' types.
    pub operands: &'a [&'a Type],
    /// The result's type.
    pub ty: &'a Type,
}

/// How an operator becomes loops.
///
/// Lowering pulls: a kernel loops over the shape of the value it stores and asks for the element
/// at an index; operands that have no buffer of their own are asked in turn at the index the
/// operator maps to. Every function must ask for indices inside the operand's shape only.
#[derive(Clone, Copy)]
pub enum Lower {
    /// Has a buffer from outside: inputs and constants.
    Leaf,
    /// Expanded by a pass before lowering.
    Never,
    /// An element is a function of the operands' elements at the same index (operands of rank 0
    /// are read as they are).
    Map(fn(&mut Loops, &OpView<'_>, &[Reg]) -> Reg),
    /// An element is the only operand's element at a mapped index.
    View(fn(&OpView<'_>, &[Index]) -> Vec<Index>),
    /// The elements of the only operand in the same row-major order under another shape.
    Reshape,
    /// An element is computed by any means from the index and pulled elements.
    Element(fn(&mut dyn Pull, &OpView<'_>, &[Index]) -> Reg),
    /// An element folds the only operand's elements over reduced axes.
    Reduce(fn(&OpView<'_>) -> Space, Reduction),
    /// Operands are written side by side into the result, the rest of which holds a constant.
    Place(fn(&OpView<'_>) -> Vec<Piece>, fn(&OpView<'_>) -> Option<f32>),
    /// An element is the sum over reduced axes of products of two operands' elements (f32).
    Contract(fn(&OpView<'_>) -> Space),
    /// Elements are added into a result of zeros at places that may coincide.
    Scatter(Scatter),
    /// Tiles of the result are computed from tiles of the only operand, all elements of one at once.
    Tiles(Tiles),
}

impl Lower {
    /// The name of the class.
    pub const fn name(&self) -> &'static str {
        match self {
            Lower::Leaf => "leaf",
            Lower::Never => "never",
            Lower::Map(_) => "map",
            Lower::View(_) => "view",
            Lower::Reshape => "reshape",
            Lower::Element(_) => "element",
            Lower::Reduce(..) => "reduce",
            Lower::Place(..) => "place",
            Lower::Contract(_) => "contract",
            Lower::Scatter(_) => "scatter",
            Lower::Tiles(_) => "tiles",
        }
    }
}

/// Asks for elements while lowering.
pub trait Pull {
    /// Where instructions go.
    fn loops(&mut self) -> &mut Loops;
    /// The element of an operand at an index, one entry an axis.
    fn operand(&mut self, position: usize, index: &[Index]) -> Reg;
}

/// How a reduction combines elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// By an associative function.
    Fold(Fold),
    /// The row-major position, within the reduced axes, of the first greatest element (of the
    /// first NaN if there is any), as i32.
    ArgMax,
}

/// The iteration space of a reduction or contraction: the axes of the result, in order, then the
/// reduced axes; and how each operand is read in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    /// Extents of the reduced axes.
    pub reduced: Vec<usize>,
    /// How each operand is read.
    pub operands: Vec<Access>,
}

/// For each axis of an operand, its index as a sum of `scale * axis of the space` over the terms,
/// plus a constant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Access(pub Vec<AxisAccess>);

/// The index along one axis of an operand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AxisAccess {
    /// `(axis of the space, scale)`.
    pub terms: Vec<(usize, i64)>,
    /// Added to the sum.
    pub offset: i64,
}

impl AxisAccess {
    /// Along one axis of the space, as it is.
    pub fn axis(axis: usize) -> AxisAccess {
        AxisAccess { terms: vec![(axis, 1)], offset: 0 }
    }

    /// A window that slides: `stride * outer + dilation * inner`.
    pub fn window(outer: usize, stride: i64, inner: usize, dilation: i64) -> AxisAccess {
        AxisAccess { terms: vec![(outer, stride), (inner, dilation)], offset: 0 }
    }
}

impl Access {
    /// The operand's index at a point of the space.
    pub fn index(&self, point: &[Index]) -> Vec<Index> {
        self.0
            .iter()
            .map(|axis| {
                axis.terms.iter().fold(Index::constant(axis.offset), |sum, &(a, scale)| {
                    sum.plus(&point[a].times(scale))
                })
            })
            .collect()
    }
}

/// Where [`Lower::Place`] writes one operand: along each axis, element `i` goes to
/// `start + step * i`.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Position of the operand.
    pub operand: usize,
    /// Index of its first element in the result, an entry an axis.
    pub start: Vec<usize>,
    /// Distance between its elements in the result, an entry an axis (at least 1).
    pub step: Vec<usize>,
}

/// How [`Lower::Tiles`] runs.
#[derive(Clone, Copy)]
pub struct Tiles {
    /// Extents of the iteration space, a point for each tile, in the order in which the axes of the
    /// result lie in memory.
    pub domain: fn(&OpView<'_>) -> Vec<usize>,
    /// The elements of the operand that a tile is computed from.
    pub reads: fn(&OpView<'_>, &[Index]) -> Vec<Vec<Index>>,
    /// The elements of the result that are a tile; each is in one tile.
    pub writes: fn(&OpView<'_>, &[Index]) -> Vec<Vec<Index>>,
    /// Their values from those that were read, both a square row by row. The last axis of the space
    /// is the channels, of which a tile has one.
    pub map: fn(&OpView<'_>) -> TileMap,
}

/// How [`Lower::Scatter`] runs.
#[derive(Clone, Copy)]
pub struct Scatter {
    /// Extents of the iteration space.
    pub domain: fn(&OpView<'_>) -> Vec<usize>,
    /// The axes of the space along which different iterations never write the same element; each
    /// must reach the result's index affinely.
    pub disjoint: fn(&OpView<'_>) -> Vec<usize>,
    /// At a point of the space: the index in the result and the value to add there.
    pub emit: EmitFn,
}

/// An index in the result and the value to add there, from a point of the iteration space.
pub type EmitFn = fn(&mut dyn Pull, &OpView<'_>, &[Index]) -> (Vec<Index>, Reg);

/// Operands and attributes to try an operator on.
#[derive(Clone, Copy)]
pub struct Sample {
    /// The operands.
    pub operands: &'static [Operand],
    /// The attributes.
    pub attrs: fn() -> Attrs,
}

/// A random operand: uniform in `lo..hi` (whole numbers for i32; bool ignores the range).
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// Element type.
    pub dtype: DType,
    /// Sizes.
    pub shape: &'static [usize],
    /// Least value.
    pub lo: f64,
    /// Bound of the values.
    pub hi: f64,
}

impl Operand {
    /// f32 in -2..2.
    pub const fn f32(shape: &'static [usize]) -> Operand {
        Operand { dtype: DType::F32, shape, lo: -2.0, hi: 2.0 }
    }

    /// i32 in a range.
    pub const fn i32(shape: &'static [usize], lo: i32, hi: i32) -> Operand {
        Operand { dtype: DType::I32, shape, lo: lo as f64, hi: hi as f64 }
    }

    /// bool.
    pub const fn bool(shape: &'static [usize]) -> Operand {
        Operand { dtype: DType::Bool, shape, lo: 0.0, hi: 1.0 }
    }

    /// The same with values in another range.
    #[must_use]
    pub const fn within(mut self, lo: f64, hi: f64) -> Operand {
        self.lo = lo;
        self.hi = hi;
        self
    }
}

impl OpDef {
    /// The record to start from: no attributes, no gradient, never lowered.
    pub const BASE: OpDef = OpDef {
        name: "",
        doc: "",
        arity: Arity::Exact(1),
        attrs: &[],
        infer: |_, _| Err("this operator has no type rule".into()),
        grad: None,
        lower: Lower::Never,
        eval: |_, x| x[0].clone(),
        samples: &[],
    };
}

impl PartialEq for OpDef {
    /// Names are unique in the table.
    fn eq(&self, other: &OpDef) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for OpDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
