//! Data sets, batches, the training loop, weight files and metrics.
//!
//! This crate knows tensors and files, neither the language nor the compiler: what executes a step is a [`Trainer`]
//! somebody above implements, what shows the progress is a [`Progress`].
//!
//! The way of an example: [`DataSpec::load`] reads a [`Dataset`] (checked: sizes, values, labels), [`Batches`] shuffles
//! it anew every epoch and prepares batches ahead of the step, [`fit`] feeds them to the trainer. Weights go to
//! and come from safetensors files by [`save_weights`] and [`load_weights`].

mod batches;
mod checkpoint;
mod column;
mod data;
mod error;
mod fit;
mod memory;
mod progress;
mod random;
mod transform;
mod weights;

pub use batches::{Batch, Batches, Last};
pub use checkpoint::{Checkpoint, Unit};
pub use data::{DataSpec, DataStep, Dataset, Field, FieldType, Format, Split};
pub use error::Error;
pub use fit::{Options, Report, Trainer, fit};
pub use memory::{peak_rss_bytes, rss_bytes};
pub use progress::{EpochEnd, Progress, Scores, Silent, Status};
pub use weights::{
    Direction, Mismatch, Misshaped, Names, Stored, Weights, list_weights, load_weights,
    match_weights, rename_weights, save_weights,
};
