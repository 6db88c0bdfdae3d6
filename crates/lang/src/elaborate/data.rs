//! What the trainer needs to know besides the graph, as plain data.

use kiln_tensor::DType;

use crate::span::Span;

/// A kind of data set: what it is called and what every example holds.
#[derive(Debug)]
pub struct DataKind {
    /// The function that names it in a train section.
    pub name: &'static str,
    /// Its fields, without the batch axis `N`.
    pub fields: &'static [Field],
}

/// One field of every example.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, which is that of a model's input.
    pub name: &'static str,
    /// Its element type.
    pub dtype: DType,
    /// Its axes after the batch axis.
    pub axes: &'static [(&'static str, usize)],
}

const fn image(axes: &'static [(&'static str, usize)]) -> Field {
    Field { name: "image", dtype: DType::F32, axes }
}

const LABEL: Field = Field { name: "label", dtype: DType::I32, axes: &[] };

/// Every kind of data set.
pub static DATA_KINDS: &[DataKind] = &[
    // A directory of four IDX files, plain or .gz: 28x28 grey images, values 0-255, labels 0-9.
    DataKind { name: "mnist", fields: &[image(&[("C", 1), ("H", 28), ("W", 28)]), LABEL] },
    // A CSV file of 8x8 grey images, values 0-16, and labels 0-9.
    DataKind { name: "digits", fields: &[image(&[("C", 1), ("H", 8), ("W", 8)]), LABEL] },
];

/// Where examples come from and what is done to them.
#[derive(Clone, Debug)]
pub struct DataSource {
    /// The kind of data set.
    pub kind: &'static DataKind,
    /// The path as the file has it.
    pub path: String,
    /// `train` or `test`.
    pub split: String,
    /// What is done to every example, in order.
    pub steps: Vec<DataStep>,
    /// Where the source names it.
    pub span: Span,
}

/// What is done to the examples of a data set.
#[derive(Clone, Debug, PartialEq)]
pub enum DataStep {
    /// A new order every epoch, a function of the seed and the epoch.
    Shuffle,
    /// Every value of the image times this.
    Scale(f64),
    /// From every value of the image its channel's mean is taken; the rest is divided by its deviation. One entry
    /// for all channels, or one a channel.
    Normalize {
        /// Means.
        mean: Vec<f64>,
        /// Standard deviations.
        std: Vec<f64>,
    },
}

/// How often to save: `every(1, "epoch", keep=3)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// After so many ...
    pub every: u64,
    /// ... of these.
    pub unit: CheckpointUnit,
    /// How many to keep.
    pub keep: u64,
}

/// What [`Checkpoint::every`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointUnit {
    /// Passes through the data.
    Epoch,
    /// Batches.
    Step,
}

/// The plain part of a train section.
#[derive(Clone, Debug)]
pub struct Training {
    /// The training set.
    pub data: DataSource,
    /// The validation set.
    pub validate: Option<DataSource>,
    /// Examples a step; binds the axis `N`.
    pub batch: usize,
    /// Passes through the training set.
    pub epochs: u64,
    /// Seed of initial weights, dropout and shuffling.
    pub seed: u32,
    /// Limit of the arena in bytes.
    pub memory: Option<u64>,
    /// When to save.
    pub checkpoint: Option<Checkpoint>,
}
