//! Training a model: its step, its validation and its initial weights, compiled together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kiln_graph::InputKind;
use kiln_lang::Variable;
use kiln_tensor::Tensor;
use kiln_train::{Batch, Batches, DataSpec, DataStep, Last, Progress, Report, Scores, Weights};

use crate::{Engine, Error, Executable, Model, Options, Result, Session, compile};

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
    /// Reads the data, compiles the training step and draws the initial weights. `data` stands in
    /// for the directory or file that the train section names.
    ///
    /// # Errors
    /// Every mistake in the program, and what is wrong with the data.
    pub fn new(model: &Model, options: &Options, data: Option<&Path>) -> Result<Training> {
        let settings = model.settings(options)?;
        let (batch, seed) = (settings.batch, settings.seed);
        let spec = data_spec(model, &settings.data, data)?;
        let train =
            Batches::new(spec.load().map_err(Error::input)?, &spec.steps, batch, seed, Last::Drop);
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
        session.set_weights(&initial_values(model, &options)?)?;
        let mut validation = BTreeMap::new();
        if let Some(set) = &validate {
            let (full, rest) = (set.data().len() / batch, set.data().len() % batch);
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
        Ok(run(self.session, batch.image, batch.label)?)
    }

    fn validate(&mut self, batch: &Batch<'_>) -> std::result::Result<Scores, Fault> {
        let rows = batch.rows;
        let session = self.validation.get_mut(&rows);
        let session = session.ok_or_else(|| {
            Error::defect(format!("no validation of {rows} examples was compiled"))
        })?;
        if self.current.insert(rows) {
            session.set_weights(&self.session.weights()?)?;
        }
        if batch.is_full() {
            return Ok(run(session, batch.image, batch.label)?);
        }
        let (image, label) = batch.trimmed()?;
        Ok(run(session, &image, &label)?)
    }

    fn weights(&self) -> std::result::Result<Weights, Fault> {
        Ok(self.session.weights()?)
    }
}

fn run(session: &mut Session, image: &Tensor, label: &Tensor) -> Result<Scores> {
    session.set("image", image)?;
    session.set("label", label)?;
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
    let values = outputs.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
    Ok((values, executable.elaborated().variables.clone()))
}

/// Where a data set is and what is done to it. The program's paths are relative to its file.
fn data_spec(
    model: &Model,
    source: &kiln_lang::DataSource,
    data: Option<&Path>,
) -> Result<DataSpec> {
    let path = match data {
        Some(path) => path.to_path_buf(),
        None if Path::new(&source.path).is_absolute() => {
            let place = model.module().sources().place(source.span);
            return Err(Error::input(format!(
                "{place}: the path \"{}\" is not relative to the program; give it by --data",
                source.path
            )));
        }
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
