//! The dataflow graph.

use std::fmt;
use std::sync::Arc;

use kiln_loops::{Location, merge};
use kiln_tensor::{DType, Shape};
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use smallvec::SmallVec;

use crate::attrs::{AttrKind, Attrs};
use crate::op::{Arity, OpDef, OpView};
use crate::ops;

/// A node of a [`Graph`]; ascending order is a topological order.
pub type NodeId = NodeIndex<u32>;

/// The operands of a node. Few operators have more, so that lists are rarely allocated.
pub type Operands = SmallVec<[NodeId; 4]>;

/// An element type and a shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    /// Element type.
    pub dtype: DType,
    /// Sizes of the axes.
    pub shape: Shape,
}

impl Type {
    /// A type.
    pub fn new(dtype: DType, shape: Shape) -> Type {
        Type { dtype, shape }
    }

    /// A type of these sizes, checked.
    ///
    /// # Errors
    /// If the tensor would be too large.
    pub fn checked(dtype: DType, dims: impl Into<Vec<usize>>) -> Result<Type, String> {
        Ok(Type { dtype, shape: Shape::new(dims).map_err(|e| e.to_string())? })
    }

    /// f32 of rank 0.
    pub const fn scalar(dtype: DType) -> Type {
        Type { dtype, shape: Shape::scalar() }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

/// No array has more axes than this.
pub const MAX_RANK: usize = 32;

/// Where the elements of a node are computed, once fusion has decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Placement {
    /// Not decided.
    #[default]
    Unset,
    /// Wherever they are read; the node has no buffer.
    Inline,
    /// Stored to a buffer by the kernel of this number; several nodes may share a kernel.
    Kernel(u32),
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it computes.
    pub op: &'static OpDef,
    /// What it knows besides its operands.
    pub attrs: Attrs,
    /// The type of its result.
    pub ty: Type,
    /// The source text it comes from, through all passes; sorted.
    pub locations: Arc<[Location]>,
    /// Where it is computed.
    pub placement: Placement,
    /// The order of its axes in memory, outermost first; empty for row-major. Only the layout pass
    /// sets it, and only lowering looks at it: everything else sees axes in their logical order.
    pub order: Vec<usize>,
}

impl Node {
    /// The distance in memory between neighbours along each axis, in elements.
    pub fn strides(&self) -> Vec<usize> {
        if self.order.is_empty() {
            return self.ty.shape.strides();
        }
        let mut strides = vec![1; self.ty.shape.rank()];
        let mut stride = 1;
        for &axis in self.order.iter().rev() {
            strides[axis] = stride;
            stride *= self.ty.shape[axis].max(1);
        }
        strides
    }
}

/// Who provides the value of an `input` node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputKind {
    /// The caller, before every run.
    Data,
    /// Trained weights.
    Param,
    /// Values of the model that live across runs.
    State,
    /// Values of the optimiser that live across runs.
    Slot,
}

impl InputKind {
    /// Every kind.
    pub const ALL: [InputKind; 4] =
        [InputKind::Data, InputKind::Param, InputKind::State, InputKind::Slot];

    /// The name in every text form.
    pub const fn name(self) -> &'static str {
        match self {
            InputKind::Data => "data",
            InputKind::Param => "param",
            InputKind::State => "state",
            InputKind::Slot => "slot",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<InputKind> {
        InputKind::ALL.into_iter().find(|k| k.name() == name)
    }
}

/// At the end of a run an input takes a new value. Every read in the run sees the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// An `input` node that is not data.
    pub input: NodeId,
    /// Its next value, of the same type.
    pub value: NodeId,
}

/// Why a node or graph is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{op}: {message}")]
pub struct GraphError {
    /// The operator.
    pub op: String,
    /// What is wrong.
    pub message: String,
}

/// A dataflow graph: append-only, operands before users.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: DiGraph<Node, u32>,
    /// Named results, in order.
    pub outputs: Vec<(String, NodeId)>,
    /// What lives on into the next run.
    pub updates: Vec<Update>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Appends a node.
    ///
    /// # Errors
    /// If the operands or attributes do not fit the operator.
    pub fn add(
        &mut self,
        op: &'static OpDef,
        attrs: Attrs,
        operands: &[NodeId],
        locations: Arc<[Location]>,
    ) -> Result<NodeId, GraphError> {
        let types: Vec<&Type> = operands.iter().map(|&o| &self[o].ty).collect();
        let ty = infer(op, &attrs, &types)?;
        let node =
            Node { op, attrs, ty, locations, placement: Placement::Unset, order: Vec::new() };
        Ok(self.append(node, operands))
    }

    /// Appends a copy of another graph's node, with all it knows, on operands of the same types;
    /// [`verify`](crate::verify) tells if they are not.
    pub fn append(&mut self, node: Node, operands: &[NodeId]) -> NodeId {
        let id = self.nodes.add_node(node);
        for (position, &operand) in operands.iter().enumerate() {
            self.nodes.add_edge(operand, id, position as u32);
        }
        id
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.node_count()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every node, operands before users.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + ExactSizeIterator + use<> {
        (0..self.len() as u32).map(NodeId::from)
    }

    /// The operands of a node, in order.
    pub fn operands(&self, id: NodeId) -> Operands {
        let mut edges: SmallVec<[(u32, NodeId); 4]> = self
            .nodes
            .edges_directed(id, Direction::Incoming)
            .map(|e| (*e.weight(), e.source()))
            .collect();
        edges.sort_unstable_by_key(|e| e.0);
        edges.into_iter().map(|e| e.1).collect()
    }

    /// The nodes that read a node, ascending; one that reads it twice stands there twice.
    pub fn users(&self, id: NodeId) -> Vec<NodeId> {
        let mut users: Vec<NodeId> =
            self.nodes.edges_directed(id, Direction::Outgoing).map(|e| e.target()).collect();
        users.sort_unstable();
        users
    }

    /// The inputs, in order.
    pub fn inputs(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.ids().filter(|&id| self[id].op == &ops::INPUT)
    }

    /// The name and kind of an `input` node; `None` for other nodes.
    pub fn input(&self, id: NodeId) -> Option<(&str, InputKind)> {
        let node = &self[id];
        if node.op != &ops::INPUT {
            return None;
        }
        Some((node.attrs.text("name"), InputKind::from_name(node.attrs.text("kind"))?))
    }

    /// What must be computed: outputs and next values, in order.
    pub fn results(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.outputs.iter().map(|o| o.1).chain(self.updates.iter().map(|u| u.value))
    }

    /// The petgraph graph beneath; an edge holds the operand's position.
    pub fn petgraph(&self) -> &DiGraph<Node, u32> {
        &self.nodes
    }

    /// Says where a node is computed.
    pub fn place(&mut self, id: NodeId, placement: Placement) {
        self.nodes[id].placement = placement;
    }

    /// Says in which order a node's axes lie in memory; see [`Node::order`].
    pub fn order(&mut self, id: NodeId, order: Vec<usize>) {
        self.nodes[id].order = order;
    }

    /// Says where a node comes from, besides where it came from already.
    pub fn locate(&mut self, id: NodeId, locations: &Arc<[Location]>) {
        let all = merge([&self.nodes[id].locations, locations]);
        self.nodes[id].locations = all;
    }

    /// Damages the graph, for the verifier's test.
    #[cfg(test)]
    pub(crate) fn retype(&mut self, id: NodeId, ty: Type) {
        self.nodes[id].ty = ty;
    }

    /// Runs `f` with the node as its operator's functions see it.
    pub fn with_view<T>(&self, id: NodeId, f: impl FnOnce(&OpView<'_>) -> T) -> T {
        let operands = self.operands(id);
        let types: Vec<&Type> = operands.iter().map(|&o| &self[o].ty).collect();
        let node = &self[id];
        f(&OpView { attrs: &node.attrs, operands: &types, ty: &node.ty })
    }
}

impl std::ops::Index<NodeId> for Graph {
    type Output = Node;

    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }
}

/// The type of `op` on operands of these types, after checking arity and attributes.
pub(crate) fn infer(
    op: &'static OpDef,
    attrs: &Attrs,
    types: &[&Type],
) -> Result<Type, GraphError> {
    let error = |message| GraphError { op: op.name.to_owned(), message };
    match op.arity {
        Arity::Exact(n) if types.len() != n => {
            return Err(error(format!("takes {n} operands, got {}", types.len())));
        }
        Arity::AtLeast(n) if types.len() < n => {
            return Err(error(format!("takes at least {n} operands, got {}", types.len())));
        }
        _ => {}
    }
    for def in op.attrs {
        match attrs.get(def.name).map(|a| a.kind()) {
            Some(kind) if kind == def.kind => {}
            Some(_) => return Err(error(format!("`{}` must be {}", def.name, def.kind))),
            None => {
                return Err(error(format!(
                    "needs `{}` ({})",
                    def.name,
                    AttrKind::to_string(&def.kind)
                )));
            }
        }
    }
    if let Some((name, _)) = attrs.iter().find(|(n, _)| op.attrs.iter().all(|d| d.name != *n)) {
        return Err(error(format!("has no attribute `{name}`")));
    }
    let ty = (op.infer)(types, attrs).map_err(error)?;
    if ty.shape.rank() > MAX_RANK {
        return Err(error(format!(
            "gives an array of {} axes, the limit is {MAX_RANK}",
            ty.shape.rank()
        )));
    }
    Ok(ty)
}
