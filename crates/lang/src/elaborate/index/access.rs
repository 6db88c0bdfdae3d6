//! Single accesses of the index form: `x[N=n, H=2*i + u]`, `table[V=token[N=n]]`.

use kiln_tensor::DType;

use super::super::value::{Axis, Origin, Tensor, Value};
use super::super::{Elaborator, Eval};
use super::affine::Affine;
use crate::ast::{Brackets, Expr};
use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;

/// How one axis is indexed.
struct Item<'b> {
    axis: Axis,
    span: Span,
    index: Index<'b>,
}

#[derive(Clone)]
enum Index<'b> {
    /// Known to stay inside the axis.
    Affine(Affine),
    /// Whole numbers that are computed; those outside count as the nearest inside.
    Computed(Tensor<'b>),
}

impl<'a, 'b> Elaborator<'a, 'b> {
    /// `base[axis=index, ...]` inside an index form: the axes become those of the indices.
    pub(in super::super) fn index_access(
        &mut self,
        mut t: Tensor<'b>,
        base: Span,
        brackets: &'a Brackets,
    ) -> Eval<Value<'b>> {
        let given = t.clone();
        let mut items: Vec<Item<'b>> = Vec::new();
        for item in &brackets.left {
            self.no_range(item)?;
            let Some(name) = &item.name else {
                let message = "an index names its axis: x[C=c]";
                return self.error(Code::Type, item.value.span, message, "");
            };
            let axis = self.axis_named(&name.node);
            if items.iter().any(|i| i.axis == axis) {
                let message = format!("the axis {axis} is indexed twice");
                return self.error(Code::Name, name.span, message, "");
            }
            if given.position(&axis).is_none() {
                return self.no_axis(&given, base, &axis, name.span);
            }
            let span = item.value.span;
            if !self.form().varies(&item.value) {
                let index = self.expr(&item.value)?;
                t = self.index_axis(&t, &axis, index, span)?;
                continue;
            }
            let index = self.index_of(&item.value, &axis, given.size(&axis).unwrap_or(0))?;
            items.push(Item { axis, span, index });
        }
        let in_scope = |a: &&Axis| self.form().find(a).is_some();
        if let Some(axis) = t.axes.iter().find(in_scope) {
            let message = format!("`{axis}` is an index variable and an axis of {}", t.type_text());
            return self.error(Code::Name, base, message, "call the variable otherwise");
        }
        self.locate(base.to(brackets.span.span));
        while let Some(first) = items.pop() {
            // Indices with variables in common choose elements together.
            let mut group = vec![first];
            while let Some(at) = items.iter().position(|i| self.shares(i, &group)) {
                group.push(items.remove(at));
            }
            group.reverse();
            t = self.index_group(&t, &group)?;
        }
        t.origin = Origin::made(base.to(brackets.span.span));
        Ok(Value::Tensor(t))
    }

    /// An index that varies, checked against the size of its axis.
    fn index_of(&mut self, expr: &'a Expr, axis: &Axis, size: usize) -> Eval<Index<'b>> {
        if let Some(index) = self.affine(expr)? {
            let start = i128::from(index.constant);
            let (mut least, mut most) = (start, start);
            for &(v, factor) in &index.terms {
                if let Some(range) = &self.form().variables[v].range {
                    let (low, high) = range.scaled(factor);
                    (least, most) = (least + low, most + high);
                }
            }
            if least < 0 || most >= size as i128 {
                let message =
                    format!("an index of axis {axis}, which has size {size}, goes outside");
                let mut d = Diagnostic::new(Code::Shape, message)
                    .label(expr.span, format!("goes from {least} to {most}"));
                d.notes.extend(self.range_notes(&index));
                return self.fail(d.help(
                    "give a variable a smaller range (i in 0..n), or read the nearest element inside: \
                     minimum(maximum(index, 0), size - 1)",
                ));
            }
            return Ok(Index::Affine(index));
        }
        match self.expr(expr)? {
            Value::Tensor(t) if t.dtype == DType::I32 => Ok(Index::Computed(t)),
            other => {
                let d = Diagnostic::new(
                    Code::Type,
                    format!("an index is a whole number, not {}", other.kind()),
                );
                self.fail(d.label(expr.span, "").help("int(x) makes whole numbers"))
            }
        }
    }

    /// Whether an index has a variable that one of a group has.
    fn shares(&self, item: &Item<'b>, group: &[Item<'b>]) -> bool {
        let own = self.axes_of(item);
        group.iter().any(|other| self.axes_of(other).iter().any(|a| own.contains(a)))
    }

    fn axes_of(&self, item: &Item<'b>) -> Vec<Axis> {
        match &item.index {
            Index::Affine(index) => {
                let name = |v: &(usize, i64)| Axis::from(self.form().variables[v.0].name);
                index.terms.iter().map(name).collect()
            }
            Index::Computed(t) => t.axes.clone(),
        }
    }

    /// Indexes axes of `t` whose indices have variables in common.
    fn index_group(&mut self, t: &Tensor<'b>, group: &[Item<'b>]) -> Eval<Tensor<'b>> {
        if let [item] = group {
            return match &item.index {
                Index::Affine(index) => Ok(self.walk(t, &item.axis, index, item.span)),
                Index::Computed(rows) => {
                    self.index_axis(t, &item.axis, Value::Tensor(rows.clone()), item.span)
                }
            };
        }
        // The axes are made one, whose elements the indices choose together.
        let span = group[0].span;
        let chosen: Vec<Axis> = group.iter().map(|i| i.axis.clone()).collect();
        let rest = t.axes.iter().filter(|a| !chosen.contains(a)).cloned();
        let order: Vec<Axis> = chosen.iter().cloned().chain(rest).collect();
        let table = self.reorder(t, &order);
        let sizes = &table.shape[..chosen.len()];
        let strides = kiln_tensor::Shape::new(sizes).map(|s| s.strides()).unwrap_or_default();
        let all: usize = sizes.iter().product();
        let dims: Vec<usize> = [&[all], &table.shape[chosen.len()..]].concat();
        let axes: Vec<Axis> = order[chosen.len() - 1..].to_vec();
        let axes = [&[chosen[0].clone()], &axes[1..]].concat();
        let flat = table.var.reshape(&dims);
        let flat = self.tensor(flat, axes, span);
        if group.iter().all(|i| matches!(i.index, Index::Affine(_))) {
            let mut parts =
                group.iter().zip(&strides).filter_map(|(item, stride)| match &item.index {
                    Index::Affine(part) => Some((part, *stride as i64)),
                    Index::Computed(_) => None,
                });
            let index =
                parts.try_fold(Affine::default(), |sum, (part, stride)| sum.plus(part, stride));
            let Some(index) = index else {
                return self.error(
                    Code::Limit,
                    span,
                    "the numbers of this index are too large",
                    "",
                );
            };
            return Ok(self.walk(&flat, &chosen[0], &index, span));
        }
        if i32::try_from(all).is_err() {
            let message = format!("{all} elements are chosen from, more than an i32 counts");
            return self.error(Code::Limit, span, message, "");
        }
        let mut rows: Option<Tensor<'b>> = None;
        for ((item, &stride), &size) in group.iter().zip(&strides).zip(sizes) {
            let index = match &item.index {
                Index::Affine(index) => self.counted(index, item.span)?,
                Index::Computed(t) => {
                    let zero = self.scalar(0.0, DType::I32, item.span).var;
                    let last = self.scalar((size - 1) as f64, DType::I32, item.span).var;
                    self.same_axes(t, t.var.maximum(zero).minimum(last), item.span)
                }
            };
            let stride = self.scalar(stride as f64, DType::I32, item.span).var;
            let part = self.same_axes(&index, index.var * stride, item.span);
            rows = Some(match rows {
                None => part,
                Some(sum) => self.elementwise("`+`", &[&sum, &part], item.span, |v| v[0] + v[1])?,
            });
        }
        match rows {
            Some(rows) => self.index_axis(&flat, &chosen[0], Value::Tensor(rows), span),
            None => Ok(flat),
        }
    }

    /// An affine index as whole numbers along the axes of its variables.
    fn counted(&mut self, index: &Affine, span: Span) -> Eval<Tensor<'b>> {
        let mut sum = self.scalar(index.constant as f64, DType::I32, span);
        for &(v, factor) in &index.terms {
            let name = self.form().variables[v].name;
            let bound = self.frame().variables.get(name).map(|b| b.value.clone());
            let Some(Value::Tensor(count)) = bound else { continue };
            let factor = self.scalar(factor as f64, DType::I32, span).var;
            let term = self.same_axes(&count, count.var * factor, span);
            sum = self.elementwise("`+`", &[&sum, &term], span, |v| v[0] + v[1])?;
        }
        Ok(sum)
    }

    /// `t` with the variables of an affine index in the place of an axis, which it stays inside of. A view.
    fn walk(&mut self, t: &Tensor<'b>, axis: &Axis, index: &Affine, span: Span) -> Tensor<'b> {
        let position = t.position(axis).unwrap_or(0);
        // Of a variable with one value the factor may be of any size.
        let mut offset = i128::from(index.constant);
        let (mut wide, mut single) = (Vec::new(), Vec::new());
        for &(v, factor) in &index.terms {
            let variable = &self.form().variables[v];
            let (start, size) = variable.range.as_ref().map_or((0, 1), |r| (r.start, r.size));
            offset += i128::from(factor) * i128::from(start);
            match size {
                1 => single.push((Axis::from(variable.name), factor, 1)),
                size => wide.push((Axis::from(variable.name), factor, size)),
            }
        }
        // Every access is inside the axis, and so is this one.
        let offset = offset as i64;
        let mut var = match wide[..] {
            [] | [_] => {
                let (factor, size) = wide.first().map_or((1, 1), |w| (w.1, w.2));
                let reach = factor * (size as i64 - 1);
                let (mut start, mut limit) = (vec![0; t.shape.rank()], t.shape.to_vec());
                let mut step = vec![1; t.shape.rank()];
                start[position] = (offset + reach.min(0)) as usize;
                limit[position] = (offset + reach.max(0)) as usize + 1;
                step[position] = factor.unsigned_abs() as usize;
                let cut = t.var.slice(&start, &limit, &step);
                if factor < 0 { cut.reverse(&[position]) } else { cut }
            }
            _ => {
                let sizes: Vec<usize> = wide.iter().map(|w| w.2).collect();
                let strides: Vec<i64> = wide.iter().map(|w| w.1).collect();
                t.var.unfold(position, offset, &sizes, &strides)
            }
        };
        let new: Vec<(Axis, usize)> =
            wide.iter().chain(&single).map(|w| (w.0.clone(), w.2)).collect();
        let mut axes = t.axes.clone();
        axes.splice(position..=position, new.iter().map(|n| n.0.clone()));
        let mut dims = t.shape.to_vec();
        dims.splice(position..=position, new.iter().map(|n| n.1));
        if *var.shape() != *dims {
            var = var.reshape(&dims);
        }
        self.tensor(var, axes, span)
    }
}
