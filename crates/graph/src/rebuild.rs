//! What every pass does: builds a new graph from an old one.

use crate::builder::{Builder, Var};
use crate::graph::{Graph, GraphError, Node, NodeId, Operands, Update};

/// For every node whether a result needs it. Inputs always count: they are what the graph offers
/// its caller, and no pass changes that.
pub fn live(graph: &Graph) -> Vec<bool> {
    let mut live = vec![false; graph.len()];
    graph.inputs().chain(graph.results()).for_each(|id| live[id.index()] = true);
    for id in graph.ids().rev() {
        if live[id.index()] {
            graph.operands(id).iter().for_each(|o| live[o.index()] = true);
        }
    }
    live
}

/// The graph without the nodes that no result needs.
pub fn sweep(graph: Graph) -> Graph {
    let live = live(&graph);
    if live.iter().all(|&live| live) {
        return graph;
    }
    let mut new = Graph::new();
    let mut map: Vec<NodeId> = graph.ids().collect();
    for id in graph.ids().filter(|id| live[id.index()]) {
        let operands: Operands = graph.operands(id).iter().map(|o| map[o.index()]).collect();
        map[id.index()] = new.append(graph[id].clone(), &operands);
    }
    copy_results(&graph, &mut new, |id| map[id.index()]);
    new
}

/// Gives `to` the outputs and updates of `from`, in order; `map` says what became of a node.
pub fn copy_results(from: &Graph, to: &mut Graph, map: impl Fn(NodeId) -> NodeId) {
    to.outputs = from.outputs.iter().map(|(name, id)| (name.clone(), map(*id))).collect();
    to.updates =
        from.updates.iter().map(|u| Update { input: map(u.input), value: map(u.value) }).collect();
}

/// Copies every live node, in order, into a new graph, with outputs and updates.
///
/// `rewrite` sees each node with its operands in the new graph and may say what stands for it
/// there, which must have its type; `None` copies it with its placement and memory order. Nodes it
/// makes come from the places the node comes from.
///
/// # Errors
/// The first error of a node that `rewrite` made, or that what stands for a node has another type.
pub fn rebuild<F>(graph: &Graph, mut rewrite: F) -> Result<Graph, GraphError>
where
    F: for<'b> FnMut(&'b Builder, NodeId, &Node, &[Var<'b>]) -> Option<Var<'b>>,
{
    let builder = Builder::new();
    let live = live(graph);
    // The node itself stands in for those that are not live; nobody asks for them.
    let mut map: Vec<NodeId> = graph.ids().collect();
    for id in graph.ids().filter(|id| live[id.index()]) {
        let node = &graph[id];
        let operands: Vec<Var<'_>> =
            graph.operands(id).iter().map(|o| builder.var(map[o.index()])).collect();
        builder.locate(node.locations.clone());
        let new = match rewrite(&builder, id, node, &operands) {
            Some(new) => new,
            None => {
                let operands: Operands = operands.iter().map(|o| o.id()).collect();
                builder.var(builder.modify(|g| g.append(node.clone(), &operands)))
            }
        };
        if let Some(error) = builder.take_error() {
            return Err(error);
        }
        if new.ty() != node.ty {
            let message = format!("%{}, {}, cannot become {}", id.index(), node.ty, new.ty());
            return Err(GraphError { op: node.op.name.to_owned(), message });
        }
        map[id.index()] = new.id();
    }
    let mut new = builder.finish()?;
    copy_results(graph, &mut new, |id| map[id.index()]);
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;

    const TEXT: &str = r#"graph {
  %0: f32[2] = input {dtype=f32, kind="data", name="unused", shape=[2]}
  %1: f32[2] = input {dtype=f32, kind="param", name="w", shape=[2]} @a.kiln:1:1
  %2: f32[2] = exp(%1) @a.kiln:2:2
  %3: f32[2] = neg(%1) !k0 ~[0] @a.kiln:3:3
  %4: f32[2] = tanh(%3) !inline @a.kiln:4:4
  output y = %4
  update %1 <- %3
}
"#;

    #[test]
    fn copies_what_results_need_with_everything_it_knows() {
        let graph: Graph = TEXT.parse().unwrap();
        let copy = rebuild(&graph, |_, _, _, _| None).unwrap();
        let expected = TEXT.replace("  %2: f32[2] = exp(%1) @a.kiln:2:2\n", "");
        assert_eq!(copy.to_string(), expected.replace("%3", "%2").replace("%4", "%3"));
    }

    #[test]
    fn puts_other_nodes_in_their_place() {
        let graph: Graph = TEXT.parse().unwrap();
        let new = rebuild(&graph, |_, _, node, x| (node.op == &ops::TANH).then(|| x[0] * x[0]));
        let new = new.unwrap().to_string();
        assert!(new.contains("%3: f32[2] = mul(%2, %2) @a.kiln:4:4\n  output y = %3"), "{new}");
    }

    #[test]
    fn refuses_a_replacement_of_another_type() {
        let graph: Graph = TEXT.parse().unwrap();
        let error =
            rebuild(&graph, |_, _, node, x| (node.op == &ops::TANH).then(|| x[0].sum(&[0])));
        assert_eq!(error.unwrap_err().to_string(), "tanh: %4, f32[2], cannot become f32[]");
        let error =
            rebuild(&graph, |_, _, node, x| (node.op == &ops::TANH).then(|| x[0].sum(&[1])));
        assert!(error.unwrap_err().to_string().starts_with("sum: `axes` [1] are not all below"));
    }
}
