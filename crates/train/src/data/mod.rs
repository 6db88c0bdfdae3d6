//! Data sets: where one comes from, and its examples.
//!
//! A data set is a table: every example has the same named fields, such as `image` and `label`. A [`DataSpec`] says
//! where it comes from; loading checks whatever can be checked without the program. What the program wants of each
//! field, a [`FieldType`], is compared when [`Batches`](crate::Batches) are made.

mod cifar;
mod decode;
mod digits;
mod file;
mod idx;
mod images;
mod npy;
mod table;
mod text;
mod zip;

use std::fmt;
use std::path::{Path, PathBuf};

use kiln_tensor::DType;

use self::images::Files;
use self::text::Windows;
use crate::Error;
use crate::random::{Draws, Purpose, shuffled};
use crate::transform::Transform;

/// A data set and what is done to its examples, as a train section says it:
/// `mnist("data/mnist", split="train") |> shuffle() |> scale(1/255)`.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSpec {
    /// How its files are to be read.
    pub format: Format,
    /// Its file or directory, under no name; where there is a file for each field, those under the fields' names.
    pub files: Vec<(String, PathBuf)>,
    /// Which part of it, where it is not all.
    pub split: Option<Split>,
    /// What is done to every example, in order.
    pub steps: Vec<DataStep>,
}

/// How the files of a data set are to be read, and what fields its examples have.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// A directory of IDX files named as MNIST's, plain or .gz: `image` grey 28x28, values 0..=255; `label` 0..=9.
    Mnist,
    /// The UCI handwritten digits as CSV: `image` grey 8x8, values 0..=16; `label` 0..=9.
    Digits,
    /// IDX files, plain or .gz, each a field.
    Idx,
    /// The directory of CIFAR-10's binary version: `image` 3x32x32, values 0..=255; `label` 0..=9.
    Cifar10,
    /// The directory of CIFAR-100's binary version: `image` 3x32x32, values 0..=255; `label` 0..=99, the fine one.
    Cifar100,
    /// A folder with a folder of PNG and JPEG files for each class: `image`, values 0..=255; `label`, the number of the
    /// class among the sorted names.
    Images {
        /// Rows and columns of an image; what the program wants unless given.
        size: Option<[usize; 2]>,
    },
    /// NumPy's `.npy` files, each a field.
    Npy,
    /// NumPy's `.npz` archive, each member a field.
    Npz,
    /// A CSV file with a line of names: `x`, the numbers of a line but for those of ...
    Csv {
        /// ... this column, the `label`: whole numbers, or names, which are numbered in sorted order;
        label: Option<String>,
        /// ... this column, the `target`: numbers.
        target: Option<String>,
    },
    /// The bytes of a file: `token`, so many bytes of it, and `label`, for each the byte that follows.
    Text {
        /// The bytes of an example; what the program wants unless given.
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

/// What is done to the examples of a data set: to those fields of real numbers that the model takes.
#[derive(Clone, Debug, PartialEq)]
pub enum DataStep {
    /// A new order every epoch, a function of the seed and the epoch; where among the steps it stands is all one.
    Shuffle,
    /// Every value times this.
    Scale(f64),
    /// Every value less its channel's mean, divided by its channel's standard deviation; one entry for all channels
    /// or one a channel.
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
        /// Whether the window lies anywhere, another place for every example and epoch, or in the middle.
        random: bool,
    },
    /// Left and right change places, for a share of the examples that is another one every epoch.
    Flip {
        /// The share.
        probability: f64,
    },
}

/// What a program wants of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldType {
    /// Its name.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// Names and sizes of the axes, those of one example.
    pub axes: Vec<(String, usize)>,
    /// Whether the model takes it; otherwise it is for the loss and the metrics.
    pub input: bool,
    /// How many whole numbers from 0 up the program tells apart, where it does: classes, or rows of a table.
    pub classes: Option<usize>,
    /// Where the program declares it, for messages.
    pub place: String,
}

impl FieldType {
    /// The sizes of its axes.
    pub fn sizes(&self) -> Vec<usize> {
        self.axes.iter().map(|(_, size)| *size).collect()
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}[N", self.name, self.dtype)?;
        self.axes.iter().try_for_each(|(axis, size)| write!(f, ", {axis}={size}"))?;
        write!(f, "]")
    }
}

/// Examples.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    fields: Vec<Field>,
    /// Examples in every field.
    stored: u32,
    /// Those of them that belong to the data set, in order; all if it says nothing.
    rows: Option<Vec<u32>>,
}

/// A field: what each example has under its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    name: String,
    /// The shape of one example's part.
    shape: Vec<usize>,
    values: Values,
    /// The file it comes from.
    origin: PathBuf,
}

/// The values of a field, all examples one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    Bytes(Vec<u8>),
    F32(Vec<f32>),
    I32(Vec<i32>),
    Windows(Windows),
    Images(Files),
}

impl DataSpec {
    /// Reads the data set: what the program wants of it.
    ///
    /// # Errors
    /// If a file is missing, no regular file, truncated, longer than it declares, or has values out of range; the
    /// error names the file, what was expected and what was found.
    pub fn load(&self, wanted: &[FieldType]) -> Result<Dataset, Error> {
        let Some((_, path)) = self.files.first() else {
            return Err(Error::Setting("a data set without files".to_string()));
        };
        let part = self.split.unwrap_or(Split::Train);
        match &self.format {
            // Those that have splits of their own ...
            Format::Mnist => idx::mnist(path, part),
            Format::Cifar10 => cifar::load(&cifar::CIFAR10, path, part),
            Format::Cifar100 => cifar::load(&cifar::CIFAR100, path, part),
            Format::Text { length } => text::load(path, *length, self.split, wanted),
            // ... and those that are split at random.
            Format::Digits => digits::load(path)?.split(path, self.split),
            Format::Idx => idx::load(&self.files)?.split(path, self.split),
            Format::Images { size } => images::load(path, *size, wanted)?.split(path, self.split),
            Format::Npy => npy::load(&self.files)?.split(path, self.split),
            Format::Npz => npy::load_archive(path, wanted)?.split(path, self.split),
            Format::Csv { label, target } => {
                table::load(path, label.as_deref(), target.as_deref())?.split(path, self.split)
            }
        }
    }
}

/// One example in so many is for testing.
const TEST_SHARE: u32 = 5;
/// The seed of splits: a constant, so that accuracies of different runs compare.
const SPLIT_SEED: u32 = 0;

impl Dataset {
    /// A data set of these fields.
    ///
    /// # Errors
    /// If there are no examples, more than 2^32 - 1, or not as many in each field; if a field's values are no whole
    /// number of examples.
    pub fn new(fields: Vec<Field>) -> Result<Dataset, Error> {
        let wrong = |field: &Field, message| Err(Error::file(&field.origin, message));
        let mut stored = None;
        for field in &fields {
            let Some(count) = field.count() else {
                let (name, found) = (&field.name, field.values.len());
                let message =
                    format!("{found} values of `{name}` are no examples of {:?}", field.shape);
                return wrong(field, message);
            };
            match stored {
                None => stored = Some(count),
                Some(before) if before == count => {}
                Some(before) => {
                    let (first, name) = (&fields[0].name, &field.name);
                    return wrong(field, format!("{count} `{name}` for {before} `{first}`"));
                }
            }
        }
        match (stored, fields.first()) {
            (Some(count), Some(field)) => match u32::try_from(count) {
                Ok(stored) if stored > 0 => Ok(Dataset { fields, stored, rows: None }),
                _ => wrong(field, format!("a data set of {count} examples")),
            },
            _ => Err(Error::Setting("a data set without fields".to_string())),
        }
    }

    /// The number of examples, never 0.
    #[expect(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.rows.as_ref().map_or(self.stored as usize, Vec::len)
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Where the fields hold example `i`.
    pub(crate) fn row(&self, i: usize) -> usize {
        self.rows.as_ref().map_or(i, |rows| rows[i] as usize)
    }

    /// A part of a data set that comes undivided: the examples are put in a fixed random order, of which the last
    /// fifth is the test split and the rest the training split.
    fn split(mut self, path: &Path, split: Option<Split>) -> Result<Dataset, Error> {
        let Some(split) = split else { return Ok(self) };
        if self.stored < 2 {
            let message = "one example cannot be split into training and test examples";
            return Err(Error::file(path, message));
        }
        let mut order = shuffled(self.stored, SPLIT_SEED, Purpose::Split, 0);
        let test = order.split_off((self.stored - self.stored.div_ceil(TEST_SHARE)) as usize);
        self.rows = Some(if split == Split::Train { order } else { test });
        Ok(self)
    }
}

impl Field {
    /// A field of bytes: whole numbers or real ones, whichever the program wants.
    pub fn bytes(name: &str, shape: &[usize], values: Vec<u8>) -> Field {
        Field::new(name, shape, Values::Bytes(values))
    }

    /// A field of real numbers.
    pub fn reals(name: &str, shape: &[usize], values: Vec<f32>) -> Field {
        Field::new(name, shape, Values::F32(values))
    }

    /// A field of whole numbers.
    pub fn integers(name: &str, shape: &[usize], values: Vec<i32>) -> Field {
        Field::new(name, shape, Values::I32(values))
    }

    pub(crate) fn new(name: &str, shape: &[usize], values: Values) -> Field {
        let origin = PathBuf::from("a data set");
        Field { name: name.to_string(), shape: shape.to_vec(), values, origin }
    }

    /// With the file it comes from, for messages.
    pub(crate) fn with_origin(self, path: &Path) -> Field {
        Field { origin: path.to_path_buf(), ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape of one example's part.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(crate) fn origin(&self) -> &Path {
        &self.origin
    }

    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    /// The number of examples, if the values are a whole number of them.
    fn count(&self) -> Option<usize> {
        match &self.values {
            Values::Windows(windows) => return Some(windows.count()),
            Values::Images(files) => return Some(files.len()),
            _ => {}
        }
        let size = self.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
        let values = self.values.len();
        (size > 0 && values.is_multiple_of(size)).then(|| values / size)
    }

    /// What its values are; bytes count as whole numbers.
    pub(crate) fn dtype(&self) -> DType {
        match self.values {
            Values::Bytes(_) | Values::I32(_) | Values::Windows(_) => DType::I32,
            Values::F32(_) | Values::Images(_) => DType::F32,
        }
    }

    /// The real numbers of one example.
    ///
    /// # Errors
    /// If it lies in a file of its own that cannot be read.
    pub(crate) fn write_f32(
        &self,
        row: usize,
        t: &Transform,
        draws: Draws,
        to: &mut [f32],
    ) -> Result<(), Error> {
        let size: usize = self.shape.iter().product();
        match &self.values {
            Values::Bytes(v) => t.bytes(&v[row * size..][..size], draws, to),
            Values::F32(v) => t.floats(&v[row * size..][..size], draws, to),
            Values::I32(v) => t.integers(&v[row * size..][..size], draws, to),
            Values::Images(files) => t.bytes(&files.pixels(row)?, draws, to),
            Values::Windows(_) => unreachable!("windows are of whole numbers"),
        }
        Ok(())
    }

    /// The whole numbers of one example.
    pub(crate) fn write_i32(&self, row: usize, draws: Option<Draws>, to: &mut [i32]) {
        match &self.values {
            Values::Bytes(v) => {
                let from = &v[row * to.len()..];
                for (to, &from) in to.iter_mut().zip(from) {
                    *to = i32::from(from);
                }
            }
            Values::I32(v) => to.copy_from_slice(&v[row * to.len()..][..to.len()]),
            Values::Windows(windows) => windows.write(row, draws, to),
            Values::F32(_) | Values::Images(_) => unreachable!("real numbers are no whole ones"),
        }
    }
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Values::Bytes(v) => v.len(),
            Values::F32(v) => v.len(),
            Values::I32(v) => v.len(),
            Values::Windows(windows) => windows.count(),
            Values::Images(files) => files.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_checked() {
        let new = |pixels: usize, labels: usize| {
            let image = Field::bytes("image", &[1, 1, 2], vec![0; pixels]);
            let label = Field::integers("label", &[], vec![0; labels]);
            Dataset::new(vec![image, label]).map(|d| d.len()).map_err(|e| e.to_string())
        };
        assert_eq!(new(4, 2), Ok(2));
        assert_eq!(new(4, 3).unwrap_err(), "a data set: 3 `label` for 2 `image`");
        assert_eq!(
            new(5, 2).unwrap_err(),
            "a data set: 5 values of `image` are no examples of [1, 1, 2]"
        );
        assert_eq!(new(0, 0).unwrap_err(), "a data set: a data set of 0 examples");
    }

    #[test]
    fn missing_files_are_named() {
        for format in [
            Format::Mnist,
            Format::Digits,
            Format::Idx,
            Format::Cifar10,
            Format::Cifar100,
            Format::Images { size: None },
            Format::Npy,
            Format::Npz,
            Format::Csv { label: None, target: None },
            Format::Text { length: Some(1) },
        ] {
            let files = vec![("image".to_string(), PathBuf::from("nowhere/at/all"))];
            let spec = DataSpec { format, files, split: None, steps: vec![] };
            let error = spec.load(&[]).unwrap_err().to_string();
            assert!(error.starts_with("cannot read nowhere/at/all: "), "{error}");
        }
    }
}
