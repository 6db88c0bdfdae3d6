//! Train sections: the initialiser, loss, metrics, gradients, the optimizer.

use kiln_graph::InputKind;
use kiln_graph::nearest;
use kiln_tensor::DType;

use super::accumulate::Accumulation;
use super::call::call_text;
use super::data::{DataSource, Training};
use super::frame::{CallSite, Frame};
use super::settings::Settings;
use super::value::{Arg, Function, Target, Tensor, Value};
use super::variable::Declared;
use super::{Elaborator, Eval, shared};
use crate::ast::{DefinitionKind, Expr, ExprKind, Ident};
use crate::diagnostic::{Code, Diagnostic};
use crate::module::{DefId, name_span};
use crate::span::Span;

impl<'a, 'b> Elaborator<'a, 'b> {
    /// What a network needs before its model runs: the seed, the step and the initialiser of weights.
    pub(super) fn prepare(&mut self, settings: &Settings<'a>) -> Eval<()> {
        self.seed = self.seed_setting(settings)?;
        self.default_init = match settings.keys.get("init") {
            Some(expr) => match self.expr(expr)? {
                value @ Value::Function(_) => value,
                other => {
                    let message = format!("`init` is an initialiser, not {}", other.kind());
                    return self.error(Code::Type, expr.span, message, "for example xavier()");
                }
            },
            None => {
                let xavier = self.module.find(self.module.root(), "xavier");
                xavier.map_or(Value::Poison, |id| {
                    let target = Target::Definition(id);
                    let hyper = Some([].into());
                    Value::Function(Function { target, axes: None, hyper, layer: None })
                })
            }
        };
        if self.kind.is_training() && settings.is_trained() {
            let span = settings.section.unwrap_or_default();
            self.locate(span);
            let var = self.builder.input("step", InputKind::Slot, DType::I32, &[]);
            let step = self.tensor(var, Vec::new(), span);
            let next = self.tensor(step.var + step.var.scalar_like(1.0), Vec::new(), span);
            let start = self.scalar(0.0, DType::I32, span);
            self.variable_index.insert("step".to_string(), self.variables.len());
            self.variables.push(Declared {
                name: "step".to_string(),
                kind: InputKind::Slot,
                input: step.clone(),
                next: Some(next),
                start: Some(start),
                span,
                applied: span,
            });
            self.step = Some(step);
        }
        Ok(())
    }

    /// Checks that the data sets have what the model's input takes.
    pub(super) fn check_field(
        &mut self,
        name: &Ident,
        t: &Tensor<'b>,
        training: &Training,
    ) -> Eval<()> {
        for source in std::iter::once(&training.data).chain(&training.validate) {
            let Some(field) = source.field(&name.node) else {
                let message =
                    format!("`{}` has no field `{}` for the model's input", source.name, name.node);
                let d = Diagnostic::new(Code::Name, message)
                    .label(source.span, format!("it has {}", source.names().join(" and ")))
                    .label(name.span, "the input");
                return self.fail(d);
            };
            let axes: Vec<(&str, usize)> =
                t.axes.iter().map(|axis| &**axis).zip(t.shape.iter().copied()).collect();
            let fits = match axes.as_slice() {
                [("N", _), axes @ ..] => field.fits(t.dtype, axes),
                _ => false,
            };
            if !fits {
                let message = format!("the data do not fit the input `{}`", name.node);
                let d = Diagnostic::new(Code::Shape, message)
                    .label(source.span, format!("`{}` gives {field}", source.name))
                    .label(name.span, format!("the input is {}", t.type_text()));
                return self.fail(match axes.first() {
                    Some(("N", _)) => d,
                    _ => d.help("the first axis of an input counts the examples: N"),
                });
            }
        }
        Ok(())
    }

    /// `data.label`.
    pub(super) fn data_field(&mut self, source: &DataSource, name: &Ident) -> Eval<Value<'b>> {
        let Some(field) = source.field(&name.node) else {
            let mut d = Diagnostic::new(
                Code::Name,
                format!("`{}` has no field `{}`", source.name, name.node),
            )
            .label(name.span, "");
            d = match nearest(&name.node, source.names()) {
                Some(near) => d.help(format!("did you mean `{near}`?")),
                None => d.help(format!("it has {}", source.names().join(" and "))),
            };
            return self.fail(d);
        };
        if let Some(t) = self.inputs.get(&field.name) {
            return Ok(Value::Tensor(t.clone()));
        }
        // What the data set leaves open: a class or a number for each example.
        let dtype = field.dtype.unwrap_or(match field.name.as_str() {
            "label" => DType::I32,
            _ => DType::F32,
        });
        let (mut axes, mut dims) = (vec![shared("N")], vec![self.batch]);
        for (axis, size) in field.axes.iter().flatten() {
            // A size that is left open is that of the model's input.
            let inputs = source.names().into_iter().filter_map(|name| self.inputs.get(name));
            let Some(size) = size.or_else(|| inputs.filter_map(|t| t.size(axis)).next()) else {
                let message = format!("the axis {axis} of `{field}` has no size");
                let d = Diagnostic::new(Code::Shape, message)
                    .label(name.span, "no input of the model has this axis")
                    .label(source.span, "nor is it given here");
                return self.fail(d);
            };
            axes.push(shared(axis));
            dims.push(size);
        }
        let shape = self.shape(&axes, &dims, name.span)?;
        self.locate(name.span);
        let var = self.builder.data(&field.name, dtype, &shape);
        let t = self.tensor(var, axes, name.span);
        self.inputs.insert(field.name.clone(), t.clone());
        Ok(Value::Tensor(t))
    }

    /// Loss, metrics and, in a training graph, the updates; gives the named results.
    pub(super) fn train(
        &mut self,
        settings: &Settings<'a>,
        results: Vec<(String, Value<'b>)>,
    ) -> Eval<Vec<(String, Tensor<'b>)>> {
        let section = settings.section.unwrap_or_default();
        self.batch = settings.axes.get("N").map_or(1, |(size, _)| *size);
        let names: Vec<String> = results.iter().map(|(name, _)| name.clone()).collect();
        self.frame_mut().results.extend(results);
        if let Some(expr) = settings.keys.get("data") {
            let data = self.expr(expr)?;
            self.frame_mut().results.insert("data".to_string(), data);
        }
        let Some(loss_expr) = settings.keys.get("loss") else {
            let d = Diagnostic::new(Code::Name, "the train section has no `loss`")
                .label(section, "")
                .help(format!(
                    "loss = cross_entropy({}, data.label)",
                    names.first().map_or("logits", String::as_str)
                ));
            return self.fail(d);
        };
        let loss = self.number_result("loss", loss_expr)?;
        let mut outputs = vec![("loss".to_string(), loss.clone())];
        for (name, expr) in self.metrics(settings)? {
            let value = self.number_result(&name, expr)?;
            outputs.push((name, value));
        }
        if self.kind.is_training() {
            outputs.extend(self.updates(settings, &loss)?);
        }
        Ok(outputs)
    }

    /// A loss or metric: one real number.
    fn number_result(&mut self, name: &str, expr: &'a Expr) -> Eval<Tensor<'b>> {
        match self.expr(expr)? {
            Value::Tensor(t) if t.axes.is_empty() => Ok(self.cast(&t, DType::F32)),
            Value::Tensor(t) => {
                let d = Diagnostic::new(Code::Shape, format!("`{name}` must be a single number"))
                    .label(expr.span, t.type_text())
                    .help("take its mean(...)");
                self.fail(d)
            }
            other => {
                let message = format!(
                    "`{name}` must be computed from the model's results, not {}",
                    other.kind()
                );
                self.error(Code::Type, expr.span, message, "")
            }
        }
    }

    /// The metrics with their names: the label, or what the function is called.
    fn metrics(&mut self, settings: &Settings<'a>) -> Eval<Vec<(String, &'a Expr)>> {
        let Some(expr) = settings.keys.get("metrics").copied() else { return Ok(Vec::new()) };
        let ExprKind::List(items) = &expr.node else {
            return self.error(
                Code::Type,
                expr.span,
                "`metrics` is a list",
                "put it in brackets: [accuracy(...)]",
            );
        };
        let mut metrics: Vec<(String, &'a Expr)> = Vec::new();
        for item in items {
            let mut callee = item;
            let mut name = None;
            loop {
                callee = match &callee.node {
                    ExprKind::Call(inner, _) | ExprKind::Bracketed(inner, _) => inner,
                    ExprKind::Pipe(stages) => match stages.last() {
                        Some(stage) => {
                            name = name.or(stage.label.as_ref().map(|l| l.node.clone()));
                            &stage.expr
                        }
                        None => break,
                    },
                    ExprKind::Name(n) => {
                        name = name.or(Some(n.clone()));
                        break;
                    }
                    _ => break,
                };
            }
            let name = name.unwrap_or_else(|| format!("metric{}", metrics.len()));
            if name == "loss" || metrics.iter().any(|(n, _)| *n == name) {
                let d = Diagnostic::new(Code::Name, format!("two metrics are called `{name}`"))
                    .label(item.span, "the second one")
                    .help("name it by `as`: top5(...) as top5");
                return self.fail(d);
            }
            metrics.push((name, item));
        }
        Ok(metrics)
    }

    /// Gradients of all weights and what the optimizer does with them; gives the gradients if they were asked for.
    fn updates(
        &mut self,
        settings: &Settings<'a>,
        loss: &Tensor<'b>,
    ) -> Eval<Vec<(String, Tensor<'b>)>> {
        let Some(expr) = settings.keys.get("optimizer").copied() else {
            let d = Diagnostic::new(Code::Name, "the train section has no `optimizer`")
                .label(settings.section.unwrap_or_default(), "")
                .help("optimizer = sgd(lr=0.1, momentum=0.9)");
            return self.fail(d);
        };
        let value = self.expr(expr)?;
        let (id, hyper) = match value {
            Value::Function(Function { target: Target::Definition(id), hyper, .. })
                if self.module.definition(id).node.kind == DefinitionKind::Optimizer =>
            {
                (id, hyper.as_deref().unwrap_or_default().to_vec())
            }
            other => {
                let message = format!("`optimizer` is an optimizer, not {}", other.kind());
                return self.error(Code::Type, expr.span, message, "for example sgd(lr=0.1)");
            }
        };
        let accumulation = self.accumulation(settings)?;
        self.clock(settings, accumulation)?;
        let hyper = self.scheduled(hyper)?;
        let weights: Vec<usize> = (0..self.variables.len())
            .filter(|&i| self.variables[i].kind == InputKind::Param)
            .collect();
        self.locate(loss.origin.span);
        let mut gradients: Vec<Tensor<'b>> = Vec::new();
        for &at in &weights {
            let w = self.variables[at].input.clone();
            gradients.push(self.same_axes(&w, loss.var.grad(w.var), loss.origin.span));
        }
        let outputs = match self.options.gradients {
            true => weights
                .iter()
                .zip(&gradients)
                .map(|(&at, g)| (format!("grad.{}", self.variables[at].name), g.clone()))
                .collect(),
            false => Vec::new(),
        };
        if let Some(by) = accumulation {
            self.accumulate(by, &weights, &mut gradients)?;
        }
        if let Some(clip) = settings.keys.get("clip_norm") {
            self.clip(clip, &mut gradients)?;
        }
        let first = self.variables.len();
        for (&at, g) in weights.iter().zip(gradients) {
            self.optimize(id, hyper.clone(), at, g, expr.span)?;
        }
        if let Some(by) = accumulation {
            self.hold_back(by, &weights, first);
        }
        Ok(outputs)
    }

    /// `step`, `epoch` and so on, for schedules and optimizers: counted in updates of the weights.
    fn clock(
        &mut self,
        settings: &Settings<'a>,
        accumulation: Option<Accumulation<'b>>,
    ) -> Eval<()> {
        let Some(mut step) = self.step.clone() else { return Ok(()) };
        let epochs = self.whole_setting(settings, "epochs", 1)?.unwrap_or(1);
        let mut steps_per_epoch = self.options.steps_per_epoch.max(1) as f64;
        if let Some(by) = accumulation {
            let batch = (step.var - by.turn).cast(DType::F32);
            step = self.same_axes(&step, batch / by.batches as f32, step.origin.span);
            steps_per_epoch /= by.batches as f64;
        }
        let step = self.cast(&step, DType::F32);
        let epoch = self.same_axes(&step, step.var / steps_per_epoch as f32, step.origin.span);
        let steps_per_epoch = match steps_per_epoch.fract() == 0.0 {
            true => Value::Int(steps_per_epoch as i64),
            false => Value::Float(steps_per_epoch),
        };
        let given = &mut self.frame_mut().given;
        given.insert("step", Value::Tensor(step));
        given.insert("epoch", Value::Tensor(epoch));
        given.insert("epochs", Value::Int(epochs as i64));
        given.insert("steps_per_epoch", steps_per_epoch);
        Ok(())
    }

    /// Evaluates the schedules among an optimizer's arguments, once for all weights.
    fn scheduled(&mut self, hyper: Vec<Arg<'b>>) -> Eval<Vec<Arg<'b>>> {
        let mut out = Vec::new();
        for mut arg in hyper {
            if let Value::Function(function) = &arg.value
                && let Target::Definition(id) = function.target
                && self.module.definition(id).node.kind == DefinitionKind::Schedule
            {
                arg.value = self.apply(function.clone(), Vec::new(), None, arg.span)?;
            }
            out.push(arg);
        }
        Ok(out)
    }

    /// Scales all gradients down together where their common norm is above the limit.
    fn clip(&mut self, expr: &'a Expr, gradients: &mut [Tensor<'b>]) -> Eval<()> {
        let limit = match self.expr(expr)? {
            Value::Int(x) if x > 0 => x as f32,
            Value::Float(x) if x > 0.0 => x as f32,
            other => {
                let message =
                    format!("`clip_norm` must be a positive number, not {}", other.text());
                return self.error(Code::Value, expr.span, message, "");
            }
        };
        self.locate(expr.span);
        let squares = gradients.iter().map(|g| {
            let all: Vec<usize> = (0..g.axes.len()).collect();
            (g.var * g.var).sum(&all)
        });
        if let Some(total) = squares.reduce(|a, b| a + b) {
            let factor = (limit / total.sqrt()).minimum(total.scalar_like(1.0));
            for g in gradients {
                g.var = g.var * factor;
            }
        }
        Ok(())
    }

    /// Runs an optimizer for one weight.
    fn optimize(
        &mut self,
        id: DefId,
        hyper: Vec<Arg<'b>>,
        at: usize,
        g: Tensor<'b>,
        span: Span,
    ) -> Eval<()> {
        let definition = self.module.definition(id);
        let (name, w) = (self.variables[at].name.clone(), self.variables[at].input.clone());
        let frame = Frame {
            kind: Some(DefinitionKind::Optimizer),
            call: Some(CallSite { span, text: call_text(&definition.node.name.node, &hyper) }),
            path: name,
            given: self.frame().given.clone(),
            fills: Some((w.axes.clone(), w.shape.to_vec())),
            ..Frame::root(id.file)
        };
        let argument = |t: Tensor<'b>| Arg { name: None, value: Value::Tensor(t), span };
        self.optimized = Some(at);
        self.frames.push(frame);
        let result =
            self.run(definition, hyper, vec![argument(w), argument(g)], name_span(definition));
        self.frames.pop();
        self.optimized = None;
        result.map(|_| ())
    }
}
