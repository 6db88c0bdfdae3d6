//! Syntax tree to text: one statement a line, no comments. Parsing the text gives the same tree again.

use crate::ast::{
    Argument, Ast, AxisItem, BinaryOp, Body, Brackets, Definition, Expr, ExprKind, Ident, Item,
    Param, Stage, Statement, StatementKind, Type,
};

/// The text of a whole file.
pub fn print(ast: &Ast) -> String {
    ast.items.iter().map(item).collect::<Vec<_>>().join("\n")
}

/// The text of one expression.
pub fn print_expr(e: &Expr) -> String {
    expr(e, 0)
}

fn item(item: &Item) -> String {
    match item {
        Item::Import(i) => {
            format!("import {} from \"{}\"\n", names(&i.node.names), i.node.path.node)
        }
        Item::Train(t) => {
            let setting =
                |(key, value): &(Ident, Expr)| format!("    {} = {}\n", key.node, expr(value, 0));
            format!(
                "train {} {{\n{}}}\n",
                t.node.model.node,
                t.node.settings.iter().map(setting).collect::<String>()
            )
        }
        Item::Definition(d) => definition(&d.node),
    }
}

fn definition(d: &Definition) -> String {
    let axis = |(name, default): &(Ident, Option<Ident>)| match default {
        Some(d) => format!("{}={}", name.node, d.node),
        None => name.node.clone(),
    };
    let axes = match d.axes.as_slice() {
        [] => String::new(),
        axes => format!("[{}]", join(axes, axis)),
    };
    let groups: String = d.params.iter().map(|g| format!("({})", join(g, param))).collect();
    let body = match &d.body {
        Body::Formula(e) => format!("= {}\n", expr(e, 0)),
        Body::Block(statements) => format!("{{\n{}}}\n", lines(statements, 1)),
    };
    format!("{} {}{axes}{groups} {body}", d.kind.word(), d.name.node)
}

fn join<T>(list: &[T], text: impl Fn(&T) -> String) -> String {
    list.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn names(names: &[Ident]) -> String {
    join(names, |n| n.node.clone())
}

fn param(p: &Param) -> String {
    let ty = p.ty.as_ref().map_or(String::new(), |t| format!(": {}", type_name(t)));
    let default = p.default.as_ref().map_or(String::new(), |e| format!("={}", expr(e, 0)));
    format!("{}{ty}{default}", p.name.node)
}

fn type_name(t: &Type) -> String {
    format!("{}{}", t.dtype.node, t.axes.as_ref().map_or(String::new(), brackets))
}

fn brackets(b: &Brackets) -> String {
    let item = |a: &AxisItem| {
        let name = a.name.as_ref().map_or(String::new(), |n| format!("{}=", n.node));
        let range = a.range.as_ref().map_or(String::new(), |r| format!(" in {}", expr(r, 0)));
        format!("{name}{}{range}", expr(&a.value, 0))
    };
    match &b.right {
        Some(right) => format!("[{} -> {}]", join(&b.left, item), join(right, item)),
        None => format!("[{}]", join(&b.left, item)),
    }
}

fn lines(statements: &[Statement], depth: usize) -> String {
    statements
        .iter()
        .map(|s| format!("{}{}\n", "    ".repeat(depth), statement(&s.node, depth)))
        .collect()
}

fn statement(s: &StatementKind, depth: usize) -> String {
    let block =
        |body: &[Statement]| format!("{{\n{}{}}}", lines(body, depth + 1), "    ".repeat(depth));
    let declared = |word: &str, name: &Ident, ty: &Option<Type>, init: &Option<Expr>| {
        let ty = ty.as_ref().map_or(String::new(), |t| format!(": {}", type_name(t)));
        let init = init.as_ref().map_or(String::new(), |e| format!(" = {}", expr(e, 0)));
        format!("{word} {}{ty}{init}", name.node)
    };
    match s {
        StatementKind::Assign(targets, value) => format!("{} = {}", names(targets), expr(value, 0)),
        StatementKind::AssignIndexed(name, axes, value) => {
            format!("{}{} = {}", name.node, brackets(axes), expr(value, 0))
        }
        StatementKind::Update(name, value) => format!("{} <- {}", name.node, expr(value, 0)),
        StatementKind::Param(name, ty, init) => declared("param", name, ty, init),
        StatementKind::State(name, ty, init) => declared("state", name, ty, init),
        StatementKind::Layer(name, value) => format!("layer {} = {}", name.node, expr(value, 0)),
        StatementKind::If(arms, otherwise) => {
            let arm = |(cond, body): &(Expr, Vec<Statement>)| {
                format!("if {} {}", expr(cond, 0), block(body))
            };
            let arms = arms.iter().map(arm).collect::<Vec<_>>().join(" else ");
            match otherwise {
                Some(body) => format!("{arms} else {}", block(body)),
                None => arms,
            }
        }
        StatementKind::For(vars, range, body) => {
            let vars = if vars.len() == 1 { names(vars) } else { format!("({})", names(vars)) };
            format!("for {vars} in {} {}", expr(range, 0), block(body))
        }
        StatementKind::Scan(var, range, body) => {
            format!("scan {} in {} {}", var.node, expr(range, 0), block(body))
        }
        StatementKind::Return(values) => format!("return {}", join(values, |e| expr(e, 0))),
    }
}

/// The text of an expression where something that binds at `least` or tighter may stand without parentheses.
fn expr(e: &Expr, least: u8) -> String {
    const POSTFIX: u8 = 10;
    let (own, text) = match &e.node {
        ExprKind::Int(text, _) | ExprKind::Float(text, _) => (POSTFIX, text.clone()),
        ExprKind::Text(text) => (POSTFIX, format!("\"{text}\"")),
        ExprKind::Bool(value) => (POSTFIX, value.to_string()),
        ExprKind::Infinity => (POSTFIX, "inf".to_string()),
        ExprKind::Name(name) => (POSTFIX, name.clone()),
        ExprKind::List(items) => (POSTFIX, format!("[{}]", join(items, |e| expr(e, 0)))),
        ExprKind::Unary(op, operand) => {
            let sign = if op.precedence() == 3 { "not " } else { "-" };
            (op.precedence(), format!("{sign}{}", expr(operand, op.precedence())))
        }
        ExprKind::Binary(op, left, right) => {
            let own = op.node.precedence();
            let power = op.node == BinaryOp::Power;
            let (l, r) = (expr(left, own + u8::from(power)), expr(right, own + u8::from(!power)));
            let sign = op.node.sign();
            (
                own,
                if power || sign == ".." {
                    format!("{l}{sign}{r}")
                } else {
                    format!("{l} {sign} {r}")
                },
            )
        }
        ExprKind::Call(callee, arguments) => {
            let argument = |a: &Argument| match &a.name {
                Some(n) => format!("{}={}", n.node, expr(&a.value, 0)),
                None => expr(&a.value, 0),
            };
            (POSTFIX, format!("{}({})", expr(callee, POSTFIX), join(arguments, argument)))
        }
        ExprKind::Bracketed(base, axes) => {
            (POSTFIX, format!("{}{}", expr(base, POSTFIX), brackets(axes)))
        }
        ExprKind::Field(base, name) => (POSTFIX, format!("{}.{}", expr(base, POSTFIX), name.node)),
        ExprKind::Pipe(stages) => {
            let stage = |s: &Stage| {
                let label = s.label.as_ref().map_or(String::new(), |l| format!(" as {}", l.node));
                format!("{}{label}", expr(&s.expr, 1))
            };
            (0, stages.iter().map(stage).collect::<Vec<_>>().join(" |> "))
        }
    };
    if own < least { format!("({text})") } else { text }
}
