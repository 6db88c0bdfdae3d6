//! Weights and states: `param`, `state` and `<-`.

use kiln_graph::{InputKind, nearest};
use kiln_tensor::DType;

use super::frame::{Binding, join};
use super::value::{Axis, Function, Origin, Tensor, Value};
use super::{Elaborator, Eval, Kind};
use crate::ast::{DefinitionKind, Expr, Ident, Type};
use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;

/// A weight, a state of the model, or a state of the optimizer.
pub(super) struct Declared<'b> {
    pub name: String,
    pub kind: InputKind,
    /// Its value before the step.
    pub input: Tensor<'b>,
    /// Its value after the step, if a `<-` was reached.
    pub next: Option<Tensor<'b>>,
    /// Its value before training, in the init graph.
    pub start: Option<Tensor<'b>>,
    pub span: Span,
    /// Where the block was applied that declares it.
    pub applied: Span,
}

impl<'a, 'b> Elaborator<'a, 'b> {
    pub(super) fn declare_param(
        &mut self,
        name: &'a Ident,
        ty: Option<&'a Type>,
        init: Option<&'a Expr>,
    ) -> Eval<()> {
        if !matches!(self.frame().kind, Some(DefinitionKind::Block | DefinitionKind::Model)) {
            let message = "only models and blocks have weights";
            return self.error(Code::Type, name.span, message, "`param` stands outside of them");
        }
        let Some(ty) = ty else {
            let d = Diagnostic::new(Code::Type, format!("the weight `{}` needs a type", name.node))
                .label(name.span, "")
                .help(format!("param {}: f32[O=out, A=x.A]", name.node));
            return self.fail(d);
        };
        let (axes, dims) = self.sized_type(ty)?;
        self.declare(name, InputKind::Param, axes, dims, init)
    }

    pub(super) fn declare_state(
        &mut self,
        name: &'a Ident,
        ty: Option<&'a Type>,
        init: Option<&'a Expr>,
    ) -> Eval<()> {
        let kind = match self.frame().kind {
            Some(DefinitionKind::Block | DefinitionKind::Model) => InputKind::State,
            Some(DefinitionKind::Optimizer) => InputKind::Slot,
            _ => {
                let message = "only models, blocks and optimizers have state";
                return self.error(
                    Code::Type,
                    name.span,
                    message,
                    "`state` stands outside of them",
                );
            }
        };
        let (axes, dims) = match (ty, &self.frame().fills) {
            (Some(ty), _) => self.sized_type(ty)?,
            (None, Some(like)) => like.clone(),
            (None, None) => {
                let message = format!("the state `{}` needs a type", name.node);
                return self.error(Code::Type, name.span, message, "");
            }
        };
        if init.is_none() {
            let d = Diagnostic::new(Code::Type, format!("the state `{}` needs a start", name.node))
                .label(name.span, "")
                .help(format!("state {} = zeros()", name.node));
            return self.fail(d);
        }
        self.declare(name, kind, axes, dims, init)
    }

    fn declare(
        &mut self,
        name: &'a Ident,
        kind: InputKind,
        axes: Vec<Axis>,
        dims: Vec<usize>,
        init: Option<&'a Expr>,
    ) -> Eval<()> {
        let path = join(&self.frame().path, &name.node);
        if let Some(&at) = self.variable_index.get(&path) {
            return self.declare_again(name, at, &axes, &dims);
        }
        if self.inputs.contains_key(&path) {
            let message = format!("`{path}` is the name of an input of the model");
            return self.error(Code::Name, name.span, message, "a weight needs another one");
        }
        let start = match init {
            Some(expr) => self.expr(expr)?,
            None => self.default_init.clone(),
        };
        let shape = self.shape(&axes, &dims, name.span)?;
        self.locate(name.span);
        let input = self.builder.input(&path, kind, DType::F32, &shape);
        let input = self.tensor(input, axes, name.span);
        let start = match (self.kind, start) {
            (Kind::Init, start) => {
                Some(self.start(&path, start, &input, init.map_or(name.span, |e| e.span))?)
            }
            (_, Value::Function(_) | Value::Int(_) | Value::Float(_) | Value::Poison) => None,
            (_, other) => {
                let message = format!("{} is not an initialiser", other.kind());
                let span = init.map_or(name.span, |e| e.span);
                return self.error(
                    Code::Type,
                    span,
                    message,
                    "expected one such as zeros() or he()",
                );
            }
        };
        let at = self.variables.len();
        let declared = Declared {
            name: path.clone(),
            kind,
            input: input.clone(),
            next: None,
            start,
            span: name.span,
            applied: self.applied(),
        };
        self.variables.push(declared);
        self.variable_index.insert(path, at);
        let binding = Binding { value: Value::Tensor(input), stands_for: Some(at) };
        self.frame_mut().variables.insert(&name.node, binding);
        Ok(())
    }

    /// A weight whose name exists already: shared through a `layer`, or a mistake.
    fn declare_again(
        &mut self,
        name: &'a Ident,
        at: usize,
        axes: &[Axis],
        dims: &[usize],
    ) -> Eval<()> {
        let known = &self.variables[at];
        let (path, first) = (known.name.clone(), known.input.clone());
        let place = known.span;
        if !self.frame().shared {
            let applied = self.applied();
            let d = if self.variables[at].applied == applied {
                Diagnostic::new(Code::Name, format!("two weights are called `{path}`"))
                    .label(name.span, "the second one")
                    .label(place, "the first one")
            } else {
                Diagnostic::new(
                    Code::Name,
                    format!("two blocks are called `{}`", self.frame().path),
                )
                .label(applied, "the second one")
                .label(self.variables[at].applied, "the first one")
                .help(
                    "give them different labels by `as`, or share one on purpose: layer enc = ...",
                )
            };
            return self.fail(d);
        }
        if first.axes != axes || *first.shape != *dims {
            let here = super::value::type_text(DType::F32, axes, dims);
            let message =
                format!("the shared weight `{path}` is {} and cannot be {here}", first.type_text());
            return self.error(
                Code::Shape,
                name.span,
                message,
                "applied to inputs of different shapes",
            );
        }
        let value = self.variables[at].next.clone().unwrap_or(first);
        let binding = Binding { value: Value::Tensor(value), stands_for: Some(at) };
        self.frame_mut().variables.insert(&name.node, binding);
        Ok(())
    }

    /// `enc.weight`: a weight or state of a layer that was applied, to compute with elsewhere; `enc.proj` is a part
    /// that has weights of its own.
    pub(super) fn weight_of(&mut self, layer: &str, base: Span, field: &Ident) -> Eval<Value<'b>> {
        let name = join(layer, &field.node);
        if let Some(&at) = self.variable_index.get(&name) {
            let v = &self.variables[at];
            return Ok(Value::Tensor(v.next.as_ref().unwrap_or(&v.input).clone()));
        }
        let below = |path: &str| -> Vec<String> {
            let head = join(path, "");
            let names = self.variable_index.range(head.clone()..).map(|(name, _)| name);
            let names = names.take_while(|n| n.starts_with(&head));
            names.map(|n| n[head.len()..].to_string()).collect()
        };
        if !below(&name).is_empty() {
            return Ok(Value::Part(name.into()));
        }
        let message = format!("`{layer}` has no weight `{}`", field.node);
        let d =
            Diagnostic::new(Code::Name, message).label(field.span, "").label(base, "this layer");
        let known = below(layer);
        let parts = known.iter().filter_map(|name| name.split_once('.')).map(|(part, _)| part);
        let d = match nearest(&field.node, known.iter().map(String::as_str).chain(parts)) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None if known.is_empty() => {
                d.help("apply the layer first: its weights have shapes once it has seen an input")
            }
            None => d.help(format!("it has {}", known.join(", "))),
        };
        self.fail(d)
    }

    /// Where the current block was applied; the model itself has no such place.
    fn applied(&self) -> Span {
        self.frame().call.as_ref().map_or(Span::default(), |c| c.span)
    }

    /// The axes and sizes of a declared type.
    fn sized_type(&mut self, ty: &'a Type) -> Eval<(Vec<Axis>, Vec<usize>)> {
        if ty.dtype.node != "f32" {
            let message = format!("weights and states are f32, not {}", ty.dtype.node);
            return self.error(Code::Type, ty.dtype.span, message, "");
        }
        let (mut axes, mut dims) = (Vec::new(), Vec::new());
        for item in ty.axes.iter().flat_map(|b| &b.left) {
            let Some(name) = &item.name else {
                let d = Diagnostic::new(Code::Type, "an axis of a weight or state needs a size")
                    .label(item.value.span, "")
                    .help("for example A=x.A");
                return self.fail(d);
            };
            let axis = self.axis_named(&name.node);
            if axes.contains(&axis) {
                return self.error(
                    Code::Name,
                    name.span,
                    format!("the axis {axis} occurs twice"),
                    "",
                );
            }
            let value = self.expr(&item.value)?;
            dims.push(self.size(&value, item.value.span)?);
            axes.push(axis);
        }
        Ok((axes, dims))
    }

    /// The value of a weight or state before training, as a node of the init graph.
    fn start(
        &mut self,
        path: &str,
        init: Value<'b>,
        input: &Tensor<'b>,
        span: Span,
    ) -> Eval<Tensor<'b>> {
        let value = match init {
            Value::Function(function) => {
                let function = Function { ..function };
                self.run_init(function, path, &input.axes, &input.shape, span)?
            }
            other => other,
        };
        let value = self.operand(value, DType::F32, span)?;
        self.fit(&value, &input.axes, &input.shape, span)
    }

    /// `name <- value`.
    pub(super) fn update(&mut self, name: &'a Ident, value: Value<'b>, span: Span) -> Eval<()> {
        let binding = self.frame().variables.get(name.node.as_str()).cloned();
        let Some(at) = binding.and_then(|b| b.stands_for) else {
            let d = Diagnostic::new(
                Code::Name,
                format!("`{}` is neither a state nor a weight", name.node),
            )
            .label(name.span, "`<-` sets what lives on into the next step")
            .help(format!("declare it: state {}: f32[...] = zeros(); or assign by `=`", name.node));
            return self.fail(d);
        };
        if self.variables[at].kind == InputKind::Param
            && self.frame().kind != Some(DefinitionKind::Optimizer)
        {
            let message = format!("`{}` is a weight: only an optimizer changes it", name.node);
            return self.error(Code::Type, name.span, message, "");
        }
        self.locate(span);
        let value = self.operand(value, DType::F32, span)?;
        let input = self.variables[at].input.clone();
        let mut next = self.fit(&value, &input.axes, &input.shape, span)?;
        next.origin = Origin::made(span);
        self.variables[at].next = Some(next.clone());
        let binding = Binding { value: Value::Tensor(next), stands_for: Some(at) };
        self.frame_mut().variables.insert(&name.node, binding);
        Ok(())
    }
}
