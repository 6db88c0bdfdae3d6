//! The Kiln language: text to syntax tree to graph, diagnostics, formatter.

pub mod ast;
pub mod diagnostic;
pub mod format;
pub mod lex;
pub mod parse;
pub mod print;
pub mod scan;
pub mod span;
mod suggest;

pub use diagnostic::{Code, Diagnostic, Diagnostics};
pub use span::{FileId, Source, Sources, Span};
