//! Statements.

use super::value::{Axis, Origin, Value};
use super::{Elaborator, Eval, Stop};
use crate::ast::{Expr, ExprKind, Ident, Statement, StatementKind};
use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;

/// Whether the body goes on.
pub(super) enum Flow<'b> {
    Next,
    Return(Value<'b>),
}

impl<'a, 'b> Elaborator<'a, 'b> {
    /// Runs statements. A faulty one is reported, what it would have set is poisoned, and the next one runs, so that
    /// several mistakes are found at once.
    pub(super) fn body(&mut self, body: &'a [Statement]) -> Eval<Flow<'b>> {
        for statement in body {
            match self.statement(statement) {
                Ok(Flow::Next) => {}
                Ok(returned) => return Ok(returned),
                Err(Stop) if self.aborted => return Err(Stop),
                Err(Stop) => {
                    if self.poison(statement) {
                        return Ok(Flow::Return(Value::Poison));
                    }
                }
            }
        }
        Ok(Flow::Next)
    }

    /// Poisons what a faulty statement would have set; gives whether it could have returned.
    fn poison(&mut self, statement: &'a Statement) -> bool {
        match &statement.node {
            StatementKind::Assign(names, _) => {
                names.iter().for_each(|n| self.bind(&n.node, Value::Poison));
                false
            }
            StatementKind::AssignIndexed(name, ..)
            | StatementKind::Param(name, ..)
            | StatementKind::State(name, ..)
            | StatementKind::Layer(name, _) => {
                self.bind(&name.node, Value::Poison);
                false
            }
            StatementKind::Update(..) => false,
            StatementKind::If(arms, otherwise) => {
                let bodies = arms.iter().map(|(_, body)| body).chain(otherwise);
                bodies.flatten().fold(false, |returns, s| self.poison(s) | returns)
            }
            StatementKind::For(_, _, body) | StatementKind::Scan(_, _, body) => {
                body.iter().fold(false, |returns, s| self.poison(s) | returns)
            }
            StatementKind::Return(_) => true,
        }
    }

    /// Counts work against the limits.
    pub(super) fn count_statement(&mut self, span: Span) -> Eval<()> {
        self.check_statements(1, span, "the last one")?;
        self.statements += 1;
        let limits = self.options.limits;
        if self.builder.inspect(|g| g.len()) > limits.nodes {
            let message = format!("the graph has more than {} nodes", limits.nodes);
            let d = Diagnostic::new(Code::Limit, message).label(span, "the last statement");
            return self.fail(d.help("if it is to be so large: --limit nodes=..."));
        }
        Ok(())
    }

    /// Refuses a loop whose turns alone are beyond the limit, before the first of them.
    pub(super) fn check_turns(&mut self, turns: u64, range: &Expr) -> Eval<()> {
        self.check_statements(turns, range.span, format!("{turns} turns"))
    }

    fn check_statements(&mut self, more: u64, span: Span, label: impl Into<String>) -> Eval<()> {
        let limit = self.options.limits.statements;
        if self.statements.saturating_add(more) <= limit {
            return Ok(());
        }
        let message = format!("the program unrolls to more than {limit} statements");
        let d = Diagnostic::new(Code::Limit, message).label(span, label);
        self.fail(d.help("if it is to be so long: --limit statements=..."))
    }

    fn statement(&mut self, statement: &'a Statement) -> Eval<Flow<'b>> {
        self.count_statement(statement.span)?;
        match &statement.node {
            StatementKind::Assign(names, expr) => {
                let value = self.assigned(expr)?;
                match names.as_slice() {
                    [name] => {
                        if let Value::Tuple(values) = &value {
                            let message = format!("{} values for one name", values.len());
                            let d = Diagnostic::new(Code::Type, message)
                                .label(name.span, "")
                                .label(expr.span, format!("gives {} values", values.len()))
                                .help("name them all: a, b = ...");
                            return self.fail(d);
                        }
                        self.assign(name, value);
                    }
                    names => self.assign_tuple(names, value, expr)?,
                }
            }
            StatementKind::AssignIndexed(name, axes, expr) => {
                if self.collects(axes) {
                    self.collect(name, axes, expr)?;
                } else {
                    self.index_form(name, axes, expr)?;
                }
            }
            StatementKind::Update(name, expr) => {
                let value = self.expr(expr)?;
                self.update(name, value, expr.span)?;
            }
            StatementKind::Param(name, ty, init) => {
                self.declare_param(name, ty.as_ref(), init.as_ref())?
            }
            StatementKind::State(name, ty, init) => {
                self.declare_state(name, ty.as_ref(), init.as_ref())?
            }
            StatementKind::Layer(name, expr) => {
                let value = self.expr(expr)?;
                let Value::Function(mut function) = value else {
                    let message = format!("a layer is a block, not {}", value.kind());
                    return self.error(Code::Type, expr.span, message, "");
                };
                let path = self.component(&name.node, Some(name), statement.span);
                function.layer = Some(path.into());
                self.bind(&name.node, Value::Function(function));
            }
            StatementKind::If(arms, otherwise) => {
                for (condition, body) in arms {
                    let value = self.expr(condition)?;
                    if self.truth(&value, condition.span)? {
                        return self.body(body);
                    }
                }
                if let Some(body) = otherwise {
                    return self.body(body);
                }
            }
            StatementKind::For(names, range, body) => return self.for_loop(names, range, body),
            StatementKind::Scan(name, range, body) => return self.scan(name, range, body),
            StatementKind::Return(exprs) => {
                let mut values = Vec::with_capacity(exprs.len());
                for expr in exprs {
                    values.push(self.expr(expr)?);
                }
                self.returned = Some(exprs);
                let one = values.len() == 1;
                let value = if one { values.pop() } else { Some(Value::Tuple(values.into())) };
                return Ok(Flow::Return(value.unwrap_or(Value::Poison)));
            }
        }
        Ok(Flow::Next)
    }

    /// The value to assign; a plain copy of an input stays known as that input.
    fn assigned(&mut self, expr: &'a Expr) -> Eval<Value<'b>> {
        let value = self.expr(expr)?;
        Ok(match value {
            Value::Tensor(mut t) => {
                let input =
                    if matches!(expr.node, ExprKind::Name(_)) { t.origin.input } else { None };
                let span = match &expr.node {
                    ExprKind::Pipe(stages) => stages.last().map_or(expr.span, |s| s.expr.span),
                    _ => expr.span,
                };
                t.origin = Origin { span, name: None, input };
                Value::Tensor(t)
            }
            other => other,
        })
    }

    pub(super) fn assign(&mut self, name: &'a Ident, mut value: Value<'b>) {
        if let Value::Tensor(t) = &mut value {
            t.origin.name = Some(name.span);
            if name.span.file == self.module.root() {
                self.types.push((name.span, t.type_text()));
            }
        }
        self.bind(&name.node, value);
    }

    fn assign_tuple(&mut self, names: &'a [Ident], value: Value<'b>, expr: &'a Expr) -> Eval<()> {
        let values: Vec<Value<'b>> = match &value {
            Value::Tuple(values) | Value::List(values) => values.to_vec(),
            other => vec![other.clone()],
        };
        if values.len() != names.len() {
            let d = Diagnostic::new(
                Code::Type,
                format!("{} names for {} values", names.len(), values.len()),
            )
            .label(names[0].span.to(names[names.len() - 1].span), format!("{} names", names.len()))
            .label(expr.span, format!("gives {}", value.kind()));
            return self.fail(d);
        }
        for (name, value) in names.iter().zip(values) {
            self.assign(name, value);
        }
        Ok(())
    }

    fn for_loop(
        &mut self,
        names: &'a [Ident],
        range: &'a Expr,
        body: &'a [Statement],
    ) -> Eval<Flow<'b>> {
        let value = self.expr(range)?;
        let count = match &value {
            Value::Range(a, b) => usize::try_from(turns(*a, *b)).unwrap_or(usize::MAX),
            Value::List(values) => values.len(),
            other => {
                let message = format!("`for` goes over a list or a range, not {}", other.kind());
                return self.error(Code::Type, range.span, message, "");
            }
        };
        self.check_turns(count as u64, range)?;
        for index in 0..count {
            let item = match &value {
                Value::Range(a, _) => Value::Int(a + index as i64),
                Value::List(values) => values[index].clone(),
                _ => Value::Poison,
            };
            self.count_statement(range.span)?;
            match names {
                [name] => self.bind(&name.node, item.clone()),
                names => self.assign_tuple(names, item.clone(), range)?,
            }
            let shown = match &item {
                Value::Tuple(values) | Value::List(values) => {
                    values.first().map_or(String::new(), Value::text)
                }
                other => other.text(),
            };
            let variable = names[0].node.clone();
            let turn = super::frame::Turn { variable, value: shown, index: Some(index) };
            self.frame_mut().turns.push(turn);
            let flow = self.body(body);
            self.frame_mut().turns.pop();
            match flow? {
                Flow::Next => {}
                returned => return Ok(returned),
            }
        }
        Ok(Flow::Next)
    }

    /// A compile-time truth value.
    pub(super) fn truth(&mut self, value: &Value<'b>, span: Span) -> Eval<bool> {
        match value {
            Value::Bool(truth) => Ok(*truth),
            Value::Tensor(_) => {
                let d = Diagnostic::new(Code::Type, "a condition must be known at compile time")
                    .label(span, value.kind())
                    .help("choose element by element: where(condition, yes, no)");
                self.fail(d)
            }
            other => {
                let message = format!("a condition is true or false, not {}", other.kind());
                self.error(Code::Type, span, message, "")
            }
        }
    }

    /// The sizes that `axis` has in the variables of this frame.
    pub(super) fn sizes_in_scope(&self, axis: &Axis) -> Vec<usize> {
        let mut sizes: Vec<usize> = Vec::new();
        for binding in self.frame().variables.values() {
            if let Value::Tensor(t) = &binding.value
                && let Some(size) = t.size(axis)
                && !sizes.contains(&size)
            {
                sizes.push(size);
            }
        }
        sizes.sort_unstable();
        sizes
    }
}

/// How many numbers a range has.
pub(super) fn turns(start: i64, end: i64) -> u64 {
    if end > start { end.abs_diff(start) } else { 0 }
}
