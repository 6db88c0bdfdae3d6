//! Makes a case that fails smaller, so that it can be read and kept as a test.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kiln_graph::eval::Value;
use kiln_graph::{Graph, NodeId, ops, rebuild};

use super::Case;
use super::reference::values;

/// Time to make one failing case smaller.
const SHRINKING: Duration = Duration::from_secs(10);

/// Makes a failing case smaller as long as it fails alike.
pub fn shrink(mut case: Case, still: &dyn Fn(&Case) -> bool) -> Case {
    let end = Instant::now() + SHRINKING;
    loop {
        let better = smaller(&case).find(|smaller| Instant::now() < end && still(smaller));
        match better {
            Some(better) => case = better,
            None => return case,
        }
    }
}

/// Cases with a result less, with operands in place of a result, or with an input in place of a
/// node.
fn smaller(case: &Case) -> impl Iterator<Item = Case> + '_ {
    let graph = &case.graph;
    let with = |change: &dyn Fn(&mut Graph)| {
        let mut graph = graph.clone();
        change(&mut graph);
        Some(Case { graph: rebuild(&graph, |_, _, _, _| None).ok()?, inputs: case.inputs.clone() })
    };
    let many = graph.outputs.len() + graph.updates.len() > 1;
    let fewer = (0..graph.outputs.len()).filter(move |_| many);
    let fewer = fewer.filter_map(move |i| {
        with(&|g| {
            g.outputs.remove(i);
        })
    });
    let still = (0..graph.updates.len()).filter(move |_| many);
    let still = still.filter_map(move |i| {
        with(&|g| {
            g.updates.remove(i);
        })
    });
    let gradients = graph.ids().any(|id| graph[id].op == &ops::GRAD);
    let values = if gradients { Vec::new() } else { values(graph, &case.inputs) };
    let inner = graph.ids().filter(move |&id| !gradients && !graph.operands(id).is_empty());
    let cut = inner.rev().filter_map(move |id| {
        let ty = &graph[id].ty;
        let name = format!("v{}", id.index());
        let value = values[id.index()].to_tensor(ty.dtype).ok()?;
        let mut inputs = case.inputs.clone();
        inputs.insert(name.clone(), Value::from(&value));
        let cut =
            rebuild(graph, |b, at, _, _| (at == id).then(|| b.data(&name, ty.dtype, &ty.shape)));
        Some(Case { graph: cut.ok()?, inputs })
    });
    let earlier = (0..graph.outputs.len()).flat_map(move |i| {
        graph.operands(graph.outputs[i].1).into_iter().filter_map(move |operand| {
            let mut graph = graph.clone();
            graph.outputs[i].1 = operand;
            let graph = rebuild(&graph, |_, _, _, _| None).ok()?;
            Some(Case { graph, inputs: case.inputs.clone() })
        })
    });
    fewer.chain(still).chain(cut).chain(earlier)
}

/// The graph's text without inputs that nothing reads.
pub fn without_unread(graph: &Graph) -> String {
    let updated: BTreeSet<NodeId> = graph.updates.iter().map(|u| u.input).collect();
    let results: BTreeSet<NodeId> = graph.results().collect();
    let unread = graph
        .inputs()
        .filter(|id| graph.users(*id).is_empty() && !updated.contains(id) && !results.contains(id));
    let starts: Vec<String> = unread.map(|id| format!("  %{}:", id.index())).collect();
    let text = graph.to_string();
    let kept = text.lines().filter(|line| !starts.iter().any(|s| line.starts_with(s)));
    let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
    kept.parse().map_or(text, |graph: Graph| graph.to_string())
}
