//! Tokens of the text form.

use super::ParseError;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    /// Letters, digits and underscores, starting with a letter.
    Word(&'a str),
    /// An unsigned integer or decimal, or `0x` and digits.
    Number(&'a str),
    /// A register's number, `%` left out.
    Reg(&'a str),
    /// A quoted text, its escapes replaced.
    Text(String),
    /// Anything else: one character, `..` or `+=`.
    Mark(&'a str),
    /// The end of the text.
    End,
}

/// Splits a text into tokens; whitespace and comments from `#` to the end of the line separate.
pub(crate) struct Lexer<'a> {
    rest: &'a str,
    pub(crate) line: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { rest: text, line: 1 }
    }

    pub(crate) fn next(&mut self) -> Result<Token<'a>, ParseError> {
        self.skip();
        let Some(first) = self.rest.chars().next() else {
            return Ok(Token::End);
        };
        if first.is_ascii_alphabetic() {
            let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            return Ok(Token::Word(self.take(self.run(0, is_word))));
        }
        if first.is_ascii_digit() {
            return Ok(Token::Number(self.take(self.number())));
        }
        match first {
            '%' => {
                let reg = self.take(self.run(1, |b| b.is_ascii_digit()));
                Ok(Token::Reg(&reg[1..]))
            }
            '"' => self.text().map(Token::Text),
            _ if self.rest.starts_with("..") || self.rest.starts_with("+=") => {
                Ok(Token::Mark(self.take(2)))
            }
            _ => Ok(Token::Mark(self.take(first.len_utf8()))),
        }
    }

    fn skip(&mut self) {
        loop {
            let start = self.rest.trim_start();
            self.line += self.rest[..self.rest.len() - start.len()].matches('\n').count();
            self.rest = start;
            if !start.starts_with('#') {
                return;
            }
            self.rest = &start[start.find('\n').unwrap_or(start.len())..];
        }
    }

    /// Where a run of bytes that satisfy `is` ends, from `from` on.
    fn run(&self, from: usize, is: impl Fn(u8) -> bool) -> usize {
        let bytes = self.rest.as_bytes();
        (from..bytes.len()).find(|&i| !is(bytes[i])).unwrap_or(bytes.len())
    }

    fn number(&self) -> usize {
        let bytes = self.rest.as_bytes();
        let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
        if self.rest.starts_with("0x") {
            return self.run(2, |b| b.is_ascii_hexdigit());
        }
        let mut end = self.run(0, |b| b.is_ascii_digit());
        if bytes.get(end) == Some(&b'.') && digit(end + 1) {
            end = self.run(end + 1, |b| b.is_ascii_digit());
        }
        if matches!(bytes.get(end), Some(b'e')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            if digit(end + 1 + sign) {
                end = self.run(end + 1 + sign, |b| b.is_ascii_digit());
            }
        }
        end
    }

    fn take(&mut self, n: usize) -> &'a str {
        let (token, rest) = self.rest.split_at(n);
        self.rest = rest;
        token
    }

    fn text(&mut self) -> Result<String, ParseError> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        let fail = |what: &str| Err(ParseError { line: self.line, message: what.to_string() });
        loop {
            match chars.next() {
                None | Some((_, '\n')) => return fail("a name has no closing quote"),
                Some((at, '"')) => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                Some((_, '\\')) => match chars.next() {
                    Some((_, c @ ('"' | '\\'))) => text.push(c),
                    Some((at, 'u')) => {
                        let code = self.rest[at + 1..]
                            .strip_prefix('{')
                            .and_then(|s| s.split_once('}'))
                            .map(|(digits, _)| digits);
                        let c = code
                            .and_then(|d| u32::from_str_radix(d, 16).ok())
                            .and_then(char::from_u32);
                        let (Some(digits), Some(c)) = (code, c) else {
                            return fail("`\\u` wants a code point in braces");
                        };
                        text.push(c);
                        for _ in 0..digits.chars().count() + 2 {
                            chars.next();
                        }
                    }
                    _ => return fail("unknown escape in a name (\\\", \\\\ or \\u{..})"),
                },
                Some((_, c)) => text.push(c),
            }
        }
    }
}
