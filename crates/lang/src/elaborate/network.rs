//! Whole graphs of a model: inference, training step, validation, initial values.

use std::collections::{BTreeMap, BTreeSet};

use kiln_graph::{Builder, Graph, GraphError, InputKind, NodeId, Update};
use kiln_tensor::DType;

use super::data::Training;
use super::frame::Frame;
use super::options::{Limits, Options};
use super::settings::{Binding, Settings};
use super::value::{Arg, Axis, Origin, Tensor, Value};
use super::{Elaborator, Eval, Stop, shared};
use crate::ast::{Body, DefinitionKind, Expr, ExprKind, Param, Stage};
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::module::{DefId, Module, name_span};
use crate::span::{Sources, Span};

/// Which graph of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The model's results from its inputs, `training` is false.
    Inference,
    /// One step: loss and metrics; updates of weights, optimizer and states.
    Training,
    /// Loss and metrics of a batch, `training` is false.
    Validation,
    /// The initial value of every weight and state, under its name.
    Init,
}

impl Kind {
    /// What `training` is in this graph.
    pub fn is_training(self) -> bool {
        matches!(self, Kind::Training | Kind::Init)
    }
}

/// A named value that crosses the graph's boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its axes in order: name and size.
    pub axes: Vec<(String, usize)>,
}

/// A value that lives across steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name, element type and axes; the order of axes is PyTorch's.
    pub interface: Interface,
    /// A weight, a state of the model, or a state of the optimizer.
    pub kind: InputKind,
    /// `file:line:column` of its declaration.
    pub place: String,
}

/// A graph, and what its inputs and outputs mean.
#[derive(Clone, Debug)]
pub struct Elaborated {
    /// The graph.
    pub graph: Graph,
    /// Which graph of the model it is.
    pub kind: Kind,
    /// What the caller provides before every run.
    pub inputs: Vec<Interface>,
    /// What every run gives.
    pub outputs: Vec<Interface>,
    /// Weights, states and optimizer states, in the order of their declarations.
    pub variables: Vec<Variable>,
    /// The plain part of the train section, if the model has one.
    pub training: Option<Training>,
    /// The types of variables that the root file assigns: the variable's place and its type.
    pub types: Vec<(Span, String)>,
}

/// A model of a program.
#[derive(Clone, Copy, Debug)]
pub struct Model<'m> {
    module: &'m Module,
    id: DefId,
}

impl Module {
    /// The model of this name; without a name the only one, or the only one that has a train section.
    ///
    /// # Errors
    /// If there is none, or the name is needed.
    pub fn model(&self, name: Option<&str>) -> Result<Model<'_>, Diagnostics> {
        let models = self.models();
        let title = |id: &DefId| self.definition(*id).node.name.node.as_str();
        let list =
            || models.iter().map(|id| format!("`{}`", title(id))).collect::<Vec<_>>().join(", ");
        let trained: Vec<&DefId> =
            models.iter().filter(|id| self.train(title(id)).is_some()).collect();
        let error = |message: String, help: String| {
            Err(Diagnostics::new(
                vec![Diagnostic::new(Code::Name, message).help(help)],
                self.sources().clone(),
            ))
        };
        let id = match (name, models.as_slice(), trained.as_slice()) {
            (_, [], _) => {
                return error(
                    format!("{} has no model", self.path()),
                    "model name(x: f32[N, C=3]) { ... }".into(),
                );
            }
            (Some(name), ..) => match models.iter().find(|id| title(id) == name) {
                Some(id) => id,
                None => {
                    return error(
                        format!("{} has no model `{name}`", self.path()),
                        format!("it has {}", list()),
                    );
                }
            },
            (None, [one], _) => one,
            (None, _, [one]) => one,
            _ => {
                let message = format!("{} has several models", self.path());
                return error(message, format!("choose one of {}", list()));
            }
        };
        Ok(Model { module: self, id: *id })
    }
}

impl Model<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.module.definition(self.id).node.name.node
    }

    /// The axes of its inputs that have no size yet, in order.
    pub fn free_axes(&self) -> Vec<String> {
        let mut free: Vec<String> = Vec::new();
        let d = &self.module.definition(self.id).node;
        let types =
            d.params.last().into_iter().flatten().filter_map(|p| p.ty.as_ref()?.axes.as_ref());
        for item in types.flat_map(|axes| &axes.left) {
            if let (None, ExprKind::Name(name)) = (&item.name, &item.value.node)
                && !free.contains(name)
            {
                free.push(name.clone());
            }
        }
        free
    }

    /// The plain part of its train section, if it has one.
    ///
    /// # Errors
    /// If a key or value of it is wrong.
    pub fn training(&self, options: &Options) -> Result<Option<Training>, Diagnostics> {
        let done = self.with(Kind::Training, options, |e, bindings| {
            let settings = e.settings(self.id, bindings)?;
            e.plain(&settings)
        })?;
        Ok(done.value)
    }

    /// Makes one of its graphs.
    ///
    /// # Errors
    /// Every mistake found in the program.
    pub fn elaborate(&self, kind: Kind, options: &Options) -> Result<Elaborated, Diagnostics> {
        let done = self.with(kind, options, |e, bindings| e.network(self.id, bindings))?;
        let graph = done.graph.and_then(|g| prune(&g, kind)).map_err(|e| {
            // The shape rules here are stricter than the graph's, so this tells of a defect of ours.
            let place = name_span(self.module.definition(self.id));
            let d = Diagnostic::new(Code::Shape, e.to_string()).label(place, "in this model");
            Diagnostics::new(vec![d], done.sources)
        })?;
        Ok(Elaborated { graph, ..done.value })
    }

    /// Runs `f` on a fresh elaborator, on a thread whose stack is deep enough for any program within the limits.
    fn with<T: Send>(
        &self,
        kind: Kind,
        options: &Options,
        f: impl for<'a, 'b> FnOnce(&mut Elaborator<'a, 'b>, &'a [Binding]) -> Eval<T> + Send,
    ) -> Result<Done<T>, Diagnostics> {
        // A call may hold a statement of the greatest depth.
        const STACK_OF_A_CALL: usize = 2 << 20;
        let stack = options.limits.calls.clamp(128, Limits::MAX_CALLS) * STACK_OF_A_CALL;
        let run = || {
            let mut sources = self.module.sources().clone();
            let bindings = Binding::parse(options, &mut sources)?;
            let builder = Builder::new();
            let mut e = Elaborator::new(self.module, sources, &builder, options, kind);
            let result = f(&mut e, &bindings);
            let (errors, sources) = e.finish();
            match result {
                Ok(value) if errors.is_empty() => {
                    Ok(Done { value, graph: builder.finish(), sources })
                }
                _ => Err(Diagnostics::new(errors, sources)),
            }
        };
        std::thread::scope(|scope| {
            let thread =
                std::thread::Builder::new().name("elaborate".to_string()).stack_size(stack);
            match thread.spawn_scoped(scope, run).map(|handle| handle.join()) {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(error) => {
                    let d =
                        Diagnostic::new(Code::Limit, format!("no thread to elaborate on: {error}"));
                    Err(Diagnostics::new(vec![d], self.module.sources().clone()))
                }
            }
        })
    }
}

/// What one elaboration leaves.
struct Done<T> {
    value: T,
    graph: Result<Graph, GraphError>,
    sources: Sources,
}

/// The graph without what no result needs. Inputs stay, save in an init graph, which has no use for them.
fn prune(graph: &Graph, kind: Kind) -> Result<Graph, GraphError> {
    let mut needed = vec![false; graph.len()];
    graph.results().for_each(|id| needed[id.index()] = true);
    if kind != Kind::Init {
        graph.inputs().for_each(|id| needed[id.index()] = true);
    }
    for id in graph.ids().rev() {
        if needed[id.index()] {
            graph.operands(id).into_iter().for_each(|o| needed[o.index()] = true);
        }
    }
    let mut out = Graph::new();
    let mut new: Vec<Option<NodeId>> = vec![None; graph.len()];
    for id in graph.ids().filter(|id| needed[id.index()]) {
        let node = &graph[id];
        let operands: Vec<NodeId> =
            graph.operands(id).into_iter().filter_map(|o| new[o.index()]).collect();
        new[id.index()] =
            Some(out.add(node.op, node.attrs.clone(), &operands, node.locations.clone())?);
    }
    let moved = |id: NodeId| new[id.index()];
    out.outputs =
        graph.outputs.iter().filter_map(|(name, id)| Some((name.clone(), moved(*id)?))).collect();
    let update = |u: &Update| Some(Update { input: moved(u.input)?, value: moved(u.value)? });
    out.updates = graph.updates.iter().filter_map(update).collect();
    Ok(out)
}

impl<'a, 'b> Elaborator<'a, 'b> {
    /// The whole graph of the current kind; everything but the graph itself, which the builder holds.
    fn network(&mut self, id: DefId, bindings: &'a [Binding]) -> Eval<Elaborated> {
        let settings = self.settings(id, bindings)?;
        let training = self.plain(&settings)?;
        self.prepare(&settings)?;
        let results = self.model(id, &settings, training.as_ref())?;
        let mut outputs = match self.kind {
            Kind::Inference => tensors(results),
            Kind::Init if !settings.is_trained() => Vec::new(),
            _ => self.train(&settings, results)?,
        };
        if self.kind == Kind::Init {
            outputs = Vec::new();
            for v in &self.variables {
                outputs.extend(v.start.clone().map(|start| (v.name.clone(), start)));
            }
        } else {
            for v in &self.variables {
                if let Some(next) = &v.next {
                    self.builder.update(v.input.var, next.var);
                }
            }
        }
        let mut names: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
            let message = format!("two results are called `{}`", twice[0]);
            return self.error(
                Code::Name,
                name_span(self.module.definition(id)),
                message,
                "of this model",
            );
        }
        for (name, t) in &outputs {
            self.builder.output(name, t.var);
        }
        self.check_bytes(id)?;
        // Whoever runs the graph asks for inputs, weights and results by name alone.
        let taken = |name: &String| {
            self.kind != Kind::Init
                && (self.inputs.contains_key(name)
                    || self.variables.iter().any(|v| v.name == *name))
        };
        if self.errors.is_empty()
            && let Some((name, _)) = outputs.iter().find(|(name, _)| taken(name))
        {
            let d = Diagnostic::new(
                Code::Name,
                format!("a result is called `{name}`, as is an input or weight"),
            )
            .label(name_span(self.module.definition(id)), "of this model")
            .help(format!("give it a name of its own:  result = {name}  return result"));
            return self.fail(d);
        }
        let inputs = if self.kind == Kind::Init { BTreeMap::new() } else { self.inputs.clone() };
        let variable = |v: &super::variable::Declared<'b>| Variable {
            interface: interface(&v.name, &v.input),
            kind: v.kind,
            place: self.sources.place(v.span),
        };
        Ok(Elaborated {
            graph: Graph::new(),
            kind: self.kind,
            inputs: inputs.iter().map(|(name, t)| interface(name, t)).collect(),
            outputs: outputs.iter().map(|(name, t)| interface(name, t)).collect(),
            variables: self.variables.iter().map(variable).collect(),
            training,
            types: std::mem::take(&mut self.types),
        })
    }

    /// Refuses graphs of absurd size, before anybody allocates for them: of what is stored whatever passes do. What
    /// they store beside it is known, and checked, when the plan is made.
    fn check_bytes(&mut self, id: DefId) -> Eval<()> {
        let limit = self.options.limits.bytes;
        let (mut total, mut largest) = (0u64, (0u64, String::new()));
        self.builder.inspect(|g| {
            let stored: BTreeSet<NodeId> = g.inputs().chain(g.results()).collect();
            for id in stored {
                let node = &g[id];
                let bytes = node.ty.shape.bytes(node.ty.dtype) as u64;
                total = total.saturating_add(bytes);
                if bytes > largest.0 {
                    let place =
                        node.locations.first().map_or(String::new(), |l| format!(" at {l}"));
                    largest = (bytes, format!("{}{place} is {}", node.op.name, node.ty));
                }
            }
        });
        if total > limit {
            let message = format!(
                "inputs, weights, states and results take {total} bytes, the limit is {limit}"
            );
            let span = name_span(self.module.definition(id));
            let d = Diagnostic::new(Code::Limit, message).label(span, largest.1);
            return self.fail(d.help(format!("raise it: --limit bytes={total}")));
        }
        Ok(())
    }

    /// Evaluates the model; gives its named results, each a tensor or a list of them.
    fn model(
        &mut self,
        id: DefId,
        settings: &Settings<'a>,
        training: Option<&Training>,
    ) -> Eval<Vec<(String, Value<'b>)>> {
        let definition = self.module.definition(id);
        let d = &definition.node;
        let mut frame = Frame::root(id.file);
        frame.kind = Some(DefinitionKind::Model);
        self.frames.push(frame);
        let result = self.model_body(definition, settings, training);
        self.frames.pop();
        let value = result?;
        let exprs: &[Expr] = match &d.body {
            Body::Formula(expr) => std::slice::from_ref(expr),
            Body::Block(_) => self.returned.unwrap_or_default(),
        };
        let values = match value {
            Value::Tuple(values) => values.to_vec(),
            other => vec![other],
        };
        let mut results = Vec::new();
        for (at, value) in values.into_iter().enumerate() {
            let expr = exprs.get(at).or(exprs.first());
            let name = match expr.map(|e| &e.node) {
                Some(ExprKind::Name(name)) => name.clone(),
                Some(ExprKind::Pipe(stages)) => match stages.last() {
                    Some(Stage { label: Some(label), .. }) => label.node.clone(),
                    _ => format!("output{at}"),
                },
                _ => format!("output{at}"),
            };
            let is_tensor = |item: &Value<'_>| matches!(item, Value::Tensor(_));
            match value {
                Value::Tensor(_) => results.push((name, value)),
                Value::List(ref items) if items.iter().all(is_tensor) => {
                    results.push((name, value))
                }
                Value::Poison => return Err(Stop),
                other => {
                    let span = expr.map_or(d.name.span, |e| e.span);
                    let message = format!("a model returns tensors, not {}", other.kind());
                    return self.error(Code::Type, span, message, "");
                }
            }
        }
        Ok(results)
    }

    fn model_body(
        &mut self,
        definition: &'a crate::ast::Spanned<crate::ast::Definition>,
        settings: &Settings<'a>,
        training: Option<&Training>,
    ) -> Eval<Value<'b>> {
        let d = &definition.node;
        let inputs = d.params.last().map_or(&[][..], |inputs| inputs);
        self.bind_hyper(definition, settings)?;
        for param in inputs {
            let t = self.model_input(param, settings)?;
            if let Some(training) = training.filter(|_| self.kind != Kind::Inference) {
                self.check_field(&param.name, &t, training)?;
            }
            self.inputs.insert(param.name.node.clone(), t.clone());
            self.bind(&param.name.node, Value::Tensor(t));
        }
        self.run_body(definition)
    }

    /// Binds a model's hyper-parameters: those that are set, and the others' defaults.
    pub(super) fn bind_hyper(
        &mut self,
        definition: &'a crate::ast::Spanned<crate::ast::Definition>,
        settings: &Settings<'a>,
    ) -> Eval<()> {
        let d = &definition.node;
        let [hyper, _, ..] = d.params.as_slice() else { return Ok(()) };
        let mut given = Vec::new();
        for param in hyper {
            if let Some(expr) = settings.hyper.get(param.name.node.as_str()) {
                let value = self.expr(expr)?;
                given.push(Arg { name: Some(param.name.clone()), value, span: expr.span });
            }
        }
        self.bind_params(definition, hyper, given, d.name.span)
    }

    fn model_input(&mut self, param: &'a Param, settings: &Settings<'a>) -> Eval<Tensor<'b>> {
        let name = &param.name;
        let Some(ty) = &param.ty else {
            let d = Diagnostic::new(Code::Type, format!("the input `{}` needs a type", name.node))
                .label(name.span, "")
                .help(format!("{}: f32[N, C=3, H=224, W=224]", name.node));
            return self.fail(d);
        };
        let dtype = match ty.dtype.node.as_str() {
            "f32" => DType::F32,
            "i32" => DType::I32,
            other => {
                let message = format!("no element type `{other}` for an input");
                return self.error(Code::Type, ty.dtype.span, message, "f32 or i32");
            }
        };
        let (mut axes, mut dims): (Vec<Axis>, Vec<usize>) = (Vec::new(), Vec::new());
        for item in ty.axes.iter().flat_map(|b| &b.left) {
            let (axis, span) = match (&item.name, &item.value.node) {
                (Some(name), _) => (name.node.as_str(), name.span),
                (None, ExprKind::Name(name)) => (name.as_str(), item.value.span),
                _ => {
                    return self.error(
                        Code::Type,
                        item.value.span,
                        "expected an axis: N or C=3",
                        "",
                    );
                }
            };
            let size = match (settings.axes.get(axis), &item.name) {
                (Some((size, _)), _) => *size,
                (None, Some(_)) => {
                    let value = self.expr(&item.value)?;
                    self.size(&value, item.value.span)?
                }
                (None, None) => {
                    let d = Diagnostic::new(Code::Name, format!("the axis {axis} has no size"))
                        .label(span, "free")
                        .help(format!("bind it: --set {axis}=1"));
                    return self.fail(d);
                }
            };
            if axes.iter().any(|a| &**a == axis) {
                return self.error(Code::Name, span, format!("the axis {axis} occurs twice"), "");
            }
            axes.push(shared(axis));
            dims.push(size);
        }
        let shape = self.shape(&axes, &dims, name.span)?;
        self.locate(name.span);
        let var = self.builder.data(&name.node, dtype, &shape);
        let mut t = self.tensor(var, axes, name.span);
        t.origin = Origin { span: name.span, name: Some(name.span), input: Some("model") };
        Ok(t)
    }
}

/// Results as they leave the graph: those of a list are called by its name and their place in it.
fn tensors(results: Vec<(String, Value<'_>)>) -> Vec<(String, Tensor<'_>)> {
    let mut all = Vec::new();
    for (name, value) in results {
        match value {
            Value::Tensor(t) => all.push((name, t)),
            Value::List(items) => {
                let items: Vec<_> = items.iter().cloned().enumerate().collect();
                all.extend(tensors(
                    items.into_iter().map(|(i, v)| (format!("{name}.{i}"), v)).collect(),
                ));
            }
            _ => {}
        }
    }
    all
}

fn interface(name: &str, t: &Tensor<'_>) -> Interface {
    let axes = t.axes.iter().zip(t.shape.iter()).map(|(a, d)| (a.to_string(), *d)).collect();
    Interface { name: name.to_string(), dtype: t.dtype, axes }
}
