//! Builds graphs: [`Builder`] holds the graph, a [`Var`] is a value in it.
//!
//! ```
//! use kiln_graph::Builder;
//! let b = Builder::new();
//! let x = b.data("x", kiln_tensor::DType::F32, &[4]);
//! let y = x.tanh() * 2.0;
//! b.output("y", y);
//! let graph = b.finish().unwrap();
//! assert_eq!(graph.outputs[0].0, "y");
//! ```

use std::cell::RefCell;
use std::sync::Arc;

use kiln_loops::Location;
use kiln_tensor::{DType, Shape};

use crate::attrs::Attrs;
use crate::graph::{Graph, GraphError, InputKind, NodeId, Type, Update};
use crate::op::OpDef;
use crate::ops;
/// A graph under construction.
///
/// Methods of [`Var`] never fail: the first error is kept, and [`Builder::finish`] returns it.
#[derive(Debug, Default)]
pub struct Builder {
    graph: RefCell<Graph>,
    error: RefCell<Option<GraphError>>,
    locations: RefCell<Arc<[Location]>>,
}

/// A value of a graph under construction.
#[derive(Clone, Copy)]
pub struct Var<'b> {
    builder: &'b Builder,
    id: NodeId,
}

impl Builder {
    /// An empty graph.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Goes on with a graph.
    pub fn with(graph: Graph) -> Builder {
        Builder { graph: RefCell::new(graph), ..Builder::default() }
    }

    /// New nodes come from these places, from now on.
    pub fn locate(&self, locations: Arc<[Location]>) {
        *self.locations.borrow_mut() = locations;
    }

    /// The places new nodes come from.
    pub fn locations(&self) -> Arc<[Location]> {
        self.locations.borrow().clone()
    }

    /// Appends a node.
    ///
    /// # Errors
    /// If the operands or attributes do not fit the operator.
    pub fn try_op(
        &self,
        op: &'static OpDef,
        attrs: Attrs,
        operands: &[Var<'_>],
    ) -> Result<Var<'_>, GraphError> {
        let ids: Vec<NodeId> = operands.iter().map(|v| v.id).collect();
        let id = self.graph.borrow_mut().add(op, attrs, &ids, self.locations())?;
        Ok(Var { builder: self, id })
    }

    /// Appends a node. If it is wrong the error is kept for [`Builder::finish`] and the value is a
    /// constant that stands in for it.
    pub fn op(&self, op: &'static OpDef, attrs: Attrs, operands: &[Var<'_>]) -> Var<'_> {
        self.try_op(op, attrs, operands).unwrap_or_else(|e| {
            self.error.borrow_mut().get_or_insert(e);
            self.scalar(0.0)
        })
    }

    /// The value of a node of this graph.
    pub fn var(&self, id: NodeId) -> Var<'_> {
        Var { builder: self, id }
    }

    /// An input of any kind.
    pub fn input(&self, name: &str, kind: InputKind, dtype: DType, dims: &[usize]) -> Var<'_> {
        let attrs = Attrs::new()
            .with("name", name)
            .with("kind", kind.name())
            .with("dtype", dtype)
            .with("shape", dims);
        self.op(&ops::INPUT, attrs, &[])
    }

    /// An input that the caller provides before every run.
    pub fn data(&self, name: &str, dtype: DType, dims: &[usize]) -> Var<'_> {
        self.input(name, InputKind::Data, dtype, dims)
    }

    /// A trained weight.
    pub fn param(&self, name: &str, dims: &[usize]) -> Var<'_> {
        self.input(name, InputKind::Param, DType::F32, dims)
    }

    /// Names a result.
    pub fn output(&self, name: &str, value: Var<'_>) {
        self.graph.borrow_mut().outputs.push((name.to_owned(), value.id));
    }

    /// Gives an input its next value.
    pub fn update(&self, input: Var<'_>, value: Var<'_>) {
        self.graph.borrow_mut().updates.push(Update { input: input.id, value: value.id });
    }

    /// Looks at the graph so far.
    pub fn inspect<T>(&self, f: impl FnOnce(&Graph) -> T) -> T {
        f(&self.graph.borrow())
    }

    /// Changes the graph so far other than by adding nodes.
    pub fn modify<T>(&self, f: impl FnOnce(&mut Graph) -> T) -> T {
        f(&mut self.graph.borrow_mut())
    }

    /// Takes the error that is kept for [`Builder::finish`], so that the caller may say where it
    /// comes from and go on.
    pub fn take_error(&self) -> Option<GraphError> {
        self.error.borrow_mut().take()
    }

    /// The graph.
    ///
    /// # Errors
    /// The first error of any operation.
    pub fn finish(self) -> Result<Graph, GraphError> {
        match self.error.into_inner() {
            Some(error) => Err(error),
            None => Ok(self.graph.into_inner()),
        }
    }
}

impl<'b> Var<'b> {
    /// The builder it belongs to.
    pub fn builder(self) -> &'b Builder {
        self.builder
    }

    /// The node.
    pub fn id(self) -> NodeId {
        self.id
    }

    /// Its type.
    pub fn ty(self) -> Type {
        self.builder.inspect(|g| g[self.id].ty.clone())
    }

    /// Its shape.
    pub fn shape(self) -> Shape {
        self.ty().shape
    }

    /// Its element type.
    pub fn dtype(self) -> DType {
        self.builder.inspect(|g| g[self.id].ty.dtype)
    }

    /// An operation on this value alone.
    pub fn unary(self, op: &'static OpDef, attrs: Attrs) -> Var<'b> {
        self.builder.op(op, attrs, &[self])
    }
}

impl std::fmt::Debug for Var<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "%{}: {}", self.id.index(), self.ty())
    }
}
