//! Parser, printer and formatter on the language's own samples and on wrong texts.

use kiln_lang::ast::{Ast, Body, Item};
use kiln_lang::format::format;
use kiln_lang::parse::{parse_expr, parse_text};
use kiln_lang::print::{print, print_expr};
use kiln_lang::{Code, Diagnostics, FileId, Sources};

const SAMPLE: &str = include_str!("samples/language.kiln");

fn parse(text: &str) -> Result<Ast, Diagnostics> {
    let mut sources = Sources::default();
    let file = sources.add("test.kiln", text);
    parse_text(text, file).map_err(|list| Diagnostics::new(list, sources))
}

fn good(text: &str) -> Ast {
    parse(text).unwrap_or_else(|e| panic!("{e}"))
}

/// The text with parentheses around every operation, to see precedence.
fn shape(text: &str) -> String {
    let expr = parse_expr(text, FileId(0)).unwrap_or_else(|e| panic!("{e:?}"));
    print_expr(&expr)
}

#[test]
fn printing_then_parsing_gives_the_same_tree() {
    let ast = good(SAMPLE);
    assert_eq!(ast.items.len(), 12);
    // Nothing but comments and parentheses that say nothing is lost.
    let words = |text: &str| {
        let lines = text.lines().map(|l| l.split('#').next().unwrap_or_default());
        lines
            .flat_map(str::chars)
            .filter(|c| !c.is_whitespace() && !"()".contains(*c))
            .collect::<String>()
    };
    assert_eq!(words(&print(&ast)), words(SAMPLE));
    assert_eq!(good(&print(&ast)), ast);
    assert_eq!(good(&format(SAMPLE, "x").unwrap()), ast);
}

#[test]
fn formatting_is_idempotent_and_keeps_comments() {
    for text in [SAMPLE, &print(&good(SAMPLE))] {
        let once = format(text, "x").unwrap();
        assert_eq!(format(&once, "x").unwrap(), once);
        let comments = |s: &str| {
            s.lines()
                .filter_map(|l| l.split_once('#').map(|c| c.1.trim_end().to_string()))
                .collect::<Vec<_>>()
        };
        assert_eq!(comments(&once), comments(text));
    }
}

#[test]
fn the_formatter_writes_the_house_style() {
    let ugly = "model  m( x:f32[N,C = 3] ){   # a model
y = x|>conv( 20,5 )as c1 |>relu   # one
|> max_pool(2)# two

   if y.C!=1 and not training{ s=-1 } else { s = x [ C=1/2 ]  t = 2 ^ -k }
z=f(
a,
- b
)
return y,z }
train m { data=mnist(\"d\")
 loss = l(1 / 255)
   epochs=10 }
";
    let expected = "model m(x: f32[N, C=3]) {    # a model
    y = x |> conv(20, 5) as c1 |> relu    # one
          |> max_pool(2)                  # two

    if y.C != 1 and not training { s = -1 } else {
        s = x[C=1/2]
        t = 2^-k
    }
    z = f(
        a,
        -b
    )
    return y, z
}
train m {
    data   = mnist(\"d\")
    loss   = l(1/255)
    epochs = 10
}
";
    assert_eq!(format(ugly, "x").unwrap(), expected);
}

#[test]
fn operators_bind_as_in_mathematics() {
    for (text, printed) in [
        ("(a + b) * c ^ (d ^ e) - -f", "(a + b) * c^d^e - -f"),
        ("((a ^ b) ^ c)", "(a^b)^c"),
        ("(-a) ^ 2 + (-(a ^ 2))", "(-a)^2 + -a^2"),
        ("not (a == b) and (c or d)", "not a == b and (c or d)"),
        ("a - (b - c) - (d / (e * f))", "a - (b - c) - d / (e * f)"),
        ("(0)..(n + 1)", "0..n + 1"),
        ("(x |> f) + 1 |> (g |> h)", "(x |> f) + 1 |> (g |> h)"),
        ("reshape[(H), D=2 -> E](x)(y)[C=0].C", "reshape[H, D=2 -> E](x)(y)[C=0].C"),
    ] {
        assert_eq!(shape(text), printed, "{text}");
        assert_eq!(shape(printed), printed);
    }
}

#[test]
fn numbers_carry_their_suffixes() {
    use kiln_lang::ast::ExprKind::{Float, Int};
    let value = |text: &str| parse_expr(text, FileId(0)).unwrap().node;
    assert_eq!(value("64MiB"), Int("64MiB".into(), 64 << 20));
    assert_eq!(value("1.5KiB"), Int("1.5KiB".into(), 1536));
    assert_eq!(value("50%"), Float("50%".into(), 0.5));
    assert_eq!(value("5e-4"), Float("5e-4".into(), 5e-4));
    assert_eq!(value("10_000"), Int("10_000".into(), 10_000));
    assert_eq!(parse_expr("99999999999999999999", FileId(0)).unwrap_err()[0].code, Code::Value);
}

#[test]
fn every_wrong_item_is_reported() {
    let text = "op a(x) = x +\n\nblock b(x) {\n    y = x |> \n    return y\n}\nop c(x) = x\ntrain m { epochs 3 }\n";
    let errors = parse(text).unwrap_err();
    let expected = "\
error[syntax]: expected an expression, found the end of the definition
  --> test.kiln:1:14
   |
 1 | op a(x) = x +
   |              ^

error[syntax]: expected an expression, found `return`
  --> test.kiln:5:5
   |
 5 |     return y
   |     ^^^^^^

error[syntax]: expected `=`, found `3`
  --> test.kiln:8:18
   |
 8 | train m { epochs 3 }
   |                  ^";
    assert_eq!(errors.to_string(), expected);
}

#[test]
fn hostile_texts_are_answered_with_limits() {
    let deep = |n: usize| format!("op f(x) = {}x{}", "(".repeat(n), ")".repeat(n));
    assert!(parse(&deep(256)).is_ok());
    assert_eq!(parse(&deep(1_000_000)).unwrap_err().list()[0].code, Code::Limit);
    for chain in ["-", "x + ", "x^", "not ", "f() + ("] {
        let closing = if chain.ends_with('(') { ")".repeat(200) } else { String::new() };
        let short = format!("op f(x) = {}x{closing}", chain.repeat(200));
        assert!(parse(&short).is_ok(), "{chain}: {}", parse(&short).unwrap_err());
        if closing.is_empty() {
            let long = format!("op f(x) = {}x", chain.repeat(100_000));
            assert_eq!(parse(&long).unwrap_err().list()[0].code, Code::Limit, "{chain}");
        }
    }
    let calls = format!("op f(x) = x{}", "()".repeat(100_000));
    assert_eq!(parse(&calls).unwrap_err().list()[0].code, Code::Limit);
}

#[test]
fn spans_cover_what_they_name() {
    let text = "block b(x) {\n    y = x   # comment\n    return y\n}\n";
    let Item::Definition(d) = &good(text).items[0] else { panic!("a block") };
    let Body::Block(body) = &d.node.body else { panic!("a body") };
    let spans: Vec<&str> =
        body.iter().map(|s| &text[s.span.start as usize..s.span.end as usize]).collect();
    assert_eq!(spans, ["y = x", "return y"]);
}

#[test]
fn the_library_is_in_the_house_style() {
    for (name, text) in kiln_lang::STD {
        assert_eq!(format(text, name).unwrap_or_else(|e| panic!("{e}")), text, "{name}");
        assert_eq!(good(&print(&good(text))), good(text), "{name}");
    }
}
