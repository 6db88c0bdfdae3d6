//! Gradient accumulation: `accumulate = 4` lets weights follow the mean gradient of four batches.
//!
//! Every step adds its gradients to slots, `fc1.weight.accumulated`. Weights and the optimizer's states change in every
//! fourth step, by the mean, and the slots begin again at 0; in the steps between they keep their values. As slots the
//! sums are saved and resumed like the optimizer's other states.

use kiln_graph::{InputKind, Var};
use kiln_tensor::DType;

use super::frame::join;
use super::settings::Settings;
use super::value::Tensor;
use super::variable::Declared;
use super::{Elaborator, Eval};
use crate::diagnostic::Code;
use crate::span::Span;

/// How many batches an update takes.
#[derive(Clone, Copy)]
pub(super) struct Accumulation<'b> {
    /// As many as this.
    pub batches: u64,
    /// Which of them the step is, from 0; i32.
    pub turn: Var<'b>,
    /// Whether the step ends in an update.
    due: Var<'b>,
    span: Span,
}

impl<'a, 'b> Elaborator<'a, 'b> {
    /// What the key `accumulate` asks for, if it asks for more than one batch.
    pub(super) fn accumulation(
        &mut self,
        settings: &Settings<'a>,
    ) -> Eval<Option<Accumulation<'b>>> {
        let batches = self.whole_setting(settings, "accumulate", 1)?.unwrap_or(1);
        let (Some(expr), Some(step)) = (settings.keys.get("accumulate"), self.step.clone()) else {
            return Ok(None);
        };
        if batches == 1 {
            return Ok(None);
        }
        let Ok(count) = i32::try_from(batches) else {
            let message = format!("`accumulate` of {batches} batches is too many");
            return self.error(Code::Value, expr.span, message, "the limit is 2^31 - 1");
        };
        self.locate(expr.span);
        let turn = step.var % self.builder.scalar_i32(count);
        let due = turn.eq(self.builder.scalar_i32(count - 1));
        Ok(Some(Accumulation { batches, turn, due, span: expr.span }))
    }

    /// Adds gradients of weights to what has been accumulated; they become the means.
    pub(super) fn accumulate(
        &mut self,
        by: Accumulation<'b>,
        weights: &[usize],
        gradients: &mut [Tensor<'b>],
    ) -> Eval<()> {
        let zero = self.scalar(0.0, DType::F32, by.span);
        for (&weight, gradient) in weights.iter().zip(gradients) {
            self.locate(by.span);
            let name = join(&self.variables[weight].name, "accumulated");
            let w = self.variables[weight].input.clone();
            let var = self.builder.input(&name, InputKind::Slot, DType::F32, &w.shape);
            let input = self.same_axes(&w, var, by.span);
            let sum = input.var + gradient.var;
            let start = self.fit(&zero, &w.axes, &w.shape, by.span)?;
            let next = by.due.select(start.var, sum);
            let declared = Declared {
                name: name.clone(),
                kind: InputKind::Slot,
                next: Some(self.same_axes(&w, next, by.span)),
                start: Some(start),
                input,
                span: by.span,
                applied: by.span,
            };
            self.variable_index.insert(name, self.variables.len());
            self.variables.push(declared);
            gradient.var = sum / by.batches as f32;
        }
        Ok(())
    }

    /// Lets weights, and the states that the optimizer declared from `first` on, change only in steps that end in an
    /// update.
    pub(super) fn hold_back(&mut self, by: Accumulation<'b>, weights: &[usize], first: usize) {
        self.locate(by.span);
        for at in weights.iter().copied().chain(first..self.variables.len()) {
            let v = &mut self.variables[at];
            if let Some(next) = &mut v.next {
                next.var = by.due.select(next.var, v.input.var);
            }
        }
    }
}
