use std::fs;
use std::path::{Path, PathBuf};

use kiln_tensor::{DType, Tensor};

use super::*;
use crate::{DataStep, Dataset, Field, FieldType, Last, load_weights};

/// Softmax regression on one-pixel images, written out: enough to see a loss fall.
struct Regression {
    /// Weight and bias of two classes.
    weights: [[f64; 2]; 2],
    trained: Vec<i32>,
    fail_at: Option<usize>,
}

impl Regression {
    fn new() -> Regression {
        Regression { weights: [[0.0; 2]; 2], trained: Vec::new(), fail_at: None }
    }

    /// Loss, accuracy and gradient, means over the valid rows.
    fn pass(&self, batch: &Batch<'_>) -> (Scores, [[f64; 2]; 2]) {
        let rows = batch.rows as f64;
        let (mut loss, mut right, mut gradient) = (0.0, 0.0, [[0.0; 2]; 2]);
        let images = batch.get("image").unwrap().as_f32().unwrap();
        for (&x, &label) in
            images.iter().zip(batch.get("label").unwrap().as_i32().unwrap()).take(batch.rows)
        {
            let x = f64::from(x);
            let e = self.weights.map(|[w, b]| (w * x + b).exp());
            let p = e.map(|e_i| e_i / (e[0] + e[1]));
            let label = label as usize;
            loss -= p[label].ln();
            right += f64::from(u8::from(p[label] > 0.5));
            for class in 0..2 {
                let d = p[class] - f64::from(u8::from(class == label));
                gradient[class][0] += d * x / rows;
                gradient[class][1] += d / rows;
            }
        }
        let metrics = BTreeMap::from([("accuracy".to_string(), right / rows)]);
        (Scores { loss: loss / rows, metrics }, gradient)
    }
}

impl Trainer for Regression {
    fn train(&mut self, batch: &Batch<'_>) -> Result<Scores, Fault> {
        assert!(batch.is_full());
        if self.fail_at == Some(self.trained.len()) {
            return Err("the power failed".into());
        }
        self.trained.extend(batch.get("label").unwrap().as_i32().unwrap());
        let (scores, gradient) = self.pass(batch);
        let weights = self.weights.as_flattened_mut();
        for (weight, gradient) in weights.iter_mut().zip(gradient.as_flattened()) {
            *weight -= 0.5 * gradient;
        }
        Ok(scores)
    }

    fn validate(&mut self, batch: &Batch<'_>) -> Result<Scores, Fault> {
        Ok(self.pass(batch).0)
    }

    fn weights(&self) -> Result<Weights, Fault> {
        let values = self.weights.as_flattened().iter().map(|&w| w as f32).collect();
        Ok(Weights::from([("weight".to_string(), Tensor::f32(&[2, 2], values)?)]))
    }
}

/// Values 0..=255; dark ones are of class 0, bright ones of class 1.
fn data(examples: usize) -> Dataset {
    let pixels: Vec<u8> = (0..examples).map(|i| (i * 37 % 256) as u8).collect();
    let labels = pixels.iter().map(|&p| i32::from(p >= 128)).collect();
    let fields = [Field::bytes("image", &[1], pixels), Field::integers("label", &[], labels)];
    Dataset::new(fields.into()).unwrap()
}

fn batches(examples: usize, batch: usize, last: Last) -> Batches {
    let normalize = DataStep::Normalize { mean: vec![127.5], std: vec![64.0] };
    let want = |name: &str, dtype, axes| FieldType {
        name: name.to_string(),
        dtype,
        axes,
        input: name == "image",
        classes: Some(2),
        place: String::new(),
    };
    let wanted =
        [want("image", DType::F32, vec![("C".to_string(), 1)]), want("label", DType::I32, vec![])];
    let steps = [DataStep::Shuffle, normalize];
    Batches::new(data(examples), &wanted, &steps, batch, 3, last).unwrap()
}

#[derive(Default)]
struct Record {
    steps: Vec<Status>,
    epochs: Vec<EpochEnd>,
    saved: Vec<PathBuf>,
}

impl Progress for Record {
    fn step(&mut self, status: &Status) {
        self.steps.push(status.clone());
    }

    fn epoch(&mut self, end: &EpochEnd) {
        self.epochs.push(end.clone());
    }

    fn saved(&mut self, path: &Path) {
        self.saved.push(path.to_path_buf());
    }
}

#[test]
fn it_learns_and_reports() {
    let mut trainer = Regression::new();
    let (mut train, mut test) = (batches(205, 10, Last::Drop), batches(47, 10, Last::Pad));
    let mut record = Record::default();
    let options = Options { epochs: 4, checkpoint: None };
    let report = fit(&mut trainer, &mut train, Some(&mut test), &options, &mut record).unwrap();
    assert_eq!((report.epochs, report.steps), (4, 80));
    assert!(report.metrics["accuracy"] > 0.95, "{report:?}");
    let losses: Vec<f64> = record.epochs.iter().map(|end| end.train.loss).collect();
    assert!(losses.is_sorted_by(|a, b| a > b), "{losses:?}");
    assert_eq!(report.train_loss, losses.last().copied());
    assert_eq!(record.epochs[3].validation.as_ref().map(|s| s.loss), report.validation_loss);
    assert_eq!(record.steps.len(), 80);
    let last = &record.steps[79];
    assert_eq!((last.epoch, last.epochs, last.step, last.steps), (4, 4, 20, 20));
    assert!(report.seconds > 0.0 && report.images_per_second > 0.0);
    assert!(record.steps[0].remaining > Duration::ZERO);
}

#[test]
fn the_last_short_batch_counts_by_its_rows() {
    let mut trainer = Regression::new();
    trainer.weights = [[-1.0, 0.3], [1.0, -0.3]];
    let [by_ten, at_once] =
        [10, 47].map(|batch| validate(&mut trainer, &mut batches(47, batch, Last::Pad)).unwrap());
    assert!((by_ten.loss - at_once.loss).abs() < 1e-12);
    assert!((by_ten.metrics["accuracy"] - at_once.metrics["accuracy"]).abs() < 1e-12);
}

#[test]
fn two_runs_see_the_same_examples_and_end_with_the_same_weights() {
    let run = || {
        let mut trainer = Regression::new();
        let options = Options { epochs: 2, checkpoint: None };
        let mut train = batches(100, 7, Last::Drop);
        fit(&mut trainer, &mut train, None, &options, &mut crate::Silent).unwrap();
        (trainer.trained, trainer.weights)
    };
    assert_eq!(run(), run());
}

#[test]
fn the_last_checkpoints_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.safetensors");
    for (unit, every, names) in [
        (Unit::Epoch, 2, ["w.epoch-0004.safetensors", "w.epoch-0006.safetensors"]),
        (Unit::Step, 5, ["w.step-000025.safetensors", "w.step-000030.safetensors"]),
    ] {
        let mut trainer = Regression::new();
        let checkpoint = Checkpoint { every, unit, keep: 2, path: path.clone() };
        let options = Options { epochs: 6, checkpoint: Some(checkpoint) };
        let (mut train, mut record) = (batches(50, 10, Last::Drop), Record::default());
        fit(&mut trainer, &mut train, None, &options, &mut record).unwrap();
        let mut left: Vec<PathBuf> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        left.sort();
        assert_eq!(left, names.map(|name| directory.path().join(name)));
        assert_eq!(record.saved.len(), if unit == Unit::Epoch { 3 } else { 6 });
        assert_eq!(load_weights(&left[1]).unwrap(), trainer.weights().unwrap());
        left.iter().for_each(|path| fs::remove_file(path).unwrap());
    }
}

#[test]
fn an_unwritable_checkpoint_is_refused_before_training() {
    let mut trainer = Regression::new();
    let path = PathBuf::from("/nowhere/at/all/w.safetensors");
    let mut checkpoint = Checkpoint { every: 1, unit: Unit::Epoch, keep: 1, path };
    let mut train = batches(50, 10, Last::Drop);
    let mut error = |checkpoint: &Checkpoint, trainer: &mut Regression| {
        let options = Options { epochs: 1, checkpoint: Some(checkpoint.clone()) };
        fit(trainer, &mut train, None, &options, &mut crate::Silent).unwrap_err().to_string()
    };
    let message = error(&checkpoint, &mut trainer);
    assert!(message.contains("w.epoch-0001.safetensors: the directory"), "{message}");
    checkpoint.keep = 0;
    assert!(error(&checkpoint, &mut trainer).contains("keeps 1 or more"));
    assert!(trainer.trained.is_empty());
}

#[test]
fn failures_and_divergence_end_the_training() {
    let options = Options { epochs: 3, checkpoint: None };
    let mut train = batches(50, 10, Last::Drop);
    let mut trainer = Regression { fail_at: Some(20), ..Regression::new() };
    let error = fit(&mut trainer, &mut train, None, &options, &mut crate::Silent).unwrap_err();
    assert_eq!(error.to_string(), "the power failed");
    let mut trainer = Regression::new();
    trainer.weights[0][0] = f64::NAN;
    let error = fit(&mut trainer, &mut train, None, &options, &mut crate::Silent).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the loss became NaN in epoch 1, step 1; lower the learning rate"
    );
}

#[test]
fn no_epochs_are_no_training() {
    let mut trainer = Regression::new();
    let mut train = batches(50, 10, Last::Drop);
    let options = Options { epochs: 0, checkpoint: None };
    let report = fit(&mut trainer, &mut train, None, &options, &mut crate::Silent).unwrap();
    assert_eq!((report.steps, report.train_loss), (0, None));
}
