//! Lowering: a graph whose nodes have been placed becomes a program of loop nests.
//!
//! Each kernel loops over the shape of what it stores, in the order of memory, and pulls its
//! elements (`pull.rs`). Some operators bring loops of their own: contractions
//! (`contract.rs`, `form.rs`), placements and scatters (`place.rs`), and
//! long reductions are cut (`reduce.rs`). The loops are plain and serial here,
//! except around contractions; the program passes make them parallel and vectors.

mod chunks;
mod contract;
mod epilogue;
mod form;
mod place;
mod pull;
mod reduce;
mod tiles;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kiln_graph::op::Lower;
use kiln_graph::{Graph, InputKind, Location, MAX_LOCATIONS, NodeId, Placement, merge};
use kiln_loops::{Buffer, BufferId, BufferKind, Builder, Index, Kernel, Program, Var};
use kiln_tensor::{DType, Shape};

pub(crate) use chunks::is_turn;
pub(crate) use contract::anchor;
pub(crate) use epilogue::index_at;
use pull::Emit;
pub(crate) use tiles::anchor as tiles_anchor;

use crate::fixed::fixed;
use crate::storage::Storage;
use crate::views::resolve;

/// Why a graph cannot be lowered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// A node was left that only earlier passes can remove.
    #[error("{0} cannot be lowered: run the pass that expands it first")]
    Never(String),
    /// A value has no elements.
    #[error("nothing to compute: {0} has an axis of size 0")]
    Empty(String),
    /// A value has too many elements.
    #[error("a buffer is too large: {0}")]
    Size(String),
}

/// The program that computes a graph, after the pass `fuse`.
///
/// # Errors
/// If the graph holds operators that earlier passes expand.
pub fn lower(graph: &Graph) -> Result<Program, LowerError> {
    if let Some(id) = graph.ids().find(|&id| graph[id].ty.shape.contains(&0)) {
        return Err(LowerError::Empty(format!("{} of type {}", describe(graph, id), graph[id].ty)));
    }
    let mut lowering = Lowering {
        graph,
        program: Program::default(),
        buffers: vec![None; graph.len()],
        names: BTreeSet::new(),
        fixed: fixed(graph),
        before: None,
        storage: Storage::new(graph),
    };
    lowering.allocate();
    let mut kernels: Vec<Vec<NodeId>> = Vec::new();
    for id in graph.ids() {
        if let Placement::Kernel(k) = graph[id].placement {
            kernels.resize_with(kernels.len().max(k as usize + 1), Vec::new);
            kernels[k as usize].push(id);
        }
    }
    for roots in kernels.iter().filter(|roots| !roots.is_empty()) {
        lowering.kernel(roots)?;
    }
    lowering.finish();
    Ok(lowering.program)
}

/// The name of kernels that copy a next value or a result to where it belongs.
pub(crate) const COPY: &str = "copy";

/// A node's operator and where it comes from, for messages: "`grad` at net.kiln:3:18".
fn describe(graph: &Graph, id: NodeId) -> String {
    let node = &graph[id];
    match node.locations.first() {
        Some(at) => format!("`{}` at {at}", node.op.name),
        None => format!("`{}`", node.op.name),
    }
}

struct Lowering<'g> {
    graph: &'g Graph,
    program: Program,
    /// The buffer of each node that has one.
    buffers: Vec<Option<BufferId>>,
    names: BTreeSet<String>,
    /// Whether a node depends on weights alone.
    fixed: Vec<bool>,
    /// The last kernel so far whose results do not.
    before: Option<usize>,
    storage: Storage,
}

impl Lowering<'_> {
    /// A buffer for every node that has one of its own.
    fn allocate(&mut self) {
        let graph = self.graph;
        let used: BTreeSet<NodeId> = graph
            .ids()
            .filter(|&id| !matches!(graph[id].placement, Placement::Unset))
            .flat_map(|id| graph.operands(id))
            .chain(graph.results())
            .collect();
        // Numbers are written into the code that reads them, but for contractions and results.
        let mut in_memory: BTreeSet<NodeId> = graph.results().collect();
        for id in graph.ids().filter(|&id| matches!(graph[id].op.lower, Lower::Contract(_))) {
            in_memory.extend(graph.operands(id).into_iter().filter_map(|o| {
                let index = vec![Index::default(); graph[o].ty.shape.rank()];
                resolve(graph, &self.storage, o, &index).map(|found| found.0)
            }));
        }
        let mut outputs: HashMap<NodeId, &str> = HashMap::new();
        for (name, id) in &graph.outputs {
            outputs.entry(*id).or_insert(name);
        }
        for id in graph.ids() {
            let node = &graph[id];
            let named = |name: &str| name.to_owned();
            let (name, kind) = if let Some((name, kind)) = graph.input(id) {
                let kind = match kind {
                    InputKind::Data => BufferKind::Input,
                    InputKind::Param => BufferKind::Param,
                    InputKind::State => BufferKind::State,
                    InputKind::Slot => BufferKind::Slot,
                };
                (named(name), kind)
            } else if matches!(node.op.lower, Lower::Leaf) {
                let needed = node.ty.shape.rank() > 0 || in_memory.contains(&id);
                if !used.contains(&id) || !needed {
                    continue;
                }
                let value = node.attrs.tensor("value").as_ref().clone();
                (format!("constant.{}", id.index()), BufferKind::Const(value))
            } else if self.storage.held_by(id).is_some() {
                continue;
            } else if matches!(node.placement, Placement::Kernel(_)) {
                match outputs.get(&id) {
                    Some(name) => (named(name), BufferKind::Output),
                    None => (format!("{}.{}", node.op.name, id.index()), BufferKind::Temp),
                }
            } else {
                continue;
            };
            self.buffers[id.index()] =
                Some(self.buffer(name, node.ty.dtype, node.ty.shape.clone(), kind));
        }
    }

    /// A new buffer; its name is made unique.
    fn buffer(&mut self, name: String, dtype: DType, shape: Shape, kind: BufferKind) -> BufferId {
        let mut unique = name.clone();
        let mut n = 2;
        while !self.names.insert(unique.clone()) {
            unique = format!("{name}#{n}");
            n += 1;
        }
        self.program.buffers.push(Buffer { name: unique, dtype, shape, kind, offset: None });
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    /// A new temporary buffer of f32.
    fn scratch(&mut self, name: String, dims: &[usize]) -> Result<BufferId, LowerError> {
        let shape = Shape::new(dims).map_err(|e| LowerError::Size(e.to_string()))?;
        Ok(self.buffer(name, DType::F32, shape, BufferKind::Temp))
    }

    /// One kernel, that stores `roots`.
    fn kernel(&mut self, roots: &[NodeId]) -> Result<(), LowerError> {
        let from = self.program.kernels.len();
        self.loops_of(roots)?;
        let locations = locations(self.graph, &self.storage, roots);
        for kernel in &mut self.program.kernels[from..] {
            kernel.locations = locations.clone();
        }
        if roots.iter().any(|root| !self.fixed[root.index()]) {
            self.before = self.program.kernels.len().checked_sub(1);
        }
        Ok(())
    }

    fn loops_of(&mut self, roots: &[NodeId]) -> Result<(), LowerError> {
        let graph = self.graph;
        let first = roots[0];
        if let Some(anchor) = contract::anchor(graph, roots) {
            return self.contraction(anchor, roots);
        }
        if let Some(anchor) = tiles::anchor(graph, roots) {
            let kernel = self.tiles(anchor, roots);
            self.program.kernels.push(kernel);
            return Ok(());
        }
        if let Some(anchor) = reduce::anchor(graph, roots)
            && self.long_reduction(anchor, roots)?
        {
            return Ok(());
        }
        let kernel = match graph[first].op.lower {
            Lower::Never => return Err(LowerError::Never(describe(graph, first))),
            Lower::Place(..) => {
                let kernels = self.place(first);
                self.program.kernels.extend(kernels);
                return Ok(());
            }
            Lower::Scatter(scatter) => self.scatter(first, scatter),
            _ => {
                let mut emit = Emit::new(graph, &self.buffers, &self.storage);
                let (index, opened) =
                    emit.open_nest(&graph[first].ty.shape, &memory_order(graph, first));
                emit_roots(&mut emit, roots, &index);
                emit.close_nest(opened);
                emit.loops.finish(name(graph, roots))
            }
        };
        self.program.kernels.push(kernel);
        Ok(())
    }

    /// Copies what results need copied: next values into their inputs, and results that have no
    /// buffer of their own.
    fn finish(&mut self) {
        let graph = self.graph;
        for (name, id) in &graph.outputs {
            let own = self.buffers[id.index()].expect("results are stored");
            let buffer = self.program.buffer(own).clone();
            if buffer.kind == BufferKind::Output && buffer.name == *name {
                continue;
            }
            let copy = self.buffer(name.clone(), buffer.dtype, buffer.shape, BufferKind::Output);
            self.copy(own, copy, &graph[*id].locations);
        }
        // An input that is another one's next value is put aside before it takes its own.
        let mut updates = Vec::with_capacity(graph.updates.len());
        let mut updated = BTreeSet::new();
        for update in &graph.updates {
            let mut next = self.buffers[update.value.index()].expect("results are stored");
            updated.insert(update.input);
            if updated.contains(&update.value) && update.value != update.input {
                let Buffer { name, dtype, shape, .. } = self.program.buffer(next).clone();
                let old = self.buffer(format!("{name}.old"), dtype, shape, BufferKind::Temp);
                self.copy(next, old, &graph[update.value].locations);
                next = old;
            }
            let input = self.buffers[update.input.index()].expect("inputs have buffers");
            updates.push((next, input, &graph[update.value].locations));
        }
        updates.into_iter().for_each(|(next, input, at)| self.copy(next, input, at));
    }

    fn copy(&mut self, from: BufferId, to: BufferId, locations: &Arc<[Location]>) {
        let Buffer { dtype, ref shape, .. } = *self.program.buffer(from);
        let mut loops = Builder::new();
        let (source, target) = (loops.arg(from, dtype), loops.arg(to, dtype));
        let i = Index::var(loops.open(shape.elements()));
        let x = loops.load(source, i.clone());
        loops.store(target, i, x);
        loops.close();
        let kernel = loops.finish(COPY);
        self.program.kernels.push(Kernel { locations: locations.clone(), ..kernel });
    }
}

/// Computes and stores nodes at the index of the kernel's loops.
fn emit_roots(emit: &mut Emit<'_>, roots: &[NodeId], index: &[Index]) {
    for &root in roots {
        let value = match emit.known.get(&root) {
            Some(&value) => value,
            None => emit.compute(root, index),
        };
        emit.known.insert(root, value);
        emit.store(root, index, value);
    }
    for root in roots {
        emit.known.remove(root);
    }
}

/// The axes of a node, outermost in memory first.
fn memory_order(graph: &Graph, id: NodeId) -> Vec<usize> {
    match &graph[id].order[..] {
        [] => (0..graph[id].ty.shape.rank()).collect(),
        order => order.to_vec(),
    }
}

/// The nodes that a kernel computes.
fn members(graph: &Graph, roots: &[NodeId]) -> BTreeSet<NodeId> {
    let mut members = BTreeSet::new();
    let mut open = roots.to_vec();
    while let Some(id) = open.pop() {
        if members.insert(id) {
            let inline = |o: &NodeId| matches!(graph[*o].placement, Placement::Inline);
            open.extend(graph.operands(id).into_iter().filter(inline));
        }
    }
    members
}

/// Where a kernel comes from: first where what it stores does, then the other places, of nodes
/// that it computes on the way and perhaps shares with other kernels, and of placements in which
/// it stores.
fn locations(graph: &Graph, storage: &Storage, roots: &[NodeId]) -> Arc<[Location]> {
    let own = merge(roots.iter().map(|&id| &graph[id].locations));
    let mut nodes = members(graph, roots);
    for &root in roots {
        nodes.extend(std::iter::successors(storage.held_by(root), |&id| storage.held_by(id)));
    }
    let all = merge(nodes.iter().map(|&id| &graph[id].locations));
    if own.len() == all.len() {
        return own;
    }
    let others = all.iter().filter(|l| !own.contains(l));
    own.iter().chain(others).take(MAX_LOCATIONS).cloned().collect()
}

/// A kernel's name: the operators that compute, in order.
fn name(graph: &Graph, roots: &[NodeId]) -> String {
    const LENGTH: usize = 48;
    let mut name = String::new();
    for id in members(graph, roots) {
        let node = &graph[id];
        let is_view = matches!(node.op.lower, Lower::View(_) | Lower::Reshape);
        if is_view && !roots.contains(&id) {
            continue;
        }
        if name.len() + node.op.name.len() > LENGTH {
            name.push_str("_etc");
            break;
        }
        if !name.is_empty() {
            name.push('_');
        }
        name.push_str(node.op.name);
    }
    name
}

/// An affine expression over symbolic axes: `Var(i)` is axis `i`.
pub(crate) fn symbolic(extents: &[usize]) -> Vec<Index> {
    extents
        .iter()
        .enumerate()
        .map(|(axis, &d)| if d == 1 { Index::default() } else { Index::var(Var(axis as u32)) })
        .collect()
}

/// The kernel under construction, finished.
fn finish(emit: Emit<'_>, graph: &Graph, roots: &[NodeId]) -> Kernel {
    emit.loops.finish(name(graph, roots))
}
