//! Batches: examples in the epoch's order, as tensors of a fixed size.

use kiln_tensor::{DType, Data, DataMut, Shape, Tensor, TensorError};

use crate::random::{Purpose, shuffled};
use crate::{DataStep, Dataset, Error};

/// What becomes of the examples left over when the batch size does not divide their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// They are left out, for training: every step counts the same. With shuffling others are left out each epoch.
    Drop,
    /// They make a last batch with fewer valid rows, for validation: every example counts once.
    Pad,
}

impl Last {
    /// The number of batches of `batch` examples that `examples` make.
    ///
    /// # Panics
    /// If `batch` is 0.
    pub fn batches(self, examples: usize, batch: usize) -> usize {
        match self {
            Last::Drop => examples / batch,
            Last::Pad => examples.div_ceil(batch),
        }
    }
}

/// Some examples as tensors.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// `f32[N, C, H, W]`.
    pub image: &'a Tensor,
    /// `i32[N]`.
    pub label: &'a Tensor,
    /// The first so many of the N rows are examples, at least 1; the rest repeat the first row and must not count.
    pub rows: usize,
}

impl Batch<'_> {
    /// Whether every row is an example.
    pub fn is_full(&self) -> bool {
        self.rows == self.label.shape()[0]
    }

    /// Image and label of the valid rows alone: `f32[rows, C, H, W]` and `i32[rows]`.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn trimmed(&self) -> Result<(Tensor, Tensor), TensorError> {
        let trim = |tensor: &Tensor| {
            let mut dims = tensor.shape().to_vec();
            dims[0] = self.rows;
            let shape = Shape::new(dims)?;
            let n = shape.elements();
            let data = match tensor.data() {
                Data::F32(v) => Data::F32(v[..n].to_vec()),
                Data::I32(v) => Data::I32(v[..n].to_vec()),
                Data::Bool(v) => Data::Bool(v[..n].to_vec()),
            };
            Tensor::new(shape, data)
        };
        Ok((trim(self.image)?, trim(self.label)?))
    }
}

/// A data set cut into batches, epoch after epoch.
///
/// The order of an epoch is a function of seed and epoch alone. Pixels are bytes, so what the steps of the pipeline do
/// to a value is computed once for each of the 256 values of each channel, in `f64`, and rounded once.
#[derive(Debug)]
pub struct Batches {
    data: Dataset,
    seed: u32,
    shuffle: bool,
    last: Last,
    /// For each channel, what each pixel value becomes.
    tables: Vec<[f32; 256]>,
    order: Vec<u32>,
    next: usize,
    image: Tensor,
    label: Tensor,
}

impl Batches {
    /// Batches of `batch` examples, at the start of epoch 0.
    ///
    /// # Errors
    /// If `batch` is 0, or more than there are examples where the last are dropped; if a step is senseless (a scale or
    /// mean that is not finite, a deviation of 0, a wrong number of channels); if the memory cannot be had.
    pub fn new(
        data: Dataset,
        steps: &[DataStep],
        batch: usize,
        seed: u32,
        last: Last,
    ) -> Result<Batches, Error> {
        if batch == 0 {
            return Err(Error::Setting("a batch of 0 examples".to_string()));
        }
        if last.batches(data.len(), batch) == 0 {
            let examples = data.len();
            return Err(Error::Setting(format!(
                "a batch of {batch} examples is more than the {examples} there are"
            )));
        }
        let mut dims = vec![batch];
        dims.extend_from_slice(data.image_shape());
        let image = Tensor::zeros(Shape::new(dims).map_err(TensorError::from)?, DType::F32)?;
        let label = Tensor::zeros(Shape::new([batch]).map_err(TensorError::from)?, DType::I32)?;
        let tables = tables(steps, data.image_shape()[0])?;
        let shuffle = steps.contains(&DataStep::Shuffle);
        let mut batches =
            Batches { data, seed, shuffle, last, tables, order: vec![], next: 0, image, label };
        batches.start(0);
        Ok(batches)
    }

    /// The examples the batches are of.
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// Examples in a batch.
    pub fn batch(&self) -> usize {
        self.label.shape()[0]
    }

    /// Batches in an epoch, at least 1.
    pub fn per_epoch(&self) -> usize {
        self.last.batches(self.data.len(), self.batch())
    }

    /// Examples in an epoch: without those that are dropped.
    pub fn examples_per_epoch(&self) -> usize {
        self.data.len().min(self.per_epoch().saturating_mul(self.batch()))
    }

    /// Goes to the start of an epoch, and to its order if the pipeline shuffles.
    pub fn start(&mut self, epoch: u64) {
        let count = u32::try_from(self.data.len()).expect("checked by the data set");
        if self.shuffle {
            self.order = shuffled(count, self.seed, Purpose::Epoch, epoch);
        } else if self.order.is_empty() {
            self.order = (0..count).collect();
        }
        self.next = 0;
    }

    /// The next batch; `None` at the end of the epoch. It is assembled in place of the previous one.
    pub fn next_batch(&mut self) -> Option<Batch<'_>> {
        if self.next == self.per_epoch() {
            return None;
        }
        let batch = self.batch();
        let rows = &self.order[self.next * batch..];
        let rows = &rows[..batch.min(rows.len())];
        self.next += 1;

        let (DataMut::F32(image), DataMut::I32(label)) =
            (self.image.data_mut(), self.label.data_mut())
        else {
            unreachable!("made as f32 and i32");
        };
        let size = self.data.image_shape().elements();
        let channel = size / self.tables.len();
        for (to, &i) in image.chunks_exact_mut(size).zip(rows) {
            let from = self.data.image(i as usize).chunks_exact(channel);
            for ((to, from), table) in to.chunks_exact_mut(channel).zip(from).zip(&self.tables) {
                for (to, &from) in to.iter_mut().zip(from) {
                    *to = table[usize::from(from)];
                }
            }
        }
        for (to, &i) in label.iter_mut().zip(rows) {
            *to = self.data.label(i as usize);
        }
        for row in rows.len()..batch {
            image.copy_within(..size, row * size);
            label[row] = label[0];
        }
        Some(Batch { image: &self.image, label: &self.label, rows: rows.len() })
    }
}

/// What the steps make of every pixel value, for each channel.
fn tables(steps: &[DataStep], channels: usize) -> Result<Vec<[f32; 256]>, Error> {
    let mut values: Vec<[f64; 256]> = vec![std::array::from_fn(|i| i as f64); channels];
    for step in steps {
        match step {
            DataStep::Shuffle => {}
            DataStep::Scale(factor) => {
                if !factor.is_finite() {
                    return Err(Error::Setting(format!("a scale of {factor}")));
                }
                values.iter_mut().flatten().for_each(|value| *value *= factor);
            }
            DataStep::Normalize { mean, std } => {
                for (name, list) in [("means", mean), ("deviations", std)] {
                    if list.len() != 1 && list.len() != channels {
                        let found = list.len();
                        return Err(Error::Setting(format!(
                            "normalize has {found} {name} for images of {channels} channels"
                        )));
                    }
                }
                for (channel, values) in values.iter_mut().enumerate() {
                    let of = |list: &[f64]| list[if list.len() == 1 { 0 } else { channel }];
                    let (mean, std) = (of(mean), of(std));
                    if !mean.is_finite() || !std.is_normal() || std < 0.0 {
                        return Err(Error::Setting(format!(
                            "normalize by mean {mean} and deviation {std}"
                        )));
                    }
                    values.iter_mut().for_each(|value| *value = (*value - mean) / std);
                }
            }
        }
    }
    Ok(values.iter().map(|values| values.map(|value| value as f32)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two channels of one pixel: the example's number and its double.
    fn data(examples: u8) -> Dataset {
        let pixels = (0..examples).flat_map(|i| [i, 2 * i]).collect();
        let labels = (0..i32::from(examples)).collect();
        Dataset::new(Shape::new([2, 1, 1]).unwrap(), 128, pixels, labels).unwrap()
    }

    fn labels(batches: &mut Batches, epoch: u64) -> Vec<Vec<i32>> {
        batches.start(epoch);
        let mut all = Vec::new();
        while let Some(batch) = batches.next_batch() {
            all.push(batch.label.as_i32().unwrap()[..batch.rows].to_vec());
        }
        all
    }

    #[test]
    fn every_epoch_has_its_own_order_and_the_same_one_in_every_run() {
        let new =
            |seed| Batches::new(data(100), &[DataStep::Shuffle], 8, seed, Last::Drop).unwrap();
        let (mut a, mut b, mut c) = (new(5), new(5), new(6));
        let first = labels(&mut a, 0);
        assert_eq!(first.len(), a.per_epoch());
        assert_eq!((a.per_epoch(), a.examples_per_epoch()), (12, 96));
        assert_ne!(first, labels(&mut a, 1));
        // Whatever came before, epoch 1 is epoch 1.
        assert_eq!(labels(&mut b, 1), labels(&mut a, 1));
        assert_ne!(labels(&mut c, 0), first);
        // Pinned: the same on every platform.
        assert_eq!(first[0], [1, 78, 70, 62, 29, 19, 95, 53]);
        // No example is dropped for ever.
        let mut seen: Vec<i32> = (0..4).flat_map(|e| labels(&mut a, e).concat()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 100);
    }

    #[test]
    fn without_shuffling_examples_come_in_order_and_the_last_batch_is_padded() {
        let mut batches = Batches::new(data(10), &[], 4, 0, Last::Pad).unwrap();
        assert_eq!(labels(&mut batches, 3), [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
        assert_eq!((batches.per_epoch(), batches.examples_per_epoch()), (3, 10));
        batches.start(0);
        batches.next_batch();
        assert!(batches.next_batch().unwrap().is_full());
        let last = batches.next_batch().unwrap();
        assert!(!last.is_full());
        assert_eq!(last.label.as_i32().unwrap(), [8, 9, 8, 8]);
        assert_eq!(last.image.as_f32().unwrap(), [8., 16., 9., 18., 8., 16., 8., 16.]);
        let (image, label) = last.trimmed().unwrap();
        assert_eq!(image, Tensor::f32(&[2, 2, 1, 1], vec![8., 16., 9., 18.]).unwrap());
        assert_eq!(label, Tensor::i32(&[2], vec![8, 9]).unwrap());
        assert!(batches.next_batch().is_none());
        let mut small = Batches::new(data(3), &[], 8, 0, Last::Pad).unwrap();
        assert_eq!(labels(&mut small, 0), [vec![0, 1, 2]]);
    }

    #[test]
    fn steps_apply_in_order_channel_by_channel() {
        let normalize = DataStep::Normalize { mean: vec![0.5, 1.0], std: vec![2.0] };
        let steps = [DataStep::Scale(0.5), normalize];
        let mut batches = Batches::new(data(4), &steps, 4, 0, Last::Drop).unwrap();
        let batch = batches.next_batch().unwrap();
        assert_eq!(&batch.image.shape()[..], [4, 2, 1, 1]);
        assert_eq!(batch.image.as_f32().unwrap(), [-0.25, -0.5, 0., 0., 0.25, 0.5, 0.5, 1.0]);
    }

    #[test]
    fn scaling_by_a_fraction_is_division_rounded_once() {
        let table = tables(&[DataStep::Scale(1.0 / 255.0)], 1).unwrap()[0];
        for (i, value) in table.into_iter().enumerate() {
            assert_eq!(value, i as f32 / 255.0);
        }
    }

    #[test]
    fn senseless_settings_are_refused() {
        let error = |steps: &[DataStep], batch, last| {
            Batches::new(data(10), steps, batch, 0, last).unwrap_err().to_string()
        };
        assert_eq!(error(&[], 0, Last::Pad), "a batch of 0 examples");
        assert_eq!(
            error(&[], 11, Last::Drop),
            "a batch of 11 examples is more than the 10 there are"
        );
        assert!(error(&[], 1 << 50, Last::Pad).contains("too large"));
        assert_eq!(error(&[DataStep::Scale(f64::NAN)], 2, Last::Pad), "a scale of NaN");
        let normalize = |mean: &[f64], std: &[f64]| {
            let step = DataStep::Normalize { mean: mean.to_vec(), std: std.to_vec() };
            error(&[step], 2, Last::Pad)
        };
        assert_eq!(normalize(&[0.0; 3], &[1.0]), "normalize has 3 means for images of 2 channels");
        assert_eq!(normalize(&[0.0], &[0.0]), "normalize by mean 0 and deviation 0");
    }
}
