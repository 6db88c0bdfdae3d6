//! The low IR: programs of buffers and loop-nest kernels, with text, verifier and interpreter.
//!
//! [`Program`] is the waist of Kiln: above it nobody knows machine code, below it nobody knows
//! operators, gradients or the language.

mod affine;
mod builder;
pub mod interp;
pub mod ir;
mod lex;
mod parse;
mod race;
mod range;
mod scalar;
pub mod text;
mod types;
mod verify;

pub use builder::{Builder, operands};
pub use interp::{Interp, Memory, RunError, run};
pub use ir::*;
pub use parse::{ParseError, parse};
pub use verify::{ALIGNMENT, MAX_DEPTH, MAX_NAMES, VerifyError, verify};
