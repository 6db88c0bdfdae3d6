//! The verifier: what every pass may rely on and must leave true.

use std::collections::BTreeSet;

use petgraph::Direction;
use petgraph::visit::EdgeRef;

use crate::graph::{Graph, InputKind, NodeId, Type, infer};

/// What is wrong with a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .node.map_or_else(String::new, |n| format!("%{n}: ")))]
pub struct VerifyError {
    /// The node, if it is about one.
    pub node: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// Checks a graph: operands stand before users, in positions 0, 1, ...; every node has the
/// attributes its operator declares and the type its operator gives; memory orders name every axis
/// once; locations are sorted; names of inputs and of outputs are unique; updates give inputs other
/// than data, once each, a value of their type.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(graph: &Graph) -> Result<(), VerifyError> {
    for id in graph.ids() {
        node(graph, id).map_err(|message| VerifyError { node: Some(id.index()), message })?;
    }
    boundary(graph).map_err(|message| VerifyError { node: None, message })
}

fn node(graph: &Graph, id: NodeId) -> Result<(), String> {
    let node = &graph[id];
    let edges = graph.petgraph().edges_directed(id, Direction::Incoming);
    let mut operands: Vec<(u32, NodeId)> = edges.map(|e| (*e.weight(), e.source())).collect();
    operands.sort_unstable();
    if let Some(late) = operands.iter().find(|o| o.1 >= id) {
        return Err(format!("operand %{} does not stand before it", late.1.index()));
    }
    if !operands.iter().map(|o| o.0).eq(0..operands.len() as u32) {
        let positions: Vec<u32> = operands.iter().map(|o| o.0).collect();
        return Err(format!("operands have positions {positions:?}"));
    }
    let types: Vec<&Type> = operands.iter().map(|o| &graph[o.1].ty).collect();
    let ty = infer(node.op, &node.attrs, &types).map_err(|e| e.to_string())?;
    if ty != node.ty {
        return Err(format!("is {}, but `{}` gives {ty}", node.ty, node.op.name));
    }
    let mut order = node.order.clone();
    order.sort_unstable();
    if !node.order.is_empty() && !order.into_iter().eq(0..ty.shape.rank()) {
        return Err(format!("memory order {:?} does not name every axis of {ty} once", node.order));
    }
    if !node.locations.is_sorted() {
        return Err("locations are not sorted".to_owned());
    }
    Ok(())
}

fn boundary(graph: &Graph) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for (name, _) in graph.inputs().filter_map(|id| graph.input(id)) {
        if !names.insert(name) {
            return Err(format!("two inputs are named `{name}`"));
        }
    }
    let exists = |id: NodeId| match id.index() < graph.len() {
        true => Ok(()),
        false => Err(format!("%{} does not exist", id.index())),
    };
    let mut names = BTreeSet::new();
    for (name, id) in &graph.outputs {
        exists(*id)?;
        if !names.insert(name) {
            return Err(format!("two outputs are named `{name}`"));
        }
    }
    let mut targets = BTreeSet::new();
    for update in &graph.updates {
        exists(update.input)?;
        exists(update.value)?;
        let (target, value) = (&graph[update.input].ty, &graph[update.value].ty);
        match graph.input(update.input) {
            None => {
                return Err(format!("%{} is updated but no input", update.input.index()));
            }
            Some((name, InputKind::Data)) => {
                return Err(format!("`{name}` is updated but data, which the caller provides"));
            }
            Some((name, _)) if !targets.insert(name) => {
                return Err(format!("`{name}` is updated twice"));
            }
            Some((name, _)) if target != value => {
                return Err(format!("`{name}` is {target} but updated with {value}"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Update;
    use kiln_tensor::DType;

    const TEXT: &str = r#"graph {
  %x: f32[2] = input {dtype=f32, kind="data", name="x", shape=[2]}
  %w: f32[2] = input {dtype=f32, kind="param", name="w", shape=[2]}
  %s: f32[3] = input {dtype=f32, kind="state", name="s", shape=[3]}
  %y: f32[2] = mul(%x, %w)
  output y = %y
  update %w <- %y
}"#;

    fn refused(message: &str, damage: impl FnOnce(&mut Graph)) {
        let mut graph: Graph = TEXT.parse().unwrap();
        verify(&graph).unwrap();
        damage(&mut graph);
        match verify(&graph) {
            Err(e) if e.to_string().contains(message) => {}
            other => panic!("expected {message}, got {other:?}"),
        }
    }

    #[test]
    fn every_promise_is_checked() {
        let id = NodeId::new;
        refused("two outputs are named `y`", |g| g.outputs.push(("y".to_owned(), id(0))));
        refused("%9 does not exist", |g| g.outputs.push(("z".to_owned(), id(9))));
        refused("`x` is updated but data", |g| {
            g.updates.push(Update { input: id(0), value: id(3) })
        });
        refused("%3 is updated but no input", |g| {
            g.updates.push(Update { input: id(3), value: id(3) })
        });
        refused("`w` is updated twice", |g| g.updates.push(Update { input: id(1), value: id(3) }));
        refused("`s` is f32[3] but updated with f32[2]", |g| {
            g.updates.push(Update { input: id(2), value: id(3) });
        });
        refused("%3: memory order [1]", |g| g.order(id(3), vec![1]));
        refused("two inputs are named `x`", |g| {
            let attrs = g[id(0)].attrs.clone();
            g.add(&crate::ops::INPUT, attrs, &[], [].into()).unwrap();
        });
    }

    #[test]
    fn a_node_of_another_type_is_found() {
        // No public way makes one, which is the point; a pass with a defect would.
        let graph: Graph = TEXT.parse().unwrap();
        let mut damaged = graph.clone();
        damaged.retype(NodeId::new(3), Type::scalar(DType::F32));
        let error = verify(&damaged).unwrap_err();
        assert_eq!(error.to_string(), "%3: is f32[], but `mul` gives f32[2]");
    }
}
