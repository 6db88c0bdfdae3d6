//! `kiln ops`: the operators.

use clap::Args;
use kiln::graph::{docs, nearest, ops::OPS};

use crate::failure::Failure;
use crate::output;

/// Describe the operators of the graph
#[derive(Args)]
#[command(after_help = "\
Examples:
  kiln ops > docs/ops.md
  kiln ops conv")]
pub struct Ops {
    /// One operator; without it all, as Markdown
    name: Option<String>,
}

impl Ops {
    /// Prints the description.
    pub fn run(self) -> Result<(), Failure> {
        let Some(name) = &self.name else { return output::print(&docs::ops_markdown()) };
        if let Some(op) = OPS.iter().find(|op| op.name == name) {
            return output::print(&docs::describe(op));
        }
        let near = nearest(name, OPS.iter().map(|op| op.name));
        let hint = near.map_or("`kiln ops` lists them".into(), |n| format!("did you mean `{n}`?"));
        Err(Failure::input(format!("no operator is called `{name}`; {hint}")))
    }
}
