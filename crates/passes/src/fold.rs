//! `fold`: what is known now is computed now.
//!
//! A node whose operands are constants becomes a constant: each operator is evaluated in f64 and
//! its result rounded to the element type, which for one addition, multiplication, division or
//! square root gives the very bits that f32 arithmetic gives (Figueroa, "When is double rounding
//! innocuous?", 1995), and for transcendental functions the nearest f32.
//!
//! Results larger than their operands stay computed (a broadcast number is cheaper to repeat than
//! to read), and so do random numbers.

use std::sync::Arc;

use kiln_graph::eval::Value;
use kiln_graph::op::{Lower, OpView};
use kiln_graph::{Attrs, Builder, Graph, NodeId, Type, ops};
use kiln_tensor::{DType, Data, Tensor};

use crate::pass::{Notes, Pass, PassError};
use crate::rewrite;

/// See the module.
pub static PASS: Pass<Graph> = Pass { name: "fold", doc: "compute what is known now", run };

/// Results and operands beyond this many bytes stay as they are.
const MAX_BYTES: usize = 64 << 10;

/// Elements evaluated, products of contractions counted each, beyond which nothing more is folded.
const BUDGET: usize = 1 << 24;

fn run(graph: Graph, notes: &mut Notes) -> Result<Graph, PassError> {
    if rewrite::has_grad(&graph, notes) {
        return Ok(graph);
    }
    let mut folder = Folder::default();
    rewrite::rewrite(&graph, &mut |b, id| folder.fold(b, id))
}

/// Evaluates nodes of constant operands, within a budget.
#[derive(Default)]
pub(crate) struct Folder {
    spent: usize,
}

impl Folder {
    /// The constant that `id` is, if it is known, small, and not one already.
    pub(crate) fn fold(&mut self, b: &Builder, id: NodeId) -> Option<NodeId> {
        let value = b.inspect(|g| self.evaluate(g, id))?;
        Some(b.op(&ops::CONSTANT, Attrs::new().with("value", Arc::new(value)), &[]).id())
    }

    fn evaluate(&mut self, graph: &Graph, id: NodeId) -> Option<Tensor> {
        let node = &graph[id];
        let known = |o: &NodeId| graph[*o].op == &ops::CONSTANT;
        if [&ops::RANDOM, &ops::BROADCAST].contains(&node.op) {
            return None;
        }
        let operands = graph.operands(id);
        if operands.is_empty() || !operands.iter().all(known) {
            return None;
        }
        let bytes = |ty: &Type| ty.shape.bytes(ty.dtype);
        let types: Vec<&Type> = operands.iter().map(|&o| &graph[o].ty).collect();
        let read: usize = types.iter().map(|t| t.shape.elements()).sum();
        let made = node.ty.shape.elements();
        if made > read || bytes(&node.ty) > MAX_BYTES || types.iter().any(|t| bytes(t) > MAX_BYTES)
        {
            return None;
        }
        let view = OpView { attrs: &node.attrs, operands: &types, ty: &node.ty };
        let per_element = match node.op.lower {
            Lower::Contract(space) | Lower::Reduce(space, _) => {
                space(&view).reduced.iter().product::<usize>()
            }
            _ => 1,
        };
        let cost = made.saturating_mul(per_element).saturating_add(read);
        if self.spent.saturating_add(cost) > BUDGET {
            return None;
        }
        self.spent += cost;
        let values: Vec<Value> = operands
            .iter()
            .zip(&types)
            .map(|(&o, ty)| {
                let leaf = OpView { attrs: &graph[o].attrs, operands: &[], ty };
                (graph[o].op.eval)(&leaf, &[])
            })
            .collect();
        let result = (node.op.eval)(&view, &values.iter().collect::<Vec<_>>());
        round(&result, node.ty.dtype)
    }
}

/// The value in an element type. Every NaN becomes the usual one: the sign and payload of a computed
/// NaN are the processor's, and dumps are the same everywhere.
fn round(value: &Value, dtype: DType) -> Option<Tensor> {
    let f32 = |&x: &f64| if x.is_nan() { f32::NAN } else { x as f32 };
    let data = match dtype {
        DType::F32 => Data::F32(value.data.iter().map(f32).collect()),
        DType::I32 => Data::I32(value.data.iter().map(|&x| x as i32).collect()),
        DType::Bool => Data::Bool(value.data.iter().map(|&x| x != 0.0).collect()),
    };
    Tensor::new(value.shape.clone(), data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{after, count, graph};

    fn constant(graph: &Graph, output: usize) -> &Data {
        graph[graph.outputs[output].1].attrs.tensor("value").data()
    }

    #[test]
    fn arithmetic_rounds_after_every_operator_as_f32_does() {
        let (a, b, c) = (1.1f32, 3.3f32, 7.7f32);
        let (g, _) = after(
            &PASS,
            graph(|g| {
                let [x, y, z] = [a, b, c].map(|x| g.scalar(x));
                vec![(x * y + z) / y, ((x - z) * (x - z)).sqrt()]
            }),
        );
        assert_eq!(constant(&g, 0), &Data::F32(vec![(a * b + c) / b]));
        assert_eq!(constant(&g, 1), &Data::F32(vec![((a - c) * (a - c)).sqrt()]));
        assert_eq!(g.len(), 2);
    }

    #[test]
    fn computed_nans_are_the_usual_one() {
        let (g, _) = after(
            &PASS,
            graph(|b| {
                let (zero, inf) = (b.scalar(0.0), b.scalar(f32::INFINITY));
                let odd = b.scalar(f32::from_bits(0xFFC0_0123));
                vec![zero / zero, inf - inf, -(inf * zero), odd + 1.0, odd.reshape(&[1])]
            }),
        );
        for output in 0..5 {
            let Data::F32(values) = constant(&g, output) else { panic!("numbers") };
            assert_eq!(values[0].to_bits(), f32::NAN.to_bits(), "{output}");
        }
    }

    #[test]
    fn whole_numbers_wrap() {
        let (g, _) = after(
            &PASS,
            graph(|b| {
                vec![
                    b.scalar_i32(i32::MAX) + b.scalar_i32(2),
                    b.scalar_i32(i32::MAX) * b.scalar_i32(3),
                ]
            }),
        );
        assert_eq!(constant(&g, 0), &Data::I32(vec![i32::MIN + 1]));
        assert_eq!(constant(&g, 1), &Data::I32(vec![i32::MAX.wrapping_mul(3)]));
    }

    #[test]
    fn large_and_random_values_stay_computed() {
        let (g, _) = after(
            &PASS,
            graph(|b| {
                let (one, two) = (b.scalar_i32(1), b.scalar_i32(2));
                let large =
                    b.constant(Tensor::f32(&[20_000], vec![1.5; 20_000]).expect("elements"));
                vec![b.random(&[], 1, one, two), b.scalar(2.0).broadcast(&[3], &[]), large.exp()]
            }),
        );
        let kept = ["random", "broadcast", "exp"].map(|op| count(&g, op));
        assert_eq!(kept, [1, 1, 1]);
    }
}
