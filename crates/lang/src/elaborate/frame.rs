//! Frames: the calls in progress, each with its variables, axis parameters, loop turns and weight path.

use std::collections::{BTreeMap, HashMap};

use super::index::IndexForm;
use super::scan::Scan;
use super::value::{Axis, Value};
use super::{Elaborator, shared};
use crate::ast::{DefinitionKind, Ident};
use crate::span::{FileId, Span};

/// A call in progress, or the root.
pub(super) struct Frame<'a, 'b> {
    /// What is running; nothing for the root, where train sections are evaluated.
    pub kind: Option<DefinitionKind>,
    /// The file whose names are visible.
    pub file: FileId,
    /// Where it was called.
    pub call: Option<CallSite>,
    /// The path of its weights: `res.2.5`, empty for a model.
    pub path: String,
    /// Whether a `layer` above shares its weights among several applications.
    pub shared: bool,
    /// Loops around the current statement, outermost first.
    pub turns: Vec<Turn>,
    pub variables: HashMap<&'a str, Binding<'b>>,
    /// Values that the compiler puts there: `fan_in`, `epoch`.
    pub given: BTreeMap<&'static str, Value<'b>>,
    pub axes: BTreeMap<String, Axis>,
    /// At the root: what the train section sees, the model's results and `data`.
    pub results: HashMap<String, Value<'b>>,
    /// For each kind of unlabelled block, the places that apply it, in order.
    pub sites: BTreeMap<String, Vec<Span>>,
    /// The axes and sizes that `random()` without an argument fills and a `state` without a type has: those of the
    /// weight that is initialised or updated.
    pub fills: Option<(Vec<Axis>, Vec<usize>)>,
    /// The index form around the current expression.
    pub index: Option<IndexForm<'a, 'b>>,
    /// Scans around the current statement, outermost first.
    pub scans: Vec<Scan<'a, 'b>>,
}

/// A variable's value, and the weight or state it stands for.
#[derive(Clone)]
pub(super) struct Binding<'b> {
    pub value: Value<'b>,
    pub stands_for: Option<usize>,
}

/// Where a call stands, and how it looks with its arguments.
#[derive(Clone)]
pub(super) struct CallSite {
    pub span: Span,
    pub text: String,
}

/// The current turn of a loop.
#[derive(Clone)]
pub(super) struct Turn {
    pub variable: String,
    pub value: String,
    /// Its number, if weights are called by it; those of a scan are not.
    pub index: Option<usize>,
}

impl Frame<'_, '_> {
    /// The frame beneath all calls.
    pub fn root(file: FileId) -> Self {
        Frame {
            kind: None,
            file,
            call: None,
            path: String::new(),
            shared: false,
            turns: Vec::new(),
            variables: HashMap::new(),
            given: BTreeMap::new(),
            axes: BTreeMap::new(),
            results: HashMap::new(),
            sites: BTreeMap::new(),
            fills: None,
            index: None,
            scans: Vec::new(),
        }
    }
}

impl<'a, 'b> Elaborator<'a, 'b> {
    pub(super) fn bind(&mut self, name: &'a str, value: Value<'b>) {
        self.frame_mut().variables.insert(name, Binding { value, stands_for: None });
    }

    /// The path of a block that is applied at `span`: the label, or kind and ordinal, with the loop turns around.
    pub(super) fn component(&mut self, kind: &str, label: Option<&Ident>, span: Span) -> String {
        let frame = self.frame_mut();
        let mut name = match label {
            Some(label) => label.node.clone(),
            None => {
                let sites = frame.sites.entry(kind.to_string()).or_default();
                let ordinal = sites.iter().position(|s| *s == span).unwrap_or_else(|| {
                    sites.push(span);
                    sites.len() - 1
                });
                format!("{kind}{}", ordinal + 1)
            }
        };
        for index in frame.turns.iter().filter_map(|t| t.index) {
            name.push_str(&format!(".{index}"));
        }
        join(&frame.path, &name)
    }

    /// What an axis name means here: an axis parameter's axis, or itself.
    pub(super) fn axis_named(&self, name: &str) -> Axis {
        self.frame().axes.get(name).cloned().unwrap_or_else(|| shared(name))
    }
}

/// `path.name`, or `name` at the top.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}
