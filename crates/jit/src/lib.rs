//! Programs to machine code by Cranelift, and the sessions that run it.
//!
//! [`Executable::compile`] turns a planned [`kiln_loops::Program`] into machine code: one function
//! for each distinct kernel, with calls of the precompiled micro-kernels of `kiln-kernels`. An
//! executable is immutable and shared; a [`Session`] holds the memory of one run after another and
//! runs the kernels on one thread or on a team of pinned ones.
//!
//! The safety argument of running generated code is [`kiln_loops::verify`], which every program
//! passes first, in release builds too: every access of a verified kernel lies within its buffer or
//! scratch memory, and threads do not meet in an element that one of them writes: iterations of a
//! kernel by that proof, kernels that run at the same time by [`kiln_loops::Conflicts`], which looks
//! at where the plan put their buffers. That these lie within the arena is verified as well.

#![allow(unsafe_code)] // machine code is called and its memory owned here; argued at each block
#![warn(clippy::undocumented_unsafe_blocks)]

mod arena;
mod code;
mod cost;
mod emit;
mod error;
mod executable;
mod session;
mod steps;
mod team;
mod wide;

pub use emit::contract::TableError;
pub use error::Error;
pub use executable::{BufferInfo, Executable, Options, Report, Role};
pub use kiln_kernels::{Isa, IsaError};
pub use session::{Key, Session};
pub use wide::has_wide_loops;
