//! `kiln dump`: any stage between text and machine code.

use clap::{Args, ValueEnum};
use kiln::graph::dump as graphs;
use kiln::loops::dump as programs;
use kiln::{Stages, stages};

use crate::arguments::Program;
use crate::failure::Failure;
use crate::output;

/// Print a stage of compilation
#[derive(Args)]
#[command(after_help = "\
Examples:
  kiln dump dsl/models/lenet.kiln
  kiln dump dsl/models/lenet.kiln --stage fused --format dot | dot -Tsvg > lenet.svg
  kiln dump dsl/models/lenet.kiln --train --stage plan
  kiln dump dsl/models/lenet.kiln --train --after fuse --remarks

Graphs and programs print as text that `kiln opt` reads. Free axes that --set does not bind have
size 1.")]
pub struct Dump {
    #[command(flatten)]
    program: Program,
    /// The training step: forward, backward and update
    #[arg(long)]
    train: bool,
    /// The stage
    #[arg(long, value_enum, default_value_t = Stage::Graph)]
    stage: Stage,
    /// The graph or program after this pass, whatever the stage
    #[arg(long, value_name = "PASS", conflicts_with = "stage")]
    after: Option<String>,
    /// The form
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Say what passes left as it was, and why: comments after text, else on standard error
    #[arg(long)]
    remarks: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// The file as it was understood
    Source,
    /// The graph as the program says it
    Graph,
    /// The graph after all its passes, grouped into kernels
    Fused,
    /// The loop nests after all their passes
    Program,
    /// Where every buffer lies and how long it lives, as comments, then the loop nests
    Plan,
    /// Cranelift's intermediate form of every kernel
    Clif,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Dot,
}

impl Dump {
    /// Prints the stage.
    pub fn run(self) -> Result<(), Failure> {
        let model = self.program.model()?;
        if self.stage == Stage::Source && self.after.is_none() {
            return match self.format {
                Format::Text => output::print(&kiln::lang::print::print(model.module().ast())),
                _ => Err(self.unavailable()),
            };
        }
        let (options, _) = model.bind_rest(&self.program.options(), 1)?;
        let network = if self.train { model.training()? } else { model.inference()? };
        if self.stage == Stage::Clif {
            if self.format != Format::Text {
                return Err(self.unavailable());
            }
            let executable = kiln::compile(&network, &options)?;
            return self.print(executable.clif()?, &executable.report().remarks);
        }
        // The graph stage needs no pass.
        if self.stage == Stage::Graph && self.after.is_none() && !self.remarks {
            let elaborated = kiln::Source::elaborate(&network, &options)?;
            return self.print(self.graph(&elaborated.graph), &[]);
        }
        let last = match self.stage {
            Stage::Fused => kiln::passes::GRAPH_PASSES.last().map(|pass| pass.name),
            _ => self.after.as_deref(),
        };
        let Stages { elaborated, graph, program, notes } = stages(&network, &options, last)?;
        let text = match (self.stage, program) {
            (Stage::Graph, _) if self.after.is_none() => self.graph(&elaborated.graph),
            (Stage::Plan, Some(program)) => {
                kiln::loops::check_plan(&program).map_err(kiln::Error::defect)?;
                match self.format {
                    Format::Text => programs::plan(&program),
                    Format::Json => programs::plan_json(&program),
                    Format::Dot => return Err(self.unavailable()),
                }
            }
            (_, Some(program)) => match self.format {
                Format::Text => program.to_string(),
                Format::Json => programs::json(&program),
                Format::Dot => programs::dot(&program),
            },
            (_, None) => self.graph(&graph),
        };
        self.print(text, &notes.remarks)
    }

    fn graph(&self, graph: &kiln::Graph) -> String {
        match self.format {
            Format::Text => graph.to_string(),
            Format::Json => graphs::json(graph),
            Format::Dot => graphs::dot(graph),
        }
    }

    fn print(&self, mut text: String, remarks: &[kiln::passes::Remark]) -> Result<(), Failure> {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let remarks = remarks.iter().filter(|_| self.remarks);
        if self.format == Format::Text {
            let mark = if self.stage == Stage::Clif { ';' } else { '#' };
            text.extend(remarks.map(|remark| format!("{mark} {remark}\n")));
        } else {
            remarks.for_each(|remark| output::error(&remark.to_string()));
        }
        output::print(&text)
    }

    fn unavailable(&self) -> Failure {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or(String::new(), |v| v.get_name().to_owned())
        };
        Failure::input(format!(
            "the stage {} has no form {}",
            name(self.stage.to_possible_value()),
            name(self.format.to_possible_value())
        ))
    }
}
