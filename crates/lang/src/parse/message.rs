//! Syntax errors in the words of the language: rules have names that a reader knows.

use pest::error::{Error, ErrorVariant, InputLocation};

use super::{Rule, trimmed};
use kiln_graph::nearest;

use crate::diagnostic::{Code, Diagnostic};
use crate::lex::{Kind, Lexer};
use crate::span::Span;

/// A pest error in the words of the language.
pub(super) fn syntax_error(slice: &str, item: Span, error: &Error<Rule>) -> Diagnostic {
    let at = match error.location {
        InputLocation::Pos(p) | InputLocation::Span((p, _)) => p,
    };
    let mut expected: Vec<&str> = Vec::new();
    if let ErrorVariant::ParsingError { positives, .. } = &error.variant {
        for rule in positives {
            let name = human_name(*rule);
            if !name.is_empty() && !expected.contains(&name) {
                expected.push(name);
            }
        }
    }
    let found = Lexer::new(slice, item.file)
        .find(|t| t.span.start as usize >= at && t.kind != Kind::Comment);
    let (found, at_start, at_end) = match found {
        Some(t) => {
            let text: String =
                slice[t.span.start as usize..t.span.end as usize].chars().take(40).collect();
            (format!("`{text}`"), t.span.start, t.span.end)
        }
        None => {
            ("the end of the definition".to_string(), trimmed(slice) as u32, trimmed(slice) as u32)
        }
    };
    let span = Span { file: item.file, start: item.start + at_start, end: item.start + at_end };
    let what = match expected.as_slice() {
        [] => "something else".to_string(),
        [one] => (*one).to_string(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    };
    let mut d =
        Diagnostic::new(Code::Syntax, format!("expected {what}, found {found}")).label(span, "");
    let word = found.trim_matches('`');
    const WORDS: [&str; 10] =
        ["return", "param", "state", "layer", "model", "train", "block", "import", "else", "scan"];
    let before = before(slice, at);
    let reserved =
        |word: &str| WORDS.contains(&word) || ["if", "for", "in", "as", "op"].contains(&word);
    let named = expected.contains(&"a name");
    if let Some(word) = [word, before].into_iter().find(|w| named && reserved(w)) {
        d = d.help(format!("`{word}` is a word of the language and cannot be a name"));
    } else if let Some(near) = nearest(before, WORDS).filter(|near| *near != before) {
        d = d.help(format!("did you mean `{near}` instead of `{before}`?"));
    }
    d
}

/// The word that ends before position `at`.
fn before(slice: &str, at: usize) -> &str {
    let head = slice[..at].trim_end();
    let start = head.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |i| i + 1);
    &head[start..]
}

/// What a reader calls a rule; nothing for what needs no mention.
fn human_name(rule: Rule) -> &'static str {
    match rule {
        Rule::EOI => "the end of the definition",
        Rule::import | Rule::import_word => "`import`",
        Rule::from_word => "`from`",
        Rule::train | Rule::train_word => "`train`",
        Rule::setting | Rule::key => "a key",
        Rule::definition | Rule::definition_word => "a definition",
        Rule::axis_params => "`[axis]`",
        Rule::axis_param | Rule::name | Rule::word | Rule::reserved => "a name",
        Rule::params => "`(parameters)`",
        Rule::param => "a parameter",
        Rule::type_note => "`: type`",
        Rule::type_name => "a type",
        Rule::default_value => "`= default`",
        Rule::formula => "`= formula`",
        Rule::body => "`{`",
        Rule::declaration
        | Rule::declaration_word
        | Rule::layer
        | Rule::layer_word
        | Rule::if_statement
        | Rule::if_word
        | Rule::for_statement
        | Rule::for_word
        | Rule::scan_statement
        | Rule::scan_word
        | Rule::return_statement
        | Rule::return_word
        | Rule::update
        | Rule::assignment
        | Rule::index_assignment => "a statement",
        Rule::else_word => "`else`",
        Rule::in_word => "`in`",
        Rule::assign_sign => "`=`",
        Rule::expr
        | Rule::stage
        | Rule::operation
        | Rule::prefix
        | Rule::not_word
        | Rule::term
        | Rule::parenthesised
        | Rule::list
        | Rule::constant
        | Rule::number => "an expression",
        Rule::string => "a string in quotes",
        Rule::infix | Rule::and_word | Rule::or_word => "an operator",
        Rule::argument => "an argument",
        Rule::axis_list | Rule::axis => "an axis",
        _ => "",
    }
}
