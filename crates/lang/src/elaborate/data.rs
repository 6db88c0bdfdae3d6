//! What the trainer needs to know besides the graph, as plain data.

use std::fmt;

use kiln_tensor::DType;

use crate::span::Span;

/// One field of every example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, which is that of a model's input.
    pub name: String,
    /// Its element type; whatever the program wants, if the data set leaves it open.
    pub dtype: Option<DType>,
    /// Its axes after the batch axis, with the sizes that are known; whatever the program wants, if all are left open.
    pub axes: Option<Vec<(String, Option<usize>)>>,
}

/// How the files of a data set are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// A directory of four IDX files, plain or .gz: grey images, values 0-255, labels 0-9.
    Mnist,
    /// A CSV file of 8x8 grey images, values 0-16, and labels 0-9.
    Digits,
    /// IDX files, each a field.
    Idx,
    /// The directory of CIFAR-10's binary version.
    Cifar10,
    /// The directory of CIFAR-100's binary version.
    Cifar100,
    /// A folder with a folder of PNG and JPEG files for each class.
    Images {
        /// Rows and columns; what the model takes unless given.
        size: Option<[usize; 2]>,
    },
    /// NumPy's `.npy` files, each a field.
    Npy,
    /// NumPy's `.npz` archive, each member a field.
    Npz,
    /// A table with a line of names.
    Csv {
        /// The column of classes.
        label: Option<String>,
        /// The column of numbers to be predicted.
        target: Option<String>,
    },
    /// The bytes of a file, in windows.
    Text {
        /// The bytes of an example; as many as the model takes unless given.
        length: Option<usize>,
    },
}

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To train on.
    Train,
    /// To test on.
    Test,
}

/// Where examples come from and what is done to them.
#[derive(Clone, Debug)]
pub struct DataSource {
    /// The function that the program calls for it.
    pub name: &'static str,
    /// How its files are read.
    pub format: Format,
    /// Its paths as the program has them: one under no name, or one for each field under the field's.
    pub files: Vec<(String, String)>,
    /// Which part of it; all unless given.
    pub split: Option<Split>,
    /// What every example holds, after the steps; nothing if only the files know.
    pub fields: Option<Vec<Field>>,
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
    /// Every real number that the model takes, times this.
    Scale(f64),
    /// Every real number that the model takes, less its channel's mean, divided by its channel's deviation. One entry
    /// for all channels, or one a channel.
    Normalize {
        /// Means.
        mean: Vec<f64>,
        /// Standard deviations.
        std: Vec<f64>,
    },
    /// Zeros all around every image, then a window of it.
    Crop {
        /// Rows and columns of the window; the image's unless given.
        size: Option<[usize; 2]>,
        /// So many zeros on each side.
        pad: usize,
        /// Whether the window lies anywhere or in the middle.
        random: bool,
    },
    /// Left and right change places, for this share of the examples.
    Flip {
        /// The share.
        probability: f64,
    },
}

impl DataSource {
    /// What is known of the field of this name.
    pub(super) fn field(&self, name: &str) -> Option<Field> {
        match &self.fields {
            Some(fields) => fields.iter().find(|field| field.name == name).cloned(),
            None => Some(Field::open(name)),
        }
    }

    /// The names of its fields, as far as they are known.
    pub(super) fn names(&self) -> Vec<&str> {
        self.fields.iter().flatten().map(|field| field.name.as_str()).collect()
    }
}

impl Field {
    /// A field with known axes; sizes may be left open.
    pub(super) fn known(name: &str, dtype: DType, axes: &[(&str, Option<usize>)]) -> Field {
        let axes = axes.iter().map(|(axis, size)| ((*axis).to_string(), *size)).collect();
        Field { name: name.to_string(), dtype: Some(dtype), axes: Some(axes) }
    }

    /// A field whose type is what the program wants it to be.
    pub(super) fn open(name: &str) -> Field {
        Field { name: name.to_string(), dtype: None, axes: None }
    }

    /// Whether it fits a type: element type, and axes without the batch axis.
    pub(super) fn fits(&self, dtype: DType, axes: &[(&str, usize)]) -> bool {
        self.dtype.is_none_or(|own| own == dtype)
            && self.axes.as_ref().is_none_or(|own| {
                own.len() == axes.len()
                    && own.iter().zip(axes).all(|((name, size), (axis, found))| {
                        name == axis && size.is_none_or(|size| size == *found)
                    })
            })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if let Some(dtype) = self.dtype {
            write!(f, ": {dtype}")?;
        }
        let Some(axes) = &self.axes else { return Ok(()) };
        f.write_str("[N")?;
        for (axis, size) in axes {
            match size {
                Some(size) => write!(f, ", {axis}={size}")?,
                None => write!(f, ", {axis}")?,
            }
        }
        f.write_str("]")
    }
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
