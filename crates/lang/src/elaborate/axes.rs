//! Named axes: broadcasting, reordering, indexing. The graph beneath counts positions.

use kiln_graph::Var;
use kiln_tensor::{DType, Shape};

use super::value::{Axis, Origin, Tensor, Value, type_text};
use super::{Elaborator, Eval};
use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;

impl<'a, 'b> Elaborator<'a, 'b> {
    /// A tensor of a graph value that has these axes.
    pub(super) fn tensor(&mut self, var: Var<'b>, axes: Vec<Axis>, span: Span) -> Tensor<'b> {
        let ty = var.ty();
        Tensor { var, axes, shape: ty.shape, dtype: ty.dtype, origin: Origin::made(span) }
    }

    /// A tensor with the axes of another.
    pub(super) fn same_axes(&mut self, like: &Tensor<'b>, var: Var<'b>, span: Span) -> Tensor<'b> {
        self.tensor(var, like.axes.clone(), span)
    }

    pub(super) fn scalar(&mut self, value: f64, dtype: DType, span: Span) -> Tensor<'b> {
        let key = (dtype, value.to_bits());
        let var = match self.scalars.get(&key) {
            Some(known) => *known,
            None => {
                let var = self.builder.scalar_of(dtype, value);
                self.scalars.insert(key, var);
                var
            }
        };
        self.tensor(var, Vec::new(), span)
    }

    pub(super) fn cast(&mut self, t: &Tensor<'b>, dtype: DType) -> Tensor<'b> {
        if t.dtype == dtype {
            return t.clone();
        }
        Tensor { var: t.var.cast(dtype), dtype, ..t.clone() }
    }

    /// A checked shape; `what` has it.
    pub(super) fn shape(&mut self, axes: &[Axis], dims: &[usize], span: Span) -> Eval<Shape> {
        match Shape::new(dims) {
            Ok(shape) => Ok(shape),
            Err(_) => {
                let text = type_text(DType::F32, axes, dims);
                self.error(Code::Limit, span, format!("{text} is too large"), "the limit is 1 TiB")
            }
        }
    }

    /// Applies `f` to operands that are broadcast to one shape by the names of their axes: those of the first in
    /// order, then what each other one adds. Scalars stay scalars.
    pub(super) fn elementwise(
        &mut self,
        what: &str,
        operands: &[&Tensor<'b>],
        span: Span,
        f: impl FnOnce(&[Var<'b>]) -> Var<'b>,
    ) -> Eval<Tensor<'b>> {
        let (axes, shape) = self.union(what, operands, span)?;
        let vars: Vec<Var<'b>> = operands
            .iter()
            .map(|t| if t.axes.is_empty() { t.var } else { self.expand(t, &axes, &shape) })
            .collect();
        let var = f(&vars);
        Ok(self.tensor(var, axes, span))
    }

    /// The axes and sizes that operands have together.
    pub(super) fn union(
        &mut self,
        what: &str,
        operands: &[&Tensor<'b>],
        span: Span,
    ) -> Eval<(Vec<Axis>, Shape)> {
        let mut axes: Vec<Axis> = Vec::new();
        let mut dims: Vec<usize> = Vec::new();
        let mut owner: Vec<usize> = Vec::new();
        for (at, t) in operands.iter().enumerate() {
            let mut clashes: Vec<(usize, Axis, usize, usize)> = Vec::new();
            for (axis, &size) in t.axes.iter().zip(t.shape.iter()) {
                match axes.iter().position(|a| a == axis) {
                    Some(p) if dims[p] != size => {
                        clashes.push((owner[p], axis.clone(), dims[p], size))
                    }
                    Some(_) => {}
                    None => {
                        axes.push(axis.clone());
                        dims.push(size);
                        owner.push(at);
                    }
                }
            }
            if let Some(first) = clashes.first() {
                let other = operands[first.0];
                return self.clash(what, other, t, &clashes, span);
            }
        }
        let shape = self.shape(&axes, &dims, span)?;
        Ok((axes, shape))
    }

    /// `y: f32[N=2, C=3] comes from here`: the label of a tensor's origin.
    pub(super) fn origin_text(&self, t: &Tensor<'b>) -> String {
        let name = t.origin.name.map_or(String::new(), |n| format!("{}: ", self.sources.text(n)));
        match t.origin.input {
            Some(kind) => format!("{name}{} is the {kind}'s input", t.type_text()),
            None => format!("{name}{} comes from here", t.type_text()),
        }
    }

    fn clash<T>(
        &mut self,
        what: &str,
        left: &Tensor<'b>,
        right: &Tensor<'b>,
        clashes: &[(usize, Axis, usize, usize)],
        span: Span,
    ) -> Eval<T> {
        let names: Vec<&str> = clashes.iter().map(|c| &*c.1).collect();
        let (word, list) = match names.as_slice() {
            [one] => ("axis", (*one).to_string()),
            [most @ .., last] => ("axes", format!("{} and {last}", most.join(", "))),
            [] => ("axes", String::new()),
        };
        let sizes: Vec<String> =
            clashes.iter().map(|(_, a, l, r)| format!("{a} {l} against {r}")).collect();
        let mut d =
            Diagnostic::new(Code::Shape, format!("{what} needs equal sizes on {word} {list}"))
                .label(span, sizes.join(", "));
        for t in [left, right] {
            d = d.label(t.origin.span, self.origin_text(t));
        }
        let stretched = clashes.iter().find(|(_, _, l, r)| *l == 1 || *r == 1);
        let help = match stretched {
            Some((_, axis, ..)) => {
                format!("a size of 1 does not stretch: drop the axis by an index, x[{axis}=0]")
            }
            None => {
                let axis = &clashes[0].1;
                format!("make the sizes equal, or let the axes differ: rename[{axis} -> {axis}2]")
            }
        };
        self.fail(d.help(help))
    }

    /// A tensor with its axes in the order of `axes`, repeated along those it lacks.
    pub(super) fn expand(&mut self, t: &Tensor<'b>, axes: &[Axis], shape: &Shape) -> Var<'b> {
        let places: Vec<usize> =
            (0..axes.len()).filter(|&i| t.position(&axes[i]).is_some()).collect();
        let order: Vec<usize> = places.iter().filter_map(|&i| t.position(&axes[i])).collect();
        t.var.transpose(&order).broadcast(shape, &places)
    }

    /// A tensor with its axes in this order, which holds all of them.
    pub(super) fn reorder(&mut self, t: &Tensor<'b>, axes: &[Axis]) -> Tensor<'b> {
        let order: Vec<usize> = axes.iter().filter_map(|a| t.position(a)).collect();
        let var = t.var.transpose(&order);
        Tensor { axes: axes.to_vec(), shape: var.shape(), var, ..t.clone() }
    }

    /// A tensor broadcast to exactly these axes.
    pub(super) fn fit(
        &mut self,
        t: &Tensor<'b>,
        axes: &[Axis],
        shape: &Shape,
        span: Span,
    ) -> Eval<Tensor<'b>> {
        let surplus = t.axes.iter().find(|a| !axes.contains(a));
        let unequal = t
            .axes
            .iter()
            .zip(t.shape.iter())
            .any(|(a, s)| axes.iter().position(|b| a == b).is_some_and(|p| shape[p] != *s));
        if surplus.is_some() || unequal {
            let wanted = type_text(t.dtype, axes, shape);
            let d =
                Diagnostic::new(Code::Shape, format!("{} does not fit {wanted}", t.type_text()))
                    .label(span, format!("expected {wanted}"))
                    .label(t.origin.span, self.origin_text(t));
            return self.fail(d);
        }
        let var = self.expand(t, axes, shape);
        Ok(self.tensor(var, axes.to_vec(), span))
    }

    /// `x[axis=index]`: a number takes one place, a range some, a tensor of whole numbers a place for each.
    pub(super) fn index_axis(
        &mut self,
        t: &Tensor<'b>,
        axis: &Axis,
        index: Value<'b>,
        span: Span,
    ) -> Eval<Tensor<'b>> {
        self.locate(span);
        let position = t.position(axis).unwrap_or(0);
        let size = t.shape[position];
        let outside = |from: i64, to: i64| from < 0 || to > size as i64 || from >= to;
        let cut = |from: usize, to: usize| {
            let (mut start, mut limit) = (vec![0; t.shape.rank()], t.shape.to_vec());
            (start[position], limit[position]) = (from, to);
            t.var.slice(&start, &limit, &vec![1; t.shape.rank()])
        };
        match index {
            Value::Int(at) => {
                let from = if at < 0 { at.saturating_add(size as i64) } else { at };
                if outside(from, from.saturating_add(1)) {
                    let message = format!("index {at} on axis {axis}, which has size {size}");
                    return self.error(Code::Shape, span, message, "");
                }
                let taken = cut(from as usize, from as usize + 1);
                let (mut axes, mut dims) = (t.axes.clone(), t.shape.to_vec());
                axes.remove(position);
                dims.remove(position);
                let var = taken.reshape(&dims);
                Ok(self.tensor(var, axes, span))
            }
            Value::Range(from, to) => {
                if outside(from, to) {
                    let message =
                        format!("range {from}..{to} on axis {axis}, which has size {size}");
                    return self.error(Code::Shape, span, message, "");
                }
                let var = cut(from as usize, to as usize);
                Ok(self.same_axes(t, var, span))
            }
            Value::Tensor(rows) if rows.dtype == DType::I32 => {
                if let Some(both) = rows.axes.iter().find(|a| *a != axis && t.axes.contains(a)) {
                    let d = Diagnostic::new(
                        Code::Shape,
                        format!("axis {both} is in the table and in the index"),
                    )
                    .label(span, rows.type_text())
                    .label(t.origin.span, t.type_text())
                    .help(format!("rename it in one of them: rename[{both} -> {both}2]"));
                    return self.fail(d);
                }
                let mut order: Vec<Axis> = vec![axis.clone()];
                order.extend(t.axes.iter().filter(|a| *a != axis).cloned());
                let table = self.reorder(t, &order);
                let axes: Vec<Axis> = rows.axes.iter().chain(&order[1..]).cloned().collect();
                let dims: Vec<usize> =
                    rows.shape.iter().chain(&table.shape[1..]).copied().collect();
                self.shape(&axes, &dims, span)?;
                let var = table.var.gather(rows.var);
                let taken = self.tensor(var, axes, span);
                // What was indexed stands where the axis stood.
                let mut places = t.axes.clone();
                places.splice(position..=position, rows.axes.iter().cloned());
                Ok(self.reorder(&taken, &places))
            }
            other => {
                let message = format!(
                    "an index is a whole number, a range or an i32 tensor, not {}",
                    other.kind()
                );
                self.error(Code::Type, span, message, "")
            }
        }
    }
}
