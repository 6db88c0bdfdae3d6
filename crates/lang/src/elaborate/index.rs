//! The index form: `y[N=n, H=i] = sum[c, u](x[N=n, C=c, H=i + u] * w[I=c, K=u])`.
//!
//! An index variable is an axis of what it indexes: `x[N=n, H=i + u]` is x with its axis N called n and with the window
//! i, u in the place of H. Broadcasting by name and reductions over axes do the rest, and the compiler sees what it
//! sees otherwise: views, products and sums.
//!
//! | file | |
//! |---|---|
//! | `range` | which variables there are, and their ranges |
//! | `access` | `x[N=n, H=i + u]` |
//! | `affine` | sums of variables with whole factors |

mod access;
mod affine;
mod range;

use std::collections::HashMap;

use super::frame::Binding;
use super::operator::dtype_of;
use super::value::{Axis, Tensor, Value};
use super::{Elaborator, Eval};
use crate::ast::{AxisItem, Brackets, Expr, ExprKind, Ident};
use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;
use range::IndexRange;

/// An index form while its right side is evaluated. Expressions are known by their addresses in the tree.
#[derive(Default)]
pub(super) struct IndexForm<'a, 'b> {
    variables: Vec<IndexVariable<'a>>,
    /// The variables that an expression binds: a call such as `sum[c](...)`, or a pipe with one.
    binders: HashMap<*const Expr, Vec<usize>>,
    /// The variables in scope, innermost last.
    scope: Vec<usize>,
    /// What was evaluated before the ranges were known.
    known: HashMap<*const Expr, Value<'b>>,
    /// What the variables in scope hide.
    hidden: Vec<(&'a str, Option<Binding<'b>>)>,
}

struct IndexVariable<'a> {
    name: &'a str,
    span: Span,
    range: Option<IndexRange>,
}

/// The state that [`Elaborator::leave`] goes back to.
pub(super) struct Outer {
    scope: usize,
    hidden: usize,
}

impl IndexForm<'_, '_> {
    /// The variable of this name in scope.
    fn find(&self, name: &str) -> Option<usize> {
        self.scope.iter().rev().copied().find(|&v| self.variables[v].name == name)
    }

    /// Whether the value of an expression depends on variables.
    fn varies(&self, expr: &Expr) -> bool {
        match &expr.node {
            ExprKind::Name(name) => self.find(name).is_some(),
            node => {
                self.binders.contains_key(&std::ptr::from_ref(expr))
                    || node.children().into_iter().any(|e| self.varies(e))
            }
        }
    }
}

impl<'a, 'b> Elaborator<'a, 'b> {
    /// `name[N=n, ...] = expr`.
    pub(super) fn index_form(
        &mut self,
        name: &'a Ident,
        left: &'a Brackets,
        expr: &'a Expr,
    ) -> Eval<()> {
        self.frame_mut().index = Some(IndexForm::default());
        let value = self.right_side(left, expr);
        self.leave(&Outer { scope: 0, hidden: 0 });
        self.frame_mut().index = None;
        self.assign(name, Value::Tensor(value?));
        Ok(())
    }

    fn form(&self) -> &IndexForm<'a, 'b> {
        self.frame().index.as_ref().unwrap_or_else(|| unreachable!("inside an index form"))
    }

    fn form_mut(&mut self) -> &mut IndexForm<'a, 'b> {
        self.frame_mut().index.as_mut().unwrap_or_else(|| unreachable!("inside an index form"))
    }

    /// The value of the left side.
    fn right_side(&mut self, left: &'a Brackets, expr: &'a Expr) -> Eval<Tensor<'b>> {
        let axes = self.left_side(left)?;
        let mut bounds = Vec::new();
        self.survey(expr, &mut bounds)?;
        self.infer(&bounds)?;
        let scope = std::mem::take(&mut self.form_mut().scope);
        self.bind_indices(&scope)?;
        let value = self.expr(expr)?;
        let dtype = dtype_of(&value);
        let t = self.operand(value, dtype, expr.span)?;
        let (mut names, mut dims) = (Vec::new(), Vec::new());
        for &v in &scope {
            let variable = &self.form().variables[v];
            names.push(Axis::from(variable.name));
            dims.push(variable.range.as_ref().map_or(1, |r| r.size));
        }
        if let Some(surplus) = t.axes.iter().find(|a| !names.contains(a)) {
            let message = format!("the left side does not name the axis {surplus}");
            let d = Diagnostic::new(Code::Shape, message)
                .label(expr.span, t.type_text())
                .label(left.span.span, "");
            return self.fail(d.help("index it by a variable, or reduce over it: sum[...](...)"));
        }
        let shape = self.shape(&axes, &dims, left.span.span)?;
        self.locate(expr.span);
        let var = self.expand(&t, &names, &shape);
        Ok(self.tensor(var, axes, expr.span))
    }

    /// Declares the variables of the left side; gives the axes that they index.
    fn left_side(&mut self, left: &'a Brackets) -> Eval<Vec<Axis>> {
        let mut axes: Vec<Axis> = Vec::new();
        for item in &left.left {
            let named = match (&item.name, &item.value.node, &left.right) {
                (Some(axis), ExprKind::Name(variable), None) => Some((axis, variable)),
                _ => None,
            };
            let Some((axis, variable)) = named else {
                let d = Diagnostic::new(Code::Type, "the left side gives each axis a variable")
                    .label(item.value.span, "not one");
                return self.fail(d.help("for example y[N=n, C=c] = 2 * x[N=n, C=c]"));
            };
            let axis_name = self.axis_named(&axis.node);
            if axes.contains(&axis_name) || self.form().find(variable).is_some() {
                let twice = if axes.contains(&axis_name) { &axis.node } else { variable };
                let message = format!("`{twice}` occurs twice on the left side");
                return self.error(Code::Name, item.value.span, message, "");
            }
            if self.is_number(variable) {
                let message = format!("`{variable}` is a number here");
                let d = Diagnostic::new(Code::Name, message)
                    .label(item.value.span, "an index variable needs a name of its own");
                return self
                    .fail(d.help("positions are for a scan: scan t in 0..n { y[T=t] = ... }"));
            }
            axes.push(axis_name);
            let at = self.declare_index(item, variable)?;
            if let Some(range) = &self.form().variables[at].range
                && range.start != 0
            {
                let (place, start) = (range.place, range.start);
                let message = "an axis of the result starts at 0";
                return self.error(Code::Value, place, message, format!("starts at {start}"));
            }
            self.form_mut().scope.push(at);
        }
        Ok(axes)
    }

    /// A new index variable, `name` or `name in range`.
    fn declare_index(&mut self, item: &'a AxisItem, name: &'a str) -> Eval<usize> {
        let span = item.value.span;
        if self.frame().axes.contains_key(name) {
            let message = format!("`{name}` is an axis here and cannot be an index variable");
            return self.error(Code::Name, span, message, "choose another name");
        }
        let range = match &item.range {
            None => None,
            Some(expr) => match self.expr(expr)? {
                Value::Range(start, end) if end > start => Some(IndexRange::said(start, end, expr)),
                other => {
                    let message =
                        format!("an index needs a range such as 0..3, not {}", other.text());
                    return self.error(Code::Type, expr.span, message, "");
                }
            },
        };
        let variables = &mut self.form_mut().variables;
        variables.push(IndexVariable { name, span, range });
        Ok(variables.len() - 1)
    }

    /// Brings variables into scope; each is a number that counts along the axis of its name.
    fn bind_indices(&mut self, variables: &[usize]) -> Eval<()> {
        for &v in variables {
            let variable = &self.form().variables[v];
            let (name, span) = (variable.name, variable.span);
            let (start, size) = variable.range.as_ref().map_or((0, 1), |r| (r.start, r.size));
            let fits = i32::try_from(start).is_ok()
                && i64::try_from(size).is_ok_and(|n| i32::try_from(start + n).is_ok());
            if !fits {
                let message = format!("`{name}` takes {size} values from {start}");
                return self.error(Code::Limit, span, message, "more than an i32 counts");
            }
            self.locate(span);
            let mut count = self.builder.iota(&[size], 0);
            if start != 0 {
                count = count + self.scalar(start as f64, kiln_tensor::DType::I32, span).var;
            }
            let value = Value::Tensor(self.tensor(count, vec![Axis::from(name)], span));
            let binding = Binding { value, stands_for: None };
            let hides = self.frame_mut().variables.insert(name, binding);
            self.form_mut().hidden.push((name, hides));
            self.form_mut().scope.push(v);
        }
        Ok(())
    }

    /// Brings the variables into scope that an expression binds.
    pub(super) fn enter(&mut self, expr: &Expr) -> Eval<Outer> {
        let form = self.form();
        let outer = Outer { scope: form.scope.len(), hidden: form.hidden.len() };
        if let Some(bound) = form.binders.get(&std::ptr::from_ref(expr)).cloned() {
            self.bind_indices(&bound)?;
        }
        Ok(outer)
    }

    /// Forgets the variables that came into scope since.
    pub(super) fn leave(&mut self, outer: &Outer) {
        let form = self.form_mut();
        form.scope.truncate(outer.scope);
        for (name, hides) in form.hidden.split_off(outer.hidden).into_iter().rev() {
            let variables = &mut self.frame_mut().variables;
            match hides {
                Some(binding) => variables.insert(name, binding),
                None => variables.remove(name),
            };
        }
    }

    /// The value of an expression, if it was evaluated before the ranges were known.
    pub(super) fn known(&self, expr: &Expr) -> Option<Value<'b>> {
        self.form().known.get(&std::ptr::from_ref(expr)).cloned()
    }

    /// The value of an expression that does not depend on index variables. It is evaluated once: what it applies
    /// declares its weights once.
    fn constant(&mut self, expr: &'a Expr) -> Eval<Value<'b>> {
        let value = self.expr(expr)?;
        if !matches!(expr.node, ExprKind::Name(_) | ExprKind::Int(..)) {
            self.form_mut().known.insert(std::ptr::from_ref(expr), value.clone());
        }
        Ok(value)
    }
}
