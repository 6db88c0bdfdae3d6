//! `kiln fmt`: the formatter.

use std::path::{Path, PathBuf};

use clap::Args;
use kiln::lang::format::format;

use crate::arguments::{is_stdin, read_text};
use crate::failure::Failure;
use crate::output;

/// Format model files in place
#[derive(Args)]
#[command(after_help = "\
Examples:
  kiln fmt dsl/models/*.kiln
  kiln fmt --check dsl/models/*.kiln
  kiln fmt - < model.kiln

White space is changed, nothing else. `-` formats standard input to standard output.")]
pub struct Fmt {
    /// The files; `-` is standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Change nothing: name the files that are not formatted, and fail if there are any
    #[arg(long)]
    check: bool,
}

impl Fmt {
    /// Formats each file. Those that cannot be are told of after the others are done.
    pub fn run(self) -> Result<(), Failure> {
        let mut failures = Vec::new();
        for path in &self.files {
            match self.file(path) {
                Err(failure @ (Failure::Error(_) | Failure::Reported)) => failures.push(failure),
                other => other?,
            }
        }
        let Some(last) = failures.pop() else { return Ok(()) };
        for failure in failures {
            failure.report();
        }
        Err(last)
    }

    fn file(&self, path: &Path) -> Result<(), Failure> {
        let text = read_text(path)?;
        let name = if is_stdin(path) { "<stdin>".into() } else { path.display().to_string() };
        let formatted = format(&text, &name).map_err(kiln::Error::from)?;
        if self.check {
            if formatted == text {
                return Ok(());
            }
            output::line(&name)?;
            return Err(Failure::Reported);
        }
        if is_stdin(path) {
            return output::print(&formatted);
        }
        if formatted == text {
            return Ok(());
        }
        kiln::write_atomic(path, |out| out.write_all(formatted.as_bytes()))
            .map_err(|e| Failure::input(format!("cannot write {name}: {e}")))
    }
}
