//! Names, numbers and lists: what statements are made of.

use std::collections::BTreeSet;
use std::sync::Arc;

use kiln_tensor::DType;

use super::ParseError;
use super::lex::{Lexer, Token};
use crate::ir::{BufferId, Mem, Reg, Var};

pub(crate) type Result<T> = std::result::Result<T, ParseError>;

/// Where parsing is: one token ahead.
pub(crate) struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The next token and its line.
    pub token: Token<'a>,
    line: usize,
    files: BTreeSet<Arc<str>>,
}

impl<'a> Parser<'a> {
    pub fn new(text: &'a str) -> Result<Parser<'a>> {
        let (lexer, files) = (Lexer::new(text), BTreeSet::new());
        let mut parser = Parser { lexer, token: Token::End, line: 1, files };
        parser.advance()?;
        Ok(parser)
    }

    pub fn advance(&mut self) -> Result<Token<'a>> {
        let next = self.lexer.next()?;
        self.line = self.lexer.line;
        Ok(std::mem::replace(&mut self.token, next))
    }

    pub fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(ParseError { line: self.line, message: message.into() })
    }

    pub fn expected<T>(&self, what: &str) -> Result<T> {
        let found = match &self.token {
            Token::Word(s) | Token::Number(s) | Token::Mark(s) => format!("`{}`", clip(s)),
            Token::Reg(s) => format!("`%{}`", clip(s)),
            Token::Text(_) => "a quoted name".to_string(),
            Token::End => "the end of the text".to_string(),
        };
        self.fail(format!("expected {what}, found {found}"))
    }

    pub fn at(&self, mark: &str) -> bool {
        matches!(self.token, Token::Mark(m) if m == mark)
    }

    /// Takes a mark if it is next.
    pub fn eat(&mut self, mark: &str) -> Result<bool> {
        let found = self.at(mark);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    pub fn mark(&mut self, mark: &str) -> Result<()> {
        if self.eat(mark)? { Ok(()) } else { self.expected(&format!("`{mark}`")) }
    }

    pub fn at_word(&self, word: &str) -> bool {
        matches!(self.token, Token::Word(w) if w == word)
    }

    pub fn eat_word(&mut self, word: &str) -> Result<bool> {
        let found = self.at_word(word);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    pub fn word(&mut self, word: &str) -> Result<()> {
        if self.eat_word(word)? { Ok(()) } else { self.expected(&format!("`{word}`")) }
    }

    pub fn name(&mut self) -> Result<String> {
        match &mut self.token {
            Token::Text(text) => {
                let text = std::mem::take(text);
                self.advance()?;
                Ok(text)
            }
            _ => self.expected("a quoted name"),
        }
    }

    /// A quoted name of a file; equal ones share memory.
    pub fn file(&mut self) -> Result<Arc<str>> {
        let name = self.name()?;
        Ok(match self.files.get(name.as_str()) {
            Some(file) => file.clone(),
            None => {
                let file: Arc<str> = name.into();
                self.files.insert(file.clone());
                file
            }
        })
    }

    /// A number of 32 bits.
    pub fn count(&mut self) -> Result<u32> {
        let n = self.magnitude()?;
        u32::try_from(n).or_else(|_| self.fail("the number does not fit 32 bits"))
    }

    pub fn size(&mut self) -> Result<usize> {
        match self.token {
            Token::Number(s) => match s.parse() {
                Ok(n) => {
                    self.advance()?;
                    Ok(n)
                }
                Err(_) => self.expected("a size"),
            },
            _ => self.expected("a size"),
        }
    }

    pub fn signed(&mut self) -> Result<i64> {
        let negative = self.eat("-")?;
        let magnitude = i128::from(self.magnitude()?);
        match i64::try_from(if negative { -magnitude } else { magnitude }) {
            Ok(n) => Ok(n),
            Err(_) => self.fail("the number does not fit 64 bits"),
        }
    }

    pub fn magnitude(&mut self) -> Result<u64> {
        match self.token {
            Token::Number(s) if s.parse::<u64>().is_ok() => {
                self.advance()?;
                s.parse().or_else(|_| self.expected("an integer"))
            }
            _ => self.expected("an integer"),
        }
    }

    /// `prefix` and a number in one word, such as `b12`.
    pub fn numbered(&mut self, prefixes: &str, what: &str) -> Result<(char, u32)> {
        if let Token::Word(word) = self.token
            && let Some(prefix) = word.chars().next().filter(|&c| prefixes.contains(c))
            && let Some(number) = number(&word[1..])
        {
            self.advance()?;
            return Ok((prefix, number));
        }
        self.expected(what)
    }

    pub fn var(&mut self) -> Result<Var> {
        Ok(Var(self.numbered("i", "a loop variable")?.1))
    }

    pub fn buffer_id(&mut self) -> Result<BufferId> {
        Ok(BufferId(self.numbered("b", "a buffer")?.1))
    }

    pub fn reg(&mut self) -> Result<Reg> {
        match self.token {
            Token::Reg(s) => match number(s) {
                Some(n) => {
                    self.advance()?;
                    Ok(Reg(n))
                }
                None => self.expected("a register"),
            },
            _ => self.expected("a register"),
        }
    }

    pub fn mem(&mut self) -> Result<Mem> {
        Ok(match self.numbered("al", "an argument or a local")? {
            ('a', n) => Mem::Arg(n),
            (_, n) => Mem::Local(n),
        })
    }

    pub fn dtype(&mut self) -> Result<DType> {
        match self.token {
            Token::Word(w) => match w.parse() {
                Ok(dtype) => {
                    self.advance()?;
                    Ok(dtype)
                }
                Err(_) => self.expected("an element type"),
            },
            _ => self.expected("an element type"),
        }
    }

    pub fn f32(&mut self) -> Result<f32> {
        let negative = self.eat("-")?;
        let value = match self.token {
            Token::Word("inf") => f32::INFINITY,
            Token::Word("nan") => f32::NAN,
            Token::Number(s) => match s.parse::<f32>() {
                Ok(x) => x,
                Err(_) => return self.expected("a number"),
            },
            _ => return self.expected("a number"),
        };
        self.advance()?;
        if value.is_nan() && !negative && self.eat(":")? {
            return self.nan();
        }
        Ok(if negative { -value } else { value })
    }

    /// The bits of a NaN.
    pub fn nan(&mut self) -> Result<f32> {
        if let Token::Number(s) = self.token
            && let Some(digits) = s.strip_prefix("0x")
            && let Ok(bits) = u32::from_str_radix(digits, 16)
            && f32::from_bits(bits).is_nan()
        {
            self.advance()?;
            return Ok(f32::from_bits(bits));
        }
        self.expected("the bits of a NaN")
    }

    pub fn i32(&mut self) -> Result<i32> {
        let n = self.signed()?;
        i32::try_from(n).or_else(|_| self.fail("the number does not fit 32 bits"))
    }

    pub fn bool(&mut self) -> Result<bool> {
        if self.eat_word("true")? {
            return Ok(true);
        }
        self.word("false").map(|()| false)
    }

    /// Items between marks, separated by commas.
    pub fn list<T>(
        &mut self,
        open: &str,
        close: &str,
        item: impl Fn(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut items = Vec::new();
        self.mark(open)?;
        if !self.at(close) {
            items.push(item(self)?);
            while self.eat(",")? {
                items.push(item(self)?);
            }
        }
        self.mark(close)?;
        Ok(items)
    }
}

/// A number without leading zeros, so that every name has one spelling.
fn number(digits: &str) -> Option<u32> {
    let n = digits.parse().ok()?;
    (digits.bytes().all(|b| b.is_ascii_digit())
        && (n == 0) == digits.starts_with('0')
        && (n != 0 || digits.len() == 1))
        .then_some(n)
}

/// The beginning of a token, for messages.
pub(crate) fn clip(s: &str) -> String {
    let mut head: String = s.chars().take(40).collect();
    if head.len() < s.len() {
        head.push_str("...");
    }
    head
}
