//! Applying blocks, ops and builtins.

use std::collections::BTreeMap;

use super::builtin::Given;
use super::frame::{CallSite, Frame, join};
use super::statement::Flow;
use super::value::{Arg, Axis, Function, Origin, Target, Tensor, Value};
use super::{Elaborator, Eval, Stop};
use kiln_graph::nearest;

use crate::ast::{Body, Definition, DefinitionKind, Ident, Param, Spanned};
use crate::diagnostic::{Code, Diagnostic};
use crate::module::{DefId, name_span};
use crate::span::Span;

impl<'a, 'b> Elaborator<'a, 'b> {
    /// Whether the next parentheses hold hyper-parameters: of a block or optimizer that has two groups of
    /// parameters, and of an init or schedule.
    pub(super) fn takes_hyper(&self, function: &Function<'b>) -> bool {
        let Target::Definition(id) = function.target else { return false };
        let d = &self.module.definition(id).node;
        let has_hyper = match d.kind {
            DefinitionKind::Init | DefinitionKind::Schedule => true,
            _ => d.params.len() > 1,
        };
        has_hyper && function.hyper.is_none()
    }

    /// `function(arguments)`.
    pub(super) fn call(
        &mut self,
        function: Function<'b>,
        arguments: Vec<Arg<'b>>,
        label: Option<&'a Ident>,
        span: Span,
    ) -> Eval<Value<'b>> {
        if self.takes_hyper(&function) {
            if let Some(tensor) = arguments.iter().find(|a| matches!(a.value, Value::Tensor(_)))
                && let Target::Definition(id) = function.target
            {
                let name = &self.module.definition(id).node.name.node;
                let d = Diagnostic::new(
                    Code::Type,
                    format!("`{name}` takes hyper-parameters here, not a tensor"),
                )
                .label(tensor.span, tensor.value.kind())
                .label(
                    name_span(self.module.definition(id)),
                    "its first parentheses are for hyper-parameters",
                )
                .help(format!("pipe the tensor in: x |> {name}(...)"));
                return self.fail(d);
            }
            return Ok(Value::Function(Function { hyper: Some(arguments.into()), ..function }));
        }
        self.apply(function, arguments, label, span)
    }

    /// Applies a function to its inputs.
    pub(super) fn apply(
        &mut self,
        function: Function<'b>,
        inputs: Vec<Arg<'b>>,
        label: Option<&'a Ident>,
        span: Span,
    ) -> Eval<Value<'b>> {
        let result = match function.target {
            Target::Builtin(builtin) => {
                let given = Given::bind(self, builtin, function.axes.clone(), inputs, span)?;
                self.locate(span);
                let result = (builtin.run)(self, &given);
                self.take_graph_error(span)?;
                result?
            }
            Target::Definition(id) => self.apply_definition(id, function, inputs, label, span)?,
        };
        // What comes out was made here, as the caller sees it.
        Ok(match result {
            Value::Tensor(t) => Value::Tensor(made_at(t, span)),
            Value::Tuple(values) => {
                let made = |v: &Value<'b>| match v {
                    Value::Tensor(t) => Value::Tensor(made_at(t.clone(), span)),
                    other => other.clone(),
                };
                Value::Tuple(values.iter().map(made).collect())
            }
            other => other,
        })
    }

    fn apply_definition(
        &mut self,
        id: DefId,
        function: Function<'b>,
        inputs: Vec<Arg<'b>>,
        label: Option<&'a Ident>,
        span: Span,
    ) -> Eval<Value<'b>> {
        let definition = self.module.definition(id);
        let d = &definition.node;
        let name = &d.name.node;
        let around = self.frame().kind;
        match d.kind {
            DefinitionKind::Model => {
                let message = format!("`{name}` is a model and cannot be applied");
                return self.error(
                    Code::Type,
                    span,
                    message,
                    "make it a block to use it in another network",
                );
            }
            DefinitionKind::Block
                if !matches!(around, Some(DefinitionKind::Model | DefinitionKind::Block)) =>
            {
                let message = format!("the block `{name}` is applied outside a model or block");
                return self.error(
                    Code::Type,
                    span,
                    message,
                    "weights belong to models and blocks",
                );
            }
            _ => {}
        }
        if self.frames.len() > self.options.limits.calls {
            let message = format!("calls nest deeper than {}", self.options.limits.calls);
            return self.error(Code::Limit, span, message, "");
        }
        let path = match (&function.layer, d.kind) {
            (Some(layer), _) => layer.to_string(),
            (None, DefinitionKind::Block) => self.component(name, label, span),
            _ => self.frame().path.clone(),
        };
        let hyper: Vec<Arg<'b>> = function.hyper.as_deref().unwrap_or_default().to_vec();
        let mut frame = Frame {
            kind: Some(d.kind),
            call: Some(CallSite { span, text: call_text(name, &hyper) }),
            path,
            shared: function.layer.is_some() || self.frame().shared,
            fills: self.frame().fills.clone(),
            axes: self.axis_params(definition, &function, &inputs, span)?,
            ..Frame::root(id.file)
        };
        if matches!(
            d.kind,
            DefinitionKind::Op
                | DefinitionKind::Init
                | DefinitionKind::Schedule
                | DefinitionKind::Optimizer
        ) {
            frame.given = self.frame().given.clone();
        }
        self.frames.push(frame);
        let result = self.run(definition, hyper, inputs, span);
        self.frames.pop();
        match result? {
            Value::Poison => Err(Stop),
            value => Ok(value),
        }
    }

    /// Binds the parameters in the new frame and evaluates the body.
    pub(super) fn run(
        &mut self,
        definition: &'a Spanned<Definition>,
        hyper: Vec<Arg<'b>>,
        inputs: Vec<Arg<'b>>,
        span: Span,
    ) -> Eval<Value<'b>> {
        let d = &definition.node;
        let groups: Vec<Vec<Arg<'b>>> = match (d.params.len(), d.kind) {
            (1, DefinitionKind::Init | DefinitionKind::Schedule) => vec![hyper],
            (1, _) => vec![inputs],
            _ => vec![hyper, inputs],
        };
        for (params, arguments) in d.params.iter().zip(groups) {
            self.bind_params(definition, params, arguments, span)?;
        }
        let optimized = self.optimized;
        if let (DefinitionKind::Optimizer, Some(weight)) =
            (d.kind, d.params.last().and_then(|p| p.first()))
            && let Some(binding) = self.frame_mut().variables.get_mut(weight.name.node.as_str())
        {
            binding.stands_for = optimized;
        }
        self.run_body(definition)
    }

    /// Evaluates the body of a definition in the current frame.
    pub(super) fn run_body(&mut self, definition: &'a Spanned<Definition>) -> Eval<Value<'b>> {
        let d = &definition.node;
        match &d.body {
            Body::Formula(expr) => self.expr(expr),
            Body::Block(statements) => match self.body(statements)? {
                Flow::Return(value) => Ok(value),
                Flow::Next if d.kind == DefinitionKind::Optimizer => Ok(Value::Tuple([].into())),
                Flow::Next => {
                    let message = format!("`{}` ends without `return`", d.name.node);
                    self.error(Code::Type, d.name.span, message, "")
                }
            },
        }
    }

    /// Positional arguments, named ones, defaults; in the frame of the callee, so that a default may use the
    /// parameters before it.
    pub(super) fn bind_params(
        &mut self,
        definition: &'a Spanned<Definition>,
        params: &'a [Param],
        arguments: Vec<Arg<'b>>,
        span: Span,
    ) -> Eval<()> {
        let name = &definition.node.name.node;
        let mut values: Vec<Option<Arg<'b>>> = vec![None; params.len()];
        let mut next = 0;
        for argument in arguments {
            let at = match &argument.name {
                None => {
                    next += 1;
                    next - 1
                }
                Some(key) => match params.iter().position(|p| p.name.node == key.node) {
                    Some(at) => at,
                    None => {
                        let known: Vec<&str> =
                            params.iter().map(|p| p.name.node.as_str()).collect();
                        return self.unknown_argument(name, key, &known);
                    }
                },
            };
            if at >= params.len() {
                let d = Diagnostic::new(
                    Code::Type,
                    format!("`{name}` takes {}", count(params.len(), "argument")),
                )
                .label(argument.span, "one too many")
                .label(name_span(definition), "defined here");
                return self.fail(d);
            }
            if values[at].is_some() {
                let message = format!("`{}` of `{name}` is given twice", params[at].name.node);
                return self.error(Code::Name, argument.span, message, "the second time");
            }
            values[at] = Some(argument);
        }
        for (param, value) in params.iter().zip(values) {
            let value = match (value, &param.default) {
                (Some(argument), _) => argument.value,
                (None, Some(default)) => self.expr(default)?,
                (None, None) => {
                    let d = Diagnostic::new(
                        Code::Type,
                        format!("`{name}` needs `{}`", param.name.node),
                    )
                    .label(span, "not given here")
                    .label(param.name.span, "has no default");
                    return self.fail(d);
                }
            };
            let value = match value {
                // Inside the library a tensor keeps the place in the user's file that it comes from.
                Value::Tensor(mut t) if !self.module.is_std(param.name.span.file) => {
                    let input = definition.node.kind.word();
                    let span = param.name.span;
                    t.origin = Origin { span, name: Some(span), input: Some(input) };
                    Value::Tensor(t)
                }
                other => other,
            };
            self.bind(&param.name.node, value);
        }
        Ok(())
    }

    /// Reports an argument that a function does not have.
    pub(super) fn unknown_argument<T>(
        &mut self,
        name: &str,
        key: &Ident,
        known: &[&str],
    ) -> Eval<T> {
        let mut d = Diagnostic::new(Code::Name, format!("`{name}` has no argument `{}`", key.node))
            .label(key.span, "");
        d = match nearest(&key.node, known.iter().copied()) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None if known.is_empty() => d.help("it takes none"),
            None => d.help(format!("it takes {}", known.join(", "))),
        };
        self.fail(d)
    }

    /// What the axis parameters of a definition mean in this call: what the brackets say, the default, or the last
    /// axis of the first tensor.
    fn axis_params(
        &mut self,
        definition: &'a Spanned<Definition>,
        function: &Function<'b>,
        inputs: &[Arg<'b>],
        span: Span,
    ) -> Eval<BTreeMap<String, Axis>> {
        let d = &definition.node;
        let mut axes = BTreeMap::new();
        let mut given = Vec::new();
        if let Some(args) = &function.axes {
            if args.not || args.right.is_some() || args.left.iter().any(|a| a.size.is_some()) {
                let message = format!("`{}` takes plain axes", d.name.node);
                return self.error(Code::Type, args.span, message, "");
            }
            if args.left.len() > d.axes.len() {
                let message =
                    format!("`{}` takes {}", d.name.node, count(d.axes.len(), "axis parameter"));
                let error = Diagnostic::new(Code::Type, message).label(args.span, "");
                return self.fail(error.label(d.name.span, "defined here"));
            }
            given = args.left.iter().map(|a| a.axis.clone()).collect();
        }
        let last = inputs.iter().find_map(|a| match &a.value {
            Value::Tensor(t) => Some(t.axes.last().cloned()),
            _ => None,
        });
        for (at, (name, default)) in d.axes.iter().enumerate() {
            let axis = match (given.get(at), default, &last) {
                (Some(axis), _, _) => axis.clone(),
                (None, Some(default), _) => Axis::from(default.node.as_str()),
                (None, None, Some(Some(last))) => last.clone(),
                _ => {
                    let message = format!("`{}` needs the axis `{}`", d.name.node, name.node);
                    let help = format!("name it: {}[C]", d.name.node);
                    let error = Diagnostic::new(Code::Type, message)
                        .label(span, "no tensor here has an axis");
                    return self.fail(error.help(help));
                }
            };
            axes.insert(name.node.clone(), axis);
        }
        Ok(axes)
    }

    /// Runs an init definition for a weight of this shape; gives a number or tensor.
    pub(super) fn run_init(
        &mut self,
        function: Function<'b>,
        name: &str,
        axes: &[Axis],
        dims: &[usize],
        span: Span,
    ) -> Eval<Value<'b>> {
        let Target::Definition(id) = function.target else {
            return self.error(
                Code::Type,
                span,
                "not an initialiser",
                "expected one such as zeros() or he()",
            );
        };
        let definition = self.module.definition(id);
        if definition.node.kind != DefinitionKind::Init {
            let message = format!("`{}` is not an initialiser", definition.node.name.node);
            return self.error(Code::Type, span, message, "expected one such as zeros() or he()");
        }
        let (fan_in, fan_out) = fans(dims);
        let hyper = function.hyper.as_deref().unwrap_or_default().to_vec();
        let mut frame = Frame::root(id.file);
        frame.kind = Some(DefinitionKind::Init);
        frame.call = Some(CallSite { span, text: call_text(&definition.node.name.node, &hyper) });
        frame.path = join("init", name);
        frame.given = BTreeMap::from([("fan_in", fan_in), ("fan_out", fan_out)]);
        frame.fills = Some((axes.to_vec(), dims.to_vec()));
        self.frames.push(frame);
        let result = self.run(definition, hyper, Vec::new(), span);
        self.frames.pop();
        match result? {
            Value::Poison => Err(Stop),
            value => Ok(value),
        }
    }
}

/// Inputs and outputs that one output or input of a weight `[out, in, window...]` is connected with.
fn fans<'b>(dims: &[usize]) -> (Value<'b>, Value<'b>) {
    let window: usize = dims.iter().skip(2).product();
    let (fan_in, fan_out) = match dims {
        [] => (1, 1),
        [n] => (*n, *n),
        [o, i, ..] => (i * window, o * window),
    };
    (Value::Int(fan_in as i64), Value::Int(fan_out as i64))
}

fn made_at(mut t: Tensor<'_>, span: Span) -> Tensor<'_> {
    t.origin = Origin::made(span);
    t
}

fn count(n: usize, thing: &str) -> String {
    match n {
        0 => format!("no {thing}s"),
        1 => format!("one {thing}"),
        n => format!("{n} {thing}s"),
    }
}

/// `bottleneck(128, stride=2)`.
pub(super) fn call_text(name: &str, hyper: &[Arg<'_>]) -> String {
    let argument = |a: &Arg<'_>| match &a.name {
        Some(key) => format!("{}={}", key.node, a.value.text()),
        None => a.value.text(),
    };
    if hyper.is_empty() {
        return name.to_string();
    }
    format!("{name}({})", hyper.iter().map(argument).collect::<Vec<_>>().join(", "))
}
