//! Training a model: its step, its validation and its initial weights, compiled together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_tensor::Tensor;
use kiln_train::{Batch, Batches, DataSpec, DataStep, Last, Progress, Report, Scores, Weights};

use crate::{Error, Executable, Model, Options, Result, Session, compile};

/// A model being trained.
///
/// ```no_run
/// let model = kiln::parse_file("dsl/models/digits.kiln")?;
/// let mut training = kiln::Training::new(&model, &kiln::Options::default(), None)?;
/// let report = training.fit(&mut kiln::train::Silent)?;
/// println!("{:?}", report.metrics);
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Debug)]
pub struct Training {
    model: Model,
    options: Options,
    settings: kiln_lang::Training,
    train: Batches,
    validate: Option<Batches>,
    step: Executable,
    session: Session,
    /// By number of examples: the whole batches, and what is left over at the end.
    validation: BTreeMap<usize, Session>,
}

impl Training {
    /// Reads the data, compiles the training step and draws the initial weights. `data` stands in
    /// for the directory or file that the train section names.
    ///
    /// # Errors
    /// Every mistake in the program, and what is wrong with the data.
    pub fn new(model: &Model, options: &Options, data: Option<&Path>) -> Result<Training> {
        let settings = model.settings(options)?;
        let (batch, seed) = (settings.batch, settings.seed);
        let spec = data_spec(model, &settings.data, data)?;
        let train = Batches::new(spec.load().map_err(Error::input)?, &spec.steps, batch, seed, Last::Drop);
        let train = train.map_err(Error::input)?;
        let validate = match &settings.validate {
            Some(source) => {
                let spec = data_spec(model, source, data)?;
                let set = spec.load().map_err(Error::input)?;
                Some(Batches::new(set, &spec.steps, batch, seed, Last::Pad).map_err(Error::input)?)
            }
            None => None,
        };
        let options = options.clone().steps_per_epoch(train.per_epoch() as u64);
        let step = compile(&model.training()?, &options)?;
        let mut session = step.session()?;
        session.set_weights(&initial_weights(model, &options)?)?;
        Ok(Training {
            model: model.clone(),
            options,
            settings,
            train,
            validate,
            step,
            session,
            validation: BTreeMap::new(),
        })
    }

    /// The compiled training step.
    pub fn executable(&self) -> &Executable {
        &self.step
    }

    /// The plain part of the train section.
    pub fn settings(&self) -> &kiln_lang::Training {
        &self.settings
    }

    /// Examples in the training and the validation set.
    pub fn examples(&self) -> (usize, usize) {
        (self.train.data().len(), self.validate.as_ref().map_or(0, |v| v.data().len()))
    }

    /// Weights and states of the model as they are.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn weights(&self) -> Result<Weights> {
        self.session.weights()
    }

    /// Trains for the epochs of the train section, with validation after each.
    ///
    /// # Errors
    /// If a step fails or the loss becomes NaN.
    pub fn fit(&mut self, progress: &mut dyn Progress) -> Result<Report> {
        self.fit_saving(None, progress)
    }

    /// As [`Training::fit`]; checkpoints, if the train section asks for them, are named after
    /// `output` and lie beside it.
    ///
    /// # Errors
    /// As [`Training::fit`]; if a checkpoint cannot be written.
    pub fn fit_saving(&mut self, output: Option<PathBuf>, progress: &mut dyn Progress) -> Result<Report> {
        let checkpoint = self.settings.checkpoint.zip(output).map(|(every, path)| kiln_train::Checkpoint {
            every: every.every,
            unit: match every.unit {
                kiln_lang::CheckpointUnit::Epoch => kiln_train::Unit::Epoch,
                kiln_lang::CheckpointUnit::Step => kiln_train::Unit::Step,
            },
            keep: every.keep as usize,
            path,
        });
        let options = kiln_train::Options { epochs: self.settings.epochs, checkpoint };
        let Training { model, options: compiling, train, validate, session, validation, .. } = self;
        let mut steps = Steps { model, options: compiling, session, validation };
        kiln_train::fit(&mut steps, train, validate.as_mut(), &options, progress).map_err(Error::input)
    }
}

/// What the training loop calls.
struct Steps<'a> {
    model: &'a Model,
    options: &'a Options,
    session: &'a mut Session,
    validation: &'a mut BTreeMap<usize, Session>,
}

impl kiln_train::Trainer for Steps<'_> {
    fn train(&mut self, batch: &Batch<'_>) -> std::result::Result<Scores, Box<dyn std::error::Error + Send + Sync>> {
        self.session.set("image", batch.image)?;
        self.session.set("label", batch.label)?;
        self.session.step()?;
        Ok(scores(self.session)?)
    }

    fn validate(&mut self, batch: &Batch<'_>) -> std::result::Result<Scores, Box<dyn std::error::Error + Send + Sync>> {
        let rows = batch.rows;
        if !self.validation.contains_key(&rows) {
            let options = self.options.clone().bind("batch", rows);
            let session = compile(&self.model.validation()?, &options)?.session()?;
            self.validation.insert(rows, session);
        }
        let session = self.validation.get_mut(&rows).ok_or_else(|| Error::defect("inserted above"))?;
        session.set_weights(&self.session.weights()?)?;
        if batch.is_full() {
            session.set("image", batch.image)?;
            session.set("label", batch.label)?;
        } else {
            let (image, label) = batch.trimmed()?;
            session.set("image", &image)?;
            session.set("label", &label)?;
        }
        session.step()?;
        Ok(scores(session)?)
    }

    fn weights(&self) -> std::result::Result<Weights, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.session.weights()?)
    }
}

/// The loss and the metrics of the last run.
fn scores(session: &Session) -> Result<Scores> {
    let mut scores = Scores::default();
    for (name, tensor) in session.outputs()?.iter() {
        let Some(&[value]) = tensor.as_f32() else { continue };
        if name == "loss" {
            scores.loss = f64::from(value);
        } else {
            scores.metrics.insert(name.to_owned(), f64::from(value));
        }
    }
    Ok(scores)
}

/// The initial value of every weight and state, as training starts from: a function of the seed.
///
/// # Errors
/// Every mistake in the program.
pub fn initial_weights(model: &Model, options: &Options) -> Result<Weights> {
    let mut session = compile(&model.initial()?, options)?.session()?;
    let outputs = session.run(&[])?;
    Ok(outputs.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect::<BTreeMap<String, Tensor>>())
}

/// Where a data set is and what is done to it. A relative path of the file is relative to the file.
fn data_spec(model: &Model, source: &kiln_lang::DataSource, data: Option<&Path>) -> Result<DataSpec> {
    let path = match data {
        Some(path) => path.to_path_buf(),
        None => {
            let beside = Path::new(model.module().path()).parent().unwrap_or(Path::new(""));
            beside.join(&source.path)
        }
    };
    let steps = source.steps.iter().map(|step| match step {
        kiln_lang::DataStep::Shuffle => DataStep::Shuffle,
        kiln_lang::DataStep::Scale(by) => DataStep::Scale(*by),
        kiln_lang::DataStep::Normalize { mean, std } => {
            DataStep::Normalize { mean: mean.clone(), std: std.clone() }
        }
    });
    Ok(DataSpec {
        kind: source.kind.name.parse().map_err(Error::input)?,
        path,
        split: source.split.clone(),
        steps: steps.collect(),
    })
}
