//! What can go wrong, and whose fault it is.

use std::fmt;

use kiln_lang::Diagnostics;

/// The result of Kiln's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something failed.
#[derive(Clone, Debug)]
pub enum Error {
    /// The program in the Kiln language is wrong; the text shows where.
    Program(Box<Diagnostics>),
    /// What the caller gave does not fit: a file, an input, an option.
    Input(String),
    /// Kiln is at fault.
    Defect(String),
}

impl Error {
    /// A mistake of the caller's, in words that name the thing.
    pub fn input(message: impl fmt::Display) -> Error {
        Error::Input(message.to_string())
    }

    /// A mistake of ours.
    pub fn defect(message: impl fmt::Display) -> Error {
        Error::Defect(message.to_string())
    }

    /// Whether Kiln is at fault rather than what it was given.
    pub fn is_defect(&self) -> bool {
        matches!(self, Error::Defect(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Program(diagnostics) => diagnostics.fmt(f),
            Error::Input(message) => write!(f, "error: {message}"),
            Error::Defect(message) => {
                write!(f, "internal error: {message}\nThis is a defect of Kiln; please report it.")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<Diagnostics> for Error {
    fn from(diagnostics: Diagnostics) -> Error {
        Error::Program(Box::new(diagnostics))
    }
}

impl From<kiln_passes::PassError> for Error {
    fn from(error: kiln_passes::PassError) -> Error {
        if error.defect { Error::defect(error) } else { Error::input(error) }
    }
}

impl From<kiln_jit::Error> for Error {
    /// What the machine lacks is the caller's concern, everything else ours: programs come from our
    /// own passes.
    fn from(error: kiln_jit::Error) -> Error {
        use kiln_jit::Error as E;
        match error {
            E::Threads(_)
            | E::Processor(_)
            | E::Memory { .. }
            | E::Tensor(_)
            | E::Team(_)
            | E::Contraction { .. }
            | E::Scratch(_) => Error::input(error),
            _ => Error::defect(error),
        }
    }
}

impl From<kiln_train::Error> for Error {
    fn from(error: kiln_train::Error) -> Error {
        match error {
            // A trainer's error is our own, passed through the training loop.
            kiln_train::Error::Trainer(inner) => match inner.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(other) => Error::input(other),
            },
            other => Error::input(other),
        }
    }
}

impl From<kiln_tensor::NpyError> for Error {
    fn from(error: kiln_tensor::NpyError) -> Error {
        Error::input(error)
    }
}

impl From<kiln_tensor::TensorError> for Error {
    fn from(error: kiln_tensor::TensorError) -> Error {
        Error::input(error)
    }
}
