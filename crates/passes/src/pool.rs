//! `pool`: the maximum of a large window is that of its rows' maxima.
//!
//! Windows one above the other share the maxima of rows, so that less is read; but those are written and
//! read again between the two steps, by another kernel and from a cache further away. Along the rows
//! first: of equal zeros the same one is chosen as in one go, and every bit is the same.

use kiln_graph::ops::rules::known;
use kiln_graph::{Graph, Var, ops};

use crate::pass::{Notes, Pass, PassError};
use crate::rewrite;

/// See the module.
pub static PASS: Pass<Graph> =
    Pass { name: "pool", doc: "take maxima of large windows row by row", run };

/// Elements that are read from the first cache in the time that it takes to write one and read it by another
/// kernel, where vectors are as wide as the processor's. Narrow ones read a quarter at a time, and there
/// only what is read counts: 3 x 3 windows in one go take 1.1 to 1.3 times as long with AVX2.
const BETWEEN: usize = 4;

fn run(graph: Graph, notes: &mut Notes) -> Result<Graph, PassError> {
    if rewrite::has_grad(&graph, notes) {
        return Ok(graph);
    }
    let between = if notes.options.wide_loops { BETWEEN } else { 0 };
    rewrite::rewrite(&graph, &mut |b, id| by_rows(b.var(id), between).map(|v| v.id()))
}

/// A maximum over windows in two steps, if less is read so, with `between` elements for what lies
/// between the steps.
fn by_rows(v: Var<'_>, between: usize) -> Option<Var<'_>> {
    let b = v.builder();
    let (image, [kernel, stride, dilation]) = b.inspect(|g| {
        let node = Some(&g[v.id()]).filter(|node| node.op == &ops::MAX_POOL)?;
        let list = |name| <[usize; 2]>::try_from(known(&node.attrs, name)).ok();
        Some((g.operands(v.id())[0], [list("kernel")?, list("stride")?, list("dilation")?]))
    })?;
    let ([h, w], [down, along], [dh, dw]) = (kernel, stride, dilation);
    let pays = down * w + h + between < h * w;
    pays.then(|| {
        b.var(image).max_pool([1, w], [1, along], [1, dw]).max_pool([h, 1], [down, 1], [dh, 1])
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kiln_graph::eval::{Value, evaluate};
    use kiln_tensor::DType;

    use super::*;
    use crate::pass::PassOptions;
    use crate::testing::{count, graph};

    fn after(graph: Graph, wide_loops: bool) -> Graph {
        let mut notes = Notes::new(PassOptions { wide_loops, ..PassOptions::default() });
        crate::run(&[&PASS], graph, &mut notes, &mut |_, _| {}).expect("succeeds")
    }

    fn pool(kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2]) -> Graph {
        graph(|b| vec![b.data("x", DType::F32, &[2, 3, 11, 9]).max_pool(kernel, stride, dilation)])
    }

    #[test]
    fn windows_are_cut_where_less_is_read() {
        let steps = |kernel, stride, wide_loops| {
            count(&after(pool(kernel, stride, [1, 1]), wide_loops), "max_pool")
        };
        for (kernel, stride, narrow, wide) in [
            ([3, 3], [1, 1], 2, 1),
            ([3, 3], [2, 2], 1, 1),
            ([4, 4], [1, 2], 2, 2),
            ([5, 5], [1, 1], 2, 2),
            ([1, 7], [1, 1], 1, 1),
            ([7, 1], [1, 1], 1, 1),
        ] {
            let found = [steps(kernel, stride, false), steps(kernel, stride, true)];
            assert_eq!(found, [narrow, wide], "{kernel:?} by {stride:?}");
        }
    }

    #[test]
    fn every_bit_is_the_same() {
        let numbers = [0.0, -0.0, 1.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
        let bits = |graph: &Graph, data: &[f64]| -> Vec<u64> {
            let shape = graph[graph.inputs().next().expect("one")].ty.shape.clone();
            let inputs = BTreeMap::from([("x".to_owned(), Value { shape, data: data.to_vec() })]);
            let outputs = evaluate(graph, &inputs).expect("the input fits").outputs;
            outputs["0"].data.iter().map(|x| x.to_bits()).collect()
        };
        let windows =
            [([3, 3], [1, 1], [1, 1]), ([4, 4], [1, 2], [2, 1]), ([3, 5], [1, 1], [1, 2])];
        for (kernel, stride, dilation) in windows {
            let plain = pool(kernel, stride, dilation);
            let cut = after(plain.clone(), false);
            assert_eq!(count(&cut, "max_pool"), 2);
            for seed in 1..20 {
                let at = |i: usize| numbers[(i * i * seed + i / 7) % numbers.len()];
                let data: Vec<f64> = (0..2 * 3 * 11 * 9).map(at).collect();
                assert_eq!(bits(&plain, &data), bits(&cut, &data), "{kernel:?}, {seed}");
            }
        }
    }
}
