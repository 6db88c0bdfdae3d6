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

use kiln_loops::Location;
use kiln_tensor::{Data, Tensor};

use crate::attrs::Attr;
use crate::graph::{Graph, NodeId, Placement};
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::builder::Builder;
    use crate::graph::InputKind;
    use crate::verify;
    use kiln_tensor::DType;

    fn round_trip(text: &str) {
        let graph: Graph = text.parse().unwrap_or_else(|e| panic!("{e}:\n{text}"));
        assert_eq!(graph.to_string(), text);
    }

    fn refused(text: &str, line: usize, message: &str) {
        match text.parse::<Graph>() {
            Err(e) if e.line == line && e.message.contains(message) => {}
            other => panic!("{text}\n{other:?}"),
        }
    }

    #[test]
    fn prints_what_it_parses() {
        round_trip(
            r#"graph {
  %0: f32[2,3] = input {dtype=f32, kind="data", name="im\"a\\ge\n", shape=[2,3]} @lenet.kiln:3:13
  %1: i32[] = input {dtype=i32, kind="state", name="step", shape=[]} !k7 @"with space.kiln":1:2 @"":0:0
  %2: f32[2,3] = mul(%0, %0) !inline ~[1,0] @a.kiln:1:1 @b.kiln:2:2
  %3: f32[4,4] = pad(%2) {high=[1,0], interior=[0,0], low=[1,1], value=-inf}
  %4: i32[] = constant {value=i32[](-2147483648)}
  %5: bool[2,0] = constant {value=bool[2,0]()}
  output logits = %3
  output "a b" = %5
  update %1 <- %4
}
"#,
        );
        round_trip("graph {\n}\n");
    }

    #[test]
    fn floats_keep_every_bit() {
        let special = [0.1, -0.0, 1e-45, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let bits = special.map(f32::to_bits).into_iter().chain([0xFFC0_0000, 0x7F80_0001]);
        let values: Vec<f32> = bits.map(f32::from_bits).collect();
        let b = Builder::new();
        b.constant(Tensor::f32(&[values.len()], values.clone()).unwrap());
        let x = b.data("x", DType::F32, &[]);
        let doubles =
            [-0.0, 0.5, f64::NEG_INFINITY, f64::NAN, f64::from_bits(0xFFF8_0000_0000_0001)];
        for value in doubles {
            let none = Attrs::new().with("low", vec![]).with("high", vec![]);
            x.unary(&crate::ops::PAD, none.with("interior", vec![]).with("value", value));
        }
        let graph = b.finish().unwrap();
        let again: Graph = graph.to_string().parse().unwrap();
        let found = again[NodeId::new(0)].attrs.tensor("value").clone();
        let pairs = found.as_f32().unwrap().iter().zip(&values);
        assert!(pairs.into_iter().all(|(a, b)| a.to_bits() == b.to_bits()), "{graph}");
        for (i, value) in doubles.into_iter().enumerate() {
            let found = again[NodeId::new(i + 2)].attrs.float("value");
            assert_eq!(found.to_bits(), value.to_bits(), "{graph}");
        }
    }

    #[test]
    fn says_which_line_is_wrong() {
        let x =
            "graph {\n%x: f32[2] = input {dtype=f32, kind=\"data\", name=\"x\", shape=[2]} # x\n";
        refused(
            &format!("{x}%y: f32[2] = tahn(%x)\n}}"),
            3,
            "unknown operator `tahn`, did you mean `tanh`?",
        );
        refused(&format!("{x}%y: f32[3] = tanh(%x)\n}}"), 3, "%y is f32[2], not f32[3]");
        refused(&format!("{x}%y: f32[2] = tanh(%z)\n}}"), 3, "%z is not defined before");
        refused(&format!("{x}%x: f32[2] = tanh(%x)\n}}"), 3, "%x is defined twice");
        refused(&format!("{x}%y: f32[2] = tanh(%x, %x)\n}}"), 3, "takes 1 operands, got 2");
        refused(&format!("{x}%y: f32[1] = sum(%x) {{axis=[0]}}\n}}"), 3, "did you mean `axes`?");
        refused(&format!("{x}%y: f32[2] = tanh(%x) !k-1\n}}"), 3, "");
        refused(&format!("{x}%y: f32[2] = tanh(%x) ~[1]\n}}"), 3, "memory order");
        refused(&format!("{x}\n\noutput y = %y }}"), 5, "%y is not defined before");
        refused(x, 3, "found the end");
        refused(&format!("{x}}} graph {{}}"), 3, "nothing comes after");
        refused(
            "graph { %0: f32[99999999999999999999] = constant {} }",
            1,
            "no whole number in range",
        );
        refused("graph { %0: f32[9999999999,9999999999] = constant {} }", 1, "too large");
        refused(
            "graph { %0: f32[1000000000] = constant {value=f32[1000000000](1)} }",
            1,
            "1 were given",
        );
        refused("graph { %0: f32[] = constant {value=f32[](1.0.0)} }", 1, "`1.0.0` is no number");
        refused("graph { %0: f32[] = input {name=\"", 1, "quotes are not closed");
        refused("graph { %ä", 1, "expected the name of a node");
        refused("", 1, "expected `graph`");
    }

    #[test]
    fn no_damage_makes_it_panic() {
        let text = "graph {\n  %0: f32[2,3] = input {dtype=f32, kind=\"data\", name=\"x\", shape=[2,3]} @é.kiln:3:13\n  \
                    %1: f32[2,3] = constant {value=f32[2,3](1,nan,-inf,nan_ffc00000,5,6)} !k3 ~[1,0]\n  output y = %1\n}\n";
        for i in (0..text.len()).filter(|&i| text.is_char_boundary(i)) {
            let _ = text[..i].parse::<Graph>();
            for insert in ["%", "\"", "]", "9999999999999999999999", "-", "\\", "é", "~", "{"] {
                let _ = format!("{}{insert}{}", &text[..i], &text[i..]).parse::<Graph>();
            }
        }
    }

    #[test]
    fn a_hundred_thousand_nodes_take_no_time() {
        let b = Builder::new();
        let x = b.input("x", InputKind::Param, DType::F32, &[8]);
        let y = (0..100_000).fold(x, |y, _| y + x);
        b.output("y", y);
        let graph = b.finish().unwrap();
        let start = std::time::Instant::now();
        let text = graph.to_string();
        let again: Graph = text.parse().unwrap();
        verify(&again).unwrap();
        assert_eq!(again.to_string(), text);
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }
}
