//! The reference evaluator: every operator as plain loops in f64.
//!
//! Shares no code with the compiler beyond the graph itself; every other engine is compared with
//! it. Whole numbers and truth values are held as f64 too, exactly.

use std::collections::BTreeMap;

use kiln_tensor::{DType, Data, Shape, Tensor, TensorError};

use crate::graph::{Graph, InputKind, NodeId, Type};
use crate::op::Lower;
use crate::rebuild::live;

/// A dense array of f64, row-major: a value of any element type in the reference evaluator.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Sizes of the axes.
    pub shape: Shape,
    /// The elements.
    pub data: Vec<f64>,
}

impl Value {
    /// A value whose element at each multi-index is `f` of it.
    pub fn from_fn(shape: &Shape, mut f: impl FnMut(&[usize]) -> f64) -> Value {
        let mut data = Vec::with_capacity(shape.elements());
        each_index(shape, |index| data.push(f(index)));
        Value { shape: shape.clone(), data }
    }

    /// A value of rank 0.
    pub fn scalar(x: f64) -> Value {
        Value { shape: Shape::scalar(), data: vec![x] }
    }

    /// The elements as a tensor of this type: rounded to f32, or cast to i32 or bool.
    ///
    /// # Errors
    /// If the number of elements is not the shape's.
    pub fn to_tensor(&self, dtype: DType) -> Result<Tensor, TensorError> {
        let data = match dtype {
            DType::F32 => Data::F32(self.data.iter().map(|&x| x as f32).collect()),
            DType::I32 => Data::I32(self.data.iter().map(|&x| x as i32).collect()),
            DType::Bool => Data::Bool(self.data.iter().map(|&x| x != 0.0).collect()),
        };
        Tensor::new(self.shape.clone(), data)
    }

    /// The element at a multi-index; a value of rank 0 is the same at every index.
    pub fn at(&self, index: &[usize]) -> f64 {
        if self.shape.rank() == 0 {
            return self.data[0];
        }
        let flat = index.iter().zip(self.shape.iter()).fold(0, |flat, (i, d)| flat * d + i);
        self.data[flat]
    }
}

impl From<&Tensor> for Value {
    fn from(tensor: &Tensor) -> Value {
        let data = match tensor.data() {
            Data::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::I32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::Bool(v) => v.iter().map(|&x| f64::from(x)).collect(),
        };
        Value { shape: tensor.shape().clone(), data }
    }
}

/// Calls `f` with every multi-index of `dims`, in row-major order.
pub fn each_index(dims: &[usize], mut f: impl FnMut(&[usize])) {
    if dims.contains(&0) {
        return;
    }
    let mut index = vec![0; dims.len()];
    loop {
        f(&index);
        let Some(axis) = (0..dims.len()).rev().find(|&a| index[a] + 1 < dims[a]) else { return };
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
}

/// What one run of a graph gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// The named results.
    pub outputs: BTreeMap<String, Value>,
    /// The next values of the inputs that have one, by the input's name.
    pub updates: BTreeMap<String, Value>,
}

/// Why a graph cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// An input has no value.
    #[error("no value is given for the {} `{name}`, {ty}", .kind.name())]
    Missing {
        /// Its name.
        name: String,
        /// Its kind.
        kind: InputKind,
        /// Its type.
        ty: Type,
    },
    /// An input's value has the wrong shape.
    #[error("`{name}` is {ty}, the value given has shape {found} and {elements} elements")]
    Shape {
        /// Its name.
        name: String,
        /// The type it has.
        ty: Type,
        /// The shape given.
        found: Shape,
        /// The number of elements given.
        elements: usize,
    },
    /// An operator that a pass expands first.
    #[error("%{0} is a `{1}`, which a pass expands before evaluation")]
    Unexpanded(usize, &'static str),
    /// A value of more than [`MAX_ELEMENTS`].
    #[error("%{node}, {ty}, is too large for the reference evaluator")]
    TooLarge {
        /// The node.
        node: usize,
        /// Its type.
        ty: Type,
    },
}

/// The evaluator refuses values of more elements than this (2 GiB).
pub const MAX_ELEMENTS: usize = 1 << 28;

/// Evaluates what the results of a graph need, in node order. `inputs` has a value for every such
/// input, by name, and may have more. A value is dropped after its last use.
///
/// # Errors
/// If an input is missing or has the wrong shape, or the graph holds what cannot be evaluated.
pub fn evaluate(graph: &Graph, inputs: &BTreeMap<String, Value>) -> Result<Evaluation, EvalError> {
    let live = live(graph);
    let mut uses = vec![0_usize; graph.len()];
    for id in graph.ids().filter(|id| live[id.index()]) {
        graph.operands(id).iter().for_each(|o| uses[o.index()] += 1);
    }
    graph.results().for_each(|id| uses[id.index()] += 1);

    let mut values: Vec<Option<Value>> = vec![None; graph.len()];
    for id in graph.ids() {
        if uses[id.index()] == 0 {
            continue;
        }
        let value = node(graph, id, &values, inputs)?;
        for o in graph.operands(id) {
            uses[o.index()] -= 1;
            if uses[o.index()] == 0 {
                values[o.index()] = None;
            }
        }
        values[id.index()] = Some(value);
    }
    let value = |id: NodeId| values[id.index()].clone().expect("results are kept");
    let name = |id: NodeId| graph.input(id).map_or_else(String::new, |i| i.0.to_owned());
    Ok(Evaluation {
        outputs: graph.outputs.iter().map(|(name, id)| (name.clone(), value(*id))).collect(),
        updates: graph.updates.iter().map(|u| (name(u.input), value(u.value))).collect(),
    })
}

/// The value of one node, given those of its operands.
fn node(
    graph: &Graph,
    id: NodeId,
    values: &[Option<Value>],
    inputs: &BTreeMap<String, Value>,
) -> Result<Value, EvalError> {
    let ty = &graph[id].ty;
    if ty.shape.elements() > MAX_ELEMENTS {
        return Err(EvalError::TooLarge { node: id.index(), ty: ty.clone() });
    }
    if let Some((name, kind)) = graph.input(id) {
        let Some(value) = inputs.get(name) else {
            return Err(EvalError::Missing { name: name.to_owned(), kind, ty: ty.clone() });
        };
        let elements = value.data.len();
        if value.shape != ty.shape || elements != ty.shape.elements() {
            let (name, found) = (name.to_owned(), value.shape.clone());
            return Err(EvalError::Shape { name, ty: ty.clone(), found, elements });
        }
        return Ok(value.clone());
    }
    let op = graph[id].op;
    if matches!(op.lower, Lower::Never) {
        return Err(EvalError::Unexpanded(id.index(), op.name));
    }
    let operands: Vec<&Value> = graph
        .operands(id)
        .iter()
        .map(|o| values[o.index()].as_ref().expect("operands stand before users"))
        .collect();
    Ok(graph.with_view(id, |view| (op.eval)(view, &operands)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"graph {
  %0: f32[2] = input {dtype=f32, kind="data", name="x", shape=[2]}
  %1: f32[2] = input {dtype=f32, kind="param", name="w", shape=[2]}
  %2: f32[2] = input {dtype=f32, kind="data", name="unused", shape=[2]}
  %3: f32[2] = sub(%1, %0)
  %4: f32[2] = mul(%3, %3)
  %5: f32[] = sum(%4) {axes=[0]}
  output loss = %5
  update %1 <- %3
}"#;

    fn inputs(w: &[f64]) -> BTreeMap<String, Value> {
        let value = |x: &[f64]| Value { shape: [x.len()].try_into().unwrap(), data: x.to_vec() };
        BTreeMap::from([("x".to_owned(), value(&[1.0, 2.0])), ("w".to_owned(), value(w))])
    }

    #[test]
    fn gives_outputs_and_next_values() {
        let result = evaluate(&TEXT.parse().unwrap(), &inputs(&[4.0, 6.0])).unwrap();
        assert_eq!(result.outputs["loss"], Value::scalar(25.0));
        assert_eq!(result.updates["w"].data, [3.0, 4.0]);
    }

    #[test]
    fn names_the_input_that_is_missing_or_wrong() {
        let graph: Graph = TEXT.parse().unwrap();
        let mut given = inputs(&[4.0, 6.0, 0.0]);
        let error = evaluate(&graph, &given).unwrap_err().to_string();
        assert_eq!(error, "`w` is f32[2], the value given has shape [3] and 3 elements");
        given.remove("w");
        let error = evaluate(&graph, &given).unwrap_err().to_string();
        assert_eq!(error, "no value is given for the param `w`, f32[2]");
    }

    #[test]
    fn refuses_what_it_cannot_hold_or_expand() {
        let huge = "graph { %0: f32[] = constant {value=f32[](0)} %1: f32[1000000000] = \
                    broadcast(%0) {axes=[], shape=[1000000000]} output y = %1 }";
        let error = evaluate(&huge.parse().unwrap(), &BTreeMap::new()).unwrap_err();
        assert!(matches!(error, EvalError::TooLarge { node: 1, .. }), "{error}");
        let grad = "graph { %0: f32[] = constant {value=f32[](0)} %1: f32[] = grad(%0, %0) output y = %1 }";
        let error = evaluate(&grad.parse().unwrap(), &BTreeMap::new()).unwrap_err();
        assert_eq!(error, EvalError::Unexpanded(1, "grad"));
    }
}
