//! The text form of a graph: prints, and parses back to the same text.
//!
//! ```text
//! graph {
//!   %0: f32[64,10] = input {dtype=f32, kind="data", name="image", shape=[64,10]} @lenet.kiln:3:13
//!   %1: f32[] = constant {value=f32[](0.5)}
//!   %2: f32[64,10] = mul(%0, %1) !k0 @lenet.kiln:4:9 @lenet.kiln:9:2
//!   output y = %2
//!   update %3 <- %4
//! }
//! ```
//!
//! A node has a name, its type, its operator, operands and attributes, then in this order where it
//! is computed (`!inline`, `!k3`), the order of its axes in memory if it is not row-major
//! (`~[0,2,3,1]`) and the places it comes from. Names are numbers when printed, any word of
//! letters, digits and `_` when parsed. `#` starts a comment. Numbers are exact: `nan` is the usual
//! NaN, others show their bits (`nan_ffc00000`).

mod cursor;
mod parse;

use std::fmt;
use std::str::FromStr;

use kiln_tensor::{Data, Tensor};

use crate::attrs::Attr;
use crate::graph::{Graph, Location, NodeId, Placement};

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TextError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl FromStr for Graph {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Graph, TextError> {
        parse::graph(text)
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("graph {\n")?;
        for id in self.ids() {
            f.write_str("  ")?;
            node(f, self, id)?;
            f.write_str("\n")?;
        }
        for (name, id) in &self.outputs {
            writeln!(f, "  output {} = %{}", Name(name), id.index())?;
        }
        for u in &self.updates {
            writeln!(f, "  update %{} <- %{}", u.input.index(), u.value.index())?;
        }
        f.write_str("}\n")
    }
}

fn node(f: &mut fmt::Formatter<'_>, graph: &Graph, id: NodeId) -> fmt::Result {
    let node = &graph[id];
    write!(f, "%{}: {} = {}", id.index(), node.ty, node.op.name)?;
    for (i, o) in graph.operands(id).iter().enumerate() {
        write!(f, "{}%{}", if i == 0 { "(" } else { ", " }, o.index())?;
    }
    if !graph.operands(id).is_empty() {
        f.write_str(")")?;
    }
    for (i, (name, value)) in node.attrs.iter().enumerate() {
        write!(f, "{}{name}=", if i == 0 { " {" } else { ", " })?;
        attr(f, value)?;
    }
    if node.attrs.iter().next().is_some() {
        f.write_str("}")?;
    }
    match node.placement {
        Placement::Unset => {}
        Placement::Inline => f.write_str(" !inline")?,
        Placement::Kernel(k) => write!(f, " !k{k}")?,
    }
    if !node.order.is_empty() {
        f.write_str(" ~")?;
        list(f, &node.order)?;
    }
    for Location { file, line, column } in &*node.locations {
        write!(f, " @{}:{line}:{column}", Name(file))?;
    }
    Ok(())
}

/// A word as it is, other text in quotes.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() && self.0.bytes().all(cursor::is_name) {
            f.write_str(self.0)
        } else {
            quoted(f, self.0)
        }
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            c => fmt::Write::write_char(f, c)?,
        }
    }
    f.write_str("\"")
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    f.write_str("[")?;
    for (i, x) in items.iter().enumerate() {
        write!(f, "{}{x}", if i == 0 { "" } else { "," })?;
    }
    f.write_str("]")
}

fn attr(f: &mut fmt::Formatter<'_>, attr: &Attr) -> fmt::Result {
    match attr {
        Attr::Int(x) => write!(f, "{x}"),
        Attr::Float(x) if x.is_nan() && x.to_bits() != f64::NAN.to_bits() => {
            write!(f, "nan_{:016x}", x.to_bits())
        }
        Attr::Float(x) if x.is_nan() => f.write_str("nan"),
        Attr::Float(x) => write!(f, "{x:?}"),
        Attr::Bool(x) => write!(f, "{x}"),
        Attr::Text(x) => quoted(f, x),
        Attr::Ints(x) => list(f, x),
        Attr::DType(x) => write!(f, "{x}"),
        Attr::Tensor(x) => tensor(f, x),
    }
}

fn tensor(f: &mut fmt::Formatter<'_>, x: &Tensor) -> fmt::Result {
    write!(f, "{}{}(", x.dtype(), x.shape())?;
    let comma = |i| if i == 0 { "" } else { "," };
    match x.data() {
        Data::F32(v) => v.iter().enumerate().try_for_each(|(i, x)| {
            f.write_str(comma(i))?;
            match x {
                x if x.is_nan() && x.to_bits() != f32::NAN.to_bits() => {
                    write!(f, "nan_{:08x}", x.to_bits())
                }
                x if x.is_nan() => f.write_str("nan"),
                x => write!(f, "{x:?}"),
            }
        })?,
        Data::I32(v) => {
            v.iter().enumerate().try_for_each(|(i, x)| write!(f, "{}{x}", comma(i)))?;
        }
        Data::Bool(v) => {
            v.iter().enumerate().try_for_each(|(i, x)| write!(f, "{}{x}", comma(i)))?;
        }
    }
    f.write_str(")")
}

/// The known name nearest to `name`, if it is near enough to have been meant: at most a third of
/// the longer one's letters differ.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    known
        .into_iter()
        .map(|k| (distance(name.as_bytes(), k.as_bytes()), k))
        .filter(|&(d, k)| d * 3 <= name.len().max(k.len()))
        .min()
        .map(|(_, k)| k)
}

/// Letters to insert, remove or replace to get from one word to the other (Levenshtein 1966).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
