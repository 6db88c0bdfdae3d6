//! Damages sources, the same way every time: tokens deleted, repeated, exchanged or replaced, texts
//! cut off, huge numbers, deep nesting.

use kiln_lang::FileId;
use kiln_lang::lex::{Kind, Lexer, Token};

/// Numbers that follow each other by chance but always the same. SplitMix64 (Steele, Lea and
/// Flood, 2014).
pub struct Random(pub u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// What takes the place of a number.
const NUMBERS: [&str; 10] = [
    "0",
    "-1",
    "1000000000000",
    "9223372036854775807",
    "1e300",
    "0.5",
    "4294967296",
    "50%",
    "64GiB",
    "99999999999999999999",
];

/// What takes the place of the name of an axis.
const AXES: [&str; 5] = ["N", "C", "H", "Q", "not"];

/// What takes the place of a token.
const STRANGERS: [&str; 12] =
    ["|>", "(", "]", "}", "return", "x", "\"", "[C]", "inf", "not", "$", "é"];

/// A damaged copy of `text`.
pub fn mutate(text: &str, random: &mut Random) -> String {
    let tokens: Vec<Token> =
        Lexer::new(text, FileId(0)).filter(|t| t.kind != Kind::Comment).collect();
    let at = random.below(tokens.len());
    let range = |token: Token| token.span.start as usize..token.span.end as usize;
    let word = |token: Token| &text[range(token)];
    let replaced = |token: Token, by: &str| {
        let span = range(token);
        format!("{} {by} {}", &text[..span.start], &text[span.end..])
    };
    let token = tokens[at];
    match random.below(12) {
        0 => replaced(token, ""),
        1 => replaced(token, &format!("{0} {0}", word(token))),
        2 => {
            let other = tokens[random.below(tokens.len())];
            let (first, second) =
                if token.span < other.span { (token, other) } else { (other, token) };
            let (a, b) = (range(first), range(second));
            if a == b {
                return replaced(token, "");
            }
            format!(
                "{}{}{}{}{}",
                &text[..a.start],
                word(second),
                &text[a.end..b.start],
                word(first),
                &text[b.end..]
            )
        }
        3 => text[..range(token).end].to_owned(),
        4 | 5 => {
            let numbers: Vec<Token> =
                tokens.iter().copied().filter(|t| t.kind == Kind::Number).collect();
            let by = NUMBERS[random.below(NUMBERS.len())];
            replaced(numbers[random.below(numbers.len())], by)
        }
        6 => {
            let depth = [10, 200, 300, 100_000][random.below(4)];
            let (open, close) =
                [("(", ")"), ("[", "]"), ("f(", ")"), ("{", "}"), ("-", "")][random.below(5)];
            let nest = open.repeat(depth) + word(token) + &close.repeat(depth);
            replaced(token, &nest)
        }
        7 => replaced(token, STRANGERS[random.below(STRANGERS.len())]),
        8 => without_bracket(text, random).unwrap_or_default(),
        9 => {
            let is_axis = |t: &&Token| {
                let mut letters = word(**t).chars();
                t.kind == Kind::Word
                    && letters.next().is_some_and(char::is_uppercase)
                    && letters.all(|c| c.is_uppercase() || c.is_ascii_digit())
            };
            let axes: Vec<&Token> = tokens.iter().filter(is_axis).collect();
            replaced(*axes[random.below(axes.len())], AXES[random.below(AXES.len())])
        }
        10 => {
            // Noise: bytes that are no text become the replacement character, as files do.
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..1 + random.below(8) {
                let at = random.below(bytes.len());
                bytes[at] = random.below(256) as u8;
            }
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => {
            let words: Vec<Token> =
                tokens.iter().copied().filter(|t| t.kind == Kind::Word).collect();
            replaced(token, word(words[random.below(words.len())]))
        }
    }
}

/// A copy without one of its brackets; `None` if it has none.
pub fn without_bracket(text: &str, random: &mut Random) -> Option<String> {
    let is_bracket =
        |t: &Token| "()[]{}".contains(&text[t.span.start as usize..t.span.end as usize]);
    let brackets: Vec<Token> =
        Lexer::new(text, FileId(0)).filter(|t| t.kind != Kind::Comment && is_bracket(t)).collect();
    let at = brackets.get(random.below(brackets.len().max(1)))?.span;
    Some(format!("{}{}", &text[..at.start as usize], &text[at.end as usize..]))
}

/// A copy in which two neighbouring letters of a word have changed places, and the word before and
/// after; `None` if the word that chance chose has none that differ.
pub fn misspelt(text: &str, random: &mut Random) -> Option<(String, String, String)> {
    let words: Vec<Token> = Lexer::new(text, FileId(0))
        .filter(|t| t.kind == Kind::Word && t.span.end - t.span.start >= 4)
        .collect();
    let at = words.get(random.below(words.len().max(1)))?.span;
    let word = &text[at.start as usize..at.end as usize];
    let mut letters: Vec<char> = word.chars().collect();
    let first = 1 + random.below(letters.len() - 2);
    letters.swap(first, first + 1);
    let wrong: String = letters.into_iter().collect();
    let changed = format!("{}{wrong}{}", &text[..at.start as usize], &text[at.end as usize..]);
    (wrong != word).then(|| (changed, word.to_owned(), wrong))
}
