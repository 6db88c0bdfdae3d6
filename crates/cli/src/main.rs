//! The `kiln` command: one file for each verb.
//!
//! Results go to standard output, errors and progress to standard error. The exit code is 0; 1 for
//! a mistake in what the user gave, 2 for a command line that cannot be understood, 70 for a defect
//! of Kiln's.

mod arguments;
mod bench;
mod check;
mod dump;
mod failure;
mod fmt;
mod init;
mod ops;
mod opt;
mod output;
mod progress;
mod run;
mod step;
mod train;
mod weights;

use std::panic;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// Trains and runs neural networks written in the Kiln language.
#[derive(Parser)]
#[command(
    name = "kiln",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  kiln train dsl/models/digits.kiln --output digits.safetensors
  kiln check dsl/models/lenet.kiln
  kiln help train"
)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Train(train::Train),
    Init(init::Init),
    Run(run::Run),
    Step(step::Step),
    Check(check::Check),
    Dump(dump::Dump),
    Opt(opt::Opt),
    Fmt(fmt::Fmt),
    Ops(ops::Ops),
    Bench(bench::Bench),
    Weights(weights::Weights),
}

impl Verb {
    fn run(self) -> Result<(), Failure> {
        match self {
            Verb::Train(verb) => verb.run(),
            Verb::Init(verb) => verb.run(),
            Verb::Run(verb) => verb.run(),
            Verb::Step(verb) => verb.run(),
            Verb::Check(verb) => verb.run(),
            Verb::Dump(verb) => verb.run(),
            Verb::Opt(verb) => verb.run(),
            Verb::Fmt(verb) => verb.run(),
            Verb::Ops(verb) => verb.run(),
            Verb::Bench(verb) => verb.run(),
            Verb::Weights(verb) => verb.run(),
        }
    }
}

fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map_or(String::new(), |l| format!(" ({l})"));
        output::error(&format!("internal error: {message}{place}; this is a defect of Kiln"));
    }));
    let verb = Command::parse().verb;
    // Unwinding, so that temporary files are removed.
    match panic::catch_unwind(|| verb.run()) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => failure.report(),
        Err(_) => ExitCode::from(failure::DEFECT),
    }
}
