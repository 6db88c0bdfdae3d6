//! The training loop: epochs of steps, each followed by validation.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::checkpoint::Checkpoints;
use crate::progress::Mean;
use crate::{Batch, Batches, Checkpoint, EpochEnd, Error, Progress, Scores, Status, Unit, Weights};

/// Any error of a [`Trainer`].
type Fault = Box<dyn std::error::Error + Send + Sync>;

/// What executes steps: a model with its weights and optimiser.
pub trait Trainer {
    /// One step of training, on a batch whose rows are all examples: forward, backward, update. The scores are those
    /// before the update.
    ///
    /// # Errors
    /// If the step cannot be executed; the training then ends.
    fn train(&mut self, batch: &Batch<'_>) -> Result<Scores, Fault>;

    /// Means of loss and metrics over the valid rows of a batch ([`Batch::rows`] of them), without dropout or update.
    ///
    /// # Errors
    /// If it cannot be executed; the training then ends.
    fn validate(&mut self, batch: &Batch<'_>) -> Result<Scores, Fault>;

    /// The weights as they are, for a checkpoint.
    ///
    /// # Errors
    /// If the memory cannot be had.
    fn weights(&self) -> Result<Weights, Fault>;
}

/// How long to train and what to save.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Passes through the training set.
    pub epochs: u64,
    /// When to save the weights besides the end.
    pub checkpoint: Option<Checkpoint>,
}

/// What came of a training.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Passes through the training set.
    pub epochs: u64,
    /// Steps, over all epochs.
    pub steps: u64,
    /// Mean training loss of the last epoch; `None` if there was no epoch.
    pub train_loss: Option<f64>,
    /// Loss on the validation set after the last epoch, if there is one.
    pub validation_loss: Option<f64>,
    /// Metrics on the validation set after the last epoch.
    pub metrics: BTreeMap<String, f64>,
    /// Everything, validation and checkpoints included.
    pub seconds: f64,
    /// Training images a second, without validation and checkpoints.
    pub images_per_second: f64,
}

/// Trains for [`Options::epochs`] epochs, the first of which is epoch 0 of the batches, and validates after each.
///
/// # Errors
/// If the trainer fails, a checkpoint cannot be written, or the loss becomes NaN.
pub fn fit(
    trainer: &mut dyn Trainer,
    train: &mut Batches,
    mut validation: Option<&mut Batches>,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Report, Error> {
    let mut checkpoints = options.checkpoint.as_ref().map(Checkpoints::new).transpose()?;
    let mut clock = Clock::new(options.epochs, train);
    let mut report = Report { epochs: options.epochs, ..Report::default() };
    for epoch in 1..=options.epochs {
        clock.begin_epoch();
        let mut mean = Mean::default();
        let steps = train.per_epoch();
        train.start(epoch - 1);
        for step in 1..=steps {
            let begun = Instant::now();
            let batch = train.next_batch()?.expect("an epoch has this many batches");
            let scores = trainer.train(&batch).map_err(Error::Trainer)?;
            if scores.loss.is_nan() {
                return Err(Error::Diverged { epoch, step });
            }
            mean.add(&scores, batch.rows);
            report.steps += 1;
            clock.step(batch.rows, begun.elapsed());
            progress.step(&Status {
                epoch,
                epochs: options.epochs,
                step,
                steps,
                scores: mean.scores(),
                images_per_second: clock.images_per_second(),
                remaining: clock.remaining(),
            });
            if let Some(checkpoints) = &mut checkpoints
                && let Some(path) = checkpoints.reached(Unit::Step, report.steps, trainer)?
            {
                progress.saved(&path);
            }
        }
        let begun = Instant::now();
        let validated = match &mut validation {
            Some(batches) => Some(validate(trainer, batches)?),
            None => None,
        };
        clock.validated(begun.elapsed());
        let trained = mean.scores();
        report.train_loss = Some(trained.loss);
        if let Some(scores) = &validated {
            report.validation_loss = Some(scores.loss);
            report.metrics.clone_from(&scores.metrics);
        }
        progress.epoch(&EpochEnd {
            epoch,
            epochs: options.epochs,
            train: trained,
            validation: validated,
            images_per_second: clock.epoch_images_per_second(),
            seconds: clock.epoch_seconds(),
        });
        if let Some(checkpoints) = &mut checkpoints
            && let Some(path) = checkpoints.reached(Unit::Epoch, epoch, trainer)?
        {
            progress.saved(&path);
        }
    }
    report.seconds = clock.begun.elapsed().as_secs_f64();
    report.images_per_second = clock.images_per_second();
    Ok(report)
}

fn validate(trainer: &mut dyn Trainer, batches: &mut Batches) -> Result<Scores, Error> {
    let mut mean = Mean::default();
    batches.start(0);
    while let Some(batch) = batches.next_batch()? {
        mean.add(&trainer.validate(&batch).map_err(Error::Trainer)?, batch.rows);
    }
    Ok(mean.scores())
}

/// Speeds and times.
struct Clock {
    begun: Instant,
    epoch_begun: Instant,
    /// Steps and validations still to come.
    steps_left: u64,
    validations_left: u64,
    steps: u64,
    images: u64,
    training: Duration,
    /// Images and training time when the epoch began.
    before: (u64, Duration),
    /// The last validation's time.
    validation: Duration,
}

impl Clock {
    fn new(epochs: u64, train: &Batches) -> Clock {
        let now = Instant::now();
        Clock {
            begun: now,
            epoch_begun: now,
            steps_left: epochs.saturating_mul(train.per_epoch() as u64),
            validations_left: epochs,
            steps: 0,
            images: 0,
            training: Duration::ZERO,
            before: (0, Duration::ZERO),
            validation: Duration::ZERO,
        }
    }

    fn begin_epoch(&mut self) {
        self.epoch_begun = Instant::now();
        self.before = (self.images, self.training);
    }

    fn step(&mut self, images: usize, time: Duration) {
        self.steps += 1;
        self.steps_left = self.steps_left.saturating_sub(1);
        self.images += images as u64;
        self.training += time;
    }

    fn validated(&mut self, time: Duration) {
        self.validations_left = self.validations_left.saturating_sub(1);
        self.validation = time;
    }

    fn images_per_second(&self) -> f64 {
        speed(self.images, self.training)
    }

    fn epoch_images_per_second(&self) -> f64 {
        let (images, training) = self.before;
        speed(self.images - images, self.training - training)
    }

    fn epoch_seconds(&self) -> f64 {
        self.epoch_begun.elapsed().as_secs_f64()
    }

    /// As long as the steps so far and the last validation took, for those to come.
    fn remaining(&self) -> Duration {
        let step = self.training.as_secs_f64() / (self.steps.max(1) as f64);
        let seconds = step * self.steps_left as f64
            + self.validation.as_secs_f64() * self.validations_left as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

fn speed(images: u64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 { images as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests;
