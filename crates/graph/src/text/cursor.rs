//! Reads the tokens of a text.

use super::TextError;

/// A position in a text.
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// Where the last token began: what errors are about.
    token: usize,
}

/// Whether a byte belongs to a name that needs no quotes.
pub fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/' | b'-' | b'+')
}

impl<'a> Cursor<'a> {
    /// The start of a text.
    pub fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0, token: 0 }
    }

    /// Where the last token began.
    pub fn token(&self) -> usize {
        self.token
    }

    /// An error at the last token.
    pub fn error<T>(&self, message: impl Into<String>) -> Result<T, TextError> {
        self.error_at(self.token, message)
    }

    /// An error at a token.
    pub fn error_at<T>(&self, token: usize, message: impl Into<String>) -> Result<T, TextError> {
        let line = 1 + self.text.as_bytes()[..token].iter().filter(|&&b| b == b'\n').count();
        Err(TextError { line, message: message.into() })
    }

    /// The rest of the text, after space and comments.
    fn rest(&mut self) -> &'a str {
        loop {
            let rest = self.text[self.at..].trim_start();
            self.at = self.text.len() - rest.len();
            self.token = self.at;
            if !rest.starts_with('#') {
                return rest;
            }
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }

    /// Whether nothing but space and comments is left.
    pub fn at_end(&mut self) -> bool {
        self.rest().is_empty()
    }

    /// Takes `token` if it comes next.
    pub fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Takes `token`.
    pub fn expect(&mut self, token: &str) -> Result<(), TextError> {
        if self.eat(token) {
            return Ok(());
        }
        let found = self.found();
        self.error(format!("expected `{token}`, found {found}"))
    }

    /// What comes next, for a message.
    fn found(&mut self) -> String {
        let shown: String =
            self.rest().chars().take_while(|c| !c.is_whitespace()).take(20).collect();
        if shown.is_empty() { "the end".to_owned() } else { format!("`{shown}`") }
    }

    fn take_while(&mut self, what: &str, keep: impl Fn(u8) -> bool) -> Result<&'a str, TextError> {
        let rest = self.rest();
        // Only ASCII bytes are kept, so the end is between characters.
        let len = rest.bytes().take_while(|&b| b.is_ascii() && keep(b)).count();
        if len == 0 {
            let found = self.found();
            return self.error(format!("expected {what}, found {found}"));
        }
        self.at += len;
        Ok(&rest[..len])
    }

    /// Letters, digits and `_`.
    pub fn word(&mut self, what: &str) -> Result<&'a str, TextError> {
        self.take_while(what, |b| b.is_ascii_alphanumeric() || b == b'_')
    }

    /// A number or anything written like one: `-1.5e-7`, `nan_ffc00000`, `inf`.
    pub fn number(&mut self) -> Result<&'a str, TextError> {
        self.take_while("a number", |b| {
            b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'+')
        })
    }

    /// A name, in quotes or not.
    pub fn name(&mut self) -> Result<String, TextError> {
        if self.rest().starts_with('"') {
            return self.quoted();
        }
        Ok(self.take_while("a name", is_name)?.to_owned())
    }

    /// Text in quotes.
    pub fn quoted(&mut self) -> Result<String, TextError> {
        self.expect("\"")?;
        let mut out = String::new();
        let mut chars = self.text[self.at..].char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += i + 1;
                    return Ok(out);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, c @ ('"' | '\\'))) => out.push(c),
                    _ => return self.error("after `\\` comes `\\`, `\"` or `n`"),
                },
                c => out.push(c),
            }
        }
        self.error("the quotes are not closed")
    }

    /// A whole number that fits `T`.
    pub fn whole<T: std::str::FromStr>(&mut self) -> Result<T, TextError> {
        let number = self.number()?;
        match number.parse() {
            Ok(x) => Ok(x),
            Err(_) => self.error(format!("`{}` is no whole number in range", shorten(number))),
        }
    }
}

/// The beginning of a word, for a message.
pub fn shorten(word: &str) -> String {
    const SHOWN: usize = 40;
    let mut shown: String = word.chars().take(SHOWN).collect();
    if shown.len() < word.len() {
        shown.push_str("...");
    }
    shown
}
