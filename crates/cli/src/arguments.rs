//! Arguments that several verbs take.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use kiln::lang::Limits;
use kiln::{Engine, Model, Options, Tensor};
use kiln_train::{Direction, Names, Weights};

use crate::failure::Failure;

/// A program, one of its models, and what it is bound to.
#[derive(Args)]
pub struct Program {
    /// The model file
    pub file: PathBuf,
    /// The model, if the file has several
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Bind an axis (N=8), a parameter of the model (widths=[64]) or a key of its train section
    /// (epochs=1, optimizer=adam())
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// Raise (or lower) a limit that guards the compiler: statements, nodes, bytes (128GiB) or calls
    #[arg(long, value_name = "NAME=COUNT", value_parser = limit)]
    pub limit: Vec<(String, String)>,
    /// Time ways to compute the same where estimates are close, and remember the fastest for this
    /// machine in KILN_CACHE [default: among the user's caches]; other ways may round otherwise
    #[arg(long)]
    pub tune: bool,
    /// Forbid transformations that change how sums are rounded, such as convolutions by Winograd
    #[arg(long)]
    pub precise: bool,
    /// Threads; results do not depend on them [default: as many as the machine has cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl Program {
    /// Parses the file and chooses the model.
    pub fn model(&self) -> Result<Model, Failure> {
        let module = kiln::lang::Module::parse_file(&self.file).map_err(kiln::Error::from)?;
        Ok(Model::of(module, self.model.as_deref())?)
    }

    /// What the command line binds.
    pub fn options(&self) -> Options {
        let mut options = Options::default().tune(self.tune).precise(self.precise);
        for (key, value) in &self.set {
            options = options.bind(key, value);
        }
        if let Some(threads) = self.threads {
            options = options.threads(threads.into());
        }
        let mut limits = Limits::default();
        for (name, count) in &self.limit {
            // The command line was checked by `limit`.
            let _ = limits.set(name, count);
        }
        options.limits(limits)
    }
}

/// What weights are called in files.
#[derive(Args)]
pub struct Naming {
    /// Weights have the names in files that this table gives them, such as dsl/models/resnet.names
    #[arg(long, value_name = "TABLE")]
    names: Option<PathBuf>,
}

impl Naming {
    /// The table; without one names are the same in files.
    pub fn table(&self) -> Result<Names, Failure> {
        Ok(match &self.names {
            Some(path) => Names::read(path)?,
            None => Names::default(),
        })
    }
}

/// Reads weights whose file has the names of a table.
pub fn load_weights(path: &Path, names: &Names) -> Result<Weights, Failure> {
    let weights = kiln_train::load_weights(path)?;
    let translated = names.translate(weights, Direction::Load);
    translated.map_err(|e| Failure::input(format!("{}: {e}", path.display())))
}

/// Writes weights under the names of a table.
pub fn save_weights(path: &Path, names: &Names, weights: Weights) -> Result<(), Failure> {
    let translated = names.translate(weights, Direction::Save);
    let weights = translated.map_err(|e| Failure::input(format!("{}: {e}", path.display())))?;
    Ok(kiln_train::save_weights(path, &weights)?)
}

/// `name=count` of a limit.
fn limit(text: &str) -> Result<(String, String), String> {
    let (name, count) = pair(text).map_err(|_| "expected NAME=COUNT".to_string())?;
    Limits::default().set(&name, &count)?;
    Ok((name, count))
}

/// Where weights come from.
#[derive(Args)]
pub struct Start {
    /// Weights, a safetensors file
    #[arg(long, value_name = "FILE", conflicts_with = "init")]
    weights: Option<PathBuf>,
    /// The initial weights, as training would start from
    #[arg(long)]
    init: bool,
    #[command(flatten)]
    naming: Naming,
}

impl Start {
    /// Whether weights come from a file.
    pub fn is_file(&self) -> bool {
        self.weights.is_some()
    }

    /// The table of the names that weights have in files.
    pub fn names(&self) -> Result<Names, Failure> {
        self.naming.table()
    }

    /// The weights of a model, which must be exactly these.
    pub fn weights(
        &self,
        model: &Model,
        options: &Options,
        expected: &[(String, kiln::DType, kiln::Shape)],
    ) -> Result<Weights, Failure> {
        if let Some(path) = &self.weights {
            let weights = load_weights(path, &self.names()?)?;
            kiln_train::match_weights(expected, &weights).map_err(|e| {
                let foreign = !e.missing.is_empty() && !e.surplus.is_empty();
                let help = match foreign && self.naming.names.is_none() {
                    true => {
                        "\nhelp: if the names are another program's, give their table by --names"
                    }
                    false => "",
                };
                Failure::input(format!("{}: {e}{help}", path.display()))
            })?;
            return Ok(weights);
        }
        if self.init {
            return Ok(kiln::initial_weights(model, options)?);
        }
        if expected.is_empty() {
            return Ok(Weights::new());
        }
        Err(Failure::input(format!(
            "the model `{}` has {} weights: give them by --weights FILE, or --init for its initial \
             ones",
            model.name(),
            expected.len()
        )))
    }
}

/// `key=value` with a key.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().into(), value.into())),
        _ => Err("expected KEY=VALUE".into()),
    }
}

/// `name=path`.
pub fn file(text: &str) -> Result<(String, PathBuf), String> {
    match pair(text) {
        Ok((name, path)) if !path.is_empty() => Ok((name, path.into())),
        _ => Err("expected NAME=FILE".into()),
    }
}

/// The arrays of `--input name=x.npy`.
pub fn read_inputs(files: &[(String, PathBuf)]) -> Result<Vec<(&str, Tensor)>, Failure> {
    let mut inputs: Vec<(&str, Tensor)> = Vec::new();
    for (name, path) in files {
        if inputs.iter().any(|(given, _)| given == name) {
            return Err(Failure::input(format!("the input `{name}` is given twice")));
        }
        let tensor = Tensor::read_npy(path).map_err(kiln::Error::from)?;
        inputs.push((name, tensor));
    }
    Ok(inputs)
}

/// The same, borrowed as sessions take it.
pub fn borrowed<'a>(inputs: &'a [(&'a str, Tensor)]) -> Vec<(&'a str, &'a Tensor)> {
    inputs.iter().map(|(name, tensor)| (*name, tensor)).collect()
}

/// An engine's name.
pub fn engine(name: &str) -> Result<Engine, String> {
    let engine = Engine::ALL.into_iter().find(|e| e.name() == name);
    engine.ok_or_else(|| format!("one of {}", Engine::ALL.map(Engine::name).join(", ")))
}

/// No text longer than this is read.
const MAX_TEXT: u64 = 256 << 20;

/// The text of a file, or of standard input for `-`.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let wrong = |e: &dyn std::fmt::Display| {
        let name =
            if is_stdin(path) { "standard input".into() } else { path.display().to_string() };
        Failure::input(format!("cannot read {name}: {e}"))
    };
    let mut bytes = Vec::new();
    if is_stdin(path) {
        let read = std::io::stdin().lock().take(MAX_TEXT + 1).read_to_end(&mut bytes);
        read.map_err(|e| wrong(&e))?;
    } else {
        // Asked before opening: opening a pipe would wait for its writer.
        let metadata = std::fs::metadata(path).map_err(|e| wrong(&e))?;
        if !metadata.is_file() {
            return Err(wrong(&"it is not a regular file"));
        }
        let file = std::fs::File::open(path).map_err(|e| wrong(&e))?;
        file.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(|e| wrong(&e))?;
    }
    if bytes.len() as u64 > MAX_TEXT {
        return Err(wrong(&format!("it is longer than {MAX_TEXT} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| wrong(&"it is not text in UTF-8"))
}

/// Whether a path stands for standard input.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}
