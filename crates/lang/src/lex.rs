//! Tokens, with comments: what the bracket matcher and the formatter look at. (The grammar itself is read by pest.)

use crate::span::{FileId, Span};

/// What a [`Token`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name or a keyword.
    Word,
    /// A number with its suffix: `5e-4`, `50%`, `64MiB`.
    Number,
    /// A string with its quotes.
    Text,
    /// `(`, `[` or `{`.
    Open,
    /// `)`, `]` or `}`.
    Close,
    /// Any other sign: `|>`, `+`, `,`.
    Sign,
    /// `#` to the end of the line.
    Comment,
    /// A character that the language does not know, or a string without its end.
    Unknown,
}

/// A token and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub span: Span,
}

/// Walks over the tokens of a text, lazily.
pub struct Lexer<'a> {
    text: &'a str,
    file: FileId,
    at: usize,
}

impl<'a> Lexer<'a> {
    /// The tokens of `text`, which is file `file`.
    pub fn new(text: &'a str, file: FileId) -> Lexer<'a> {
        Lexer { text, file, at: 0 }
    }
}

const SIGNS: [&str; 8] = ["|>", "<-", "->", "==", "!=", "<=", ">=", ".."];

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let bytes = self.text.as_bytes();
        while self.at < bytes.len() && bytes[self.at].is_ascii_whitespace() {
            self.at += 1;
        }
        let rest = &self.text[self.at..];
        let first = *rest.as_bytes().first()?;
        let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        let (kind, length) = match first {
            b'#' => (Kind::Comment, rest.find('\n').unwrap_or(rest.len())),
            b'"' => match rest[1..].find(['"', '\n']) {
                Some(end) if rest.as_bytes()[end + 1] == b'"' => (Kind::Text, end + 2),
                Some(end) => (Kind::Unknown, end + 1),
                None => (Kind::Unknown, rest.len()),
            },
            b'(' | b'[' | b'{' => (Kind::Open, 1),
            b')' | b']' | b'}' => (Kind::Close, 1),
            b'0'..=b'9' => (Kind::Number, number_length(rest.as_bytes())),
            _ if word(&first) => (Kind::Word, rest.bytes().take_while(word).count()),
            _ if SIGNS.iter().any(|s| rest.starts_with(s)) => (Kind::Sign, 2),
            b'+' | b'-' | b'*' | b'/' | b'^' | b'<' | b'>' | b'=' | b',' | b'.' | b':' => {
                (Kind::Sign, 1)
            }
            _ => (Kind::Unknown, rest.chars().next().map_or(1, char::len_utf8)),
        };
        let start = self.at;
        self.at += length;
        let span = Span { file: self.file, start: start as u32, end: self.at as u32 };
        Some(Token { kind, span })
    }
}

/// The length of a number that `text` starts with: digits, fraction, exponent, suffix.
fn number_length(text: &[u8]) -> usize {
    let digits = |from: usize| {
        text[from.min(text.len())..]
            .iter()
            .take_while(|b| b.is_ascii_digit() || **b == b'_')
            .count()
    };
    let mut n = digits(0);
    if text.get(n) == Some(&b'.') && text.get(n + 1).is_some_and(u8::is_ascii_digit) {
        n += 1 + digits(n + 1);
    }
    if matches!(text.get(n), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(n + 1), Some(b'+' | b'-')));
        if text.get(n + 1 + sign).is_some_and(u8::is_ascii_digit) {
            n += 1 + sign + digits(n + 1 + sign);
        }
    }
    if text.get(n) == Some(&b'%') {
        return n + 1;
    }
    n + text[n..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count()
}
