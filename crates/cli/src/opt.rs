//! `kiln opt`: passes over the text form of a graph or program.

use std::path::PathBuf;

use clap::Args;
use kiln::graph::Graph;
use kiln::loops::Program;
use kiln::passes::{GRAPH_PASSES, Notes, PROGRAM_PASSES, PassError, lower, run, select};

use crate::arguments::{is_stdin, read_text};
use crate::failure::Failure;
use crate::output;

/// Run passes over a graph or program: text in, text out
#[derive(Args)]
#[command(after_help = "\
Examples:
  kiln dump dsl/models/lenet.kiln --train > step.graph
  kiln opt step.graph -p autodiff,simplify,cse,dce
  kiln opt step.graph -p all,lower | kiln opt - -p plan --remarks

`lower` turns a graph into a program; what stands before it are passes of graphs, what follows of
programs. `all` is every pass, in order.")]
pub struct Opt {
    /// A graph or program as `kiln dump` prints it; `-` is standard input
    graph: PathBuf,
    /// The passes, in order
    #[arg(short, long, value_name = "PASS,...", default_value = "")]
    passes: String,
    /// Print why passes left something as it was, as comments after the text
    #[arg(long)]
    remarks: bool,
}

/// What is between passes.
enum Stage {
    Graph(Graph),
    Program(Program),
}

impl Opt {
    /// Reads, runs the passes, prints.
    pub fn run(self) -> Result<(), Failure> {
        let mut notes = Notes::new(kiln::pass_options());
        let mut stage = self.read()?;
        for (i, names) in self.segments().into_iter().enumerate() {
            if i > 0 {
                let Stage::Graph(graph) = stage else {
                    return Err(Failure::input("`lower` turns a graph into a program, once"));
                };
                stage = Stage::Program(lower(&graph).map_err(Failure::input)?);
            }
            stage = apply(stage, &names, &mut notes)?;
        }
        let mut text = match stage {
            Stage::Graph(graph) => graph.to_string(),
            Stage::Program(program) => program.to_string(),
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        if self.remarks {
            text.extend(notes.remarks.iter().map(|remark| format!("# {remark}\n")));
        }
        output::print(&text)
    }

    fn read(&self) -> Result<Stage, Failure> {
        let name = match is_stdin(&self.graph) {
            true => "standard input".to_owned(),
            false => self.graph.display().to_string(),
        };
        let text = read_text(&self.graph)?;
        let mut lines = text.lines().map(str::trim_start);
        let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        if first.is_some_and(|line| line.starts_with("program")) {
            let program =
                kiln::loops::parse(&text).map_err(|e| Failure::input(format!("{name}: {e}")))?;
            kiln::loops::verify(&program).map_err(|e| Failure::input(format!("{name}: {e}")))?;
            return Ok(Stage::Program(program));
        }
        let graph: Graph = text
            .parse()
            .map_err(|e: kiln::graph::TextError| Failure::input(format!("{name}: {e}")))?;
        kiln::graph::verify(&graph).map_err(|e| Failure::input(format!("{name}: {e}")))?;
        Ok(Stage::Graph(graph))
    }

    /// The names before, between and after `lower`.
    fn segments(&self) -> Vec<String> {
        let names: Vec<&str> = self.passes.split(',').map(str::trim).collect();
        names.split(|name| *name == "lower").map(|names| names.join(",")).collect()
    }
}

fn apply(stage: Stage, names: &str, notes: &mut Notes) -> Result<Stage, Failure> {
    let wrong = |e: PassError| Failure::Error(e.into());
    Ok(match stage {
        Stage::Graph(graph) => {
            let passes = match names {
                "all" => GRAPH_PASSES.to_vec(),
                names => select(GRAPH_PASSES, names).map_err(Failure::input)?,
            };
            Stage::Graph(run(&passes, graph, notes, &mut |_, _| {}).map_err(wrong)?)
        }
        Stage::Program(program) => {
            let passes = match names {
                "all" => PROGRAM_PASSES.to_vec(),
                names => select(PROGRAM_PASSES, names).map_err(Failure::input)?,
            };
            Stage::Program(run(&passes, program, notes, &mut |_, _| {}).map_err(wrong)?)
        }
    })
}
