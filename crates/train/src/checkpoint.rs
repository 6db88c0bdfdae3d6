//! Checkpoints: the weights, saved every so often, the last few kept.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use crate::weights::{Weights, save_weights};
use crate::{Error, Trainer};

/// How often to save, where, and how many files to keep: `every(1, "epoch", keep=3)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// After so many ...
    pub every: u64,
    /// ... of these.
    pub unit: Unit,
    /// How many files to keep, at least 1.
    pub keep: usize,
    /// What the files are named after: `w.safetensors` gives `w.epoch-0001.safetensors` or `w.step-000100.safetensors`
    /// in the same directory.
    pub path: PathBuf,
}

/// What [`Checkpoint::every`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Passes through the data.
    Epoch,
    /// Batches, over all epochs.
    Step,
}

impl Checkpoint {
    /// The file for the checkpoint after so many epochs or steps.
    pub fn file(&self, count: u64) -> PathBuf {
        let number = match self.unit {
            Unit::Epoch => format!("epoch-{count:04}"),
            Unit::Step => format!("step-{count:06}"),
        };
        let part =
            |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let stem = part(self.path.file_stem()).unwrap_or_else(|| "weights".to_string());
        let extension = part(self.path.extension()).unwrap_or_else(|| "safetensors".to_string());
        self.path.with_file_name(format!("{stem}.{number}.{extension}"))
    }
}

/// Writes the checkpoints of one training.
pub(crate) struct Checkpoints<'a> {
    settings: &'a Checkpoint,
    written: VecDeque<PathBuf>,
}

impl<'a> Checkpoints<'a> {
    pub fn new(settings: &'a Checkpoint) -> Result<Checkpoints<'a>, Error> {
        if settings.every == 0 || settings.keep == 0 {
            return Err(Error::Setting(
                "a checkpoint is every 1 or more, and keeps 1 or more".to_string(),
            ));
        }
        let first = settings.file(settings.every);
        kiln_tensor::check_writable(&first).map_err(Error::write(&first))?;
        Ok(Checkpoints { settings, written: VecDeque::new() })
    }

    /// Writes the checkpoint after `count` of `unit`, if one is due, and removes the oldest of this training if it is
    /// one too many; the file written.
    pub fn reached(
        &mut self,
        unit: Unit,
        count: u64,
        trainer: &dyn Trainer,
    ) -> Result<Option<PathBuf>, Error> {
        if unit != self.settings.unit || !count.is_multiple_of(self.settings.every) {
            return Ok(None);
        }
        let path = self.settings.file(count);
        let weights = trainer.weights().map_err(Error::Trainer)?;
        self.save(&path, &weights)?;
        Ok(Some(path))
    }

    fn save(&mut self, path: &Path, weights: &Weights) -> Result<(), Error> {
        save_weights(path, weights)?;
        self.written.push_back(path.to_path_buf());
        // The new one is safe on the disk before an old one goes.
        while self.written.len() > self.settings.keep {
            if let Some(oldest) = self.written.pop_front() {
                match fs::remove_file(&oldest) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Error::write(&oldest)(e));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
