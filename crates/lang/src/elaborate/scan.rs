//! `scan t in 0..x.T { ... }`: a recurrence. Its turns follow each other as those of `for` do, but share their
//! weights, and what a turn sets by `y[T=t] = h` is, after the last one, a tensor with the axis T.

use std::collections::BTreeMap;

use kiln_graph::Var;
use kiln_tensor::DType;

use super::frame::Turn;
use super::operator::{dtype_of, widest};
use super::statement::{Flow, turns};
use super::value::{Axis, Tensor, Value};
use super::{Elaborator, Eval};
use crate::ast::{Brackets, Expr, ExprKind, Ident, Statement};
use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;

/// A scan in progress.
pub(super) struct Scan<'a, 'b> {
    variable: &'a str,
    /// What the turns have set so far, in the order of the first turn.
    collected: Vec<Collected<'a, 'b>>,
}

/// The parts of one result.
struct Collected<'a, 'b> {
    name: &'a Ident,
    axis: Axis,
    /// By position.
    parts: BTreeMap<i64, Tensor<'b>>,
}

fn occurs(name: &str, expr: &Expr) -> bool {
    match &expr.node {
        ExprKind::Name(other) => name == other,
        node => node.children().into_iter().any(|e| occurs(name, e)),
    }
}

impl<'a, 'b> Elaborator<'a, 'b> {
    pub(super) fn scan(
        &mut self,
        variable: &'a Ident,
        range: &'a Expr,
        body: &'a [Statement],
    ) -> Eval<Flow<'b>> {
        let (start, end) = match self.expr(range)? {
            Value::Range(start, end) => (start, end),
            other => {
                let message = format!("`scan` goes over a range, not {}", other.kind());
                let d = Diagnostic::new(Code::Type, message).label(range.span, "");
                return self.fail(d.help(format!("for example scan {} in 0..x.T", variable.node)));
            }
        };
        self.check_turns(turns(start, end), range)?;
        let shared = self.frame().shared;
        let scan = Scan { variable: &variable.node, collected: Vec::new() };
        self.frame_mut().scans.push(scan);
        let carried = self.carried();
        let mistakes = self.errors.len();
        let mut flow = Ok(Flow::Next);
        for at in start..end {
            self.bind(&variable.node, Value::Int(at));
            let turn = Turn { variable: variable.node.clone(), value: at.to_string(), index: None };
            self.frame_mut().turns.push(turn);
            flow = self.count_statement(range.span).and_then(|()| self.body(body));
            if let Ok(Flow::Next) = flow
                && let Err(stop) = self.check_carried(&carried)
            {
                flow = Err(stop);
            }
            self.frame_mut().turns.pop();
            // The first turn declares the weights, the others share them.
            self.frame_mut().shared = true;
            if !matches!(flow, Ok(Flow::Next)) {
                break;
            }
        }
        self.frame_mut().shared = shared;
        let scan = self.frame_mut().scans.pop();
        match flow? {
            Flow::Next => {
                for collected in scan.into_iter().flat_map(|s| s.collected) {
                    if self.errors.len() > mistakes {
                        self.bind(&collected.name.node, Value::Poison);
                    } else {
                        self.stack(collected)?;
                    }
                }
                Ok(Flow::Next)
            }
            returned => Ok(returned),
        }
    }

    /// The tensors that a turn may hand on to the next one.
    fn carried(&self) -> BTreeMap<&'a str, Tensor<'b>> {
        let variables = self.frame().variables.iter();
        variables
            .filter_map(|(name, binding)| match &binding.value {
                Value::Tensor(t) => Some((*name, t.clone())),
                _ => None,
            })
            .collect()
    }

    /// What is handed on keeps its sizes. It may gain axes, since lacking one is being the same along it.
    fn check_carried(&mut self, before: &BTreeMap<&'a str, Tensor<'b>>) -> Eval<()> {
        for (&name, first) in before {
            let Some(Value::Tensor(now)) =
                self.frame().variables.get(name).map(|b| b.value.clone())
            else {
                continue;
            };
            if now.var.id() == first.var.id() {
                continue;
            }
            if !first.axes.iter().zip(first.shape.iter()).all(|(a, s)| now.size(a) == Some(*s)) {
                let message = format!("a turn of the scan changes the sizes of `{name}`");
                let d = Diagnostic::new(Code::Shape, message)
                    .label(now.origin.name.unwrap_or(now.origin.span), now.type_text())
                    .label(first.origin.name.unwrap_or(first.origin.span), first.type_text());
                return self.fail(d.help("every turn takes what the one before it gives"));
            }
        }
        Ok(())
    }

    /// Whether `name[...] = expr` sets a part of what a scan collects: a position is a number, where the index form
    /// has new names.
    pub(super) fn collects(&self, axes: &Brackets) -> bool {
        let position = |expr: &Expr| match &expr.node {
            ExprKind::Name(name) => self.is_number(name),
            _ => true,
        };
        !self.frame().scans.is_empty() && axes.left.iter().any(|item| position(&item.value))
    }

    /// Whether a name is that of a number here.
    pub(super) fn is_number(&self, name: &str) -> bool {
        let binding = self.frame().variables.get(name);
        binding.is_some_and(|b| matches!(b.value, Value::Int(_)))
    }

    /// `name[T=t] = expr` in a scan.
    pub(super) fn collect(
        &mut self,
        name: &'a Ident,
        axes: &'a Brackets,
        expr: &'a Expr,
    ) -> Eval<()> {
        let span = axes.span.span;
        let (item, axis) = match (axes.left.as_slice(), &axes.right) {
            ([item], None) => match &item.name {
                Some(axis) if item.range.is_none() => (item, axis),
                _ => return self.misspelt(name, span),
            },
            _ => return self.misspelt(name, span),
        };
        let at = match self.expr(&item.value)? {
            Value::Int(at) => at,
            other => {
                let message = format!("a position is a whole number, not {}", other.kind());
                return self.error(Code::Type, item.value.span, message, "");
            }
        };
        let axis = self.axis_named(&axis.node);
        let value = self.expr(expr)?;
        let dtype = dtype_of(&value);
        let value = self.operand(value, dtype, expr.span)?;
        if value.position(&axis).is_some() {
            let message = format!("each value has an axis {axis} of its own");
            return self.error(Code::Shape, expr.span, message, value.type_text());
        }
        // Of scans within scans it belongs to the innermost whose variable it names, or the innermost.
        let scans = &self.frame().scans;
        let named = scans.iter().rposition(|s| occurs(s.variable, &item.value));
        let scan = named.unwrap_or(scans.len() - 1);
        if at < 0 {
            let message = format!("position {at} of {} is below 0", name.node);
            return self.error(Code::Shape, item.value.span, message, "");
        }
        let collected = &mut self.frame_mut().scans[scan].collected;
        let known = collected.iter_mut().find(|c| c.name.node == name.node);
        let entry = match known {
            Some(entry) => entry,
            None => {
                collected.push(Collected { name, axis: axis.clone(), parts: BTreeMap::new() });
                let last = collected.len() - 1;
                &mut collected[last]
            }
        };
        let twice = entry.parts.contains_key(&at) || entry.axis != axis;
        if twice {
            let message = format!("{}[{axis}={at}] is set a second time", name.node);
            let first = entry.name.span;
            let d = Diagnostic::new(Code::Name, message).label(name.span, "");
            return self.fail(d.label(first, "the first time"));
        }
        entry.parts.insert(at, value);
        Ok(())
    }

    fn misspelt<T>(&mut self, name: &Ident, span: Span) -> Eval<T> {
        let d = Diagnostic::new(Code::Type, "a scan collects whole values along one axis");
        let help = format!("{}[T=t] = value, and the index form after the scan", name.node);
        self.fail(d.label(span, "").help(help))
    }

    /// The parts as one tensor, the axis first.
    fn stack(&mut self, collected: Collected<'a, 'b>) -> Eval<()> {
        let Collected { name, axis, parts } = collected;
        let missing = parts.keys().zip(0..).find(|(at, expected)| *at != expected);
        if let Some((_, missing)) = missing {
            let message = format!("{}[{axis}={missing}] is set in no turn", name.node);
            return self.error(Code::Shape, name.span, message, "");
        }
        let dtype = parts.values().fold(DType::Bool, |d, part| widest(d, part.dtype));
        let parts: Vec<Tensor<'b>> = parts.values().map(|part| self.cast(part, dtype)).collect();
        let each: Vec<&Tensor<'b>> = parts.iter().collect();
        let (own, shape) = self.union(&format!("`{}`", name.node), &each, name.span)?;
        self.locate(name.span);
        let dims = [&[1], &shape[..]].concat();
        let vars: Vec<Var<'b>> =
            parts.iter().map(|part| self.expand(part, &own, &shape).reshape(&dims)).collect();
        let axes = [&[axis], &own[..]].concat();
        let dims = [&[vars.len()], &shape[..]].concat();
        self.shape(&axes, &dims, name.span)?;
        let var = self.builder.concat(&vars, 0);
        let all = self.tensor(var, axes, name.span);
        self.assign(name, Value::Tensor(all));
        Ok(())
    }
}
