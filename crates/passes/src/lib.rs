//! The compiler passes, one file each, and the two pipelines that order them.

pub mod absorb;
pub mod autodiff;
pub mod collapse;
pub mod commute;
pub mod contract;
pub mod cse;
pub mod dce;
mod fixed;
pub mod flatten;
pub mod fold;
pub mod fuse;
pub mod inplace;
pub mod join;
pub mod layout;
mod lower;
mod occupied;
pub mod parallel;
pub mod pass;
pub mod plan;
pub mod pool;
pub mod prepare;
mod rewrite;
pub mod rules;
pub mod schedule;
pub mod simplify;
mod storage;
pub mod sums;
#[cfg(test)]
mod testing;
pub mod vectorize;
mod views;
mod walk;
pub mod winograd;

pub use lower::{LowerError, lower};

pub use pass::{
    Choices, Decision, Notes, Pass, PassError, PassOptions, PassReport, Remark, UnknownPass, Way,
    run, select,
};

use kiln_graph::Graph;
use kiln_loops::Program;

/// The passes over graphs, in order.
pub static GRAPH_PASSES: &[&Pass<Graph>] = &[
    &contract::PASS, // sums of products become matrix products
    &autodiff::PASS, // `grad` nodes become the backward graph
    &fold::PASS,     // what is known now is computed now
    &simplify::PASS, // the rule table, to a fixed point
    &cse::PASS,      // equal values are computed once
    &dce::PASS,      // what no result needs goes
    &pool::PASS,     // maxima of large windows are taken row by row
    &absorb::PASS,   // factors of channels move into the weights before them
    &commute::PASS,  // windows are summed after convolutions that leave fewer channels
    &winograd::PASS, // convolutions take fewer products
    &flatten::PASS,  // flattened images are multiplied in the order they lie in
    &fuse::PASS,     // nodes are grouped into kernels
    &layout::PASS,   // images lie channels-last in memory
];

/// The passes over programs, in order.
pub static PROGRAM_PASSES: &[&Pass<Program>] = &[
    &prepare::PASS,   // what depends on weights alone is computed once
    &inplace::PASS,   // results are written over what is read no more
    &schedule::PASS,  // updates run as soon as their gradients can be computed
    &collapse::PASS,  // loops over contiguous memory become one
    &join::PASS,      // kernels that go through the same rows become one
    &parallel::PASS,  // outermost loops are cut into chunks for the threads
    &sums::PASS,      // long sums are cut into runs
    &vectorize::PASS, // one loop of each nest runs in vector registers
    &plan::PASS,      // every buffer gets its place in one arena
];

#[cfg(test)]
mod tests {
    use kiln_graph::{Builder, Graph};
    use kiln_tensor::DType;

    use super::*;
    use crate::testing::{after, assert_same, count};

    /// One training step of a small convolutional network, in the words elaboration uses: linear
    /// layers are sums of broadcast products.
    fn training_step() -> Graph {
        let b = Builder::new();
        let image = b.data("image", DType::F32, &[3, 1, 8, 8]);
        let target = b.data("target", DType::F32, &[3, 4]);
        let kernel = b.param("conv.weight", &[2, 1, 3, 3]);
        let bias = b.param("conv.bias", &[2]);
        let weight = b.param("fc.weight", &[4, 18]);
        let y = image.conv(kernel, [1, 1], [0, 0], [1, 1], 1) + bias.broadcast(&[3, 2, 6, 6], &[1]);
        let y = y.relu().max_pool([2, 2], [2, 2], [1, 1]).reshape(&[3, 18]);
        let w = weight.transpose(&[1, 0]).broadcast(&[3, 18, 4], &[1, 2]);
        let logits = (y.broadcast(&[3, 18, 4], &[0, 1]) * w).sum(&[1]);
        let z = logits - logits.reduce_max(&[1]).broadcast(&[3, 4], &[0]);
        let log_sum = z.exp().sum(&[1]).log();
        let loss = -((z - log_sum.broadcast(&[3, 4], &[0])) * target).sum(&[1]).mean(&[0]);
        b.output("loss", loss);
        for w in [kernel, bias, weight] {
            let gradient = loss.grad(w) + w * 5e-4;
            b.update(w, w - gradient * 0.1);
        }
        b.finish().expect("a well-formed graph")
    }

    #[test]
    fn a_training_step_means_the_same_after_all_passes() {
        let (plain, _) = after(&autodiff::PASS, training_step());
        let mut notes = Notes::default();
        let all = run(GRAPH_PASSES, training_step(), &mut notes, &mut |_, _| {}).expect("succeeds");
        // Folding rounds to f32.
        assert_same(&plain, &all, 1e-6);
        assert_eq!(count(&all, "grad"), 0);
        // The linear layer and its two gradients, of which the convolution's needs one.
        assert_eq!(count(&all, "dot"), 3);
        assert!(all.len() < plain.len(), "{} of {} nodes are left", all.len(), plain.len());
        assert_eq!(notes.report.len(), GRAPH_PASSES.len());
    }

    #[test]
    fn the_same_graph_gives_the_same_text() {
        let text = || {
            let notes = &mut Notes::default();
            run(GRAPH_PASSES, training_step(), notes, &mut |_, _| {}).expect("succeeds").to_string()
        };
        assert_eq!(text(), text());
    }
}
