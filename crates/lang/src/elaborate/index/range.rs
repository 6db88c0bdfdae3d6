//! Which index variables there are, and their ranges.
//!
//! Ranges start at 0 and are inferred as in Tensor Comprehensions (Vasilache et al. 2018): a variable that indexes an
//! axis alone has the axis' size, each other one, in turn, the largest range for which every access stays inside.

use std::collections::BTreeMap;

use super::super::value::Value;
use super::super::{Elaborator, Eval};
use super::affine::Affine;
use crate::ast::{Brackets, Expr, ExprKind};
use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;

/// Whole numbers from `start`, and where that is told.
#[derive(Clone)]
pub(super) struct IndexRange {
    pub start: i64,
    /// At least 1.
    pub size: usize,
    pub place: Span,
    /// Of an inferred range, what it is inferred from: `axis H of size 8`.
    pub from: Option<String>,
}

impl IndexRange {
    /// `start..end`, as written.
    pub fn said(start: i64, end: i64, expr: &Expr) -> IndexRange {
        let size = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        IndexRange { start, size, place: expr.span, from: None }
    }

    /// The least and the greatest value of `factor * variable`.
    pub fn scaled(&self, factor: i64) -> (i128, i128) {
        let (first, size) = (i128::from(self.start), self.size as i128);
        let (x, y) = (first * i128::from(factor), (first + size - 1) * i128::from(factor));
        (x.min(y), x.max(y))
    }
}

/// That an affine index stays inside an axis.
pub(super) struct Bound {
    index: Affine,
    size: usize,
    place: Span,
    /// `axis H of size 8`.
    what: String,
}

impl<'a, 'b> Elaborator<'a, 'b> {
    /// Finds the variables that calls bind, and what bounds the ranges of all.
    pub(super) fn survey(&mut self, expr: &'a Expr, bounds: &mut Vec<Bound>) -> Eval<()> {
        let outer = self.form().scope.len();
        self.declare_bound(expr)?;
        let result = self.survey_parts(expr, bounds);
        self.form_mut().scope.truncate(outer);
        result
    }

    fn survey_parts(&mut self, expr: &'a Expr, bounds: &mut Vec<Bound>) -> Eval<()> {
        match &expr.node {
            // What stands in the brackets of a function are axes.
            ExprKind::Bracketed(base, _) if self.is_function(base) => self.survey(base, bounds),
            ExprKind::Bracketed(base, brackets) => {
                self.survey(base, bounds)?;
                for item in &brackets.left {
                    self.survey(&item.value, bounds)?;
                }
                self.bounds_of(base, brackets, bounds)
            }
            node => node.children().into_iter().try_for_each(|e| self.survey(e, bounds)),
        }
    }

    /// Whether brackets behind this are those of a function.
    fn is_function(&self, base: &Expr) -> bool {
        let ExprKind::Name(name) = &base.node else { return false };
        let frame = self.frame();
        match frame.variables.get(name.as_str()) {
            Some(binding) => matches!(binding.value, Value::Function(_)),
            None => !frame.results.contains_key(name) && self.form().find(name).is_none(),
        }
    }

    /// Whether a name occurs as a value.
    fn occurs(&self, name: &str, expr: &Expr) -> bool {
        match &expr.node {
            ExprKind::Name(other) => name == other,
            ExprKind::Bracketed(base, _) if self.is_function(base) => false,
            node => node.children().into_iter().any(|e| self.occurs(name, e)),
        }
    }

    /// Declares the variables in the brackets of a call, and of those that a pipe goes through: names that are none
    /// yet and stand in what the function is applied to.
    fn declare_bound(&mut self, expr: &'a Expr) -> Eval<()> {
        let brackets = |callee: &'a Expr| match &callee.node {
            ExprKind::Bracketed(function, brackets) => Some((&**function, brackets)),
            _ => None,
        };
        let (heads, inputs): (Vec<_>, Vec<&Expr>) = match &expr.node {
            ExprKind::Call(callee, arguments) => {
                (vec![brackets(callee)], arguments.iter().map(|a| &a.value).collect())
            }
            ExprKind::Pipe(stages) => {
                let head = |stage: &'a Expr| match &stage.node {
                    ExprKind::Call(callee, _) => brackets(callee),
                    _ => brackets(stage),
                };
                let heads = stages.iter().skip(1).map(|s| head(&s.expr)).collect();
                (heads, stages.iter().map(|s| &s.expr).collect())
            }
            _ => return Ok(()),
        };
        let mut bound = Vec::new();
        for (function, brackets) in heads.into_iter().flatten() {
            if !self.is_function(function) {
                continue;
            }
            for item in &brackets.left {
                let (None, ExprKind::Name(name)) = (&item.name, &item.value.node) else { continue };
                let used = || inputs.iter().any(|e| self.occurs(name, e));
                if self.form().find(name).is_none() && (item.range.is_some() || used()) {
                    let at = self.declare_index(item, name)?;
                    self.form_mut().scope.push(at);
                    bound.push(at);
                }
            }
        }
        if !bound.is_empty() {
            self.form_mut().binders.insert(std::ptr::from_ref(expr), bound);
        }
        Ok(())
    }

    /// What `base[axis=index, ...]` says about ranges.
    fn bounds_of(
        &mut self,
        base: &'a Expr,
        brackets: &'a Brackets,
        bounds: &mut Vec<Bound>,
    ) -> Eval<()> {
        if self.form().varies(base) {
            return Ok(());
        }
        let Value::Tensor(t) = self.constant(base)? else { return Ok(()) };
        for item in &brackets.left {
            let Some(name) = &item.name else { continue };
            let axis = self.axis_named(&name.node);
            let Some(size) = t.size(&axis) else {
                return self.no_axis(&t, base.span, &axis, name.span);
            };
            if let Some(index) = self.affine(&item.value)?
                && !index.terms.is_empty()
            {
                let what = format!("axis {axis} of size {size}");
                bounds.push(Bound { index, size, place: item.value.span, what });
            }
        }
        Ok(())
    }

    /// Gives every variable its range.
    pub(super) fn infer(&mut self, bounds: &[Bound]) -> Eval<()> {
        for bound in bounds {
            let Some(v) = bound.index.alone() else { continue };
            let variable = &self.form().variables[v];
            match &variable.range {
                None => {
                    let range = IndexRange {
                        start: 0,
                        size: bound.size,
                        place: bound.place,
                        from: Some(bound.what.clone()),
                    };
                    self.form_mut().variables[v].range = Some(range);
                }
                Some(known) => {
                    if let Some(from) = &known.from
                        && known.size != bound.size
                    {
                        let message = format!("`{}` indexes axes of two sizes", variable.name);
                        let d = Diagnostic::new(Code::Shape, message)
                            .label(bound.place, bound.what.clone())
                            .label(known.place, from.clone());
                        return self.fail(d.help(format!(
                            "if it is to stop before the end, say where: {} in 0..{}",
                            variable.name,
                            known.size.min(bound.size)
                        )));
                    }
                }
            }
        }
        loop {
            let mut found: BTreeMap<usize, IndexRange> = BTreeMap::new();
            for bound in bounds {
                if let Some((v, range)) = self.largest(bound)?
                    && found.get(&v).is_none_or(|r| r.size > range.size)
                {
                    found.insert(v, range);
                }
            }
            if found.is_empty() {
                break;
            }
            for (v, range) in found {
                self.form_mut().variables[v].range = Some(range);
            }
        }
        match self.form().variables.iter().find(|v| v.range.is_none()) {
            None => Ok(()),
            Some(variable) => {
                let (name, span) = (variable.name, variable.span);
                let d =
                    Diagnostic::new(Code::Shape, format!("nothing bounds the range of `{name}`"))
                        .label(span, "");
                self.fail(
                    d.help(format!("say it where the variable is introduced: {name} in 0..3")),
                )
            }
        }
    }

    /// The largest range of the only variable in a bound that has none, if there is one.
    fn largest(&mut self, bound: &Bound) -> Eval<Option<(usize, IndexRange)>> {
        let variables = &self.form().variables;
        let (mut least, mut most) =
            (i128::from(bound.index.constant), i128::from(bound.index.constant));
        let mut open = None;
        for &(v, factor) in &bound.index.terms {
            match &variables[v].range {
                Some(range) => {
                    let (low, high) = range.scaled(factor);
                    (least, most) = (least + low, most + high);
                }
                None if open.is_none() => open = Some((v, i128::from(factor))),
                None => return Ok(None),
            }
        }
        let Some((v, factor)) = open else { return Ok(None) };
        let room = if factor > 0 { bound.size as i128 - 1 - most } else { least };
        let size = usize::try_from(room / factor.abs() + 1).unwrap_or(usize::MAX);
        if room < 0 {
            let message = format!("no `{}` keeps this inside {}", variables[v].name, bound.what);
            let notes = self.range_notes(&bound.index);
            let mut d = Diagnostic::new(Code::Shape, message).label(bound.place, "");
            d.notes.extend(notes);
            return self.fail(d);
        }
        let from = Some(bound.what.clone());
        Ok(Some((v, IndexRange { start: 0, size, place: bound.place, from })))
    }

    /// `u is in 0..3, from axis K of size 3`, for each variable of an index that has a range.
    pub(super) fn range_notes(&self, index: &Affine) -> Vec<String> {
        let variables = index.terms.iter().map(|(v, _)| &self.form().variables[*v]);
        let note = |v: &super::IndexVariable<'_>| {
            let range = v.range.as_ref()?;
            let (name, start) = (v.name, range.start);
            let end = start.saturating_add_unsigned(range.size as u64);
            let from = range.from.as_ref().map_or(String::new(), |f| format!(", from {f}"));
            Some(format!("{name} is in {start}..{end}{from}"))
        };
        variables.filter_map(note).collect()
    }
}
