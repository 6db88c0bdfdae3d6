//! Names of weights in the files of other programs.
//!
//! A table is a text of rules, one a line, Kiln's names on the left:
//!
//! ```text
//! # torchvision counts the stages from 1.
//! res.{s}.{i}                   -> layer{s+1}.{i}
//! layer{s}.{i}.downsample.conv  -> layer{s}.{i}.downsample.0
//! ```
//!
//! A pattern stands for the beginning of a name, up to its end or a dot; the rest stays. `{s}` is a whole number, and
//! the other side may have a multiple and an offset of it: `{s+1}`, `{2*s}`, `{3*s-1}`. The rules are applied one after
//! the other, each where it fits, and for loading backwards from the last to the first. So a table must be
//! one-to-one; for the names at hand that is checked: each must come back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use crate::Error;

/// Which way names are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the file's names to Kiln's.
    Load,
    /// From Kiln's names to the file's.
    Save,
}

/// A table of names; the empty one changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    ours: Pattern,
    theirs: Pattern,
}

/// The beginning of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `factor * variable + offset`.
    Number {
        variable: String,
        factor: i64,
        offset: i64,
    },
}

/// A table longer than this is refused.
const MAX_TABLE: u64 = 1 << 20;

impl Names {
    /// Reads a table from a file.
    ///
    /// # Errors
    /// If it cannot be read, or a line of it is no rule.
    pub fn read(path: impl AsRef<Path>) -> Result<Names, Error> {
        let path = path.as_ref();
        let metadata = fs::metadata(path).map_err(Error::read(path))?;
        if !metadata.is_file() || metadata.len() > MAX_TABLE {
            return Err(Error::file(
                path,
                format!("it is no table of names (at most {MAX_TABLE} bytes of text)"),
            ));
        }
        let mut text = String::new();
        let file = File::open(path).map_err(Error::read(path))?;
        file.take(MAX_TABLE).read_to_string(&mut text).map_err(Error::read(path))?;
        text.parse().map_err(|message: String| Error::file(path, message))
    }

    /// Translates every key of a map.
    ///
    /// # Errors
    /// If the table is not one-to-one for these names; the message has those concerned.
    pub fn translate<T>(
        &self,
        tensors: BTreeMap<String, T>,
        direction: Direction,
    ) -> Result<BTreeMap<String, T>, String> {
        let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
        let new = self.translate_names(&names, direction)?;
        Ok(new.into_iter().zip(tensors.into_values()).collect())
    }

    /// Translates names, which are different ones; so are the results.
    ///
    /// # Errors
    /// As [`Names::translate`].
    pub fn translate_names(
        &self,
        names: &[&str],
        direction: Direction,
    ) -> Result<Vec<String>, String> {
        let back = match direction {
            Direction::Load => Direction::Save,
            Direction::Save => Direction::Load,
        };
        // Names that come back as they were have different translations.
        let mut new = Vec::with_capacity(names.len());
        for name in names {
            let translated = self.name(name, direction);
            let returned = self.name(&translated, back);
            if returned != *name {
                return Err(format!(
                    "the table of names does not fit: `{name}` becomes `{translated}`, which stands for `{returned}`"
                ));
            }
            new.push(translated);
        }
        Ok(new)
    }

    /// A name by all rules in turn.
    fn name(&self, name: &str, direction: Direction) -> String {
        let apply = |name: String, from: &Pattern, to: &Pattern| {
            let new = from.matches(&name).and_then(|(n, rest)| Some(to.write(&n)? + rest));
            new.unwrap_or(name)
        };
        let (rules, name) = (self.rules.iter(), name.to_string());
        match direction {
            Direction::Save => rules.fold(name, |n, rule| apply(n, &rule.ours, &rule.theirs)),
            Direction::Load => rules.rev().fold(name, |n, rule| apply(n, &rule.theirs, &rule.ours)),
        }
    }
}

impl FromStr for Names {
    type Err = String;

    fn from_str(text: &str) -> Result<Names, String> {
        let mut rules = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let rule = line.split_once('#').map_or(line, |(rule, _)| rule).trim();
            if !rule.is_empty() {
                rules.push(rule.parse().map_err(|e: String| format!("line {}: {e}", at + 1))?);
            }
        }
        Ok(Names { rules })
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Rule, String> {
        let Some((ours, theirs)) = text.split_once("->") else {
            return Err(format!("expected OURS -> THEIRS, found `{text}`"));
        };
        let (ours, theirs): (Pattern, Pattern) = (ours.trim().parse()?, theirs.trim().parse()?);
        if ours.variables() != theirs.variables() {
            return Err(format!("both sides need the same numbers: `{text}`"));
        }
        Ok(Rule { ours, theirs })
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('{') {
                let Some((number, after)) = inner.split_once('}') else {
                    return Err(format!("a `{{` without `}}` in `{text}`"));
                };
                if matches!(pieces.last(), Some(Piece::Number { .. })) {
                    return Err(format!("two numbers side by side in `{text}`"));
                }
                pieces.push(number_piece(number)?);
                rest = after;
            } else {
                let end = rest.find('{').unwrap_or(rest.len());
                let literal = &rest[..end];
                if literal.contains(|c: char| c.is_whitespace() || c == '}') {
                    return Err(format!("`{text}` is no pattern of a name"));
                }
                pieces.push(Piece::Text(literal.to_string()));
                rest = &rest[end..];
            }
        }
        let pattern = Pattern(pieces);
        let count = pattern.0.iter().filter(|p| matches!(p, Piece::Number { .. })).count();
        if pattern.0.is_empty() || pattern.variables().len() != count {
            return Err(format!("`{text}` is no pattern: it is empty or uses a number twice"));
        }
        Ok(pattern)
    }
}

/// `s`, `s+1`, `2*s`, `3*s-1`.
fn number_piece(text: &str) -> Result<Piece, String> {
    let wrong = || format!("`{{{text}}}` is not like {{s}}, {{s+1}} or {{2*s-1}}");
    let (product, offset) = match text.find(['+', '-']) {
        Some(at) => {
            let digits = text[at + 1..].parse::<u32>().map_err(|_| wrong())?;
            let sign = if text[at..].starts_with('-') { -1 } else { 1 };
            (&text[..at], sign * i64::from(digits))
        }
        None => (text, 0),
    };
    let (factor, variable) = match product.split_once('*') {
        Some((factor, variable)) => {
            (i64::from(factor.parse::<u32>().map_err(|_| wrong())?), variable)
        }
        None => (1, product),
    };
    let named = !variable.is_empty() && variable.chars().all(|c| c.is_ascii_alphabetic());
    if !named || factor == 0 {
        return Err(wrong());
    }
    Ok(Piece::Number { variable: variable.to_string(), factor, offset })
}

impl Pattern {
    fn variables(&self) -> BTreeSet<&str> {
        self.0
            .iter()
            .filter_map(|p| match p {
                Piece::Number { variable, .. } => Some(variable.as_str()),
                Piece::Text(_) => None,
            })
            .collect()
    }

    /// The numbers that make this pattern the beginning of a name, and what follows it.
    fn matches<'n>(&self, name: &'n str) -> Option<(BTreeMap<&str, i64>, &'n str)> {
        let mut numbers = BTreeMap::new();
        let mut rest = name;
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                Piece::Number { variable, factor, offset } => {
                    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                    let (digits, after) = rest.split_at(end);
                    if digits.len() > 1 && digits.starts_with('0') {
                        return None;
                    }
                    let number = digits.parse::<i64>().ok()?.checked_sub(*offset)?;
                    if number < 0 || number % factor != 0 {
                        return None;
                    }
                    numbers.insert(variable.as_str(), number / factor);
                    rest = after;
                }
            }
        }
        (rest.is_empty() || rest.starts_with('.')).then_some((numbers, rest))
    }

    /// The text with these numbers; nothing if one would be negative or too large.
    fn write(&self, numbers: &BTreeMap<&str, i64>) -> Option<String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Number { variable, factor, offset } => {
                    let number = numbers.get(variable.as_str())?.checked_mul(*factor)?;
                    let number = number.checked_add(*offset).filter(|n| *n >= 0)?;
                    text.push_str(&number.to_string());
                }
            }
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "
# A comment.
conv1                        -> stem.0    # another one
res.{s}.{i}                  -> layer{s+1}.{i}
layer{s}.{i}.downsample.conv -> layer{s}.{i}.downsample.0
features.{b}.{k}             -> body.{10*b+3}.{k-1}
";

    fn there_and_back(table: &str, ours: &[&str]) -> Vec<String> {
        let names: Names = table.parse().unwrap();
        let theirs = names.translate_names(ours, Direction::Save).unwrap();
        let theirs_borrowed: Vec<&str> = theirs.iter().map(String::as_str).collect();
        let back = names.translate_names(&theirs_borrowed, Direction::Load).unwrap();
        assert_eq!(back, ours);
        theirs
    }

    #[test]
    fn rules_are_applied_in_turn_and_back() {
        let ours = [
            "conv1.weight",
            "conv10.weight",
            "res.0.2.conv1.weight",
            "res.3.0.downsample.conv.weight",
            "res.3.0.downsample.convolution",
            "features.2.1",
            "fc.bias",
        ];
        let theirs = [
            "stem.0.weight",
            "conv10.weight",
            "layer1.2.conv1.weight",
            "layer4.0.downsample.0.weight",
            "layer4.0.downsample.convolution",
            "body.23.0",
            "fc.bias",
        ];
        assert_eq!(there_and_back(TABLE, &ours), theirs);
        assert_eq!(there_and_back("", &ours), ours);
    }

    #[test]
    fn numbers_that_do_not_fit_are_left_alone() {
        let names: Names = TABLE.parse().unwrap();
        // Of layers counted from 1 there is none of number 0; 24 is no 10 * b + 3; 01 is no number.
        for name in ["layer0.1.conv1", "body.24.0", "layer01.0.x", "layer99999999999999999999.0.x"]
        {
            assert_eq!(names.name(name, Direction::Load), name);
        }
        assert_eq!(names.name("features.0.0", Direction::Save), "features.0.0");
    }

    #[test]
    fn a_table_that_is_not_one_to_one_is_refused() {
        let refused = |table: &str, names: &[&str]| {
            table.parse::<Names>().unwrap().translate_names(names, Direction::Save).unwrap_err()
        };
        assert_eq!(
            refused("a -> b", &["a.weight", "b.weight"]),
            "the table of names does not fit: `b.weight` becomes `b.weight`, which stands for `a.weight`"
        );
        assert_eq!(
            refused("a -> c\nb -> c", &["a.w", "b.w"]),
            "the table of names does not fit: `a.w` becomes `c.w`, which stands for `b.w`"
        );
        // A file that has Kiln's names already.
        let names: Names = TABLE.parse().unwrap();
        let error = names.translate_names(&["res.0.0.x"], Direction::Load).unwrap_err();
        assert!(error.contains("`res.0.0.x`, which stands for `layer1.0.x`"), "{error}");
    }

    #[test]
    fn what_is_no_table_is_refused_by_line() {
        let error = |text: &str| text.parse::<Names>().unwrap_err();
        assert_eq!(error("\na = b"), "line 2: expected OURS -> THEIRS, found `a = b`");
        assert_eq!(error("a.{i} -> b"), "line 1: both sides need the same numbers: `a.{i} -> b`");
        for wrong in
            ["a.{i -> b", "{i}{j} -> {i}.{j}", "a b -> c", "-> c", "a.{i}.{i} -> a.{i}", "a} -> b"]
        {
            assert!(error(wrong).starts_with("line 1: "), "{wrong}");
        }
        for number in ["", "1", "i+", "0*i", "i*2", "i+-1", "2*", "i+99999999999"] {
            assert!(
                error(&format!("a.{{i}} -> b.{{{number}}}")).contains("is not like"),
                "{number}"
            );
        }
    }
}
