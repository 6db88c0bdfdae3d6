//! `input`: a value that comes from outside the graph.

use kiln_tensor::Shape;

use crate::attrs::AttrKind;
use crate::graph::{InputKind, Type};
use crate::op::{Arity, AttrDef, Lower, OpDef};

/// See the record's `doc`.
pub static INPUT: OpDef = OpDef {
    name: "input",
    doc: "A value from outside: data given before every run, or a param, state or slot that lives across runs.",
    arity: Arity::Exact(0),
    attrs: &[
        AttrDef { name: "name", kind: AttrKind::Text, doc: "unique among the graph's inputs" },
        AttrDef { name: "kind", kind: AttrKind::Text, doc: "data, param, state or slot" },
        AttrDef { name: "dtype", kind: AttrKind::DType, doc: "element type" },
        AttrDef { name: "shape", kind: AttrKind::Ints, doc: "sizes of the axes" },
    ],
    infer: |_, attrs| {
        if InputKind::from_name(attrs.text("kind")).is_none() {
            return Err(format!(
                "unknown kind `{}` (data, param, state or slot)",
                attrs.text("kind")
            ));
        }
        let dims: Result<Vec<usize>, _> =
            attrs.ints("shape").iter().map(|&d| usize::try_from(d)).collect();
        let dims = dims.map_err(|_| "a size is negative".to_owned())?;
        Ok(Type::new(attrs.dtype("dtype"), Shape::new(dims).map_err(|e| e.to_string())?))
    },
    lower: Lower::Leaf,
    eval: |_, _| unreachable!("the evaluator reads inputs from its caller"),
    ..OpDef::BASE
};
