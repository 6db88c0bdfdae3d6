//! The formatter: white space only. Line breaks are the author's, as are comments; indentation, spaces, the
//! alignment of `|>`, of a train section's `=` and of comments at line ends are the formatter's.

use std::collections::BTreeSet;

use crate::ast::{Ast, Body, Item, Statement, StatementKind};
use crate::diagnostic::Diagnostics;
use crate::lex::{Kind, Lexer, Token};
use crate::parse::parse_text;
use crate::span::Sources;

/// Spaces between the longest of a run of lines and their comments.
const COMMENT_GAP: usize = 4;

/// The same text, formatted. Formatting it again changes nothing.
///
/// # Errors
/// If the text does not parse. `path` is the name that messages show.
pub fn format(text: &str, path: &str) -> Result<String, Diagnostics> {
    let mut sources = Sources::default();
    let file = sources.add(path, text);
    let ast = parse_text(text, file).map_err(|list| Diagnostics::new(list, sources))?;
    let starts = Starts::of(&ast);
    let mut layout = Layout::new(text, Lexer::new(text, file).collect(), &starts);
    layout.run();
    Ok(layout.finish())
}

/// Where statements, and where a train section's keys start, in bytes.
#[derive(Default)]
struct Starts {
    statements: BTreeSet<u32>,
    keys: BTreeSet<u32>,
}

impl Starts {
    fn of(ast: &Ast) -> Starts {
        let mut starts = Starts::default();
        for item in &ast.items {
            match item {
                Item::Import(i) => {
                    starts.statements.insert(i.span.start);
                }
                Item::Train(t) => {
                    starts.statements.insert(t.span.start);
                    starts.keys.extend(t.node.settings.iter().map(|(key, _)| key.span.start));
                }
                Item::Definition(d) => {
                    starts.statements.insert(d.span.start);
                    if let Body::Block(body) = &d.node.body {
                        starts.body(body);
                    }
                }
            }
        }
        starts.statements.extend(&starts.keys);
        starts
    }

    fn body(&mut self, body: &[Statement]) {
        for s in body {
            self.statements.insert(s.span.start);
            match &s.node {
                StatementKind::If(arms, otherwise) => {
                    arms.iter().for_each(|(_, body)| self.body(body));
                    self.body(otherwise.as_deref().unwrap_or_default());
                }
                StatementKind::For(_, _, body) | StatementKind::Scan(_, _, body) => self.body(body),
                _ => {}
            }
        }
    }
}

#[derive(Default)]
struct Line {
    indent: usize,
    code: String,
    comment: String,
    /// Bytes of a train section's key.
    key: Option<usize>,
}

struct Layout<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    starts: &'a Starts,
    /// For each `{` and `}` token: whether the pair stands on several lines.
    open_pair: Vec<bool>,
    lines: Vec<Line>,
    /// Multi-line braces around the current token.
    braces: usize,
    /// Parentheses and square brackets around the current token, since the statement's start.
    parens: usize,
    /// Columns of the statement's first `|>`, by `parens`.
    pipes: Vec<Option<usize>>,
}

impl<'a> Layout<'a> {
    fn new(text: &'a str, tokens: Vec<Token>, starts: &'a Starts) -> Layout<'a> {
        let mut layout = Layout {
            text,
            open_pair: vec![false; tokens.len()],
            tokens,
            starts,
            lines: Vec::new(),
            braces: 0,
            parens: 0,
            pipes: Vec::new(),
        };
        layout.find_open_pairs();
        layout
    }

    fn word(&self, at: usize) -> &'a str {
        let span = self.tokens[at].span;
        self.text[span.start as usize..span.end as usize].trim_end()
    }

    /// Newlines between a token and the one before it.
    fn newlines(&self, at: usize) -> usize {
        let start = if at == 0 { 0 } else { self.tokens[at - 1].span.end as usize };
        self.text[start..self.tokens[at].span.start as usize].matches('\n').count()
    }

    /// A pair of braces is laid out on several lines if it is now, or holds a comment or several statements.
    fn find_open_pairs(&mut self) {
        let mut stack: Vec<(usize, bool, usize)> = Vec::new();
        for at in 0..self.tokens.len() {
            let broken = self.newlines(at) > 0 || self.tokens[at].kind == Kind::Comment;
            let starts = self.starts.statements.contains(&self.tokens[at].span.start);
            if let Some((_, open, statements)) = stack.last_mut() {
                *open |= broken;
                *statements += usize::from(starts);
            }
            match self.word(at) {
                "{" => stack.push((at, false, 0)),
                "}" => {
                    if let Some((start, open, statements)) = stack.pop() {
                        let open = open || statements > 1;
                        self.open_pair[start] = open;
                        self.open_pair[at] = open;
                        if let Some((_, outer, _)) = stack.last_mut() {
                            *outer |= open;
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn run(&mut self) {
        for at in 0..self.tokens.len() {
            let token = self.tokens[at];
            let word = self.word(at);
            let starts_statement = self.starts.statements.contains(&token.span.start);
            if word == "}" && self.open_pair[at] {
                self.braces = self.braces.saturating_sub(1);
            }
            if starts_statement {
                self.parens = 0;
                self.pipes.clear();
            }
            if at == 0 || self.breaks_before(at, starts_statement) {
                self.new_line(at, starts_statement);
            } else if token.kind != Kind::Comment && self.space_before(at) {
                self.push(" ");
            }
            if word == "|>" {
                let column = self.column();
                self.pipes.resize(self.pipes.len().max(self.parens + 1), None);
                self.pipes[self.parens].get_or_insert(column);
            }
            if token.kind == Kind::Comment {
                if let Some(line) = self.lines.last_mut() {
                    line.comment = word.to_string();
                }
            } else {
                self.push(word);
            }
            match word {
                "(" | "[" => self.parens += 1,
                ")" | "]" => {
                    self.pipes.truncate(self.parens);
                    self.parens = self.parens.saturating_sub(1);
                }
                "{" if self.open_pair[at] => self.braces += 1,
                _ => {}
            }
        }
    }

    fn push(&mut self, text: &str) {
        if let Some(line) = self.lines.last_mut() {
            line.code.push_str(text);
        }
    }

    fn column(&self) -> usize {
        self.lines.last().map_or(0, |l| l.indent + l.code.chars().count())
    }

    fn breaks_before(&self, at: usize, starts_statement: bool) -> bool {
        let (word, before) = (self.word(at), self.word(at - 1));
        if self.tokens[at - 1].kind == Kind::Comment {
            return true;
        }
        if self.tokens[at].kind == Kind::Comment {
            return self.newlines(at) > 0;
        }
        if before == "{" || word == "}" {
            let brace = if before == "{" { at - 1 } else { at };
            return self.open_pair[brace];
        }
        if starts_statement {
            return self.braces > 0 || self.newlines(at) > 0 || before == "}";
        }
        let joins = matches!(word, "{" | "," | "(" | "[" | "else")
            && !before.ends_with([',', '(', '[', '=']);
        !joins && self.newlines(at) > 0
    }

    fn new_line(&mut self, at: usize, starts_statement: bool) {
        let (token, word) = (self.tokens[at], self.word(at));
        let before = if at == 0 { "{" } else { self.word(at - 1) };
        let standing = starts_statement || token.kind == Kind::Comment && self.parens == 0;
        if self.newlines(at) > 1 && standing && before != "{" {
            self.lines.push(Line::default());
        }
        let base = 4 * self.braces;
        let pipe = self.pipes.get(self.parens).copied().flatten();
        let indent = match word {
            _ if starts_statement || word == "}" => base,
            _ if token.kind == Kind::Comment && self.parens == 0 => base,
            "|>" if pipe.is_some() => pipe.unwrap_or(base),
            ")" | "]" => base + 4 * self.parens.saturating_sub(1),
            _ => base + 4 * self.parens.max(1),
        };
        let key = self.starts.keys.contains(&token.span.start).then_some(word.len());
        self.lines.push(Line { indent, key, ..Line::default() });
    }

    fn is_prefix(&self, at: usize) -> bool {
        let value_before = |at: usize| match self.tokens[at].kind {
            Kind::Number | Kind::Text | Kind::Close => true,
            Kind::Word => {
                !matches!(self.word(at), "return" | "in" | "and" | "or" | "not" | "if" | "else")
            }
            _ => false,
        };
        self.word(at) == "-" && !(at > 0 && value_before(at - 1))
    }

    fn space_before(&self, at: usize) -> bool {
        let (word, before) = (self.word(at), self.word(at - 1));
        let (kind, kind_before) = (self.tokens[at].kind, self.tokens[at - 1].kind);
        let numbers = |at: usize| {
            self.tokens[at - 1].kind == Kind::Number
                && self.tokens.get(at + 1).is_some_and(|t| t.kind == Kind::Number)
        };
        match (before, word) {
            ("{", "}") | ("(" | "[", _) | (_, ")" | "]" | "," | ":") => false,
            ("^" | ".." | ".", _) | (_, "^" | ".." | ".") => false,
            ("/", _) if numbers(at - 1) => false,
            (_, "/") if numbers(at) => false,
            ("=", _) | (_, "=") => self.parens == 0,
            ("-", _) if self.is_prefix(at - 1) => false,
            (_, "(" | "[") if kind == Kind::Open => {
                let keyword = matches!(
                    before,
                    "in" | "return" | "and" | "or" | "not" | "if" | "for" | "else"
                );
                !(kind_before == Kind::Word && !keyword || kind_before == Kind::Close)
            }
            _ => true,
        }
    }

    /// Aligns keys and comments, and joins the lines.
    fn finish(mut self) -> String {
        let mut from = 0;
        while from < self.lines.len() {
            // A train section's keys lie on lines of the same indent between lines without indent.
            let run =
                self.lines[from..].iter().take_while(|l| l.indent > 0 || l.code.is_empty()).count();
            let section = &mut self.lines[from..from + run];
            if let Some(widest) = section.iter().filter_map(|l| l.key).max() {
                for line in section {
                    if let Some(key) = line.key {
                        line.code.insert_str(key, &" ".repeat(widest - key));
                    }
                }
            }
            from += run.max(1);
        }
        let mut out = String::new();
        let mut at = 0;
        let trailing = |l: &Line| !l.code.is_empty() && !l.comment.is_empty();
        let width = |l: &Line| l.indent + l.code.chars().count();
        while at < self.lines.len() {
            // A line that opens a body ends the run before it: its comment speaks of the whole body.
            let run = self.lines[at..]
                .iter()
                .take_while(|l| trailing(l) && !l.code.ends_with('{'))
                .count();
            let run = run.max(1);
            let column =
                self.lines[at..at + run].iter().map(width).max().unwrap_or(0) + COMMENT_GAP;
            for line in &self.lines[at..at + run] {
                let gap = if trailing(line) { column - width(line) } else { 0 };
                let text = format!(
                    "{}{}{}{}",
                    " ".repeat(line.indent),
                    line.code,
                    " ".repeat(gap),
                    line.comment
                );
                out.push_str(text.trim_end());
                out.push('\n');
            }
            at += run;
        }
        out
    }
}
