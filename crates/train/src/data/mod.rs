//! Data sets in memory, and the plain description of where one comes from.

mod digits;
mod idx;

use std::path::PathBuf;
use std::str::FromStr;

use kiln_tensor::Shape;

use crate::Error;

/// A data set and what is done to its examples, as a train section says it:
/// `mnist("data/mnist", split="train") |> shuffle() |> scale(1/255)`.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSpec {
    /// The kind of data set.
    pub kind: Kind,
    /// Its file or directory.
    pub path: PathBuf,
    /// `train` or `test`.
    pub split: String,
    /// What is done to every example, in order.
    pub steps: Vec<DataStep>,
}

/// A kind of data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory of IDX files named as MNIST's, plain or .gz: grey 28x28 images, values 0..=255, ten classes.
    Mnist,
    /// The UCI handwritten digits as CSV: grey 8x8 images, values 0..=16, ten classes.
    Digits,
}

/// What is done to the examples of a data set.
#[derive(Clone, Debug, PartialEq)]
pub enum DataStep {
    /// A new order every epoch, a function of the seed and the epoch; where among the steps it stands is all one.
    Shuffle,
    /// Every value of the image times this.
    Scale(f64),
    /// Every value less its channel's mean, divided by its channel's standard deviation; one entry for all channels
    /// or one a channel.
    Normalize {
        /// Means.
        mean: Vec<f64>,
        /// Standard deviations.
        std: Vec<f64>,
    },
}

/// Images and their labels, in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    image: Shape,
    classes: usize,
    pixels: Vec<u8>,
    labels: Vec<i32>,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 2] = [Kind::Mnist, Kind::Digits];

    /// Its name in a train section.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Mnist => "mnist",
            Kind::Digits => "digits",
        }
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Kind, Error> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let known = Kind::ALL.map(Kind::name).join(" or ");
            Error::Setting(format!("unknown data set `{name}` ({known})"))
        })
    }
}

/// A split of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Split {
    Train,
    Test,
}

impl DataSpec {
    /// Reads the data set into memory.
    ///
    /// # Errors
    /// If the split is unknown, or a file is missing, truncated, longer than it declares, or has values out of range;
    /// the error names the file, what was expected and what was found.
    pub fn load(&self) -> Result<Dataset, Error> {
        let split = match self.split.as_str() {
            "train" => Split::Train,
            "test" => Split::Test,
            other => {
                let kind = self.kind.name();
                return Err(Error::Setting(format!(
                    "the data set `{kind}` has no split `{other}` (train or test)"
                )));
            }
        };
        match self.kind {
            Kind::Mnist => idx::load(&self.path, split),
            Kind::Digits => digits::load(&self.path, split),
        }
    }
}

impl Dataset {
    /// A data set of these images, one after the other, each of shape `image` (`[C, H, W]`), and their labels.
    ///
    /// # Errors
    /// If there are no examples, more than 2^32 - 1, not as many images as labels, or a label outside `0..classes`.
    pub fn new(
        image: Shape,
        classes: usize,
        pixels: Vec<u8>,
        labels: Vec<i32>,
    ) -> Result<Dataset, Error> {
        let wrong = |message| Err(Error::Setting(message));
        if image.rank() != 3 || image.elements() == 0 {
            return wrong(format!("images are of shape [C,H,W] with no size 0, got {image}"));
        }
        if labels.is_empty() || u32::try_from(labels.len()).is_err() {
            return wrong(format!("a data set of {} examples", labels.len()));
        }
        if labels.len().checked_mul(image.elements()) != Some(pixels.len()) {
            let (n, found) = (labels.len(), pixels.len());
            return wrong(format!("{n} labels need {n} images of {image}, got {found} values"));
        }
        let valid = |&label: &i32| usize::try_from(label).is_ok_and(|label| label < classes);
        if let Some(i) = labels.iter().position(|label| !valid(label)) {
            return wrong(format!("label {i} is {}, there are {classes} classes", labels[i]));
        }
        Ok(Dataset { image, classes, pixels, labels })
    }

    /// The number of examples, never 0.
    #[expect(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The shape of one image, `[C, H, W]`.
    pub fn image_shape(&self) -> &Shape {
        &self.image
    }

    /// The number of classes: labels are below it.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The values of image `i`, row-major `[C, H, W]`.
    ///
    /// # Panics
    /// If there is no such example.
    pub fn image(&self, i: usize) -> &[u8] {
        let size = self.image.elements();
        &self.pixels[i * size..][..size]
    }

    /// The label of image `i`.
    ///
    /// # Panics
    /// If there is no such example.
    pub fn label(&self, i: usize) -> i32 {
        self.labels[i]
    }

    /// The examples of these numbers.
    fn select(&self, order: &[u32]) -> Dataset {
        let mut pixels = Vec::with_capacity(order.len() * self.image.elements());
        let mut labels = Vec::with_capacity(order.len());
        for &i in order {
            pixels.extend_from_slice(self.image(i as usize));
            labels.push(self.label(i as usize));
        }
        Dataset { image: self.image.clone(), classes: self.classes, pixels, labels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kind: Kind, split: &str) -> DataSpec {
        DataSpec { kind, path: "nowhere/at/all".into(), split: split.into(), steps: vec![] }
    }

    #[test]
    fn unknown_kinds_splits_and_paths_are_named() {
        let error = "imagenet".parse::<Kind>().unwrap_err().to_string();
        assert_eq!(error, "unknown data set `imagenet` (mnist or digits)");
        let error = spec(Kind::Mnist, "dev").load().unwrap_err().to_string();
        assert_eq!(error, "the data set `mnist` has no split `dev` (train or test)");
        for kind in Kind::ALL {
            let error = spec(kind, "train").load().unwrap_err().to_string();
            assert!(error.starts_with("cannot read nowhere/at/all: "), "{error}");
        }
    }

    #[test]
    fn examples_are_checked() {
        let image = Shape::new([1, 1, 2]).unwrap();
        let new = |pixels: usize, labels: &[i32]| {
            Dataset::new(image.clone(), 3, vec![0; pixels], labels.to_vec())
                .map_err(|e| e.to_string())
        };
        assert_eq!(new(4, &[0, 2]).unwrap().len(), 2);
        assert_eq!(new(4, &[0, 3]).unwrap_err(), "label 1 is 3, there are 3 classes");
        assert_eq!(new(4, &[-1, 0]).unwrap_err(), "label 0 is -1, there are 3 classes");
        assert_eq!(new(5, &[0, 1]).unwrap_err(), "2 labels need 2 images of [1,1,2], got 5 values");
        assert_eq!(new(0, &[]).unwrap_err(), "a data set of 0 examples");
    }
}
