//! `dce`: nodes that no result needs are removed.
//!
//! Inputs stay even if nothing reads them: they are the graph's interface.

use kiln_graph::Graph;

use crate::pass::{Notes, Pass, PassError};
use crate::rewrite;

/// See the module.
pub static PASS: Pass<Graph> = Pass { name: "dce", doc: "remove what no result needs", run };

fn run(graph: Graph, _: &mut Notes) -> Result<Graph, PassError> {
    rewrite::sweep(&graph)
}
