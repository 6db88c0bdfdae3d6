//! Builds a graph from its text.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::sync::Arc;

use kiln_loops::Location;
use kiln_tensor::{DType, Data, Shape, Tensor, nearest};

use super::TextError;
use super::cursor::{Cursor, shorten};
use crate::attrs::{Attr, AttrKind, Attrs};
use crate::graph::{Graph, NodeId, Placement, Type, Update};
use crate::op::OpDef;
use crate::ops;

/// The graph a text says. Every node is checked as it is added; [`crate::verify`] checks the rest.
pub fn graph(text: &str) -> Result<Graph, TextError> {
    let mut parser = Parser {
        at: Cursor::new(text),
        graph: Graph::new(),
        nodes: HashMap::new(),
        files: BTreeMap::new(),
    };
    parser.at.expect("graph")?;
    parser.at.expect("{")?;
    while !parser.at.eat("}") {
        parser.statement()?;
    }
    if !parser.at.at_end() {
        return parser.at.error("nothing comes after the graph");
    }
    Ok(parser.graph)
}

struct Parser<'a> {
    at: Cursor<'a>,
    graph: Graph,
    nodes: HashMap<&'a str, NodeId>,
    files: BTreeMap<String, Arc<str>>,
}

impl<'a> Parser<'a> {
    fn statement(&mut self) -> Result<(), TextError> {
        if self.at.eat("%") {
            return self.node();
        }
        match self.at.word("`%`, `output`, `update` or `}`")? {
            "output" => {
                let name = self.at.name()?;
                self.at.expect("=")?;
                let value = self.value()?;
                self.graph.outputs.push((name, value));
            }
            "update" => {
                let input = self.value()?;
                self.at.expect("<-")?;
                let value = self.value()?;
                self.graph.updates.push(Update { input, value });
            }
            other => {
                let other = shorten(other);
                return self
                    .at
                    .error(format!("expected `%`, `output`, `update` or `}}`, found `{other}`"));
            }
        }
        Ok(())
    }

    /// A node's name and its node.
    fn value(&mut self) -> Result<NodeId, TextError> {
        self.at.expect("%")?;
        let name = self.at.word("the name of a node")?;
        match self.nodes.get(name) {
            Some(id) => Ok(*id),
            None => self.at.error(format!("%{} is not defined before", shorten(name))),
        }
    }

    /// A node, after its `%`.
    fn node(&mut self) -> Result<(), TextError> {
        let start = self.at.token();
        let name = self.at.word("the name of a node")?;
        if self.nodes.contains_key(name) {
            return self.at.error(format!("%{} is defined twice", shorten(name)));
        }
        self.at.expect(":")?;
        let ty = self.ty()?;
        self.at.expect("=")?;
        let op = self.op()?;
        let operands = match self.at.eat("(") {
            true => self.until(")", Parser::value)?,
            false => Vec::new(),
        };
        let attrs = match self.at.eat("{") {
            true => self.attrs(op)?,
            false => Attrs::new(),
        };
        let placement = self.placement()?;
        let order = match self.at.eat("~") {
            true => self.order(ty.shape.rank())?,
            false => Vec::new(),
        };
        let mut locations = Vec::new();
        while self.at.eat("@") {
            locations.push(self.location()?);
        }
        let id = match self.graph.add(op, attrs, &operands, locations.into()) {
            Ok(id) => id,
            Err(e) => return self.at.error_at(start, e.to_string()),
        };
        let found = &self.graph[id].ty;
        if *found != ty {
            let message = format!("%{} is {found}, not {ty}", shorten(name));
            return self.at.error_at(start, message);
        }
        self.graph.place(id, placement);
        self.graph.order(id, order);
        self.nodes.insert(name, id);
        Ok(())
    }

    fn op(&mut self) -> Result<&'static OpDef, TextError> {
        let name = self.at.word("an operator")?;
        match ops::find(name) {
            Some(op) => Ok(op),
            None => {
                let near = nearest(name, ops::OPS.iter().map(|op| op.name));
                let help = near.map_or_else(String::new, |n| format!(", did you mean `{n}`?"));
                self.at.error(format!("unknown operator `{}`{help}", shorten(name)))
            }
        }
    }

    fn attrs(&mut self, op: &'static OpDef) -> Result<Attrs, TextError> {
        let mut attrs = Attrs::new();
        while !self.at.eat("}") {
            if attrs.iter().next().is_some() {
                self.at.expect(",")?;
            }
            let name = self.at.word("an attribute")?;
            let Some(def) = op.attrs.iter().find(|d| d.name == name) else {
                let near = nearest(name, op.attrs.iter().map(|d| d.name));
                let help = near.map_or_else(String::new, |n| format!(", did you mean `{n}`?"));
                let name = shorten(name);
                return self.at.error(format!("`{}` has no attribute `{name}`{help}", op.name));
            };
            if attrs.get(name).is_some() {
                return self.at.error(format!("`{name}` stands twice"));
            }
            self.at.expect("=")?;
            attrs = attrs.with(def.name, self.attr(def.kind)?);
        }
        Ok(attrs)
    }

    fn attr(&mut self, kind: AttrKind) -> Result<Attr, TextError> {
        Ok(match kind {
            AttrKind::Int => Attr::Int(self.at.whole()?),
            AttrKind::Float => Attr::Float(self.f64()?),
            AttrKind::Bool => Attr::Bool(self.bool()?),
            AttrKind::Text => Attr::Text(self.at.quoted()?),
            AttrKind::Ints => Attr::Ints(self.list()?),
            AttrKind::DType => Attr::DType(self.dtype()?),
            AttrKind::Tensor => Attr::Tensor(Arc::new(self.tensor()?)),
        })
    }

    fn dtype(&mut self) -> Result<DType, TextError> {
        let name = self.at.word("an element type")?;
        name.parse().or_else(|_| {
            self.at.error(format!("unknown element type `{}` (f32, i32 or bool)", shorten(name)))
        })
    }

    fn ty(&mut self) -> Result<Type, TextError> {
        let dtype = self.dtype()?;
        let dims: Vec<usize> = self.list()?;
        match Shape::new(dims) {
            Ok(shape) => Ok(Type::new(dtype, shape)),
            Err(e) => self.at.error(e.to_string()),
        }
    }

    fn bool(&mut self) -> Result<bool, TextError> {
        match self.at.word("`true` or `false`")? {
            "true" => Ok(true),
            "false" => Ok(false),
            other => {
                let other = shorten(other);
                self.at.error(format!("expected `true` or `false`, found `{other}`"))
            }
        }
    }

    fn f64(&mut self) -> Result<f64, TextError> {
        let number = self.at.number()?;
        let bits = number.strip_prefix("nan_").map(|b| u64::from_str_radix(b, 16).ok());
        match bits.map_or_else(|| number.parse().ok(), |b| b.map(f64::from_bits)) {
            Some(x) => Ok(x),
            None => self.at.error(format!("`{}` is no number", shorten(number))),
        }
    }

    fn f32(&mut self) -> Result<f32, TextError> {
        let number = self.at.number()?;
        let bits = number.strip_prefix("nan_").map(|b| u32::from_str_radix(b, 16).ok());
        match bits.map_or_else(|| number.parse().ok(), |b| b.map(f32::from_bits)) {
            Some(x) => Ok(x),
            None => self.at.error(format!("`{}` is no number", shorten(number))),
        }
    }

    fn tensor(&mut self) -> Result<Tensor, TextError> {
        let ty = self.ty()?;
        self.at.expect("(")?;
        let data = match ty.dtype {
            DType::F32 => Data::F32(self.until(")", Parser::f32)?),
            DType::I32 => Data::I32(self.until(")", |p| p.at.whole())?),
            DType::Bool => Data::Bool(self.until(")", Parser::bool)?),
        };
        match Tensor::new(ty.shape, data) {
            Ok(tensor) => Ok(tensor),
            Err(e) => self.at.error(e.to_string()),
        }
    }

    /// Items up to a closing bracket, separated by commas.
    fn until<T>(
        &mut self,
        close: &str,
        mut item: impl FnMut(&mut Parser<'a>) -> Result<T, TextError>,
    ) -> Result<Vec<T>, TextError> {
        let mut items = Vec::new();
        while !self.at.eat(close) {
            if !items.is_empty() {
                self.at.expect(",")?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Whole numbers in square brackets.
    fn list<T: FromStr>(&mut self) -> Result<Vec<T>, TextError> {
        self.at.expect("[")?;
        self.until("]", |p| p.at.whole())
    }

    fn placement(&mut self) -> Result<Placement, TextError> {
        if !self.at.eat("!") {
            return Ok(Placement::Unset);
        }
        let word = self.at.word("`inline` or the number of a kernel")?;
        if word == "inline" {
            return Ok(Placement::Inline);
        }
        match word.strip_prefix('k').and_then(|k| k.parse().ok()) {
            Some(k) => Ok(Placement::Kernel(k)),
            None => self
                .at
                .error(format!("`!{}` is neither `!inline` nor `!k0`, `!k1`, ...", shorten(word))),
        }
    }

    fn order(&mut self, rank: usize) -> Result<Vec<usize>, TextError> {
        let order: Vec<usize> = self.list()?;
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            return self
                .at
                .error(format!("the memory order does not name each of {rank} axes once"));
        }
        Ok(order)
    }

    fn location(&mut self) -> Result<Location, TextError> {
        let name = self.at.name()?;
        let file = match self.files.get(&name) {
            Some(file) => file.clone(),
            None => {
                let file: Arc<str> = name.as_str().into();
                self.files.insert(name, file.clone());
                file
            }
        };
        self.at.expect(":")?;
        let line = self.at.whole()?;
        self.at.expect(":")?;
        let column = self.at.whole()?;
        Ok(Location { file, line, column })
    }
}
