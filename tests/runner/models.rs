//! A model through every stage: after each its text reads back as the same text, it has
//! its views, and everything knows the lines it comes from.

use std::collections::BTreeSet;

use kiln_graph::op::Lower;
use kiln_graph::{Graph, Location, MAX_LOCATIONS, NodeId};
use kiln_lang::{Kind, Model, Options};
use kiln_loops::Program;
use kiln_passes::{GRAPH_PASSES, Notes, PROGRAM_PASSES};

use super::pipeline::{Failure, graph_text, plan_text, program_text};

/// Passes that may drop what a value was computed from, for it is known without it.
const FORGETFUL: [&str; 2] = ["fold", "simplify"];

/// Takes a graph of a model through every stage.
pub fn walk(model: &Model<'_>, kind: Kind, options: &Options) -> Result<(), String> {
    let graph = model.elaborate(kind, options).map_err(|e| e.to_string())?.graph;
    let mut origin = Origin::default();
    let mut wrong = check_graph(&graph, "elaboration", &mut origin).err();
    let mut notes = Notes::default();
    let graph = kiln_passes::run(GRAPH_PASSES, graph, &mut notes, &mut |pass, graph| {
        wrong = wrong.take().or(check_graph(graph, pass, &mut origin).err());
    });
    let graph = graph.map_err(|e| e.to_string())?;
    let program = kiln_passes::lower(&graph).map_err(|e| e.to_string())?;
    wrong = wrong.or(check_program(&program, "lowering").err());
    let lines = program.kernels.iter().flat_map(|k| k.locations.iter());
    wrong = wrong.or(origin.compare("lowering", lines.cloned().collect(), false).err());
    let program = kiln_passes::run(PROGRAM_PASSES, program, &mut notes, &mut |pass, program| {
        wrong = wrong.take().or(check_program(program, pass).err());
    });
    let program = program.map_err(|e| e.to_string())?;
    plan_text(&program).map_err(|e| e.text)?;
    for view in [kiln_graph::dump::json(&graph), kiln_loops::dump::json(&program)] {
        serde_json::from_str::<serde_json::Value>(&view).map_err(|e| e.to_string())?;
    }
    for view in [kiln_graph::dump::dot(&graph), kiln_loops::dump::dot(&program)] {
        if !view.starts_with("digraph") {
            return Err(format!("no graph of Graphviz:\n{view}"));
        }
    }
    wrong.map_or(Ok(()), Err)
}

/// The places that the nodes of a graph come from.
#[derive(Default)]
struct Origin {
    lines: BTreeSet<Location>,
    /// Whether some node has as many places as a node can, so that others may be missing.
    full: bool,
}

impl Origin {
    /// Compares with the places after a pass.
    fn compare(&mut self, pass: &str, lines: BTreeSet<Location>, full: bool) -> Result<(), String> {
        let lost: Vec<String> = self.lines.difference(&lines).map(Location::to_string).collect();
        let excused = FORGETFUL.contains(&pass) || self.full || full;
        *self = Origin { lines, full: self.full || full };
        match lost.is_empty() || excused {
            true => Ok(()),
            false => Err(format!("after {pass} nothing comes from {}", lost.join(", "))),
        }
    }
}

fn check_graph(graph: &Graph, pass: &str, origin: &mut Origin) -> Result<(), String> {
    let failed = |failure: Failure| format!("after {pass}: {}", failure.text);
    graph_text(graph).map_err(failed)?;
    if let Some(id) = graph.ids().find(|&id| graph[id].locations.is_empty()) {
        let (id, op) = (id.index(), graph[id].op.name);
        return Err(format!("after {pass}: %{id} {op} comes from nowhere"));
    }
    // What is computed for a result; constants are shared by all the network.
    let live = kiln_graph::live(graph);
    let computes = |id: &NodeId| !matches!(graph[*id].op.lower, Lower::Leaf);
    let ids = graph.ids().filter(|id| live[id.index()]).filter(computes);
    let sets: Vec<_> = ids.map(|id| &graph[id].locations).collect();
    let full = sets.iter().any(|set| set.len() >= MAX_LOCATIONS);
    origin.compare(pass, sets.iter().flat_map(|set| set.iter().cloned()).collect(), full)
}

fn check_program(program: &Program, pass: &str) -> Result<(), String> {
    program_text(program).map_err(|failure| format!("after {pass}: {}", failure.text))?;
    match program.kernels.iter().find(|kernel| kernel.locations.is_empty()) {
        Some(kernel) => Err(format!("after {pass}: kernel {} comes from nowhere", kernel.name)),
        None => Ok(()),
    }
}
