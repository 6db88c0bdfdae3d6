//! `fuse`: decides for every node whether it has a buffer or is computed wherever it is read, and
//! which stored nodes share a kernel.
//!
//! Lowering pulls (see [`kiln_graph::op::Lower`]), so a node that is computed where it is read is
//! fused into its reader by construction. What is decided here is only when that pays:
//!
//! 1. the element-wise operators after a contraction or a reduction, and the views between them that
//!    keep every element, belong to its kernel, as its epilogue, as long as each result has one
//!    reader;
//! 2. any other node is computed where it is read unless that would compute it more than once, at
//!    a cost worth a buffer;
//! 3. what depends on weights alone is stored where anything else reads it, to be computed once;
//! 4. stored element-wise nodes of one shape that read each other share a kernel.

use std::collections::HashMap;

use kiln_graph::op::Lower;
use kiln_graph::{Graph, NodeId, Placement};

use crate::fixed::fixed;
use crate::lower::symbolic;
use crate::pass::{Notes, Pass, PassError};
use crate::views::{has_buffer, one_to_one, reshape_index, reshape_is_affine};

/// See the module.
pub static PASS: Pass<Graph> = Pass { name: "fuse", doc: "group nodes into kernels", run };

/// A kernel computes at most this many nodes: its compile time and registers are bounded.
const MAX_NODES: u32 = 64;

/// Cheap instructions in a row that are computed again rather than stored.
const MAX_STEPS: u32 = 2;

/// A kernel stores at most this many nodes.
const MAX_ROOTS: usize = 4;

fn run(mut graph: Graph, notes: &mut Notes) -> Result<Graph, PassError> {
    let stored = choose(&graph, notes);
    for id in graph.ids() {
        let placement = match graph[id].op.lower {
            Lower::Leaf => Placement::Unset,
            _ => Placement::Inline,
        };
        graph.place(id, placement);
    }
    number(&mut graph, &stored);
    Ok(graph)
}

/// Facts about the nodes, by index.
struct Facts {
    live: Vec<bool>,
    /// Must have a buffer, with the reason.
    forced: Vec<Option<&'static str>>,
    /// Belongs to the epilogue of this contraction or reduction.
    anchor: Vec<Option<NodeId>>,
}

/// Which nodes get a buffer.
fn choose(graph: &Graph, notes: &mut Notes) -> Vec<bool> {
    let facts = facts(graph);
    let n = graph.len();
    let mut stored = vec![false; n];
    // How often an element of the node would be computed, over all, if it had no buffer.
    let mut evaluations = vec![0f64; n];
    // How many instructions in a row are computed again above the node.
    let mut steps = vec![0u32; n];
    for id in graph.ids().rev() {
        let i = id.index();
        if !facts.live[i] || matches!(graph[id].op.lower, Lower::Leaf) {
            continue;
        }
        let elements = graph[id].ty.shape.elements() as f64;
        let again = evaluations[i] > elements;
        let repeated =
            again && !is_view(graph, id) && !(is_cheap(graph, id) && steps[i] < MAX_STEPS);
        stored[i] = facts.forced[i].is_some() || repeated;
        if let Some(reason) = facts.forced[i] {
            notes.remark(graph, id, reason);
        } else if repeated {
            let users = graph.users(id).len();
            let times = evaluations[i] / elements.max(1.0);
            notes.remark(
                graph,
                id,
                format!("stored: its {users} users would compute it {times:.0} times"),
            );
        }
        let runs = if stored[i] { elements } else { evaluations[i] };
        let per_element = reads_per_element(graph, id);
        let steps_below = match (stored[i], again) {
            (true, _) => 0,
            (false, again) => steps[i] + u32::from(again && !is_free(graph, id)),
        };
        for operand in graph.operands(id) {
            steps[operand.index()] = steps[operand.index()].max(steps_below);
            let reads = match graph[id].op.lower {
                Lower::Place(_, _) => graph[operand].ty.shape.elements() as f64,
                Lower::Scatter(s) => {
                    graph.with_view(id, |v| (s.domain)(v)).iter().product::<usize>() as f64
                }
                _ => runs * per_element,
            };
            evaluations[operand.index()] += reads;
        }
    }
    bound_sizes(graph, &facts, &mut stored);
    stored
}

/// How many elements of each operand one element of the node reads.
fn reads_per_element(graph: &Graph, id: NodeId) -> f64 {
    match graph[id].op.lower {
        Lower::Reduce(f, _) | Lower::Contract(f) => {
            graph.with_view(id, f).reduced.iter().product::<usize>() as f64
        }
        _ => 1.0,
    }
}

fn facts(graph: &Graph) -> Facts {
    let n = graph.len();
    let mut facts = Facts { live: vec![false; n], forced: vec![None; n], anchor: vec![None; n] };
    for id in graph.results() {
        facts.live[id.index()] = true;
        facts.forced[id.index()] = Some("stored: it is a result");
    }
    for id in graph.ids().rev().filter(|&id| !matches!(graph[id].op.lower, Lower::Leaf)) {
        if facts.live[id.index()] {
            graph.operands(id).iter().for_each(|o| facts.live[o.index()] = true);
        }
    }
    for id in graph.ids() {
        let lower = graph[id].op.lower;
        if !facts.live[id.index()] {
            continue;
        }
        match lower {
            Lower::Place(..) | Lower::Scatter(_) => {
                facts.forced[id.index()] = Some("stored: it is written piece by piece");
            }
            Lower::Reshape if !reshape_is_affine(graph, id) => {
                let operand = graph.operands(id)[0];
                facts.forced[operand.index()]
                    .get_or_insert("stored: a reshape reads it in flat order");
            }
            Lower::Contract(_) | Lower::Tiles(_) => {
                for operand in graph.operands(id) {
                    let base = under_views(graph, operand, |id| facts.forced[id.index()].is_some());
                    facts.forced[base.index()].get_or_insert("stored: it is read many times");
                }
            }
            _ => {}
        }
    }
    let fixed = fixed(graph);
    for id in graph.ids().filter(|id| facts.live[id.index()] && !fixed[id.index()]) {
        for operand in graph.operands(id).into_iter().filter(|o| fixed[o.index()]) {
            let base = under_views(graph, operand, |id| facts.forced[id.index()].is_some());
            if !matches!(graph[base].op.lower, Lower::Leaf) {
                facts.forced[base.index()].get_or_insert("stored: it depends on weights alone");
            }
        }
    }
    for id in graph.ids() {
        let is_anchor = has_loops(graph, id);
        if facts.live[id.index()] && is_anchor {
            claim_epilogue(graph, &mut facts, id);
        }
    }
    facts
}

/// The first node that is no view or has a buffer, from `id` down.
fn under_views(graph: &Graph, mut id: NodeId, has_buffer: impl Fn(NodeId) -> bool) -> NodeId {
    while is_view(graph, id) && !has_buffer(id) {
        id = graph.operands(id)[0];
    }
    id
}

/// Follows the only reader of an anchor through element-wise operators and views that keep every
/// element, and stores the last of them that computes. The reshapes right behind that one come
/// along: they cost nothing, and other results may have their shape.
fn claim_epilogue(graph: &Graph, facts: &mut Facts, anchor: NodeId) {
    let mut chain = vec![anchor];
    let mut last = 0;
    while facts.forced[chain[chain.len() - 1].index()].is_none() && chain.len() < MAX_NODES as usize
    {
        let value = chain[chain.len() - 1];
        let users: Vec<NodeId> =
            graph.users(value).into_iter().filter(|u| facts.live[u.index()]).collect();
        let [user] = users[..] else { break };
        let index = symbolic(&graph[user].ty.shape);
        if facts.anchor[user.index()].is_some() || one_to_one(graph, user, value, &index).is_none()
        {
            break;
        }
        if matches!(graph[anchor].op.lower, Lower::Tiles(_)) && !keeps_axes(graph, value, user) {
            break;
        }
        let is_last = match graph[user].op.lower {
            Lower::Map(_) => true,
            Lower::Reshape => last + 1 == chain.len(),
            _ => false,
        };
        chain.push(user);
        if is_last || facts.forced[user.index()].is_some() {
            last = chain.len() - 1;
        }
    }
    chain.truncate(last + 1);
    for id in &chain {
        facts.anchor[id.index()] = Some(anchor);
    }
    facts.forced[chain[last].index()].get_or_insert("stored: the end of an epilogue");
}

/// Whether an element of `value` stands at an affine index of its own in `user`, as the elements of
/// tiles must.
fn keeps_axes(graph: &Graph, value: NodeId, user: NodeId) -> bool {
    let (from, to) = (&graph[value].ty.shape, &graph[user].ty.shape);
    match graph[user].op.lower {
        Lower::Map(_) => true,
        Lower::Reshape => reshape_index(from, to, &symbolic(from)).is_some(),
        _ => false,
    }
}

fn is_view(graph: &Graph, id: NodeId) -> bool {
    matches!(graph[id].op.lower, Lower::View(_) | Lower::Reshape)
}

/// Whether computing an element again costs nothing but what its operands cost.
fn is_free(graph: &Graph, id: NodeId) -> bool {
    let is_index = matches!(graph[id].op.lower, Lower::Element(_)) && graph.operands(id).is_empty();
    is_index || is_view(graph, id)
}

/// Whether computing an element again costs less than a buffer: one instruction on at most one
/// array of the node's size.
fn is_cheap(graph: &Graph, id: NodeId) -> bool {
    let operands = graph.operands(id);
    match graph[id].op.lower {
        Lower::Map(_) => {
            let elements = graph[id].ty.shape.elements();
            let large = operands.iter().filter(|&&o| {
                let base = under_views(graph, o, |_| false);
                2 * graph[base].ty.shape.elements() > elements
            });
            !is_transcendental(graph, id) && large.count() <= 1
        }
        _ => false,
    }
}

fn is_transcendental(graph: &Graph, id: NodeId) -> bool {
    use kiln_loops::Math;
    Math::from_name(graph[id].op.name).is_some()
}

/// Stores nodes in the middle of what would be too large a kernel.
fn bound_sizes(graph: &Graph, facts: &Facts, stored: &mut [bool]) {
    let mut size = vec![0u32; graph.len()];
    for id in graph.ids().filter(|id| facts.live[id.index()]) {
        if matches!(graph[id].op.lower, Lower::Leaf) {
            continue;
        }
        let operands = graph.operands(id);
        let total = |stored: &[bool], size: &[u32]| {
            let inlined = operands.iter().filter(|o| !stored[o.index()]);
            1 + inlined.map(|o| size[o.index()]).sum::<u32>()
        };
        if total(stored, &size) > MAX_NODES {
            // The operands that are element-wise and no part of an epilogue become buffers.
            for &o in &operands {
                if stored[o.index()] || size[o.index()] < 2 || facts.anchor[o.index()].is_some() {
                    continue;
                }
                let base = under_views(graph, o, |id| stored[id.index()]);
                stored[base.index()] |= !matches!(graph[base].op.lower, Lower::Leaf);
                size[o.index()] = 1;
            }
        }
        let sum = total(stored, &size);
        size[id.index()] = sum;
    }
}

/// Numbers the kernels in an order in which each reads only what earlier ones store.
fn number(graph: &mut Graph, stored: &[bool]) {
    let mut kernels: Vec<Vec<NodeId>> = Vec::new();
    for id in graph.ids() {
        if !stored[id.index()] {
            continue;
        }
        let reads = reads(graph, id);
        let host = host(graph, &kernels, id, &reads);
        let kernel = host.unwrap_or_else(|| {
            kernels.push(Vec::new());
            kernels.len() - 1
        });
        kernels[kernel].push(id);
        graph.place(id, Placement::Kernel(kernel as u32));
    }
}

/// The nodes with buffers that computing `id` reads, each with whether it is read at the index
/// that is computed and there only.
fn reads(graph: &Graph, id: NodeId) -> HashMap<NodeId, bool> {
    let mut reads: HashMap<NodeId, bool> = HashMap::new();
    let mut open = vec![(id, true)];
    let mut seen: HashMap<NodeId, bool> = HashMap::new();
    while let Some((node, same)) = open.pop() {
        let operands_same = same && matches!(graph[node].op.lower, Lower::Map(_));
        for operand in graph.operands(node) {
            let same = operands_same && graph[operand].ty.shape == graph[id].ty.shape;
            if has_buffer(graph, operand) {
                *reads.entry(operand).or_insert(true) &= same;
            } else if seen.get(&operand).is_none_or(|&before| before && !same) {
                seen.insert(operand, same);
                open.push((operand, same));
            }
        }
    }
    reads
}

/// The kernel that can also store `id`: one it reads, of the same loops, later than the others.
fn host(
    graph: &Graph,
    kernels: &[Vec<NodeId>],
    id: NodeId,
    reads: &HashMap<NodeId, bool>,
) -> Option<usize> {
    if !matches!(graph[id].op.lower, Lower::Map(_)) || has_inlined_loops(graph, id) {
        return None;
    }
    let kernel_of = |node: &NodeId| match graph[*node].placement {
        Placement::Kernel(k) => Some(k as usize),
        _ => None,
    };
    let last = reads.keys().filter_map(kernel_of).max()?;
    let host = &kernels[last];
    let fits = host.len() < MAX_ROOTS
        && host.iter().all(|&r| {
            graph[r].ty.shape == graph[id].ty.shape
                && matches!(
                    graph[r].op.lower,
                    Lower::Map(_) | Lower::Contract(_) | Lower::Reduce(..)
                )
        })
        && reads.iter().all(|(node, same)| kernel_of(node) != Some(last) || *same);
    fits.then_some(last)
}

/// Whether an operator brings loops that its epilogue belongs to.
fn has_loops(graph: &Graph, id: NodeId) -> bool {
    matches!(graph[id].op.lower, Lower::Reduce(..) | Lower::Contract(_) | Lower::Tiles(_))
}

/// Whether computing `id` runs such loops of its own.
fn has_inlined_loops(graph: &Graph, id: NodeId) -> bool {
    let mut open = vec![id];
    while let Some(node) = open.pop() {
        if has_loops(graph, node) {
            return true;
        }
        open.extend(graph.operands(node).into_iter().filter(|&o| !has_buffer(graph, o)));
    }
    false
}
