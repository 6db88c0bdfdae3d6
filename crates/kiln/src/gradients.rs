//! Gradients against finite differences, in f64.
//!
//! For each weight and each real input the loss is evaluated at both sides of its value, along random directions (every
//! element by one step up or down) and for single elements, and the slope is compared with the
//! gradient that autodiff gives. Where they differ the step is made smaller: a slope that settles on
//! another value proves the gradient wrong; one that keeps moving has crossed a kink, as of a
//! rectifier or a maximum, and says nothing, so another direction is tried.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_graph::eval::{Value, evaluate};
use kiln_graph::{Builder, Graph, InputKind, NodeId, rebuild};
use kiln_tensor::{DType, Shape, Tensor};

use crate::compile::differentiated;
use crate::random::Random;
use crate::training::initial_values;
use crate::{Error, Model, Options, Result, Source};

/// Slopes that differ by less than this, relative to the gradient's size, are the same.
const TOLERANCE: f64 = 1e-5;
/// Weights of up to so many elements are checked element by element.
const FULL: usize = 16;
/// Of larger ones so many random elements, and as many directions, are checked.
const SAMPLES: usize = 3;
/// A direction whose slope crosses a kink is replaced so many times.
const RETRIES: usize = 3;
/// How far weights are moved from their initial values, of which many are zero or alike.
const SPREAD: f32 = 0.05;

/// What came of comparing a model's gradients with finite differences.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientCheck {
    /// The loss at which they are compared.
    pub loss: f64,
    /// Every weight, in the order of their declarations, and every real input.
    pub rows: Vec<GradientRow>,
}

/// The gradient of one weight or input.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientRow {
    /// The weight or input.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// The Euclidean norm of the gradient.
    pub norm: f64,
    /// Elements and directions compared.
    pub compared: usize,
    /// Those given up, because no step was free of kinks.
    pub undecided: usize,
    /// The greatest difference between slope and gradient, relative to the gradient's size.
    pub error: f64,
}

impl GradientRow {
    /// Whether the gradient is right as far as was found.
    pub fn is_right(&self) -> bool {
        self.error <= TOLERANCE && (self.compared > 0 || self.shape.elements() == 0)
    }
}

impl GradientCheck {
    /// Whether every gradient is right as far as was found.
    pub fn is_right(&self) -> bool {
        self.rows.iter().all(GradientRow::is_right)
    }
}

impl fmt::Display for GradientCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|r| r.name.len()).max().unwrap_or(0).max(6);
        let shape = self.rows.iter().map(|r| r.shape.to_string().len()).max().unwrap_or(0).max(5);
        writeln!(f, "gradients of the loss {:.6} against finite differences in f64", self.loss)?;
        writeln!(
            f,
            "{:width$}  {:shape$}  {:>9}  {:>8}  {:>9}  {:>10}",
            "weight", "shape", "norm", "compared", "undecided", "difference"
        )?;
        for row in &self.rows {
            let shown = row.shape.to_string();
            let verdict = if row.is_right() { "" } else { "  WRONG" };
            writeln!(
                f,
                "{:width$}  {shown:shape$}  {:>9.2e}  {:>8}  {:>9}  {:>10.1e}{verdict}",
                row.name, row.norm, row.compared, row.undecided, row.error
            )?;
        }
        let wrong = self.rows.iter().filter(|r| !r.is_right()).count();
        match wrong {
            0 => write!(f, "all {} gradients are right", self.rows.len()),
            _ => write!(f, "{wrong} of {} gradients are wrong", self.rows.len()),
        }
    }
}

/// Compares the gradient of every weight and real input with finite differences of the training
/// loss, at the initial weights moved a little, on a batch of random inputs between -1 and 1 (whole
/// ones 0 and 1). Axes that are not bound get size 2.
///
/// # Errors
/// If the model has no train section, every mistake in it, or if it is too large for the reference
/// evaluator.
pub fn check_gradients(model: &Model, options: &Options) -> Result<GradientCheck> {
    let mut options = options.clone().gradients(true);
    if !options.is_bound("batch") {
        options = model.bind_rest(&options, 2)?.0;
    }
    let elaborated = model.training()?.elaborate(&options)?;
    let parameters = elaborated.variables.iter().filter(|v| v.kind == InputKind::Param);
    let mut names: Vec<&str> = parameters.map(|v| v.interface.name.as_str()).collect();
    let inputs: Vec<&str> = elaborated
        .inputs
        .iter()
        .filter(|input| input.dtype == DType::F32)
        .map(|input| input.name.as_str())
        .collect();
    let graph = differentiated(&with_gradients(elaborated.graph.clone(), &inputs)?)?;
    names.extend(inputs);
    let subject = Subject::new(&graph, initial_values(model, &options)?)?;

    let gradients = subject.gradients(graph, &names)?;
    let rows = subject.rows(&names, &gradients, options.threads)?;
    Ok(GradientCheck { loss: subject.loss(&subject.values)?, rows })
}

/// The directions along which the weight with this number, of so many elements, is moved.
fn directions(weight: usize, size: usize) -> Vec<Direction> {
    if size <= FULL {
        return (0..size).map(Direction::Element).collect();
    }
    let mut random = Random::new(weight as u64);
    let mut pair = |_| {
        let element = (random.bits() % size as u64) as usize;
        [Direction::Element(element), Direction::Signs(random.bits())]
    };
    (0..SAMPLES).flat_map(&mut pair).collect()
}

/// A training graph that also gives the gradients of the loss with respect to these inputs.
fn with_gradients(graph: Graph, inputs: &[&str]) -> Result<Graph> {
    let loss = graph.outputs.iter().find(|(name, _)| name == "loss").map(|(_, id)| *id);
    let loss = loss.ok_or_else(|| Error::defect("a training graph without a loss"))?;
    let ids: Vec<_> = graph.inputs().collect();
    let builder = Builder::with(graph);
    for id in ids {
        let name = builder.inspect(|g| g.input(id).map(|(name, _)| name.to_owned()));
        if let Some(name) = name.filter(|name| inputs.contains(&name.as_str())) {
            builder.output(&format!("grad.{name}"), builder.var(loss).grad(builder.var(id)));
        }
    }
    builder.finish().map_err(Error::defect)
}

/// Along what a weight is moved.
#[derive(Clone, Copy, Debug)]
enum Direction {
    /// One element.
    Element(usize),
    /// Every element by 1 or -1, a function of the seed.
    Signs(u64),
}

impl Direction {
    /// The weight moved by so much.
    fn moved(self, weight: &[f64], by: f64) -> Vec<f64> {
        let mut moved = weight.to_vec();
        self.each(weight.len(), |i, sign| moved[i] += by * sign);
        moved
    }

    /// The slope that a gradient foretells.
    fn slope(self, gradient: &[f64]) -> f64 {
        let mut slope = 0.0;
        self.each(gradient.len(), |i, sign| slope += gradient[i] * sign);
        slope
    }

    fn each(self, size: usize, mut f: impl FnMut(usize, f64)) {
        match self {
            Direction::Element(i) => f(i, 1.0),
            Direction::Signs(seed) => {
                let mut random = Random::new(seed);
                (0..size).for_each(|i| f(i, if random.bits() >> 63 == 0 { 1.0 } else { -1.0 }));
            }
        }
    }
}

/// A loss as a function of weights.
struct Subject {
    /// The graph with the loss as its only result.
    graph: Graph,
    /// Everything it reads.
    values: BTreeMap<String, Value>,
}

impl Subject {
    fn new(graph: &Graph, weights: BTreeMap<String, Tensor>) -> Result<Subject> {
        let mut random = Random::new(0);
        let mut values = BTreeMap::new();
        for id in graph.inputs() {
            let Some((name, kind)) = graph.input(id) else { continue };
            let ty = &graph[id].ty;
            let tensor = match (kind, weights.get(name)) {
                (InputKind::Data, _) | (_, None) => random.tensor(ty.dtype, &ty.shape)?,
                (_, Some(value)) => value.clone(),
            };
            let mut value = Value::from(&tensor);
            match (kind, ty.dtype) {
                (InputKind::Param, DType::F32) => {
                    let mut moved = || f64::from(SPREAD * (2.0 * random.uniform() - 1.0));
                    value.data.iter_mut().for_each(|x| *x += moved());
                }
                // Both sides of what bends at 0 are seen.
                (InputKind::Data, DType::F32) => {
                    value.data.iter_mut().for_each(|x| *x = 2.0 * *x - 1.0);
                }
                _ => {}
            }
            values.insert(name.to_owned(), value);
        }
        let mut graph = graph.clone();
        graph.outputs.retain(|(name, _)| name == "loss");
        graph.updates.clear();
        Ok(Subject { graph, values })
    }

    fn loss(&self, values: &BTreeMap<String, Value>) -> Result<f64> {
        let evaluation = evaluate(&self.graph, values).map_err(Error::input)?;
        let loss = evaluation.outputs.get("loss").and_then(|v| v.data.first().copied());
        loss.ok_or_else(|| Error::defect("a training graph without a loss"))
    }

    /// What autodiff gives, for each of the weights.
    fn gradients(&self, mut graph: Graph, names: &[&str]) -> Result<Vec<Value>> {
        graph.outputs.retain(|(name, _)| name.starts_with("grad."));
        graph.updates.clear();
        let mut outputs = evaluate(&graph, &self.values).map_err(Error::input)?.outputs;
        let gradients = names.iter().map(|name| {
            let gradient = outputs.remove(&format!("grad.{name}"));
            gradient.ok_or_else(|| Error::defect(format!("no gradient of `{name}`")))
        });
        gradients.collect()
    }

    /// Compares every weight, on so many threads; the rows are in the order of the names.
    fn rows(
        &self,
        names: &[&str],
        gradients: &[Value],
        threads: usize,
    ) -> Result<Vec<GradientRow>> {
        let next = AtomicUsize::new(0);
        let found: Mutex<Vec<(usize, Result<GradientRow>)>> = Mutex::new(Vec::new());
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let (Some(name), Some(gradient)) = (names.get(at), gradients.get(at)) else {
                    break;
                };
                let row = self.row(at, name, gradient);
                found.lock().unwrap_or_else(|e| e.into_inner()).push((at, row));
            }
        };
        std::thread::scope(|scope| {
            (1..threads.min(names.len())).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        let mut found = found.into_inner().unwrap_or_else(|e| e.into_inner());
        found.sort_by_key(|(at, _)| *at);
        found.into_iter().map(|(_, row)| row).collect()
    }

    /// Compares one weight along all its directions.
    fn row(&self, at: usize, name: &str, gradient: &Value) -> Result<GradientRow> {
        let mut row = GradientRow {
            name: name.to_owned(),
            shape: gradient.shape.clone(),
            norm: norm(&gradient.data),
            compared: 0,
            undecided: 0,
            error: 0.0,
        };
        let subject = self.behind(name)?;
        let mut values = subject.values.clone();
        for direction in directions(at, gradient.data.len()) {
            match subject.decide(&mut values, name, &gradient.data, direction)? {
                Some(error) => {
                    row.compared += 1;
                    // Not `max`, which would pass over NaN.
                    row.error = if error <= row.error { row.error } else { error };
                }
                None => row.undecided += 1,
            }
        }
        Ok(row)
    }

    /// The same loss where only what depends on this weight is left to compute: all else is
    /// computed once, and given.
    fn behind(&self, name: &str) -> Result<Subject> {
        let graph = &self.graph;
        let (mut depends, mut given) = (vec![false; graph.len()], vec![false; graph.len()]);
        for id in graph.ids() {
            let operands = graph.operands(id);
            depends[id.index()] = graph.input(id).is_some_and(|(input, _)| input == name)
                || operands.iter().any(|o| depends[o.index()]);
            if depends[id.index()] {
                operands.iter().for_each(|o| given[o.index()] = !depends[o.index()]);
            }
        }
        graph.results().for_each(|id| given[id.index()] = !depends[id.index()]);
        let key = |id: NodeId| match graph.input(id) {
            Some((input, _)) => input.to_owned(),
            None => format!("%{}", id.index()),
        };

        let mut before = graph.clone();
        let kept = graph.ids().filter(|id| given[id.index()]);
        before.outputs = kept.map(|id| (key(id), id)).collect();
        let mut values = evaluate(&before, &self.values).map_err(Error::input)?.outputs;
        values.insert(name.to_owned(), self.values[name].clone());
        let behind = rebuild(graph, |builder, id, node, _| {
            let cut = given[id.index()] && graph.input(id).is_none();
            cut.then(|| builder.input(&key(id), InputKind::Data, node.ty.dtype, &node.ty.shape))
        });
        Ok(Subject { graph: behind.map_err(Error::defect)?, values })
    }

    /// The difference along a direction, or along others if it crosses a kink.
    fn decide(
        &self,
        values: &mut BTreeMap<String, Value>,
        name: &str,
        gradient: &[f64],
        direction: Direction,
    ) -> Result<Option<f64>> {
        let (mut direction, mut random) = (direction, Random::new(gradient.len() as u64));
        for _ in 0..=RETRIES {
            if let Some(error) = self.compare(values, name, gradient, direction)? {
                return Ok(Some(error));
            }
            direction = match direction {
                Direction::Signs(seed) => Direction::Signs(seed ^ random.bits()),
                Direction::Element(_) if gradient.len() <= FULL => break,
                Direction::Element(_) => {
                    Direction::Element((random.bits() % gradient.len() as u64) as usize)
                }
            };
        }
        Ok(None)
    }

    /// The difference between slope and gradient along a direction, relative to the gradient's
    /// size; nothing if the slope depends on the step.
    fn compare(
        &self,
        values: &mut BTreeMap<String, Value>,
        name: &str,
        gradient: &[f64],
        direction: Direction,
    ) -> Result<Option<f64>> {
        let weight = self.values[name].data.clone();
        let foretold = direction.slope(gradient);
        let elements = (weight.len() as f64).sqrt();
        let rms = (norm(&weight) / elements).max(0.01);
        let (mut step, typical) = match direction {
            Direction::Element(_) => (1e-4 * rms, norm(gradient) / elements),
            Direction::Signs(_) => (1e-6 * rms, norm(gradient)),
        };
        let size = foretold.abs().max(typical).max(1e-8);
        let mut before = f64::INFINITY;
        for _ in 0..3 {
            let slope = self.slope(values, name, &weight, direction, step)?;
            let error = (slope - foretold).abs() / size;
            let settled = (slope - before).abs() <= 0.1 * (slope - foretold).abs();
            // A slope that is no number will not become one.
            if error <= TOLERANCE || settled || slope.is_nan() {
                return Ok(Some(error));
            }
            (before, step) = (slope, step / 8.0);
        }
        Ok(None)
    }

    /// The slope of the loss by central differences.
    fn slope(
        &self,
        values: &mut BTreeMap<String, Value>,
        name: &str,
        weight: &[f64],
        direction: Direction,
        step: f64,
    ) -> Result<f64> {
        let mut at = |by: f64| {
            if let Some(value) = values.get_mut(name) {
                value.data = direction.moved(weight, by);
            }
            self.loss(values)
        };
        let (up, down) = (at(step)?, at(-step)?);
        if let Some(value) = values.get_mut(name) {
            value.data = weight.to_vec();
        }
        Ok((up - down) / (2.0 * step))
    }
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(loss: &str) -> Model {
        let text = format!(
            "model m(image: f32[N, C=1, H=8, W=8]) {{ \
               y = image |> conv(2, 3) as conv |> relu |> max_pool(2) |> flatten |> linear(3) as fc \
               return y \
             }} \
             train m {{ data = digits(\"d.csv\", split=\"train\") loss = {loss} optimizer = sgd(lr=0.1) }}"
        );
        crate::parse(&text, "m.kiln").expect("a well-formed program")
    }

    #[test]
    fn right_gradients_pass_through_kinks() {
        let check = check_gradients(&model("cross_entropy(y, data.label)"), &Options::default());
        let check = check.expect("it evaluates");
        assert!(check.is_right(), "{check}");
        assert_eq!(check.rows.len(), 5);
        assert!(check.rows.iter().all(|r| r.compared >= 2 && r.norm > 0.0), "{check}");
    }

    #[test]
    fn a_gradient_that_leaves_something_out_is_found() {
        // `stop_gradient` hides the square's second factor from autodiff.
        let check = check_gradients(&model("mean(y * stop_gradient(y))"), &Options::default());
        let check = check.expect("it evaluates");
        assert!(!check.is_right(), "{check}");
        assert!(check.to_string().contains("WRONG"), "{check}");
    }
}
