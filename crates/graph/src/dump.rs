//! Views of a graph for other programs: JSON and DOT.

use std::collections::BTreeMap;
use std::fmt::Write;

use kiln_tensor::{Data, Tensor};
use serde::Serialize;

use crate::attrs::Attr;
use crate::graph::{Graph, Node, NodeId, Placement, Type};

/// A graph as JSON shows it.
#[derive(Debug, Serialize)]
pub struct GraphView<'a> {
    /// The form of this view; grows when a field changes its meaning or goes.
    pub version: u32,
    /// Every node, in order.
    pub nodes: Vec<NodeView<'a>>,
    /// The inputs, in order.
    pub inputs: Vec<InputView<'a>>,
    /// The named results, in order.
    pub outputs: Vec<OutputView<'a>>,
    /// Next values, in order.
    pub updates: Vec<UpdateView>,
}

/// A node.
#[derive(Debug, Serialize)]
pub struct NodeView<'a> {
    /// Its number.
    pub id: usize,
    /// The operator's name.
    pub op: &'static str,
    /// Element type of the result.
    pub dtype: &'static str,
    /// Sizes of the result.
    pub shape: &'a [usize],
    /// Numbers of the operands.
    pub operands: Vec<usize>,
    /// Attributes by name.
    pub attrs: BTreeMap<&'static str, AttrView<'a>>,
    /// `file:line:column`, where it comes from.
    pub locations: Vec<String>,
    /// `inline`, or `k` and the number of its kernel; absent before fusion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// The order of the axes in memory; absent if row-major.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<&'a [usize]>,
}

/// The value of an attribute. Numbers that JSON has not (nan, inf, -inf) are names.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum AttrView<'a> {
    /// A whole number.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A name.
    Text(String),
    /// A list of whole numbers.
    Ints(&'a [i64]),
    /// An array.
    Tensor(TensorView<'a>),
}

/// An array.
#[derive(Debug, Serialize)]
pub struct TensorView<'a> {
    /// Element type.
    pub dtype: &'static str,
    /// Sizes.
    pub shape: &'a [usize],
    /// The elements, row-major; absent if there are more than 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<AttrView<'a>>>,
}

/// An input.
#[derive(Debug, Serialize)]
pub struct InputView<'a> {
    /// Its name.
    pub name: &'a str,
    /// data, param, state or slot.
    pub kind: &'static str,
    /// Number of its node.
    pub node: usize,
}

/// A named result.
#[derive(Debug, Serialize)]
pub struct OutputView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Number of its node.
    pub node: usize,
}

/// A next value.
#[derive(Debug, Serialize)]
pub struct UpdateView {
    /// Number of the input's node.
    pub input: usize,
    /// Number of the node that computes its next value.
    pub value: usize,
}

/// The view of a graph that [`json`] writes.
pub fn view(graph: &Graph) -> GraphView<'_> {
    let input = |id: NodeId| {
        let (name, kind) = graph.input(id)?;
        Some(InputView { name, kind: kind.name(), node: id.index() })
    };
    GraphView {
        version: 1,
        nodes: graph.ids().map(|id| node(graph, id)).collect(),
        inputs: graph.inputs().filter_map(input).collect(),
        outputs: graph
            .outputs
            .iter()
            .map(|(name, id)| OutputView { name, node: id.index() })
            .collect(),
        updates: graph
            .updates
            .iter()
            .map(|u| UpdateView { input: u.input.index(), value: u.value.index() })
            .collect(),
    }
}

/// A graph as one JSON object.
///
/// # Panics
/// Never: the view has names as keys and finite numbers only.
pub fn json(graph: &Graph) -> String {
    serde_json::to_string_pretty(&view(graph)).expect("names as keys, finite numbers")
}

fn node(graph: &Graph, id: NodeId) -> NodeView<'_> {
    let node: &Node = &graph[id];
    NodeView {
        id: id.index(),
        op: node.op.name,
        dtype: node.ty.dtype.name(),
        shape: &node.ty.shape,
        operands: graph.operands(id).iter().map(|o| o.index()).collect(),
        attrs: node.attrs.iter().map(|(name, value)| (name, attr(value))).collect(),
        locations: node.locations.iter().map(ToString::to_string).collect(),
        placement: placement(node.placement),
        order: (!node.order.is_empty()).then_some(&node.order),
    }
}

fn placement(placement: Placement) -> Option<String> {
    match placement {
        Placement::Unset => None,
        Placement::Inline => Some("inline".to_owned()),
        Placement::Kernel(k) => Some(format!("k{k}")),
    }
}

fn attr(attr: &Attr) -> AttrView<'_> {
    match attr {
        Attr::Int(x) => AttrView::Int(*x),
        Attr::Float(x) => float(*x),
        Attr::Bool(x) => AttrView::Bool(*x),
        Attr::Text(x) => AttrView::Text(x.clone()),
        Attr::Ints(x) => AttrView::Ints(x),
        Attr::DType(x) => AttrView::Text(x.name().to_owned()),
        Attr::Tensor(x) => AttrView::Tensor(tensor(x)),
    }
}

fn float(x: f64) -> AttrView<'static> {
    if x.is_finite() { AttrView::Float(x) } else { AttrView::Text(x.to_string().to_lowercase()) }
}

fn tensor(x: &Tensor) -> TensorView<'_> {
    let values = || match x.data() {
        Data::F32(v) => v.iter().map(|&x| float(f64::from(x))).collect(),
        Data::I32(v) => v.iter().map(|&x| AttrView::Int(i64::from(x))).collect(),
        Data::Bool(v) => v.iter().map(|&x| AttrView::Bool(x)).collect(),
    };
    TensorView {
        dtype: x.dtype().name(),
        shape: x.shape(),
        values: (x.data().len() <= 64).then(values),
    }
}

/// A graph in the language of Graphviz: a box for each node with operator, type and first location,
/// an arrow from each operand, dashed from a next value to its input.
pub fn dot(graph: &Graph) -> String {
    let mut text = String::from("digraph kiln {\n  node [shape=box, fontname=monospace];\n");
    for id in graph.ids() {
        let n = id.index();
        let node = &graph[id];
        let _ = writeln!(text, "  n{n} [label=\"{}\"];", label(graph, id, &node.ty));
        for o in graph.operands(id) {
            let _ = writeln!(text, "  n{} -> n{n};", o.index());
        }
    }
    for (i, (name, id)) in graph.outputs.iter().enumerate() {
        let _ = writeln!(text, "  out{i} [label=\"{}\", shape=ellipse];", escape(name));
        let _ = writeln!(text, "  n{} -> out{i};", id.index());
    }
    for u in &graph.updates {
        let _ = writeln!(text, "  n{} -> n{} [style=dashed];", u.value.index(), u.input.index());
    }
    text.push_str("}\n");
    text
}

fn label(graph: &Graph, id: NodeId, ty: &Type) -> String {
    let node = &graph[id];
    let name = graph.input(id).map_or_else(String::new, |(n, _)| format!(" {}", escape(n)));
    let mut label = format!("%{} {}{name}\\n{ty}", id.index(), node.op.name);
    if let Some(location) = node.locations.first() {
        let _ = write!(label, "\\n{}", escape(&location.to_string()));
    }
    if let Some(place) = placement(node.placement) {
        let _ = write!(label, "\\n{place}");
    }
    label
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> Graph {
        r#"graph {
  %0: f32[2] = input {dtype=f32, kind="param", name="w\"", shape=[2]} @a.kiln:1:1
  %1: f32[3] = constant {value=f32[3](1,-inf,nan)}
  %2: f32[2] = neg(%0) !k0 ~[0]
  output y = %2
  update %0 <- %2
}"#
        .parse()
        .unwrap()
    }

    #[test]
    fn json_has_every_field_and_names_for_what_json_cannot_say() {
        let json: serde_json::Value = serde_json::from_str(&json(&graph())).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["nodes"][0]["attrs"]["shape"], serde_json::json!([2]));
        assert_eq!(json["nodes"][0]["locations"], serde_json::json!(["a.kiln:1:1"]));
        let values = &json["nodes"][1]["attrs"]["value"]["values"];
        assert_eq!(*values, serde_json::json!([1.0, "-inf", "nan"]));
        assert_eq!(json["nodes"][2]["operands"], serde_json::json!([0]));
        assert_eq!(json["nodes"][2]["placement"], "k0");
        assert_eq!(json["outputs"][0], serde_json::json!({"name": "y", "node": 2}));
        assert_eq!(json["updates"][0], serde_json::json!({"input": 0, "value": 2}));
    }

    #[test]
    fn dot_has_a_box_for_each_node_and_an_arrow_for_each_operand() {
        let expected = r#"digraph kiln {
  node [shape=box, fontname=monospace];
  n0 [label="%0 input w\"\nf32[2]\na.kiln:1:1"];
  n1 [label="%1 constant\nf32[3]"];
  n2 [label="%2 neg\nf32[2]\nk0"];
  n0 -> n2;
  out0 [label="y", shape=ellipse];
  n2 -> out0;
  n2 -> n0 [style=dashed];
}
"#;
        assert_eq!(dot(&graph()), expected);
    }
}
