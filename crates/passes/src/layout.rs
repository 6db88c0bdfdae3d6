//! `layout`: images lie channels-last in memory.
//!
//! Axes keep their logical order everywhere in the graph; what changes is the order in which the
//! axes of a stored node lie in its buffer ([`kiln_graph::Node::order`]), so there is nothing to
//! transpose and nothing to cancel. A convolution stores its channels innermost, where the
//! micro-kernel produces them, and products of a batch lie one after the other; what reads them and
//! keeps their axes follows. Results, and what a reshape reads in flat order, stay row-major.

use std::collections::HashSet;

use kiln_graph::op::Lower;
use kiln_graph::{Graph, NodeId, Placement};
use kiln_loops::Index;

use crate::lower::{anchor, index_at, symbolic, tiles_anchor};
use crate::pass::{Notes, Pass, PassError};
use crate::storage::Storage;
use crate::views::{has_buffer, reshape_index, reshape_is_affine, resolve};

/// See the module.
pub static PASS: Pass<Graph> =
    Pass { name: "layout", doc: "images lie channels-last in memory", run };

/// Nodes that are looked at below a stored one, at most.
const REACH: usize = 64;

fn run(mut graph: Graph, _: &mut Notes) -> Result<Graph, PassError> {
    let mut fixed: HashSet<NodeId> = graph.results().collect();
    let flat = graph.ids().filter(|&id| matches!(graph[id].op.lower, Lower::Reshape));
    let flat: Vec<NodeId> =
        flat.filter(|&id| !reshape_is_affine(&graph, id)).map(|id| graph.operands(id)[0]).collect();
    fixed.extend(flat);
    for id in graph.ids() {
        if !matches!(graph[id].placement, Placement::Kernel(_)) || fixed.contains(&id) {
            continue;
        }
        let order = of_contraction(&graph, id)
            .or_else(|| of_tiles(&graph, id))
            .or_else(|| inherited(&graph, id));
        if let Some(order) = order.filter(|o| !o.is_sorted()) {
            graph.order(id, order);
        }
    }
    Ok(graph)
}

/// The order in which a contraction stores its result. Of a convolution what only the kernel has (output
/// channels) lies innermost, what both operands have (groups) around it; of other products what both
/// have lies outermost, unless it is innermost already, so that each product of a batch is one matrix.
fn of_contraction(graph: &Graph, id: NodeId) -> Option<Vec<usize>> {
    let anchor = anchor(graph, &[id])?;
    let Lower::Contract(space) = graph[anchor].op.lower else { return None };
    let space = graph.with_view(anchor, space);
    let [image, kernel] = &space.operands[..] else { return None };
    let slides = image.0.iter().any(|axis| axis.terms.len() > 1);
    let holds = |access: &kiln_graph::op::Access, axis: usize| {
        access.0.iter().any(|a| a.terms.iter().any(|t| t.0 == axis))
    };
    let at = index_at(graph, id, anchor, symbolic(&graph[id].ty.shape))?;
    // The rank of each axis of the stored node: image, group, output channel; batch, others.
    let mut rank = vec![0; graph[id].ty.shape.rank()];
    for (axis, index) in at.iter().enumerate() {
        for (var, _) in &index.affine.terms {
            rank[var.0 as usize] = match (holds(image, axis), holds(kernel, axis)) {
                (true, true) => usize::from(slides),
                (true, false) => usize::from(!slides),
                _ => 1 + usize::from(slides),
            };
        }
    }
    let mut order: Vec<usize> = (0..rank.len()).collect();
    order.sort_by_key(|&axis| rank[axis]);
    let apart = || rank.last() == Some(&1) && !rank.is_sorted();
    (slides || apart()).then_some(order)
}

/// The order in which tiles are computed, for the node that stores them.
fn of_tiles(graph: &Graph, id: NodeId) -> Option<Vec<usize>> {
    let anchor = tiles_anchor(graph, &[id])?;
    let Lower::Tiles(tiles) = graph[anchor].op.lower else { return None };
    let domain = graph.with_view(anchor, |v| (tiles.domain)(v));
    let points = graph.with_view(anchor, |v| (tiles.writes)(v, &symbolic(&domain)));
    let first = reshape_index(&graph[anchor].ty.shape, &graph[id].ty.shape, points.first()?)?;
    let mut order: Vec<usize> = (0..first.len()).collect();
    order.sort_by_key(|&axis| first[axis].affine.terms.first().map(|t| t.0));
    Some(order)
}

/// The order in which a node reads the first buffer whose elements lie in another one than its axes.
fn inherited(graph: &Graph, id: NodeId) -> Option<Vec<usize>> {
    let shape = &graph[id].ty.shape;
    let mut open = vec![(id, symbolic(shape))];
    let mut seen = 0;
    while let Some((node, index)) = open.pop() {
        seen += 1;
        if seen > REACH {
            return None;
        }
        if node != id && has_buffer(graph, node) {
            let (_, flat) = resolve(graph, &Storage::default(), node, &index)?;
            let far: Vec<u64> = symbolic(shape)
                .iter()
                .map(|i| match i.affine.terms.first() {
                    Some((var, _)) => flat.affine.coefficient(*var).unsigned_abs(),
                    None => u64::MAX,
                })
                .collect();
            if far.contains(&0) {
                continue;
            }
            let mut order: Vec<usize> = (0..far.len()).collect();
            order.sort_by_key(|&axis| std::cmp::Reverse(far[axis]));
            if order.is_sorted() {
                continue;
            }
            return Some(order);
        }
        let operands = graph.operands(node);
        let same_rank = |o: &&NodeId| graph[**o].ty.shape.rank() == index.len();
        match graph[node].op.lower {
            Lower::Map(_) | Lower::Place(..) | Lower::Scatter(_) => {
                open.extend(operands.iter().rev().filter(same_rank).map(|&o| (o, index.clone())));
            }
            Lower::View(f) => {
                let mapped = graph.with_view(node, |v| f(v, &index));
                open.push((operands[0], mapped));
            }
            Lower::Reshape => {
                let (from, to) = (&graph[node].ty.shape, &graph[operands[0]].ty.shape);
                open.extend(reshape_index(from, to, &index).map(|mapped| (operands[0], mapped)));
            }
            Lower::Reduce(f, _) => {
                let space = graph.with_view(node, f);
                let point: Vec<Index> = index
                    .iter()
                    .cloned()
                    .chain(space.reduced.iter().map(|_| Index::default()))
                    .collect();
                open.push((operands[0], space.operands[0].index(&point)));
            }
            Lower::Element(_)
            | Lower::Leaf
            | Lower::Never
            | Lower::Contract(_)
            | Lower::Tiles(_) => {}
        }
    }
    None
}
