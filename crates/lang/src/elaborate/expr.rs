//! Expressions.

use std::rc::Rc;

use super::builtin;
use super::value::{Arg, AxisArg, AxisArgs, Function, Origin, Target, Value};
use super::{Elaborator, Eval, shared};
use kiln_graph::nearest;

use crate::ast::{
    Argument, AxisItem, BinaryOp, Brackets, DefinitionKind, Expr, ExprKind, Ident, UnaryOp,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::module::name_span;
use crate::span::Span;

impl<'a, 'b> Elaborator<'a, 'b> {
    pub(super) fn expr(&mut self, expr: &'a Expr) -> Eval<Value<'b>> {
        self.labelled(expr, None)
    }

    /// Evaluates an expression that `as` gives a label.
    pub(super) fn labelled(&mut self, expr: &'a Expr, label: Option<&'a Ident>) -> Eval<Value<'b>> {
        if self.frame().index.is_none() {
            return self.evaluated(expr, label);
        }
        if let Some(known) = self.known(expr) {
            return Ok(known);
        }
        let outer = self.enter(expr)?;
        let value = self.evaluated(expr, label);
        self.leave(&outer);
        value
    }

    fn evaluated(&mut self, expr: &'a Expr, label: Option<&'a Ident>) -> Eval<Value<'b>> {
        if let (Some(label), false) = (label, matches!(expr.node, ExprKind::Call(..))) {
            let d = Diagnostic::new(Code::Type, "`as` names a block where it is applied")
                .label(label.span, "")
                .label(expr.span, "applies nothing");
            return self.fail(d);
        }
        match &expr.node {
            ExprKind::Int(_, value) => Ok(Value::Int(*value)),
            ExprKind::Float(_, value) => Ok(Value::Float(*value)),
            ExprKind::Text(text) => Ok(Value::Text(shared(text))),
            ExprKind::Bool(value) => Ok(Value::Bool(*value)),
            ExprKind::Infinity => Ok(Value::Float(f64::INFINITY)),
            ExprKind::Name(name) => self.name(name, expr.span),
            ExprKind::List(items) => {
                let items: Eval<Vec<Value<'b>>> = items.iter().map(|e| self.expr(e)).collect();
                Ok(Value::List(items?.into()))
            }
            ExprKind::Unary(op, operand) => {
                let value = self.expr(operand)?;
                match op {
                    UnaryOp::Negate => self.negate(value, expr.span),
                    UnaryOp::Not => self.not(value, expr.span),
                }
            }
            ExprKind::Binary(op, left, right) => {
                let l = self.expr(left)?;
                match (op.node, &l) {
                    (BinaryOp::And, Value::Bool(false)) => return Ok(Value::Bool(false)),
                    (BinaryOp::Or, Value::Bool(true)) => return Ok(Value::Bool(true)),
                    _ => {}
                }
                let r = self.expr(right)?;
                self.binary(op, (l, left.span), (r, right.span), expr.span)
            }
            ExprKind::Call(callee, arguments) => {
                let function = self.callee(callee)?;
                let arguments = self.arguments(&function, arguments)?;
                self.call(function, arguments, label, expr.span)
            }
            ExprKind::Bracketed(base, brackets) => {
                let value = self.expr(base)?;
                match value {
                    Value::Function(mut function) => {
                        function.axes = Some(Rc::new(self.axis_args(brackets)?));
                        Ok(Value::Function(function))
                    }
                    other => self.indexed(other, base.span, brackets),
                }
            }
            ExprKind::Field(base, field) => {
                let value = self.expr(base)?;
                self.field(value, base.span, field)
            }
            ExprKind::Pipe(stages) => {
                let Some((first, rest)) = stages.split_first() else { return Ok(Value::Poison) };
                let mut value = self.labelled(&first.expr, first.label.as_ref())?;
                let mut span = first.expr.span;
                for stage in rest {
                    value = self.stage(value, span, &stage.expr, stage.label.as_ref())?;
                    span = stage.expr.span;
                }
                Ok(value)
            }
        }
    }

    /// `value |> expr as label`.
    fn stage(
        &mut self,
        value: Value<'b>,
        from: Span,
        expr: &'a Expr,
        label: Option<&'a Ident>,
    ) -> Eval<Value<'b>> {
        let input = Arg { name: None, value, span: from };
        if let ExprKind::Call(callee, arguments) = &expr.node {
            let function = self.callee(callee)?;
            let mut arguments = self.arguments(&function, arguments)?;
            if self.takes_hyper(&function) {
                let function = Function { hyper: Some(arguments.into()), ..function };
                return self.apply(function, vec![input], label, expr.span);
            }
            arguments.insert(0, input);
            return self.apply(function, arguments, label, expr.span);
        }
        let function = self.callee(expr)?;
        self.apply(function, vec![input], label, expr.span)
    }

    /// What stands before the parentheses of a call, or after `|>`.
    fn callee(&mut self, expr: &'a Expr) -> Eval<Function<'b>> {
        match self.expr(expr)? {
            Value::Function(function) => Ok(function),
            other => {
                let message = format!("{} cannot be applied", other.kind());
                self.error(Code::Type, expr.span, message, "not a block, an op or a function")
            }
        }
    }

    fn arguments(
        &mut self,
        function: &Function<'b>,
        arguments: &'a [Argument],
    ) -> Eval<Vec<Arg<'b>>> {
        let mut out = Vec::with_capacity(arguments.len());
        for (at, argument) in arguments.iter().enumerate() {
            let span = argument.value.span;
            let value = match (&argument.value.node, function.target) {
                // The only argument in the language that is an axis.
                (ExprKind::Name(axis), Target::Builtin(b)) if at == 0 && b.name == "index" => {
                    Value::Text(self.axis_named(axis))
                }
                _ => self.expr(&argument.value)?,
            };
            out.push(Arg { name: argument.name.clone(), value, span });
        }
        Ok(out)
    }

    fn name(&mut self, name: &'a str, span: Span) -> Eval<Value<'b>> {
        if let Some(binding) = self.frame().variables.get(name) {
            return match &binding.value {
                Value::Poison => Err(super::Stop),
                value => Ok(value.clone()),
            };
        }
        let frame = self.frame();
        if let Some(value) = frame.results.get(name).or_else(|| frame.given.get(name)) {
            return Ok(value.clone());
        }
        match name {
            "training" => return Ok(Value::Bool(self.kind.is_training())),
            "dropping" => return Ok(Value::Bool(self.options.dropout)),
            "pi" => return Ok(Value::Float(std::f64::consts::PI)),
            _ => {}
        }
        let file = self.frame().file;
        // A model is never applied, so that one called like its data set does not hide it.
        let target = match (self.module.find(file, name), builtin::find(name)) {
            (Some(id), Some(b))
                if self.module.definition(id).node.kind == DefinitionKind::Model =>
            {
                Some(Target::Builtin(b))
            }
            (Some(id), _) => Some(Target::Definition(id)),
            (None, b) => b.map(Target::Builtin),
        };
        if let Some(target) = target {
            return Ok(Value::Function(Function { target, axes: None, hyper: None, layer: None }));
        }
        let mut d = Diagnostic::new(Code::Name, format!("unknown name `{name}`")).label(span, "");
        let frame = self.frame();
        const WORDS: [&str; 5] = ["training", "pi", "true", "false", "inf"];
        let mut known: Vec<&str> = builtin::names().chain(WORDS).map(|n| n as &str).collect();
        known.extend(frame.variables.keys().copied());
        known.extend(frame.results.keys().map(String::as_str));
        known.extend(frame.given.keys().map(|n| n as &str));
        known.extend(self.module.names(file));
        // The order of a hash map must not show.
        known.sort_unstable();
        let near = nearest(name, known).map(str::to_string);
        if let Some(near) = near {
            d = d.help(format!("did you mean `{near}`?"));
            if let Some(id) =
                self.module.find(file, &near).filter(|id| !self.module.is_std(id.file))
            {
                d = d.label(name_span(self.module.definition(id)), "defined here");
            }
        } else if name.chars().next().is_some_and(char::is_uppercase) {
            d = d.help(format!("if `{name}` is an axis: x.{name} is the size it has in x"));
        }
        self.fail(d)
    }

    /// `x.C`, `data.label`, `enc.weight`.
    fn field(&mut self, value: Value<'b>, base: Span, field: &'a Ident) -> Eval<Value<'b>> {
        match value {
            Value::Tensor(t) => {
                let axis = self.axis_named(&field.node);
                match t.size(&axis) {
                    Some(size) => Ok(Value::Int(size as i64)),
                    None => self.no_axis(&t, base, &axis, field.span),
                }
            }
            Value::Data(source) => self.data_field(&source, field),
            Value::Part(path) | Value::Function(Function { layer: Some(path), .. }) => {
                self.weight_of(&path, base, field)
            }
            other => {
                let message = format!("{} has no `.{}`", other.kind(), field.node);
                self.error(Code::Type, base, message, "")
            }
        }
    }

    /// Reports that a tensor lacks an axis.
    pub(super) fn no_axis<T>(
        &mut self,
        t: &super::value::Tensor<'b>,
        shown: Span,
        axis: &str,
        span: Span,
    ) -> Eval<T> {
        let mut d = Diagnostic::new(Code::Name, format!("no axis `{axis}` in {}", t.type_text()))
            .label(span, format!("there is no `{axis}` here"));
        if shown != span {
            d = d.label(shown, t.type_text());
        } else if t.origin.span != span {
            d = d.label(t.origin.span, self.origin_text(t));
        }
        if let Some(near) = nearest(axis, t.axes.iter().map(|a| &**a)) {
            d = d.help(format!("did you mean `{near}`?"));
        }
        self.fail(d)
    }

    /// Evaluates the brackets of a function.
    fn axis_args(&mut self, brackets: &'a Brackets) -> Eval<AxisArgs> {
        let negated = |i: &AxisItem| matches!(i.value.node, ExprKind::Unary(UnaryOp::Not, _));
        let not = brackets.left.first().is_some_and(negated);
        let left: Eval<Vec<AxisArg>> = brackets
            .left
            .iter()
            .enumerate()
            .map(|(at, i)| self.axis_arg(i, not && at == 0))
            .collect();
        let right = match &brackets.right {
            Some(items) => Some(
                items.iter().map(|i| self.axis_arg(i, false)).collect::<Eval<Vec<AxisArg>>>()?,
            ),
            None => None,
        };
        Ok(AxisArgs { left: left?, right, not, span: brackets.span.span })
    }

    fn axis_arg(&mut self, item: &'a AxisItem, negated: bool) -> Eval<AxisArg> {
        let span = item.value.span;
        if self.frame().index.is_none() {
            self.no_range(item)?;
        }
        if let Some(name) = &item.name {
            let value = self.expr(&item.value)?;
            let size = self.size(&value, span)?;
            return Ok(AxisArg {
                axis: self.axis_named(&name.node),
                size: Some(size),
                span: name.span,
            });
        }
        let mut value = &item.value;
        if let (true, ExprKind::Unary(UnaryOp::Not, inner)) = (negated, &value.node) {
            value = inner;
        }
        match &value.node {
            ExprKind::Name(name) => Ok(AxisArg { axis: self.axis_named(name), size: None, span }),
            _ => self.error(Code::Type, span, "expected an axis", "not the name of an axis"),
        }
    }

    /// Refuses a range where nothing but an index can stand.
    pub(super) fn no_range(&mut self, item: &AxisItem) -> Eval<()> {
        let Some(range) = &item.range else { return Ok(()) };
        let d = Diagnostic::new(Code::Type, "`in` gives a range to an index variable")
            .label(range.span, "none is introduced here");
        self.fail(d.help("for example y[N=n, H=i in 0..4] = sum[k in 0..3](...)"))
    }

    /// A size of an axis: a whole number of at least 1.
    pub(super) fn size(&mut self, value: &Value<'b>, span: Span) -> Eval<usize> {
        match value {
            Value::Int(x) if *x >= 1 => Ok(usize::try_from(*x).unwrap_or(usize::MAX)),
            Value::Int(x) => {
                self.error(Code::Value, span, format!("a size must be at least 1, not {x}"), "")
            }
            Value::Float(x) => {
                self.error(Code::Value, span, format!("a size must be a whole number, not {x}"), "")
            }
            other => self.error(
                Code::Type,
                span,
                format!("a size is a whole number, not {}", other.kind()),
                "",
            ),
        }
    }

    /// `depths[1]`, `x[C=0]`, `x[T=1..n]`, `table[V=token]`.
    fn indexed(&mut self, value: Value<'b>, base: Span, brackets: &'a Brackets) -> Eval<Value<'b>> {
        let span = brackets.span.span;
        match value {
            Value::List(items) => {
                let [AxisItem { name: None, value, range: None }] = brackets.left.as_slice() else {
                    return self.error(Code::Type, span, "a list has one index", "");
                };
                let index = self.expr(value)?;
                let Value::Int(at) = index else {
                    let message = format!("an index is a whole number, not {}", index.kind());
                    return self.error(Code::Type, value.span, message, "");
                };
                match usize::try_from(at).ok().and_then(|i| items.get(i)) {
                    Some(item) => Ok(item.clone()),
                    None => {
                        let message = format!("index {at} of a list of {}", items.len());
                        self.error(Code::Value, value.span, message, "")
                    }
                }
            }
            Value::Tensor(t) if self.frame().index.is_some() => {
                self.index_access(t, base, brackets)
            }
            Value::Tensor(mut t) => {
                for item in &brackets.left {
                    self.no_range(item)?;
                    let Some(name) = &item.name else {
                        let message = "an index names its axis: x[C=0]";
                        return self.error(Code::Type, item.value.span, message, "");
                    };
                    let index = self.expr(&item.value)?;
                    let axis = self.axis_named(&name.node);
                    if t.position(&axis).is_none() {
                        return self.no_axis(&t, base, &axis, name.span);
                    }
                    t = self.index_axis(&t, &axis, index, item.value.span)?;
                }
                t.origin = Origin::made(base.to(span));
                Ok(Value::Tensor(t))
            }
            other => {
                self.error(Code::Type, base, format!("{} cannot be indexed", other.kind()), "")
            }
        }
    }
}
