//! The keys of a train section and what the command line sets, before any graph is made.

use std::collections::BTreeMap;

use super::data::{DataSource, Training};
use super::frame::Frame;
use super::options::Options;
use super::value::Value;
use super::{Elaborator, Eval, Kind};
use kiln_graph::nearest;

use crate::ast::{Expr, ExprKind, Ident, Param};
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::module::DefId;
use crate::parse::parse_expr;
use crate::span::{Sources, Span};

/// The keys of a train section.
const KEYS: [&str; 13] = [
    "data",
    "validate",
    "loss",
    "metrics",
    "init",
    "optimizer",
    "clip_norm",
    "accumulate",
    "batch",
    "epochs",
    "seed",
    "memory",
    "checkpoint",
];

/// Keys that `--set` may give a model without a train section.
const FREE_KEYS: [&str; 3] = ["init", "batch", "seed"];

/// A `key=value` of the command line, parsed.
pub(super) struct Binding {
    key: Ident,
    value: Expr,
}

impl Binding {
    /// Parses the values; each becomes a source of its own, so that messages can point into it.
    pub fn parse(options: &Options, sources: &mut Sources) -> Result<Vec<Binding>, Diagnostics> {
        let mut bindings = Vec::new();
        let mut errors = Vec::new();
        for (key, text) in &options.bindings {
            let file = sources.add(&format!("--set {key}"), text);
            let span = Span { file, start: 0, end: text.len() as u32 };
            match parse_expr(text, file) {
                Ok(value) => {
                    bindings.push(Binding { key: Ident { node: key.clone(), span }, value })
                }
                Err(list) => errors.extend(list),
            }
        }
        if errors.is_empty() {
            Ok(bindings)
        } else {
            Err(Diagnostics::new(errors, sources.clone()))
        }
    }
}

/// The keys of a train section with the command line's over them, and what else the command line binds.
pub(super) struct Settings<'a> {
    pub keys: BTreeMap<&'a str, &'a Expr>,
    /// Hyper-parameters of the model.
    pub hyper: BTreeMap<&'a str, &'a Expr>,
    /// Sizes of axes of the model's inputs.
    pub axes: BTreeMap<&'a str, (usize, Span)>,
    /// Where the train section stands, if there is one.
    pub section: Option<Span>,
}

impl Settings<'_> {
    /// Whether the model has a train section.
    pub fn is_trained(&self) -> bool {
        self.section.is_some()
    }
}

/// The size that a model's inputs give an axis.
fn own_size<'a>(inputs: &'a [Param], axis: &str) -> Option<&'a Expr> {
    let types = inputs.iter().filter_map(|p| p.ty.as_ref()?.axes.as_ref());
    let mut items = types.flat_map(|b| &b.left);
    items.find_map(|item| match &item.name {
        Some(name) if name.node == axis => Some(&item.value),
        _ => None,
    })
}

impl<'a, 'b> Elaborator<'a, 'b> {
    /// Sorts keys and bindings, and checks that each means something.
    pub(super) fn settings(&mut self, id: DefId, bindings: &'a [Binding]) -> Eval<Settings<'a>> {
        let model = &self.module.definition(id).node;
        let section = self.module.train(&model.name.node);
        let mut settings = Settings {
            keys: BTreeMap::new(),
            hyper: BTreeMap::new(),
            axes: BTreeMap::new(),
            section: section.map(|s| s.span),
        };
        for (key, value) in section.iter().flat_map(|s| &s.node.settings) {
            if !KEYS.contains(&key.node.as_str()) {
                let mut d = Diagnostic::new(
                    Code::Name,
                    format!("a train section has no key `{}`", key.node),
                )
                .label(key.span, "");
                d = match nearest(&key.node, KEYS) {
                    Some(near) => d.help(format!("did you mean `{near}`?")),
                    None => d.help(format!("the keys are {}", KEYS.join(", "))),
                };
                self.report(d);
            } else if let Some(first) = settings.keys.insert(&key.node, value) {
                let d =
                    Diagnostic::new(Code::Name, format!("the key `{}` is given twice", key.node))
                        .label(key.span, "the second time")
                        .label(first.span, "the first time");
                self.report(d);
            }
        }
        let (hyper, inputs): (&'a [Param], &'a [Param]) = match model.params.as_slice() {
            [inputs] => (&[], inputs),
            [hyper, inputs, ..] => (hyper, inputs),
            [] => (&[], &[]),
        };
        let axes: Vec<&'a str> = inputs
            .iter()
            .filter_map(|p| p.ty.as_ref()?.axes.as_ref())
            .flat_map(|b| &b.left)
            .filter_map(|item| match (&item.name, &item.value.node) {
                (Some(name), _) => Some(name.node.as_str()),
                (None, ExprKind::Name(name)) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        let keys: &[&str] = if section.is_some() { &KEYS } else { &FREE_KEYS };
        for binding in bindings {
            let key = binding.key.node.as_str();
            let parameter = hyper.iter().find(|p| p.name.node == key);
            if let Some(known) = keys.iter().find(|k| **k == key) {
                settings.keys.insert(known, &binding.value);
            } else if let Some(parameter) = parameter {
                settings.hyper.insert(&parameter.name.node, &binding.value);
            } else if let Some(axis) = axes.iter().find(|a| **a == key) {
                let value = self.expr(&binding.value)?;
                let size = self.size(&value, binding.value.span)?;
                settings.axes.insert(axis, (size, binding.value.span));
            } else {
                let mut d = Diagnostic::new(
                    Code::Name,
                    format!("nothing is called `{key}` that could be set"),
                )
                .label(binding.key.span, "");
                let names = keys.iter().copied().chain(hyper.iter().map(|p| p.name.node.as_str()));
                let names: Vec<&str> = names.chain(axes.iter().copied()).collect();
                d = match nearest(key, names.iter().copied()) {
                    Some(near) => d.help(format!("did you mean `{near}`?")),
                    None => d.help(format!("it can be one of {}", names.join(", "))),
                };
                self.report(d);
            }
        }
        // A batch is as many examples as N says, where both could be given.
        if let (Some(batch), false) = (settings.keys.get("batch"), settings.axes.contains_key("N"))
            && self.kind != Kind::Inference
            && axes.contains(&"N")
        {
            let value = self.expr(batch)?;
            let size = self.size(&value, batch.span)?;
            settings.axes.insert("N", (size, batch.span));
        }
        if self.kind != Kind::Inference && axes.contains(&"N") && !settings.axes.contains_key("N") {
            let size = match own_size(inputs, "N") {
                Some(expr) => {
                    let size = self.own_size(id, &settings, expr)?;
                    (size, expr.span)
                }
                None => (1, model.name.span),
            };
            settings.axes.insert("N", size);
        }
        Ok(settings)
    }

    /// The size that the model's signature gives an axis, which may depend on its hyper-parameters.
    fn own_size(&mut self, id: DefId, settings: &Settings<'a>, expr: &'a Expr) -> Eval<usize> {
        let definition = self.module.definition(id);
        self.frames.push(Frame::root(id.file));
        let size = self.bind_hyper(definition, settings).and_then(|()| {
            let value = self.expr(expr)?;
            self.size(&value, expr.span)
        });
        self.frames.pop();
        size
    }

    /// The part of a train section that the trainer needs; nothing without a section or its `data`.
    pub(super) fn plain(&mut self, settings: &Settings<'a>) -> Eval<Option<Training>> {
        let Some(data) = self.data_source(settings, "data")? else { return Ok(None) };
        let validate = self.data_source(settings, "validate")?;
        let batch = settings.axes.get("N").map_or(1, |(size, _)| *size);
        let epochs = self.whole_setting(settings, "epochs", 1)?.unwrap_or(1);
        let seed = self.seed_setting(settings)?;
        let memory = self.whole_setting(settings, "memory", 1)?;
        let checkpoint = match settings.keys.get("checkpoint") {
            None => None,
            Some(expr) => match self.expr(expr)? {
                Value::Checkpoint(rule) => Some(rule),
                other => {
                    let message = format!("`checkpoint` is a rule, not {}", other.kind());
                    return self.error(
                        Code::Type,
                        expr.span,
                        message,
                        "for example every(1, \"epoch\", keep=3)",
                    );
                }
            },
        };
        Ok(Some(Training { data, validate, batch, epochs, seed, memory, checkpoint }))
    }

    fn data_source(&mut self, settings: &Settings<'a>, key: &str) -> Eval<Option<DataSource>> {
        let Some(expr) = settings.keys.get(key) else { return Ok(None) };
        match self.expr(expr)? {
            Value::Data(source) => Ok(Some((*source).clone())),
            other => {
                let message = format!("`{key}` is a data set, not {}", other.kind());
                self.error(
                    Code::Type,
                    expr.span,
                    message,
                    "for example mnist(\"data/mnist\", split=\"train\")",
                )
            }
        }
    }

    pub(super) fn whole_setting(
        &mut self,
        settings: &Settings<'a>,
        key: &str,
        least: u64,
    ) -> Eval<Option<u64>> {
        let Some(expr) = settings.keys.get(key) else { return Ok(None) };
        match self.expr(expr)? {
            Value::Int(x) if u64::try_from(x).is_ok_and(|x| x >= least) => Ok(Some(x as u64)),
            other => {
                let message = format!(
                    "`{key}` must be a whole number of at least {least}, not {}",
                    other.text()
                );
                self.error(Code::Value, expr.span, message, "")
            }
        }
    }

    pub(super) fn seed_setting(&mut self, settings: &Settings<'a>) -> Eval<u32> {
        let seed = self.whole_setting(settings, "seed", 0)?.unwrap_or(0);
        match u32::try_from(seed) {
            Ok(seed) => Ok(seed),
            Err(_) => {
                let span = settings.keys.get("seed").map_or(Span::default(), |e| e.span);
                self.error(Code::Value, span, format!("`seed` must be below 2^32, not {seed}"), "")
            }
        }
    }
}
