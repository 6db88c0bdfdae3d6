//! What a caller may decide.

use crate::ast::ExprKind;
use crate::parse::parse_expr;
use crate::span::FileId;

/// How to elaborate.
#[derive(Clone, Debug)]
pub struct Options {
    /// `key=value` pairs, values in the language: they bind a free axis (`N=8`), override a key of the train section
    /// (`epochs=1`, `optimizer=adam()`) or a hyper-parameter of the model (`depths=[2, 2]`).
    pub bindings: Vec<(String, String)>,
    /// Whether dropout drops in training; `false` lets it pass its input through.
    pub dropout: bool,
    /// Whether a training graph also outputs each gradient, named `grad.` and the weight's name.
    pub gradients: bool,
    /// Batches in an epoch, which schedules need; the trainer knows it from the data set's size.
    pub steps_per_epoch: u64,
    /// What guards the compiler.
    pub limits: Limits,
}

/// Limits that guard the compiler against programs that unroll without end or ask for absurd sizes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Statements executed.
    pub statements: u64,
    /// Nodes of the graph.
    pub nodes: usize,
    /// Bytes of what is stored: of inputs, weights, states and results when elaborating, of the whole arena when
    /// compiling.
    pub bytes: u64,
    /// Calls within calls.
    pub calls: usize,
}

impl Limits {
    /// The names of all limits.
    pub const NAMES: [&str; 4] = ["statements", "nodes", "bytes", "calls"];

    /// Calls can nest no deeper, whatever the limit: each takes its share of the stack.
    pub const MAX_CALLS: usize = 1024;

    /// Sets the limit of this name; the value is a number of the language, such as `2_000_000` or `128GiB`.
    ///
    /// # Errors
    /// If there is no such limit, or the value is no whole number of at least 1.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = match parse_expr(value, FileId(0)).map(|e| e.node) {
            Ok(ExprKind::Int(_, number)) => u64::try_from(number).ok().filter(|n| *n > 0),
            _ => None,
        };
        let Some(number) = number else {
            return Err(format!("`{value}` is no whole number of at least 1"));
        };
        let size = usize::try_from(number).unwrap_or(usize::MAX);
        match name {
            "statements" => self.statements = number,
            "nodes" => self.nodes = size,
            "bytes" => self.bytes = number,
            "calls" if size > Limits::MAX_CALLS => {
                return Err(format!("calls nest at most {} deep", Limits::MAX_CALLS));
            }
            "calls" => self.calls = size,
            _ => {
                return Err(format!(
                    "there is no limit `{name}`, only {}",
                    Limits::NAMES.join(", ")
                ));
            }
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            bindings: Vec::new(),
            dropout: true,
            gradients: false,
            steps_per_epoch: 1,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { statements: 1_000_000, nodes: 1_000_000, bytes: 64 << 30, calls: 128 }
    }
}

impl Options {
    /// These and one more binding; later ones win.
    #[must_use]
    pub fn bind(mut self, key: &str, value: impl ToString) -> Options {
        self.bindings.push((key.to_string(), value.to_string()));
        self
    }
}
