//! Text to syntax tree: the grammar `dsl/grammar.pest` by pest, operator precedence by hand.

use std::cell::Cell;
use std::iter::Peekable;

use pest::Parser;
use pest::iterators::{Pair, Pairs};

use crate::ast::{
    Argument, Ast, AxisItem, BinaryOp, Body, Brackets, Definition, DefinitionKind, Expr, ExprKind,
    Ident, Import, Item, Param, Spanned, Stage, Statement, StatementKind, Train, Type, UnaryOp,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::scan;
use crate::span::{FileId, Span};

mod message;

mod generated {
    /// The parser that pest makes from the grammar.
    #[derive(pest_derive::Parser)]
    #[grammar = "../../../dsl/grammar.pest"]
    pub(super) struct Grammar;
}
use generated::{Grammar, Rule};
use message::syntax_error;

/// A source file may have this many bytes.
pub const MAX_SOURCE: usize = 1 << 20;

/// A statement may have this many operators, calls and the like: they bound the depth of its tree.
const MAX_OPERATORS: usize = 1024;

/// Prefix operators and powers may follow each other this often.
const MAX_CHAIN: usize = 256;

/// Parses one file.
///
/// # Errors
/// Every syntax error: one for each unmatched bracket, or one for each item that is wrong.
pub fn parse_text(text: &str, file: FileId) -> Result<Ast, Vec<Diagnostic>> {
    let spans = scan::items(text, file)?;
    if text.len() > MAX_SOURCE {
        let message = format!("the file is longer than {MAX_SOURCE} bytes");
        let start = Span { file, start: 0, end: 1 };
        return Err(vec![
            Diagnostic::new(Code::Limit, message).label(start, "split it by `import`"),
        ]);
    }
    let mut ast = Ast::default();
    let mut errors = Vec::new();
    for span in spans {
        match parse_item(text, span) {
            Ok(item) => ast.items.push(item),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(ast) } else { Err(errors) }
}

/// Parses a lone expression, such as the value of a command-line setting.
///
/// # Errors
/// Its syntax error.
pub fn parse_expr(text: &str, file: FileId) -> Result<Expr, Vec<Diagnostic>> {
    let wrapped = format!("op v() = {text}");
    let shift = (wrapped.len() - text.len()) as u32;
    let back = |mut d: Diagnostic| {
        for (span, _) in &mut d.labels {
            *span = Span {
                file,
                start: span.start.saturating_sub(shift),
                end: span.end.saturating_sub(shift),
            };
        }
        d
    };
    let ast =
        parse_text(&wrapped, file).map_err(|e| e.into_iter().map(back).collect::<Vec<_>>())?;
    match ast.items.into_iter().next() {
        Some(Item::Definition(Spanned {
            node: Definition { body: Body::Formula(mut expr), .. },
            ..
        })) => {
            expr.span = Span { file, start: 0, end: text.len() as u32 };
            Ok(expr)
        }
        _ => Err(vec![Diagnostic::new(Code::Syntax, "expected an expression")]),
    }
}

fn parse_item(text: &str, span: Span) -> Result<Item, Diagnostic> {
    let slice = &text[span.start as usize..span.end as usize];
    let mut pairs =
        Grammar::parse(Rule::lone_item, slice).map_err(|e| syntax_error(slice, span, &e))?;
    let operators = Cell::new(0);
    let build = Build { file: span.file, base: span.start, operators: &operators };
    let item = pairs.next().and_then(|p| p.into_inner().next()).ok_or_else(|| unexpected(span))?;
    let place = build.span(&item);
    Ok(match item.as_rule() {
        Rule::import => Item::Import(Spanned { node: build.import(item)?, span: place }),
        Rule::train => Item::Train(Spanned { node: build.train(item)?, span: place }),
        _ => Item::Definition(Spanned { node: build.definition(item)?, span: place }),
    })
}

fn unexpected(span: Span) -> Diagnostic {
    Diagnostic::new(Code::Syntax, "this is not what the grammar promises").label(span, "")
}

type Built<T> = Result<T, Diagnostic>;

/// Makes nodes out of pest's pairs; `base` is where the parsed stretch starts in its file.
#[derive(Clone, Copy)]
struct Build<'a> {
    file: FileId,
    base: u32,
    /// Operators of the current statement so far.
    operators: &'a Cell<usize>,
}

impl Build<'_> {
    fn span(self, pair: &Pair<'_, Rule>) -> Span {
        let span = pair.as_span();
        // pest's spans include the white space that a rule skipped at its end.
        let end = span.start() + trimmed(span.as_str());
        Span {
            file: self.file,
            start: self.base + span.start() as u32,
            end: self.base + end as u32,
        }
    }

    fn ident(self, pair: &Pair<'_, Rule>) -> Ident {
        Ident { node: pair.as_str().to_string(), span: self.span(pair) }
    }

    fn text(self, pair: &Pair<'_, Rule>) -> Ident {
        Ident { node: pair.as_str().trim_matches('"').to_string(), span: self.span(pair) }
    }

    fn import(self, pair: Pair<'_, Rule>) -> Built<Import> {
        let span = self.span(&pair);
        let mut names = Vec::new();
        let mut path = None;
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::name => names.push(self.ident(&part)),
                Rule::string => path = Some(self.text(&part)),
                _ => {}
            }
        }
        Ok(Import { names, path: path.ok_or_else(|| unexpected(span))? })
    }

    fn train(self, pair: Pair<'_, Rule>) -> Built<Train> {
        let span = self.span(&pair);
        let mut model = None;
        let mut settings = Vec::new();
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::name => model = Some(self.ident(&part)),
                Rule::setting => {
                    self.operators.set(0);
                    let mut inner = part.into_inner().filter(|p| p.as_rule() != Rule::assign_sign);
                    let (Some(key), Some(value)) = (inner.next(), inner.next()) else {
                        return Err(unexpected(span));
                    };
                    settings.push((self.ident(&key), self.expr(value)?));
                }
                _ => {}
            }
        }
        Ok(Train { model: model.ok_or_else(|| unexpected(span))?, settings })
    }

    fn definition(self, pair: Pair<'_, Rule>) -> Built<Definition> {
        let span = self.span(&pair);
        let mut definition = Definition {
            kind: DefinitionKind::Op,
            name: Ident { node: String::new(), span },
            axes: Vec::new(),
            params: Vec::new(),
            body: Body::Block(Vec::new()),
        };
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::definition_word => {
                    definition.kind = match part.as_str() {
                        "model" => DefinitionKind::Model,
                        "block" => DefinitionKind::Block,
                        "optimizer" => DefinitionKind::Optimizer,
                        "schedule" => DefinitionKind::Schedule,
                        "init" => DefinitionKind::Init,
                        _ => DefinitionKind::Op,
                    }
                }
                Rule::name => definition.name = self.ident(&part),
                Rule::axis_params => {
                    for axis in part.into_inner() {
                        let mut names = axis.into_inner().filter(|p| p.as_rule() == Rule::name);
                        let name = names.next().ok_or_else(|| unexpected(span))?;
                        definition
                            .axes
                            .push((self.ident(&name), names.next().map(|d| self.ident(&d))));
                    }
                }
                Rule::params => {
                    let group =
                        part.into_inner().map(|p| self.param(p)).collect::<Built<Vec<Param>>>()?;
                    definition.params.push(group);
                }
                Rule::formula => {
                    let expr = part.into_inner().next_back().ok_or_else(|| unexpected(span))?;
                    definition.body = Body::Formula(self.expr(expr)?);
                }
                Rule::body => definition.body = Body::Block(self.body(part)?),
                _ => {}
            }
        }
        Ok(definition)
    }

    fn param(self, pair: Pair<'_, Rule>) -> Built<Param> {
        let (name, ty, default) = self.declared(pair)?;
        Ok(Param { name, ty, default })
    }

    /// `name: type = default`, of a parameter or a declaration.
    fn declared(self, pair: Pair<'_, Rule>) -> Built<(Ident, Option<Type>, Option<Expr>)> {
        let mut name = Ident { node: String::new(), span: self.span(&pair) };
        let (mut ty, mut default) = (None, None);
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::name => name = self.ident(&part),
                Rule::type_note => {
                    for inner in part.into_inner() {
                        ty = Some(self.type_name(inner)?);
                    }
                }
                Rule::default_value => {
                    if let Some(inner) = part.into_inner().next_back() {
                        default = Some(self.expr(inner)?);
                    }
                }
                _ => {}
            }
        }
        Ok((name, ty, default))
    }

    fn type_name(self, pair: Pair<'_, Rule>) -> Built<Type> {
        let span = self.span(&pair);
        let mut inner = pair.into_inner();
        let dtype = self.ident(&inner.next().ok_or_else(|| unexpected(span))?);
        let axes = inner.next().map(|b| self.brackets(b)).transpose()?;
        if let Some(range) = axes.iter().flat_map(|b| &b.left).find_map(|i| i.range.as_ref()) {
            let d = Diagnostic::new(Code::Syntax, "a type has sizes and no ranges");
            return Err(d.label(range.span, ""));
        }
        Ok(Type { dtype, axes })
    }

    fn body(self, pair: Pair<'_, Rule>) -> Built<Vec<Statement>> {
        pair.into_inner().map(|s| self.statement(s)).collect()
    }

    fn statement(self, pair: Pair<'_, Rule>) -> Built<Statement> {
        self.operators.set(0);
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let missing = || unexpected(span);
        let node = match rule {
            Rule::declaration => {
                let is_param = pair.as_str().starts_with("param");
                let (name, ty, init) = self.declared(pair)?;
                if is_param {
                    StatementKind::Param(name, ty, init)
                } else {
                    StatementKind::State(name, ty, init)
                }
            }
            Rule::if_statement => {
                let mut parts = pair.into_inner();
                let mut arms = Vec::new();
                let mut otherwise = None;
                while let Some(part) = parts.next() {
                    match part.as_rule() {
                        Rule::expr => {
                            let body = parts.next().ok_or_else(missing)?;
                            arms.push((self.expr(part)?, self.body(body)?));
                        }
                        Rule::body => otherwise = Some(self.body(part)?),
                        _ => {}
                    }
                }
                StatementKind::If(arms, otherwise)
            }
            _ => {
                let (mut names, mut exprs, mut brackets, mut body) =
                    (Vec::new(), Vec::new(), None, Vec::new());
                for part in pair.into_inner() {
                    match part.as_rule() {
                        Rule::name => names.push(self.ident(&part)),
                        Rule::expr => exprs.push(self.expr(part)?),
                        Rule::brackets => brackets = Some(self.brackets(part)?),
                        Rule::body => body = self.body(part)?,
                        _ => {}
                    }
                }
                if rule == Rule::return_statement {
                    return Ok(Statement { node: StatementKind::Return(exprs), span });
                }
                let value = exprs.pop().ok_or_else(missing)?;
                if rule == Rule::assignment {
                    return Ok(Statement { node: StatementKind::Assign(names, value), span });
                }
                if rule == Rule::for_statement {
                    return Ok(Statement { node: StatementKind::For(names, value, body), span });
                }
                let name = names.pop().ok_or_else(missing)?;
                match (rule, brackets) {
                    (Rule::scan_statement, _) => StatementKind::Scan(name, value, body),
                    (Rule::layer, _) => StatementKind::Layer(name, value),
                    (Rule::index_assignment, Some(b)) => {
                        StatementKind::AssignIndexed(name, b, value)
                    }
                    _ => StatementKind::Update(name, value),
                }
            }
        };
        Ok(Statement { node, span })
    }

    fn brackets(self, pair: Pair<'_, Rule>) -> Built<Brackets> {
        let span = Spanned { node: (), span: self.span(&pair) };
        let mut sides = pair.into_inner().map(|side| self.axis_list(side));
        let left = sides.next().unwrap_or_else(|| Err(unexpected(span.span)))?;
        let right = sides.next().transpose()?;
        Ok(Brackets { left, right, span })
    }

    fn axis_list(self, pair: Pair<'_, Rule>) -> Built<Vec<AxisItem>> {
        let item = |axis: Pair<'_, Rule>| {
            let span = self.span(&axis);
            let (mut name, mut value, mut range) = (None, None, None);
            for part in axis.into_inner() {
                match part.as_rule() {
                    Rule::expr if value.is_none() => value = Some(self.expr(part)?),
                    Rule::expr => range = Some(self.expr(part)?),
                    Rule::name => name = Some(self.ident(&part)),
                    _ => {}
                }
            }
            Ok(AxisItem { name, value: value.ok_or_else(|| unexpected(span))?, range })
        };
        pair.into_inner().map(item).collect()
    }

    /// `name = expr` or `expr`.
    fn named(self, pair: Pair<'_, Rule>) -> Built<(Option<Ident>, Expr)> {
        let span = self.span(&pair);
        let (mut name, mut value) = (None, None);
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::expr => value = Some(self.expr(part)?),
                Rule::key => name = Some(self.ident(&part)),
                _ => {}
            }
        }
        Ok((name, value.ok_or_else(|| unexpected(span))?))
    }

    fn expr(self, pair: Pair<'_, Rule>) -> Built<Expr> {
        let span = self.span(&pair);
        let mut stages = Vec::new();
        for part in pair.into_inner() {
            let (mut expr, mut label) = (None, None);
            for inner in part.into_inner() {
                match inner.as_rule() {
                    Rule::operation => expr = Some(self.operation(inner)?),
                    Rule::name => label = Some(self.ident(&inner)),
                    _ => {}
                }
            }
            stages.push(Stage { expr: expr.ok_or_else(|| unexpected(span))?, label });
        }
        match stages.as_slice() {
            [Stage { label: None, .. }] => Ok(stages.remove(0).expr),
            _ => Ok(Expr { node: ExprKind::Pipe(stages), span }),
        }
    }

    fn operation(self, pair: Pair<'_, Rule>) -> Built<Expr> {
        self.climb(&mut pair.into_inner().peekable(), 0, 0)
    }

    /// A node made of smaller ones, counted.
    fn node(self, span: Span, node: ExprKind) -> Built<Expr> {
        self.operators.set(self.operators.get() + 1);
        if self.operators.get() > MAX_OPERATORS {
            Err(too_long(span))
        } else {
            Ok(Expr { node, span })
        }
    }

    /// Precedence climbing over prefix, term and infix pairs. `chain` is the depth of the recursion.
    fn climb(self, parts: &mut Peekable<Pairs<'_, Rule>>, least: u8, chain: usize) -> Built<Expr> {
        let Some(part) = parts.next() else { return Err(unexpected(Span::default())) };
        let span = self.span(&part);
        if chain > MAX_CHAIN {
            return Err(too_long(span));
        }
        let mut left = if part.as_rule() == Rule::prefix {
            let op = if part.as_str().starts_with('-') { UnaryOp::Negate } else { UnaryOp::Not };
            let operand = self.climb(parts, op.precedence(), chain + 1)?;
            self.node(span.to(operand.span), ExprKind::Unary(op, Box::new(operand)))?
        } else {
            self.term(part)?
        };
        while let Some(next) = parts.peek() {
            let sign = next.as_str().trim();
            let Some(op) = BinaryOp::ALL.into_iter().find(|op| op.sign() == sign) else {
                return Err(unexpected(self.span(next)));
            };
            if op.precedence() <= least {
                break;
            }
            let op = Spanned { node: op, span: self.span(next) };
            parts.next();
            // Power is right-associative.
            let least = op.node.precedence() - u8::from(op.node == BinaryOp::Power);
            let right = self.climb(parts, least, chain + 1)?;
            let span = left.span.to(right.span);
            left = self.node(span, ExprKind::Binary(op, Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn term(self, pair: Pair<'_, Rule>) -> Built<Expr> {
        let span = self.span(&pair);
        let mut parts = pair.into_inner();
        let first = parts.next().ok_or_else(|| unexpected(span))?;
        let mut term = self.primary(first)?;
        for part in parts {
            let whole = term.span.to(self.span(&part));
            let base = Box::new(term);
            let node = match part.as_rule() {
                Rule::arguments => {
                    let argument = |a| self.named(a).map(|(name, value)| Argument { name, value });
                    ExprKind::Call(
                        base,
                        part.into_inner().map(argument).collect::<Built<Vec<_>>>()?,
                    )
                }
                Rule::brackets => ExprKind::Bracketed(base, self.brackets(part)?),
                _ => {
                    let name = part.into_inner().next().ok_or_else(|| unexpected(span))?;
                    ExprKind::Field(base, self.ident(&name))
                }
            };
            term = self.node(whole, node)?;
        }
        Ok(term)
    }

    fn primary(self, pair: Pair<'_, Rule>) -> Built<Expr> {
        let span = self.span(&pair);
        let node = match pair.as_rule() {
            Rule::number => number(pair.as_str(), span)?,
            Rule::string => ExprKind::Text(self.text(&pair).node),
            Rule::constant => match pair.as_str() {
                "inf" => ExprKind::Infinity,
                word => ExprKind::Bool(word == "true"),
            },
            Rule::list => {
                ExprKind::List(pair.into_inner().map(|e| self.expr(e)).collect::<Built<Vec<_>>>()?)
            }
            Rule::parenthesised => {
                let inner = pair.into_inner().next().ok_or_else(|| unexpected(span))?;
                return self.expr(inner);
            }
            _ => ExprKind::Name(pair.as_str().to_string()),
        };
        Ok(Expr { node, span })
    }
}

fn too_long(span: Span) -> Diagnostic {
    Diagnostic::new(
        Code::Limit,
        format!("a statement has more than {MAX_OPERATORS} operators, or {MAX_CHAIN} in a chain"),
    )
    .label(span, "")
    .help("give parts of it names, in statements of their own")
}

/// The length of `text` without white space and comments at its end.
fn trimmed(text: &str) -> usize {
    let mut end = text.trim_end().len();
    // A comment at the end lies on the last line; strings hold no newline, so a `#` outside quotes starts it.
    loop {
        let line_start = text[..end].rfind('\n').map_or(0, |i| i + 1);
        let mut quoted = false;
        let hash = text[line_start..end].bytes().position(|b| {
            quoted ^= b == b'"';
            b == b'#' && !quoted
        });
        match hash {
            Some(at) => end = text[..line_start + at].trim_end().len(),
            None => return end,
        }
    }
}

/// A number with its suffix.
fn number(text: &str, span: Span) -> Built<ExprKind> {
    const UNITS: [(&str, i64); 6] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
    ];
    let plain = text.replace('_', "");
    let wrong =
        || Diagnostic::new(Code::Value, format!("the number {text} is too large")).label(span, "");
    if let Some(percent) = plain.strip_suffix('%') {
        let value: f64 = percent.parse().map_err(|_| wrong())?;
        return Ok(ExprKind::Float(text.to_string(), value / 100.0));
    }
    let unit = UNITS.iter().find_map(|(name, bytes)| plain.strip_suffix(name).map(|n| (n, *bytes)));
    let (digits, scale) = unit.unwrap_or((&plain, 1));
    if let Ok(value) = digits.parse::<i64>() {
        let value = value.checked_mul(scale).ok_or_else(wrong)?;
        return Ok(ExprKind::Int(text.to_string(), value));
    }
    let value = digits.parse::<f64>().map_err(|_| wrong())? * scale as f64;
    if !value.is_finite() || !digits.contains(['.', 'e', 'E']) {
        return Err(wrong());
    }
    if unit.is_some() {
        // Sizes are whole bytes: 1.5MiB is 1572864.
        return Ok(ExprKind::Int(text.to_string(), value.round() as i64));
    }
    Ok(ExprKind::Float(text.to_string(), value))
}
