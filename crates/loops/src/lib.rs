//! The low IR: programs of buffers and loop-nest kernels, with text, verifier and interpreter.
//!
//! [`Program`] is the waist of Kiln: above it nobody knows machine code, below it nobody knows
//! operators, gradients or the language.

mod affine;
mod builder;
pub mod ir;

pub use builder::{Builder, operands};
pub use ir::*;
