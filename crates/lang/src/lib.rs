//! The Kiln language: text to syntax tree to graph, diagnostics, formatter.
//!
//! ```
//! use kiln_lang::{Kind, Module, Options};
//! let text = "model double(x: f32[N]) { y = 2 * x return y }";
//! let module = Module::parse(text, "double.kiln")?;
//! let double = module.model(None)?.elaborate(Kind::Inference, &Options::default().bind("N", 4))?;
//! assert_eq!(double.outputs[0].axes, [("N".to_string(), 4)]);
//! # Ok::<(), kiln_lang::Diagnostics>(())
//! ```

pub mod ast;
mod diagnostic;
mod elaborate;
pub mod format;
pub mod lex;
pub mod library;
mod module;
pub mod parse;
pub mod print;
pub mod scan;
mod span;

pub use diagnostic::{Code, Diagnostic, Diagnostics};
pub use elaborate::data::{
    Checkpoint, CheckpointUnit, DataSource, DataStep, Field, Format, Split, Training,
};
pub use elaborate::{Elaborated, Interface, Kind, Limits, Model, Options, Variable};
pub use module::{Module, STD};
pub use span::{FileId, Source, Sources, Span};
