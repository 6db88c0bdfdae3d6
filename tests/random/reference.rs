//! What a graph means, in f64, and how far f32 may be from it.
//!
//! Several more evaluations disturb each operator that rounds by what it may lose: a few roundings
//! of its result, for sums of the sum of magnitudes. What that moves a result by, with a margin, is
//! what an engine may be off.

use std::collections::BTreeMap;

use kiln_graph::eval::{EvalError, Value, evaluate};
use kiln_graph::op::{Lower, Reduction};
use kiln_graph::{Graph, NodeId, ops};
use kiln_loops::Fold;
use kiln_tensor::DType;

use super::{Inputs, Random};

/// The rounding error of one operation, relative.
pub const EPSILON: f64 = 1.0 / (1 << 24) as f64;
/// Roundings that one disturbed operator stands for.
const ROUNDINGS: f64 = 4.0;
/// Terms that are added up in a row, where long sums are cut.
const RUN: usize = 1024;
/// How far beyond the disturbed runs an engine may be.
const MARGIN: f64 = 8.0;

/// Values by the name of the output, or of the input whose next value it is after `<- `.
pub type Results = BTreeMap<String, Value>;

/// The results of a graph without gradients to expand: exact, and how far each may be off.
#[derive(Debug)]
pub struct Reference {
    /// The results.
    pub results: Results,
    /// How far each may be off, the greatest of its elements.
    pub tolerance: Tolerance,
    /// Where long sums are not cut into runs.
    pub serial: Tolerance,
}

/// How far results may be off, by name; 0 where not a bit may differ.
pub type Tolerance = BTreeMap<String, f64>;

/// Evaluates a graph, and estimates the tolerances by that many disturbed runs.
///
/// # Errors
/// If the graph cannot be evaluated.
pub fn reference(graph: &Graph, inputs: &Inputs, runs: u64) -> Result<Reference, EvalError> {
    let evaluation = evaluate(graph, inputs)?;
    let mut results: Results = evaluation.outputs;
    results.extend(evaluation.updates.into_iter().map(|(name, v)| (format!("<- {name}"), v)));
    let exact = disturbed(graph, inputs, None);
    let [short, serial] = [RUN, usize::MAX].map(|run| {
        let scales: Vec<Option<f64>> = graph.ids().map(|id| scale(graph, id, run)).collect();
        scales
    });
    let sums = magnitudes(graph, &exact, &short);
    let tolerance = tolerance(graph, inputs, &exact, &sums, &short, runs);
    let serial = match serial == short {
        true => tolerance.clone(),
        false => self::tolerance(graph, inputs, &exact, &sums, &serial, runs),
    };
    Ok(Reference { results, tolerance, serial })
}

/// What disturbed runs move each result by.
fn tolerance(
    graph: &Graph,
    inputs: &Inputs,
    exact: &[Value],
    sums: &[Option<Value>],
    scales: &[Option<f64>],
    runs: u64,
) -> Tolerance {
    let mut tolerance = Tolerance::new();
    let named: Vec<(String, NodeId)> = names(graph);
    for run in 0..runs {
        let noise = Noise { random: Random::new(run), scales, sums };
        let values = disturbed(graph, inputs, Some(noise));
        for (name, id) in &named {
            let (a, b) = (&exact[id.index()], &values[id.index()]);
            let off = a.data.iter().zip(&b.data).map(|(a, b)| distance(*a, *b)).fold(0.0, f64::max);
            let most = a.data.iter().map(|x| x.abs()).filter(|x| x.is_finite()).fold(0.0, f64::max);
            // What no operator disturbs is exact.
            let least = if off > 0.0 { EPSILON * most + 1e-30 } else { 0.0 };
            let slot = tolerance.entry(name.clone()).or_default();
            *slot = slot.max(MARGIN * (off + least));
        }
    }
    tolerance
}

/// The results' names and nodes.
fn names(graph: &Graph) -> Vec<(String, NodeId)> {
    let next = graph.updates.iter().map(|u| {
        let name = graph.input(u.input).map_or("", |i| i.0);
        (format!("<- {name}"), u.value)
    });
    graph.outputs.iter().cloned().chain(next).collect()
}

/// How far apart two numbers are; equal infinities and NaNs are not.
pub fn distance(a: f64, b: f64) -> f64 {
    if a == b || (a.is_nan() && b.is_nan()) {
        return 0.0;
    }
    let d = (a - b).abs();
    if d.is_nan() { f64::INFINITY } else { d }
}

/// The roundings of a node that has any, in units of what [`magnitudes`] says, if sums are cut into
/// runs of this many terms.
fn scale(graph: &Graph, id: NodeId, run: usize) -> Option<f64> {
    // Errors of a run mostly cancel, unless it is so long that its sum outgrows the terms.
    let of_sum = |terms: usize| {
        let drift = if terms.min(run) > RUN { terms as f64 / 4.0 } else { 0.0 };
        ROUNDINGS + (terms.min(run) as f64).sqrt() + drift
    };
    const EXACT: [&str; 12] = [
        "neg", "abs", "floor", "ceil", "round", "maximum", "minimum", "select", "detach", "not",
        "and", "or",
    ];
    let node = &graph[id];
    if node.ty.dtype != DType::F32 {
        return None;
    }
    match node.op.lower {
        Lower::Map(_) if EXACT.contains(&node.op.name) => None,
        // Whole numbers beyond 2^24 do not occur where they are cast.
        Lower::Map(_) if node.op == &ops::CAST => None,
        Lower::Map(_) => Some(ROUNDINGS),
        Lower::Reduce(_, Reduction::Fold(Fold::Max | Fold::Min) | Reduction::ArgMax) => None,
        Lower::Reduce(f, _) | Lower::Contract(f) => {
            let terms: usize = graph.with_view(id, f).reduced.iter().product();
            Some(of_sum(terms))
        }
        Lower::Scatter(_) => {
            let added = graph[*graph.operands(id).last()?].ty.shape.elements();
            Some(of_sum(added))
        }
        _ => None,
    }
}

/// For nodes that sum up: the same sums of absolute values.
fn magnitudes(graph: &Graph, values: &[Value], scales: &[Option<f64>]) -> Vec<Option<Value>> {
    let sums = |id: NodeId| {
        let adds = matches!(
            graph[id].op.lower,
            Lower::Reduce(..) | Lower::Contract(_) | Lower::Scatter(_)
        );
        if scales[id.index()].is_none() || !adds {
            return None;
        }
        let absolute = |&o: &NodeId| {
            let v = &values[o.index()];
            match graph[o].ty.dtype {
                DType::F32 => Value { data: v.data.iter().map(|x| x.abs()).collect(), ..v.clone() },
                _ => v.clone(),
            }
        };
        let operands: Vec<Value> = graph.operands(id).iter().map(absolute).collect();
        let operands: Vec<&Value> = operands.iter().collect();
        Some(graph.with_view(id, |view| (graph[id].op.eval)(view, &operands)))
    };
    graph.ids().map(sums).collect()
}

/// What disturbs an evaluation.
struct Noise<'a> {
    random: Random,
    scales: &'a [Option<f64>],
    sums: &'a [Option<Value>],
}

/// The value of every node.
pub fn values(graph: &Graph, inputs: &Inputs) -> Vec<Value> {
    disturbed(graph, inputs, None)
}

fn disturbed(graph: &Graph, inputs: &Inputs, mut noise: Option<Noise<'_>>) -> Vec<Value> {
    let mut values: Vec<Value> = Vec::with_capacity(graph.len());
    for id in graph.ids() {
        if let Some((name, _)) = graph.input(id) {
            values.push(inputs[name].clone());
            continue;
        }
        let operands = graph.operands(id);
        let x: Vec<&Value> = operands.iter().map(|o| &values[o.index()]).collect();
        let mut value = graph.with_view(id, |view| (graph[id].op.eval)(view, &x));
        if let Some(Noise { random, scales, sums }) = &mut noise
            && let Some(scale) = scales[id.index()]
        {
            let sum = sums[id.index()].as_ref();
            for (i, x) in value.data.iter_mut().enumerate() {
                let magnitude = sum.map_or(x.abs(), |s| s.data[i]);
                *x += EPSILON * scale * magnitude * random.signed();
            }
        }
        values.push(value);
    }
    values
}
