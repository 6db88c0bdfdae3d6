//! The operators as a document.

use std::fmt::Write;

use crate::op::{Arity, OpDef};
use crate::ops::OPS;

/// `docs/ops.md`: what every operator is called, does, takes and knows, in Markdown.
pub fn ops_markdown() -> String {
    let mut text = String::from(
        "# Operators\n\nGenerated from the records in `crates/graph/src/ops/` by `kiln ops`. Differentiable operators pass \
         gradients to their f32 operands; the class says how an operator becomes loops (`Lower` in \
         `crates/graph/src/op.rs`).\n\n| operator | operands | attributes | differentiable | class | what it computes |\n\
         |---|---|---|---|---|---|\n",
    );
    for op in OPS {
        let attrs: Vec<String> = op
            .attrs
            .iter()
            .map(|a| format!("`{}`: {} ({})", a.name, a.kind, cell(a.doc)))
            .collect();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} |",
            op.name,
            operands(op),
            attrs.join("; "),
            if op.grad.is_some() { "yes" } else { "no" },
            op.lower.name(),
            cell(op.doc)
        );
    }
    text
}

/// What `kiln ops NAME` prints about one operator.
pub fn describe(op: &OpDef) -> String {
    let mut text = format!("{}: {}\n\noperands: {}\n", op.name, op.doc, operands(op));
    for a in op.attrs {
        let _ = writeln!(text, "attribute {}: {}, {}", a.name, a.kind, a.doc);
    }
    let gradient = if op.grad.is_some() { "differentiable" } else { "no gradient" };
    let _ = writeln!(text, "{gradient}; lowered as {}", op.lower.name());
    text
}

fn operands(op: &OpDef) -> String {
    match op.arity {
        Arity::Exact(n) => n.to_string(),
        Arity::AtLeast(n) => format!("{n} or more"),
    }
}

/// Text that does not end a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
