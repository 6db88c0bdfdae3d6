//! Attributes: what an operator knows besides its operands.

use std::fmt;
use std::sync::Arc;

use kiln_tensor::{DType, Tensor};

/// The value of one attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A name.
    Text(String),
    /// A list of whole numbers: axes, sizes, strides.
    Ints(Vec<i64>),
    /// An element type.
    DType(DType),
    /// A constant array.
    Tensor(Arc<Tensor>),
}

/// The attributes of a node, sorted by name. Copies share memory until they are changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attrs(Option<Arc<Vec<(&'static str, Attr)>>>);

impl Attrs {
    /// No attributes.
    pub const fn new() -> Attrs {
        Attrs(None)
    }

    /// These and one more; replaces one of the same name.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Attr>) -> Attrs {
        let list = Arc::make_mut(self.0.get_or_insert_default());
        match list.binary_search_by_key(&name, |a| a.0) {
            Ok(i) => list[i].1 = value.into(),
            Err(i) => list.insert(i, (name, value.into())),
        }
        self
    }

    /// The attribute of this name.
    pub fn get(&self, name: &str) -> Option<&Attr> {
        // A node has few, so looking at each is quick.
        self.list().iter().find(|a| a.0 == name).map(|a| &a.1)
    }

    fn list(&self) -> &[(&'static str, Attr)] {
        self.0.as_ref().map_or(&[], |list| list)
    }

    /// Whether these are copies of one another that nobody has changed.
    pub fn same_memory(&self, other: &Attrs) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }

    /// All, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Attr)> {
        self.list().iter().map(|(name, value)| (*name, value))
    }

    /// A whole number. Every operator's attributes are checked against its declaration before its
    /// functions run, so an absent one is a defect of the operator's file.
    ///
    /// # Panics
    /// If there is no such whole number.
    pub fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(Attr::Int(x)) => *x,
            other => panic!("attribute `{name}` is {other:?}, not a whole number"),
        }
    }

    /// A list of whole numbers.
    ///
    /// # Panics
    /// If there is no such list.
    pub fn ints(&self, name: &str) -> &[i64] {
        match self.get(name) {
            Some(Attr::Ints(x)) => x,
            other => panic!("attribute `{name}` is {other:?}, not a list of whole numbers"),
        }
    }

    /// A real number.
    ///
    /// # Panics
    /// If there is no such number.
    pub fn float(&self, name: &str) -> f64 {
        match self.get(name) {
            Some(Attr::Float(x)) => *x,
            other => panic!("attribute `{name}` is {other:?}, not a number"),
        }
    }

    /// A truth value.
    ///
    /// # Panics
    /// If there is no such truth value.
    pub fn bool(&self, name: &str) -> bool {
        match self.get(name) {
            Some(Attr::Bool(x)) => *x,
            other => panic!("attribute `{name}` is {other:?}, not a truth value"),
        }
    }

    /// A name.
    ///
    /// # Panics
    /// If there is no such name.
    pub fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Attr::Text(x)) => x,
            other => panic!("attribute `{name}` is {other:?}, not a name"),
        }
    }

    /// An element type.
    ///
    /// # Panics
    /// If there is no such type.
    pub fn dtype(&self, name: &str) -> DType {
        match self.get(name) {
            Some(Attr::DType(x)) => *x,
            other => panic!("attribute `{name}` is {other:?}, not an element type"),
        }
    }

    /// A constant array.
    ///
    /// # Panics
    /// If there is no such array.
    pub fn tensor(&self, name: &str) -> &Arc<Tensor> {
        match self.get(name) {
            Some(Attr::Tensor(x)) => x,
            other => panic!("attribute `{name}` is {other:?}, not an array"),
        }
    }
}

macro_rules! from {
    ($($variant:ident($type:ty)),*) => {$(
        impl From<$type> for Attr {
            fn from(x: $type) -> Attr { Attr::$variant(x) }
        }
    )*};
}
from!(
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Ints(Vec<i64>),
    DType(DType),
    Tensor(Arc<Tensor>)
);

impl From<&[usize]> for Attr {
    fn from(x: &[usize]) -> Attr {
        // Sizes are bounded by `kiln_tensor::MAX_BYTES`, far below `i64::MAX`.
        Attr::Ints(x.iter().map(|&d| d as i64).collect())
    }
}

impl From<&[i64]> for Attr {
    fn from(x: &[i64]) -> Attr {
        Attr::Ints(x.to_vec())
    }
}

impl From<&str> for Attr {
    fn from(x: &str) -> Attr {
        Attr::Text(x.to_owned())
    }
}

/// The kind of an attribute, as an operator declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttrKind {
    /// [`Attr::Int`].
    Int,
    /// [`Attr::Float`].
    Float,
    /// [`Attr::Bool`].
    Bool,
    /// [`Attr::Text`].
    Text,
    /// [`Attr::Ints`].
    Ints,
    /// [`Attr::DType`].
    DType,
    /// [`Attr::Tensor`].
    Tensor,
}

impl Attr {
    /// Its kind.
    pub fn kind(&self) -> AttrKind {
        match self {
            Attr::Int(_) => AttrKind::Int,
            Attr::Float(_) => AttrKind::Float,
            Attr::Bool(_) => AttrKind::Bool,
            Attr::Text(_) => AttrKind::Text,
            Attr::Ints(_) => AttrKind::Ints,
            Attr::DType(_) => AttrKind::DType,
            Attr::Tensor(_) => AttrKind::Tensor,
        }
    }
}

impl fmt::Display for AttrKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AttrKind::Int => "a whole number",
            AttrKind::Float => "a number",
            AttrKind::Bool => "true or false",
            AttrKind::Text => "a name in quotes",
            AttrKind::Ints => "a list of whole numbers",
            AttrKind::DType => "an element type",
            AttrKind::Tensor => "an array",
        })
    }
}
