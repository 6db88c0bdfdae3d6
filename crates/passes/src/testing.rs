//! What the tests of the passes share.

use std::collections::BTreeMap;

use kiln_graph::eval::{Evaluation, Value, evaluate};
use kiln_graph::{Builder, Graph, Var};

use crate::pass::{Notes, Pass, run};

/// The graph after one pass, verified, and the notes.
pub(crate) fn after(pass: &'static Pass<Graph>, graph: Graph) -> (Graph, Notes) {
    let mut notes = Notes::default();
    let graph = run(&[pass], graph, &mut notes, &mut |_, _| {}).expect("the pass succeeds");
    (graph, notes)
}

/// A graph whose outputs are the values that `build` gives, named by position.
pub(crate) fn graph(build: impl for<'b> FnOnce(&'b Builder) -> Vec<Var<'b>>) -> Graph {
    let b = Builder::new();
    for (i, value) in build(&b).into_iter().enumerate() {
        b.output(&i.to_string(), value);
    }
    b.finish().expect("a well-formed graph")
}

/// What the graph gives on numbers between -1 and 1 that depend on the inputs' names alone.
pub(crate) fn values(graph: &Graph) -> Evaluation {
    let mut inputs = BTreeMap::new();
    for id in graph.inputs() {
        let (name, _) = graph.input(id).expect("an input");
        let mut state = name.bytes().fold(1u64, |h, b| h * 31 + u64::from(b));
        let data = (0..graph[id].ty.shape.elements())
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                f64::from((state >> 40) as u32) / f64::from(1 << 23) - 1.0
            })
            .collect();
        inputs.insert(name.to_owned(), Value { shape: graph[id].ty.shape.clone(), data });
    }
    evaluate(graph, &inputs).expect("inputs fit")
}

/// Whether both graphs give the same outputs and updates, but for `tolerance`.
pub(crate) fn assert_same(a: &Graph, b: &Graph, tolerance: f64) {
    let (left, right) = (values(a), values(b));
    for (x, y) in [(&left.outputs, &right.outputs), (&left.updates, &right.updates)] {
        assert!(x.keys().eq(y.keys()), "other results:\n{a}\n{b}");
        for (name, x) in x {
            let y = &y[name];
            assert_eq!(x.shape, y.shape, "{name}:\n{a}\n{b}");
            let far = x.data.iter().zip(&y.data).find(|(x, y)| (*x - *y).abs() > tolerance);
            assert_eq!(far, None, "{name}:\n{a}\n{b}");
        }
    }
}

/// The number of nodes of this operator.
pub(crate) fn count(graph: &Graph, op: &str) -> usize {
    graph.ids().filter(|&id| graph[id].op.name == op).count()
}
