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
    let mut positions = Vec::new();
    for edge in graph.petgraph().edges_directed(id, Direction::Incoming) {
        if edge.source() >= id {
            return Err(format!("operand %{} does not stand before it", edge.source().index()));
        }
        positions.push(*edge.weight());
    }
    positions.sort_unstable();
    if !positions.iter().copied().eq(0..positions.len() as u32) {
        return Err(format!("operands have positions {positions:?}"));
    }
    let operands = graph.operands(id);
    let types: Vec<&Type> = operands.iter().map(|&o| &graph[o].ty).collect();
    let ty = infer(node.op, &node.attrs, &types).map_err(|e| e.to_string())?;
    if ty != node.ty {
        return Err(format!("is {}, but `{}` gives {ty}", node.ty, node.op.name));
    }
    let mut order = node.order.clone();
    order.sort_unstable();
    if !order.is_empty() && !order.into_iter().eq(0..ty.shape.rank()) {
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
