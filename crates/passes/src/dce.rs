//! `dce`: nodes that no result needs are removed.
//!
//! Inputs stay even if nothing reads them: they are the graph's interface.

use kiln_graph::{Graph, sweep};

use crate::pass::{Notes, Pass, PassError};

/// See the module.
pub static PASS: Pass<Graph> = Pass { name: "dce", doc: "remove what no result needs", run };

fn run(graph: Graph, _: &mut Notes) -> Result<Graph, PassError> {
    Ok(sweep(graph))
}

#[cfg(test)]
mod tests {
    use kiln_tensor::DType;

    use super::*;
    use crate::testing::{after, graph};

    #[test]
    fn inputs_and_what_results_need_stay() {
        let (g, _) = after(
            &PASS,
            graph(|b| {
                let (x, _) = (b.data("x", DType::F32, &[2]), b.param("unused", &[3]));
                let _ = x.exp();
                vec![-x]
            }),
        );
        let ops: Vec<&str> = g.ids().map(|id| g[id].op.name).collect();
        assert_eq!(ops, ["input", "input", "neg"]);
    }
}
