//! The syntax tree. Every node has its place in the source; equality compares trees, not places.

use crate::span::Span;

/// A node and its place. Two of them are equal when their nodes are, wherever they stand.
#[derive(Clone, Debug)]
pub struct Spanned<T> {
    /// The node.
    pub node: T,
    /// Its place.
    pub span: Span,
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Spanned<T>) -> bool {
        self.node == other.node
    }
}

/// A name.
pub type Ident = Spanned<String>;
/// An expression.
pub type Expr = Spanned<ExprKind>;
/// A statement.
pub type Statement = Spanned<StatementKind>;

/// One file.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Ast {
    /// Imports, definitions and train sections in the order of the file.
    pub items: Vec<Item>,
}

/// What stands at the top level.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// `import a, b from "file"`.
    Import(Spanned<Import>),
    /// `model`, `block`, `op`, `optimizer`, `schedule` or `init`.
    Definition(Spanned<Definition>),
    /// `train model { key = value }`.
    Train(Spanned<Train>),
}

/// `import a, b from "file"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// The names to bring in.
    pub names: Vec<Ident>,
    /// The file, relative to the one that imports.
    pub path: Ident,
}

/// `train model { key = value ... }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// The model to train.
    pub model: Ident,
    /// Its keys.
    pub settings: Vec<(Ident, Expr)>,
}

/// The keyword of a [`Definition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefinitionKind {
    /// A network: inputs with types, outputs.
    Model,
    /// A part of a network, which may own weights and state.
    Block,
    /// A formula without weights.
    Op,
    /// How a weight follows its gradient.
    Optimizer,
    /// A number that changes with the step.
    Schedule,
    /// Where a weight starts.
    Init,
}

impl DefinitionKind {
    /// The keyword.
    pub fn word(self) -> &'static str {
        match self {
            DefinitionKind::Model => "model",
            DefinitionKind::Block => "block",
            DefinitionKind::Op => "op",
            DefinitionKind::Optimizer => "optimizer",
            DefinitionKind::Schedule => "schedule",
            DefinitionKind::Init => "init",
        }
    }
}

/// `kind name[axes](hyper)(inputs) body`.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The keyword.
    pub kind: DefinitionKind,
    /// The name.
    pub name: Ident,
    /// Axis parameters with their defaults.
    pub axes: Vec<(Ident, Option<Ident>)>,
    /// One or two groups of parameters; of two, the first are the hyper-parameters.
    pub params: Vec<Vec<Param>>,
    /// What it computes.
    pub body: Body,
}

/// A parameter: `name: type = default`.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// The name.
    pub name: Ident,
    /// Its type; models give one for every input.
    pub ty: Option<Type>,
    /// Its value where the caller gives none.
    pub default: Option<Expr>,
}

/// The right side of a definition.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// `= expr`.
    Formula(Expr),
    /// `{ ... return ... }`.
    Block(Vec<Statement>),
}

/// `f32[N, C=1, H=28]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    /// The element type.
    pub dtype: Ident,
    /// The axes; none for a scalar.
    pub axes: Option<Brackets>,
}

/// `[C]`, `[not A]`, `[H=heads, D]`, `[H, D -> E]`, `[0]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Brackets {
    /// What stands before the arrow, or everything.
    pub left: Vec<AxisItem>,
    /// What stands after the arrow.
    pub right: Option<Vec<AxisItem>>,
    /// The brackets and what is in them.
    pub span: Place,
}

/// A place that does not count in comparisons.
pub type Place = Spanned<()>;

/// `C`, `C=expr` or, as a list's index, any expression. `not` is the prefix operator of the expression.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisItem {
    /// The name before `=`, if there is one.
    pub name: Option<Ident>,
    /// The expression.
    pub value: Expr,
    /// The range after `in`, if there is one.
    pub range: Option<Expr>,
}

/// Statements.
#[derive(Clone, Debug, PartialEq)]
pub enum StatementKind {
    /// `a, b = expr`.
    Assign(Vec<Ident>, Expr),
    /// `y[N=n, C=o] = expr`.
    AssignIndexed(Ident, Brackets, Expr),
    /// `name <- expr`.
    Update(Ident, Expr),
    /// `param name: type = init`.
    Param(Ident, Option<Type>, Option<Expr>),
    /// `state name: type = init`.
    State(Ident, Option<Type>, Option<Expr>),
    /// `layer name = block(...)`.
    Layer(Ident, Expr),
    /// `if c {} else if d {} else {}`.
    If(Vec<(Expr, Vec<Statement>)>, Option<Vec<Statement>>),
    /// `for a in expr {}`, `for (a, b) in expr {}`.
    For(Vec<Ident>, Expr, Vec<Statement>),
    /// `scan t in expr {}`.
    Scan(Ident, Expr, Vec<Statement>),
    /// `return a, b`.
    Return(Vec<Expr>),
}

/// Prefix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// `-`.
    Negate,
    /// `not`.
    Not,
}

/// Infix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the sign of each stands in `sign`")]
pub enum BinaryOp {
    Or,
    And,
    Equal,
    NotEqual,
    LessEqual,
    GreaterEqual,
    Less,
    Greater,
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
}

impl BinaryOp {
    /// Every infix operator.
    pub const ALL: [BinaryOp; 14] = [
        BinaryOp::Or,
        BinaryOp::And,
        BinaryOp::Equal,
        BinaryOp::NotEqual,
        BinaryOp::LessEqual,
        BinaryOp::GreaterEqual,
        BinaryOp::Less,
        BinaryOp::Greater,
        BinaryOp::Range,
        BinaryOp::Add,
        BinaryOp::Subtract,
        BinaryOp::Multiply,
        BinaryOp::Divide,
        BinaryOp::Power,
    ];

    /// How it is written.
    pub fn sign(self) -> &'static str {
        match self {
            BinaryOp::Or => "or",
            BinaryOp::And => "and",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::LessEqual => "<=",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::Less => "<",
            BinaryOp::Greater => ">",
            BinaryOp::Range => "..",
            BinaryOp::Add => "+",
            BinaryOp::Subtract => "-",
            BinaryOp::Multiply => "*",
            BinaryOp::Divide => "/",
            BinaryOp::Power => "^",
        }
    }

    /// How tightly it binds; more is tighter. `not` binds at 3, unary minus at 8.
    pub fn precedence(self) -> u8 {
        match self {
            BinaryOp::Or => 1,
            BinaryOp::And => 2,
            BinaryOp::Equal
            | BinaryOp::NotEqual
            | BinaryOp::LessEqual
            | BinaryOp::GreaterEqual
            | BinaryOp::Less
            | BinaryOp::Greater => 4,
            BinaryOp::Range => 5,
            BinaryOp::Add | BinaryOp::Subtract => 6,
            BinaryOp::Multiply | BinaryOp::Divide => 7,
            BinaryOp::Power => 9,
        }
    }
}

impl UnaryOp {
    /// How tightly it binds, on the scale of [`BinaryOp::precedence`].
    pub fn precedence(self) -> u8 {
        match self {
            UnaryOp::Not => 3,
            UnaryOp::Negate => 8,
        }
    }
}

/// Expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A whole number, as written and its value.
    Int(String, i64),
    /// A number that is not whole, as written and its value: `0.5`, `5e-4`, `50%`.
    Float(String, f64),
    /// `"text"`, without the quotes.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
    /// `inf`.
    Infinity,
    /// A name.
    Name(String),
    /// `[a, b]`.
    List(Vec<Expr>),
    /// `-x`, `not x`.
    Unary(UnaryOp, Box<Expr>),
    /// `a + b`.
    Binary(Spanned<BinaryOp>, Box<Expr>, Box<Expr>),
    /// `f(a, key=b)`.
    Call(Box<Expr>, Vec<Argument>),
    /// `f[C]`, `x[C=0]`.
    Bracketed(Box<Expr>, Brackets),
    /// `x.C`.
    Field(Box<Expr>, Ident),
    /// `x |> f as a |> g`: two stages or more, or one with a label.
    Pipe(Vec<Stage>),
}

impl ExprKind {
    /// The expressions it is made of, in the order of the text.
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            ExprKind::Int(..)
            | ExprKind::Float(..)
            | ExprKind::Text(_)
            | ExprKind::Bool(_)
            | ExprKind::Infinity
            | ExprKind::Name(_) => Vec::new(),
            ExprKind::List(items) => items.iter().collect(),
            ExprKind::Unary(_, x) | ExprKind::Field(x, _) => vec![x],
            ExprKind::Binary(_, x, y) => vec![x, y],
            ExprKind::Call(callee, arguments) => {
                std::iter::once(&**callee).chain(arguments.iter().map(|a| &a.value)).collect()
            }
            ExprKind::Bracketed(base, brackets) => {
                let items = brackets.left.iter().chain(brackets.right.iter().flatten());
                let parts = items.flat_map(|i| [Some(&i.value), i.range.as_ref()]);
                std::iter::once(&**base).chain(parts.flatten()).collect()
            }
            ExprKind::Pipe(stages) => stages.iter().map(|s| &s.expr).collect(),
        }
    }
}

/// An argument of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Argument {
    /// The name before `=`, if there is one.
    pub name: Option<Ident>,
    /// The value.
    pub value: Expr,
}

/// One stage of a pipe, with its label.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The value or the block that is applied.
    pub expr: Expr,
    /// The name after `as`.
    pub label: Option<Ident>,
}
