//! Training a model: its step, its validation and its initial weights, compiled together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kiln_graph::InputKind;
use kiln_lang::Variable;
use kiln_tensor::Tensor;
use kiln_train::{Batch, Batches, Last, Progress, Report, Scores, Weights};

use crate::{Engine, Error, Executable, Model, Options, Result, Session, compile, data};

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
    settings: kiln_lang::Training,
    train: Batches,
    validate: Option<Batches>,
    step: Executable,
    session: Session,
    /// By number of examples: the whole batches, and what is left over at the end.
    validation: BTreeMap<usize, Session>,
}

impl Training {
    /// Reads the data, compiles the training step and draws the initial weights. `path` stands in
    /// for the directory or file that the train section names.
    ///
    /// # Errors
    /// Every mistake in the program, and what is wrong with the data.
    pub fn new(model: &Model, options: &Options, path: Option<&Path>) -> Result<Training> {
        let settings = model.settings(options)?;
        let (batch, seed) = (settings.batch, settings.seed);
        let wanted = data::wanted(model, options)?;
        let batches = |source, last| {
            let spec = data::spec(model, source, path)?;
            let set = spec.load(&wanted).map_err(Error::input)?;
            Batches::new(set, &wanted, &spec.steps, batch, seed, last).map_err(Error::input)
        };
        let train = batches(&settings.data, Last::Drop)?;
        let validate =
            settings.validate.as_ref().map(|source| batches(source, Last::Pad)).transpose()?;
        let options = options.clone().steps_per_epoch(train.per_epoch() as u64);
        let step = compile(&model.training()?, &options)?;
        let mut session = step.session()?;
        session.set_weights(initial_values(model, &options)?)?;
        let mut validation = BTreeMap::new();
        if let Some(set) = &validate {
            let (full, rest) = (set.examples() / batch, set.examples() % batch);
            for rows in [batch.min(full * batch), rest].into_iter().filter(|&rows| rows > 0) {
                let options = options.clone().bind("N", rows);
                validation.insert(rows, compile(&model.validation()?, &options)?.session()?);
            }
        }
        Ok(Training { settings, train, validate, step, session, validation })
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
        (self.train.examples(), self.validate.as_ref().map_or(0, Batches::examples))
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
    pub fn fit_saving(
        &mut self,
        output: Option<PathBuf>,
        progress: &mut dyn Progress,
    ) -> Result<Report> {
        let checkpoint =
            self.settings.checkpoint.zip(output).map(|(every, path)| kiln_train::Checkpoint {
                every: every.every,
                unit: match every.unit {
                    kiln_lang::CheckpointUnit::Epoch => kiln_train::Unit::Epoch,
                    kiln_lang::CheckpointUnit::Step => kiln_train::Unit::Step,
                },
                keep: every.keep as usize,
                path,
            });
        let options = kiln_train::Options { epochs: self.settings.epochs, checkpoint };
        let Training { train, validate, session, validation, .. } = self;
        let mut steps = Steps { session, validation, current: BTreeSet::new() };
        Ok(kiln_train::fit(&mut steps, train, validate.as_mut(), &options, progress)?)
    }
}

/// What the training loop calls.
struct Steps<'a> {
    session: &'a mut Session,
    validation: &'a mut BTreeMap<usize, Session>,
    /// Which of the validation sessions have the weights as they are.
    current: BTreeSet<usize>,
}

/// What a [`kiln_train::Trainer`] fails with.
type Fault = Box<dyn std::error::Error + Send + Sync>;

impl kiln_train::Trainer for Steps<'_> {
    fn train(&mut self, batch: &Batch<'_>) -> std::result::Result<Scores, Fault> {
        self.current.clear();
        Ok(run(self.session, batch.fields)?)
    }

    fn validate(&mut self, batch: &Batch<'_>) -> std::result::Result<Scores, Fault> {
        let rows = batch.rows;
        let session = self.validation.get_mut(&rows);
        let session = session.ok_or_else(|| {
            Error::defect(format!("no validation of {rows} examples was compiled"))
        })?;
        if self.current.insert(rows) {
            session.set_weights(self.session.weights()?)?;
        }
        if batch.is_full() {
            return Ok(run(session, batch.fields)?);
        }
        Ok(run(session, &batch.trimmed()?)?)
    }

    fn weights(&self) -> std::result::Result<Weights, Fault> {
        Ok(self.session.weights()?)
    }
}

fn run(session: &mut Session, fields: &[(String, Tensor)]) -> Result<Scores> {
    fields.iter().try_for_each(|(name, tensor)| session.set(name, tensor))?;
    session.step()?;
    scores(session)
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

/// The initial value of every weight and state of a model, as training starts from: a function of
/// the seed.
///
/// # Errors
/// Every mistake in the program.
pub fn initial_weights(model: &Model, options: &Options) -> Result<Weights> {
    let (mut values, variables) = initial(model, options)?;
    for variable in variables.iter().filter(|v| v.kind == InputKind::Slot) {
        values.remove(&variable.interface.name);
    }
    Ok(values)
}

/// As [`initial_weights`], with the states of the optimiser.
///
/// # Errors
/// Every mistake in the program.
pub fn initial_values(model: &Model, options: &Options) -> Result<Weights> {
    Ok(initial(model, options)?.0)
}

/// Always by machine code, so that every engine starts from the same bits.
fn initial(model: &Model, options: &Options) -> Result<(Weights, Vec<Variable>)> {
    let executable = compile(&model.initial()?, &options.clone().engine(Engine::Jit))?;
    let outputs = executable.session()?.run(&[])?;
    Ok((outputs.into_iter().collect(), executable.elaborated().variables.clone()))
}
