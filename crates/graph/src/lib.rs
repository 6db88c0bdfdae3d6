//! The high IR: a dataflow graph of operators, with text, verifier and a 64-bit reference evaluator.
//!
//! A [`Graph`] is append-only: a node's operands stand before it, so node order is a topological
//! order, and a pass that changes a graph builds a new one. What an operator is and does is said
//! once, in its [`OpDef`] under [`ops`].

mod attrs;
mod builder;
pub mod docs;
pub mod dump;
pub mod eval;
mod graph;
pub mod op;
pub mod ops;
mod rebuild;
mod text;
mod verify;

pub use attrs::{Attr, Attrs};
pub use builder::{Builder, Var};
pub use graph::{
    Graph, GraphError, InputKind, MAX_RANK, Node, NodeId, Operands, Placement, Type, Update,
};
pub use kiln_loops::{Location, MAX_LOCATIONS, merge};
pub use op::OpDef;
pub use rebuild::{copy_results, live, rebuild, sweep};
pub use text::TextError;
pub use verify::{VerifyError, verify};

pub use kiln_tensor::nearest;
