//! Kiln.

mod compile;
mod error;
mod network;
mod options;
mod report;
mod session;
mod training;

pub use compile::{Executable, Stages, compile, stages};
pub use error::{Error, Result};
pub use network::{Model, Network, Source, parse, parse_file};
pub use options::{Engine, Options};
pub use report::{Memory, Report, bytes};
pub use session::{Outputs, Session};
pub use training::{Training, initial_weights};

pub use kiln_graph::{Builder, Graph, Var};
pub use kiln_tensor::{DType, Data, Shape, Tensor};

/// The high IR: graphs, operators, the reference evaluator.
pub use kiln_graph as graph;
/// The language: syntax trees, diagnostics, the formatter.
pub use kiln_lang as lang;
/// The low IR: programs of loop nests, their text, verifier and interpreter.
pub use kiln_loops as loops;
/// The passes and the two pipelines.
pub use kiln_passes as passes;
/// Data sets, the training loop, weight files.
pub use kiln_train as train;
