//! Values: what is known while the compiler runs, and tensors, of which only the shape is.

use std::rc::Rc;

use kiln_graph::Var;
use kiln_tensor::{DType, Shape};

use super::builtin::Builtin;
use super::data::{Checkpoint, DataSource};
use crate::ast::Ident;
use crate::module::DefId;
use crate::span::Span;

/// The name of an axis.
pub(super) type Axis = Rc<str>;

/// A value of the language.
#[derive(Clone, Debug)]
pub(super) enum Value<'b> {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(Rc<str>),
    List(Rc<[Value<'b>]>),
    /// `start..end`.
    Range(i64, i64),
    /// What a block with several results returns.
    Tuple(Rc<[Value<'b>]>),
    Tensor(Tensor<'b>),
    Function(Function<'b>),
    /// A part of a layer, by its path: what its weights are called under.
    Part(Rc<str>),
    Data(Rc<DataSource>),
    Checkpoint(Checkpoint),
    /// What a faulty statement would have given; whatever reads it stays silent.
    Poison,
}

/// A graph value and its axes.
#[derive(Clone, Debug)]
pub(super) struct Tensor<'b> {
    pub var: Var<'b>,
    /// The name of each axis, in the order of the shape.
    pub axes: Vec<Axis>,
    pub shape: Shape,
    pub dtype: DType,
    pub origin: Origin,
}

/// Where a tensor comes from, for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub span: Span,
    /// Where the variable stands that it was assigned to.
    pub name: Option<Span>,
    /// `block`, `model` ... if it is an input of the one around.
    pub input: Option<&'static str>,
}

/// A definition or builtin, with what it was given so far.
#[derive(Clone, Debug)]
pub(super) struct Function<'b> {
    pub target: Target,
    pub axes: Option<Rc<AxisArgs>>,
    /// Hyper-parameters, once given.
    pub hyper: Option<Rc<[Arg<'b>]>>,
    /// The path of the weights, if a `layer` statement declared it.
    pub layer: Option<Rc<str>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Definition(DefId),
    Builtin(&'static Builtin),
}

/// An argument.
#[derive(Clone, Debug)]
pub(super) struct Arg<'b> {
    pub name: Option<Ident>,
    pub value: Value<'b>,
    pub span: Span,
}

/// Evaluated brackets.
#[derive(Clone, Debug)]
pub(super) struct AxisArgs {
    pub left: Vec<AxisArg>,
    pub right: Option<Vec<AxisArg>>,
    /// `[not A, B]`: all but these.
    pub not: bool,
    pub span: Span,
}

/// `C` or `H=heads`.
#[derive(Clone, Debug)]
pub(super) struct AxisArg {
    pub axis: Axis,
    pub size: Option<usize>,
    pub span: Span,
}

impl Origin {
    /// Made by the expression at `span`.
    pub fn made(span: Span) -> Origin {
        Origin { span, name: None, input: None }
    }
}

impl<'b> Tensor<'b> {
    /// The position of an axis.
    pub fn position(&self, axis: &str) -> Option<usize> {
        self.axes.iter().position(|a| &**a == axis)
    }

    /// The size of an axis.
    pub fn size(&self, axis: &str) -> Option<usize> {
        self.position(axis).map(|p| self.shape[p])
    }

    /// `f32[N=8, C=3]`.
    pub fn type_text(&self) -> String {
        type_text(self.dtype, &self.axes, &self.shape)
    }
}

/// `f32[N=8, C=3]`.
pub(super) fn type_text(dtype: DType, axes: &[Axis], dims: &[usize]) -> String {
    let axes: Vec<String> = axes.iter().zip(dims).map(|(a, d)| format!("{a}={d}")).collect();
    if axes.is_empty() { dtype.to_string() } else { format!("{dtype}[{}]", axes.join(", ")) }
}

impl Value<'_> {
    /// What kind of value it is, for messages.
    pub fn kind(&self) -> String {
        match self {
            Value::Int(_) => "a whole number".to_string(),
            Value::Float(_) => "a number".to_string(),
            Value::Bool(_) => "true or false".to_string(),
            Value::Text(_) => "a text".to_string(),
            Value::List(_) | Value::Range(..) => "a list".to_string(),
            Value::Tuple(_) => "several values".to_string(),
            Value::Tensor(t) => format!("a tensor {}", t.type_text()),
            Value::Function(_) => "a function that is not applied".to_string(),
            Value::Part(_) => "a part of a layer".to_string(),
            Value::Data(_) => "a data set".to_string(),
            Value::Checkpoint(_) => "a checkpoint rule".to_string(),
            Value::Poison => "nothing".to_string(),
        }
    }

    /// The value as it would be written, where it can be.
    pub fn text(&self) -> String {
        match self {
            Value::Int(x) => x.to_string(),
            Value::Float(x) => x.to_string(),
            Value::Bool(x) => x.to_string(),
            Value::Text(x) => format!("\"{x}\""),
            Value::List(x) => {
                format!("[{}]", x.iter().map(Value::text).collect::<Vec<_>>().join(", "))
            }
            Value::Range(a, b) => format!("{a}..{b}"),
            Value::Tensor(t) => t.type_text(),
            other => other.kind(),
        }
    }
}
