//! A first look at a file, before the grammar: brackets that match, nesting within the limit, and where each
//! top-level item starts. A PEG would report an unclosed bracket far from the bracket, and recurse on nesting.

use kiln_graph::nearest;

use crate::diagnostic::{Code, Diagnostic};
use crate::lex::{Kind, Lexer, Token};
use crate::span::{FileId, Span};

/// Brackets may nest this deep.
pub const MAX_DEPTH: usize = 256;

/// At most this many messages about brackets and characters are given for one file.
const MAX_MESSAGES: usize = 20;

/// Words that start an item and are reserved everywhere.
const ITEM_WORDS: [&str; 5] = ["import", "train", "model", "block", "op"];

/// Words that start an item where a name follows them at the top level; elsewhere they are ordinary names.
const OPEN_ITEM_WORDS: [&str; 3] = ["optimizer", "schedule", "init"];

/// The stretches of the file's top-level items.
///
/// # Errors
/// Every unmatched bracket, unknown character and unclosed string; or nesting beyond [`MAX_DEPTH`].
pub fn items(text: &str, file: FileId) -> Result<Vec<Span>, Vec<Diagnostic>> {
    let mut scan =
        Scan { text, open: Vec::new(), starts: Vec::new(), stray: None, found: Vec::new() };
    let mut tokens = Lexer::new(text, file).filter(|t| t.kind != Kind::Comment).peekable();
    while let Some(token) = tokens.next() {
        let next = tokens.peek().filter(|t| t.kind == Kind::Word);
        scan.token(token, next.is_some());
        if scan.open.len() > MAX_DEPTH || scan.found.len() >= MAX_MESSAGES {
            break;
        }
    }
    scan.finish(file)
}

struct Scan<'a> {
    text: &'a str,
    open: Vec<Span>,
    starts: Vec<Span>,
    /// The first token that stands before every item.
    stray: Option<Span>,
    found: Vec<Diagnostic>,
}

impl<'a> Scan<'a> {
    fn word(&self, span: Span) -> &'a str {
        &self.text[span.start as usize..span.end as usize]
    }

    fn token(&mut self, token: Token, before_word: bool) {
        let word = self.word(token.span);
        let starts_item = token.kind == Kind::Word
            && (ITEM_WORDS.contains(&word)
                || self.open.is_empty() && before_word && OPEN_ITEM_WORDS.contains(&word));
        if starts_item {
            // No item stands inside another: whatever is still open was never closed.
            self.unclosed_from(0);
            self.starts.push(token.span);
            return;
        }
        if self.starts.is_empty() && self.stray.is_none() {
            self.stray = Some(token.span);
        }
        match token.kind {
            Kind::Open => self.open.push(token.span),
            Kind::Close => self.close(token.span),
            Kind::Unknown => {
                let what = if word.starts_with('"') {
                    "a string that does not end on its line".to_string()
                } else {
                    format!("unexpected character `{}`", word.escape_default())
                };
                self.found.push(Diagnostic::new(Code::Syntax, what).label(token.span, ""));
            }
            _ => {}
        }
    }

    fn close(&mut self, span: Span) {
        let close = self.word(span).to_string();
        let partner = match close.as_str() {
            ")" => "(",
            "]" => "[",
            _ => "{",
        };
        match self.open.iter().rposition(|&o| self.word(o) == partner) {
            Some(at) => {
                self.unclosed_from(at + 1);
                self.open.pop();
            }
            None => {
                let message = format!("`{close}` closes nothing");
                self.found.push(
                    Diagnostic::new(Code::Syntax, message).label(span, "no bracket is open here"),
                );
            }
        }
    }

    /// Reports the brackets above stack position `at` as unclosed and forgets them.
    fn unclosed_from(&mut self, at: usize) {
        for span in self.open.split_off(at) {
            let bracket = self.word(span);
            let message = format!("`{bracket}` is never closed");
            self.found.push(Diagnostic::new(Code::Syntax, message).label(span, "opened here"));
        }
    }

    fn finish(mut self, file: FileId) -> Result<Vec<Span>, Vec<Diagnostic>> {
        if let Some(&span) = self.open.get(MAX_DEPTH) {
            let message = format!("brackets nest deeper than {MAX_DEPTH}");
            return Err(vec![
                Diagnostic::new(Code::Limit, message)
                    .label(span, format!("level {}", MAX_DEPTH + 1)),
            ]);
        }
        if self.found.len() < MAX_MESSAGES {
            self.unclosed_from(0);
        }
        if let (Some(span), true) = (self.stray, self.found.is_empty()) {
            let words = ITEM_WORDS.iter().chain(&OPEN_ITEM_WORDS).copied();
            let mut d = Diagnostic::new(Code::Syntax, "expected `import` or a definition").label(
                span,
                "a file consists of import, model, train, block, op, optimizer, schedule and init",
            );
            if let Some(word) = nearest(self.word(span), words) {
                d = d.help(format!("did you mean `{word}`?"));
            }
            self.found.push(d);
        }
        if !self.found.is_empty() {
            self.found.truncate(MAX_MESSAGES);
            self.found.sort_by_key(|d| d.labels[0].0);
            return Err(self.found);
        }
        let mut ends: Vec<u32> = self.starts.iter().skip(1).map(|s| s.start).collect();
        ends.push(self.text.len() as u32);
        Ok(self
            .starts
            .iter()
            .zip(ends)
            .map(|(s, end)| Span { file, start: s.start, end })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<(String, u32)> {
        let found = items(text, FileId(0)).expect_err("the text is wrong");
        found.into_iter().map(|d| (d.message, d.labels[0].0.start)).collect()
    }

    #[test]
    fn an_unclosed_bracket_is_reported_where_it_opens() {
        let text = "op f(x) = (x\nblock b(x) { y = f(x  z = [1 }\nop g(x) = x";
        let expected =
            [("`(` is never closed", 10), ("`(` is never closed", 31), ("`[` is never closed", 39)];
        let found = messages(text);
        assert_eq!(found.iter().map(|(m, at)| (m.as_str(), *at)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn deep_nesting_is_refused_at_once() {
        let text = format!("op f(x) = {}x{}", "(".repeat(1_000_000), ")".repeat(1_000_000));
        assert_eq!(messages(&text), [("brackets nest deeper than 256".to_string(), 10 + 256)]);
        let text = format!("op f(x) = {}x{}", "(".repeat(256), ")".repeat(256));
        assert_eq!(items(&text, FileId(0)).map(|v| v.len()), Ok(1));
    }

    #[test]
    fn strangers_are_named() {
        assert_eq!(messages("op f(x) = x $ 1")[0].0, "unexpected character `$`");
        assert_eq!(messages("import a from \"b\n")[0].0, "a string that does not end on its line");
        assert_eq!(messages("op f(x) = x)")[0].0, "`)` closes nothing");
        let found = items("modle m(x: f32[N]) { return x }", FileId(0)).expect_err("no such word");
        assert_eq!(found[0].help.as_deref(), Some("did you mean `model`?"));
    }

    #[test]
    fn item_words_are_names_elsewhere() {
        let text = "train m { init = xavier() optimizer = sgd(lr=1) }\ninit zeros() = 0";
        assert_eq!(items(text, FileId(0)).map(|v| v.len()), Ok(2));
    }
}
