//! What can go wrong between a program and its results.

use kiln_loops::VerifyError;
use kiln_tensor::TensorError;

use crate::emit::contract::TableError;

/// Why a program was not compiled, or a session did not do what was asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program breaks a rule of the low IR.
    #[error(transparent)]
    Program(#[from] VerifyError),
    /// The plan has not been made.
    #[error("buffer `{0}` has no place in the arena: the program has not been planned")]
    Plan(String),
    /// No such number of threads.
    #[error("{0} threads: the number must lie between 1 and {max}", max = crate::executable::MAX_THREADS)]
    Threads(usize),
    /// A contraction is beyond what the micro-kernels take.
    #[error("kernel `{kernel}`: {source}")]
    Contraction {
        /// The kernel's name.
        kernel: String,
        /// What is too large.
        source: TableError,
    },
    /// Scratch memory exceeds the address space.
    #[error("kernel `{0}`: its scratch memory is too large")]
    Scratch(String),
    /// Cranelift does not know this processor.
    #[error("no code generator for this processor: {0}")]
    Processor(String),
    /// Cranelift refuses a kernel.
    #[error("kernel `{kernel}`: {message}")]
    Codegen {
        /// The kernel's name.
        kernel: String,
        /// What Cranelift says.
        message: String,
    },
    /// The machine code could not be linked or made executable.
    #[error("linking: {0}")]
    Link(String),
    /// Memory could not be had.
    #[error("out of memory: {bytes} bytes for {what}")]
    Memory {
        /// What for.
        what: &'static str,
        /// How much.
        bytes: usize,
    },
    /// A tensor could not be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Threads could not be started.
    #[error("starting threads: {0}")]
    Team(String),
    /// No buffer has this name.
    #[error("there is no buffer `{0}`")]
    Unknown(String),
    /// The buffer cannot be read or written from outside: constants are fixed, and the memory of
    /// temporaries is shared.
    #[error("buffer `{name}` is {role}")]
    Access {
        /// The buffer's name.
        name: String,
        /// What it is instead: `a constant`, `a temporary`.
        role: &'static str,
    },
    /// A value or a view has another type or shape than the buffer.
    #[error("buffer `{name}` is {expected}, not {found}")]
    Mismatch {
        /// The buffer's name.
        name: String,
        /// The buffer's type and shape.
        expected: String,
        /// The type and shape given or asked for.
        found: String,
    },
    /// A thread panicked in the middle of a run: the session's values are undefined, and it
    /// refuses further runs.
    #[error("a thread panicked during a run; the session's values are lost")]
    Panicked,
}
