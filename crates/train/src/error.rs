//! What can go wrong, each with the file, tensor or number it is about.

use std::io;
use std::path::{Path, PathBuf};

use kiln_tensor::TensorError;

use crate::weights::Mismatch;

/// Why data, weights or training fail.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file cannot be written; what was there before is untouched.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {message}", .path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What is expected, what is found, and where.
        message: String,
    },
    /// A data set, batch size or other setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// Weights are not those of the model.
    #[error(transparent)]
    Weights(#[from] Mismatch),
    /// A tensor is too large for the memory.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The training diverged: its loss is no number any more.
    #[error("the loss became NaN in epoch {epoch}, step {step}; lower the learning rate")]
    Diverged {
        /// The epoch, counted from 1.
        epoch: u64,
        /// The step within the epoch, counted from 1.
        step: usize,
    },
    /// The trainer failed.
    #[error(transparent)]
    Trainer(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        |source| Error::Read { path, source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        |source| Error::Write { path, source }
    }

    pub(crate) fn file(path: &Path, message: impl Into<String>) -> Error {
        Error::File { path: path.to_path_buf(), message: message.into() }
    }
}
