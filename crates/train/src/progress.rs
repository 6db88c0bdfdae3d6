//! What a training says about itself while it runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Loss and metrics: means over examples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// The loss.
    pub loss: f64,
    /// The metrics by name, such as `accuracy` as a fraction; none where they are not computed.
    pub metrics: BTreeMap<String, f64>,
}

/// The mean of scores over examples, however they are grouped into batches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mean {
    sum: Scores,
    examples: usize,
}

impl Mean {
    /// Adds the mean over so many more examples.
    pub fn add(&mut self, scores: &Scores, examples: usize) {
        let weight = examples as f64;
        self.sum.loss += scores.loss * weight;
        for (name, value) in &scores.metrics {
            match self.sum.metrics.get_mut(name) {
                Some(sum) => *sum += value * weight,
                None => {
                    self.sum.metrics.insert(name.clone(), value * weight);
                }
            }
        }
        self.examples += examples;
    }

    /// The mean so far; of nothing it is NaN.
    pub fn scores(&self) -> Scores {
        let examples = self.examples as f64;
        let metrics = self.sum.metrics.iter().map(|(name, sum)| (name.clone(), sum / examples));
        Scores { loss: self.sum.loss / examples, metrics: metrics.collect() }
    }
}

/// Where a training stands after a step.
#[derive(Clone, Debug)]
pub struct Status {
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// Of so many.
    pub epochs: u64,
    /// The step within the epoch, counted from 1.
    pub step: usize,
    /// Of so many.
    pub steps: usize,
    /// Means over the epoch so far.
    pub scores: Scores,
    /// Training images a second, over the whole training so far, without validation.
    pub images_per_second: f64,
    /// How long the rest will take, validations included.
    pub remaining: Duration,
}

/// The end of an epoch.
#[derive(Clone, Debug)]
pub struct EpochEnd {
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// Of so many.
    pub epochs: u64,
    /// Means over the epoch's training batches, each before its own update.
    pub train: Scores,
    /// Means over the validation set, if there is one.
    pub validation: Option<Scores>,
    /// Training images a second in this epoch, without validation.
    pub images_per_second: f64,
    /// How long the epoch took, validation included.
    pub seconds: f64,
}

/// Shows how a training goes. It is called after every step, so what draws should draw only now and then.
pub trait Progress {
    /// A training step is done.
    fn step(&mut self, status: &Status);

    /// An epoch and its validation are done.
    fn epoch(&mut self, end: &EpochEnd);

    /// A checkpoint is written.
    fn saved(&mut self, path: &Path);
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&mut self, _: &Status) {}

    fn epoch(&mut self, _: &EpochEnd) {}

    fn saved(&mut self, _: &Path) {}
}
