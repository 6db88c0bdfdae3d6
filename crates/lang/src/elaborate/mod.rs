//! Elaboration: a syntax tree becomes a graph. All that is known before data arrives is computed here; tensors are
//! graph values with named axes. One file a concern:
//!
//! | file | |
//! |---|---|
//! | `value` | what the language computes with |
//! | `frame` | calls in progress: variables, axis parameters, the path of weights |
//! | `statement`, `expr` | walking over the tree |
//! | `index`, `scan` | the index form; recurrences |
//! | `call` | applying blocks, ops and builtins |
//! | `operator`, `axes` | arithmetic and broadcasting by name |
//! | `variable` | `param`, `state`, `<-` |
//! | `builtin` | the functions that are not written in the language |
//! | `network` | whole graphs |
//! | `settings`, `train`, `accumulate`, `data` | keys of a train section, its graph, updates after several batches, its data sets |

mod accumulate;
mod axes;
mod builtin;
mod call;
pub(crate) mod data;
mod expr;
mod frame;
mod index;
mod network;
mod operator;
mod options;
mod scan;
mod settings;
mod statement;
mod train;
mod value;
mod variable;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use kiln_graph::{Builder, Location, Var};
use kiln_tensor::DType;

use crate::ast::Expr;
use crate::diagnostic::{Code, Diagnostic};
use crate::module::Module;
use crate::span::{FileId, Sources, Span};
use frame::Frame;
pub use network::{Elaborated, Interface, Kind, Model, Variable};
pub use options::{Limits, Options};
use value::{Tensor, Value};

/// At most this many messages are given for one program.
const MAX_MESSAGES: usize = 20;

/// Evaluation stopped; the reason is among the messages.
#[derive(Debug)]
struct Stop;

type Eval<T> = Result<T, Stop>;

/// The state of one elaboration.
struct Elaborator<'a, 'b> {
    module: &'a Module,
    /// The module's, and the texts of command-line settings.
    sources: Sources,
    builder: &'b Builder,
    options: &'a Options,
    kind: Kind,
    frames: Vec<Frame<'a, 'b>>,
    variables: Vec<variable::Declared<'b>>,
    variable_index: BTreeMap<String, usize>,
    /// Inputs that the caller provides, by name.
    inputs: BTreeMap<String, Tensor<'b>>,
    /// How often a path has drawn random numbers.
    draws: BTreeMap<String, u32>,
    /// Gives a `param` without an initialiser its start.
    default_init: Value<'b>,
    seed: u32,
    /// Examples a step.
    batch: usize,
    /// The number of the training step, i32; 0 outside training.
    step: Option<Tensor<'b>>,
    /// The weight whose optimizer is running.
    optimized: Option<usize>,
    /// What the last `return` returned, as written.
    returned: Option<&'a [Expr]>,
    statements: u64,
    errors: Vec<Diagnostic>,
    reported: BTreeSet<(Code, String, Option<Span>)>,
    /// A limit was hit: nothing more is evaluated.
    aborted: bool,
    /// Types of the variables of the root file, for `kiln check --shapes`.
    types: Vec<(Span, String)>,
    /// Numbers that are nodes already, by element type and bits.
    scalars: HashMap<(DType, u64), Var<'b>>,
    locations: HashMap<Span, Arc<[Location]>>,
    file_names: HashMap<FileId, Arc<str>>,
}

impl<'a, 'b> Elaborator<'a, 'b> {
    fn new(
        module: &'a Module,
        sources: Sources,
        builder: &'b Builder,
        options: &'a Options,
        kind: Kind,
    ) -> Elaborator<'a, 'b> {
        Elaborator {
            module,
            sources,
            builder,
            options,
            kind,
            frames: vec![Frame::root(module.root())],
            variables: Vec::new(),
            variable_index: BTreeMap::new(),
            inputs: BTreeMap::new(),
            draws: BTreeMap::new(),
            default_init: Value::Poison,
            seed: 0,
            batch: 1,
            step: None,
            optimized: None,
            returned: None,
            statements: 0,
            errors: Vec::new(),
            reported: BTreeSet::new(),
            aborted: false,
            types: Vec::new(),
            scalars: HashMap::new(),
            locations: HashMap::new(),
            file_names: HashMap::new(),
        }
    }

    /// Reports a mistake and stops what led to it.
    fn fail<T>(&mut self, d: Diagnostic) -> Eval<T> {
        self.report(d);
        Err(Stop)
    }

    /// Reports a mistake, with the path of calls that led to it.
    fn report(&mut self, mut d: Diagnostic) {
        self.show_users_place(&mut d);
        let key = (d.code, d.message.clone(), d.labels.first().map(|l| l.0));
        if self.reported.insert(key) {
            for at in (1..self.frames.len()).rev() {
                if let Some(note) = self.call_note(at) {
                    d.notes.push(note);
                }
            }
            // A recursion would give hundreds of them.
            if d.notes.len() > 8 {
                let skipped = d.notes.len() - 8;
                d.notes.splice(4..4 + skipped, [format!("... {skipped} more calls ...")]);
            }
            self.aborted |= d.code == Code::Limit || self.errors.len() + 1 >= MAX_MESSAGES;
            self.errors.push(d);
        }
    }

    /// A mistake found inside the library is shown where the user's file calls it.
    fn show_users_place(&self, d: &mut Diagnostic) {
        let Some((first, text)) = d.labels.first().cloned() else { return };
        if !self.module.is_std(first.file) {
            return;
        }
        let calls = self.frames.iter().rev().filter_map(|f| f.call.as_ref());
        if let Some(call) = calls.map(|c| c.span).find(|s| !self.module.is_std(s.file)) {
            d.labels[0].1 = "in the library".to_string();
            d.labels.insert(0, (call, text));
        }
    }

    /// `in bottleneck(128, stride=2), called at resnet.kiln:20, stage=1, i=0`.
    fn call_note(&self, at: usize) -> Option<String> {
        let frame = &self.frames[at];
        let site = frame.call.as_ref()?;
        let turns: String = self.frames[at - 1]
            .turns
            .iter()
            .map(|t| format!(", {}={}", t.variable, t.value))
            .collect();
        Some(format!("in {}, called at {}{turns}", site.text, self.sources.line_place(site.span)))
    }

    fn error<T>(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Eval<T> {
        self.fail(Diagnostic::new(code, message).label(span, label))
    }

    /// Reports what the graph refused. The checks of the language come first, so this is rare.
    fn take_graph_error(&mut self, span: Span) -> Eval<()> {
        match self.builder.take_error() {
            Some(error) => self.error(Code::Shape, span, error.to_string(), "here"),
            None => Ok(()),
        }
    }

    /// New nodes come from `span`, or, inside the standard library, from the place that called it.
    fn locate(&mut self, span: Span) {
        let mut place = span;
        for frame in self.frames.iter().rev() {
            if !self.module.is_std(place.file) {
                break;
            }
            if let Some(call) = &frame.call {
                place = call.span;
            }
        }
        let locations = match self.locations.get(&place) {
            Some(known) => known.clone(),
            None => {
                let source = self.sources.get(place.file);
                let (line, column) = source.line_column(place.start);
                let file = self
                    .file_names
                    .entry(place.file)
                    .or_insert_with(|| source.name().into())
                    .clone();
                let locations: Arc<[Location]> =
                    Arc::new([Location { file, line: line as u32, column: column as u32 }]);
                self.locations.insert(place, locations.clone());
                locations
            }
        };
        self.builder.locate(locations);
    }

    fn frame(&self) -> &Frame<'a, 'b> {
        self.frames.last().unwrap_or_else(|| unreachable!("the root frame is never popped"))
    }

    fn frame_mut(&mut self) -> &mut Frame<'a, 'b> {
        self.frames.last_mut().unwrap_or_else(|| unreachable!("the root frame is never popped"))
    }

    /// The messages, and the sources they speak of.
    fn finish(self) -> (Vec<Diagnostic>, Sources) {
        (self.errors, self.sources)
    }
}

/// A text shared by values.
fn shared(text: &str) -> Rc<str> {
    Rc::from(text)
}
