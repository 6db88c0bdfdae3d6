//! The header of a `.npy` file: a Python dictionary that says what the data is.

use std::io::{self, Read};
use std::str;

use super::{MAGIC, NpyProblem};

/// Longer headers are refused.
pub(super) const MAX_HEADER: usize = 64 << 10;
/// Arrays of more axes are refused, as NumPy does.
const MAX_RANK: usize = 64;

/// What the header says.
pub(super) struct Header {
    /// The element type, as NumPy writes it.
    pub descr: String,
    /// Whether the first axis varies fastest.
    pub fortran_order: bool,
    /// The sizes of the axes, unchecked.
    pub shape: Vec<usize>,
}

/// The header, and the number of bytes before the data.
pub(super) fn read_header(stream: &mut impl Read) -> Result<(Header, u64), NpyProblem> {
    let mut start = [0; 8];
    let got = read_up_to(stream, &mut start)?;
    if got < 8 || start[..6] != *MAGIC {
        return Err(match start {
            _ if got == 0 => NpyProblem::Magic(" (it is empty)"),
            // Protocols 2 to 5 of pickle; older ones are text and have no mark.
            [0x80, 2..=5, ..] => NpyProblem::Object,
            [b'P', b'K', 3, 4, ..] => NpyProblem::Magic(
                " but a zip archive; if it is an .npz file, save its arrays one by one",
            ),
            _ => NpyProblem::Magic(""),
        });
    }
    let [.., major, minor] = start;
    let (size, before) = match (major, minor) {
        (1, 0) => {
            let mut size = [0; 2];
            read_all(stream, &mut size)?;
            (usize::from(u16::from_le_bytes(size)), 10)
        }
        (2 | 3, 0) => {
            let mut size = [0; 4];
            read_all(stream, &mut size)?;
            (u32::from_le_bytes(size) as usize, 12)
        }
        _ => return Err(NpyProblem::Version(major, minor)),
    };
    if size > MAX_HEADER {
        return Err(NpyProblem::HeaderSize(size));
    }
    let mut text = vec![0; size];
    read_all(stream, &mut text)?;
    let text = str::from_utf8(&text)
        .map_err(|_| NpyProblem::Header("it is not text in UTF-8 or ASCII".to_string()))?;
    Ok((HeaderParser { rest: text }.parse()?, before + size as u64))
}

fn read_up_to(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match stream.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

fn read_all(stream: &mut impl Read, buffer: &mut [u8]) -> Result<(), NpyProblem> {
    if read_up_to(stream, buffer)? == buffer.len() { Ok(()) } else { Err(NpyProblem::HeaderEnd) }
}

/// Reads the header's text: a Python dictionary of a string, a boolean and a tuple of integers.
struct HeaderParser<'a> {
    rest: &'a str,
}

impl<'a> HeaderParser<'a> {
    fn parse(mut self) -> Result<Header, NpyProblem> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect('{')?;
        while !self.accept('}') {
            let key = self.string()?;
            self.expect(':')?;
            match key {
                "descr" => descr = Some(self.descr()?.to_string()),
                "fortran_order" => fortran_order = Some(self.boolean()?),
                "shape" => shape = Some(self.tuple()?),
                _ => return Err(NpyProblem::Header(format!("unknown key `{}`", shown(key)))),
            }
            if !self.accept(',') {
                self.expect('}')?;
                break;
            }
        }
        if !self.rest.trim().is_empty() {
            return Err(self.wrong("the end"));
        }
        let missing = |key| NpyProblem::Header(format!("the key `{key}` is missing"));
        Ok(Header {
            descr: descr.ok_or_else(|| missing("descr"))?,
            fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
        })
    }

    fn wrong(&self, wanted: &str) -> NpyProblem {
        NpyProblem::Header(format!("{wanted} expected before `{}`", shown(self.rest)))
    }

    fn accept(&mut self, c: char) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.strip_prefix(c);
        self.rest = found.unwrap_or(rest);
        found.is_some()
    }

    fn expect(&mut self, c: char) -> Result<(), NpyProblem> {
        if self.accept(c) { Ok(()) } else { Err(self.wrong(&format!("`{c}`"))) }
    }

    fn string(&mut self) -> Result<&'a str, NpyProblem> {
        let quote = match self.rest.trim_start().chars().next() {
            Some(c @ ('\'' | '"')) => c,
            _ => return Err(self.wrong("a string")),
        };
        self.expect(quote)?;
        let (string, rest) =
            self.rest.split_once(quote).ok_or_else(|| self.wrong("a closing quote"))?;
        self.rest = rest;
        Ok(string)
    }

    fn descr(&mut self) -> Result<&'a str, NpyProblem> {
        if self.rest.trim_start().starts_with(['[', '(']) {
            return Err(NpyProblem::ElementType("record".to_string()));
        }
        self.string()
    }

    fn boolean(&mut self) -> Result<bool, NpyProblem> {
        self.rest = self.rest.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(self.wrong("True or False"))
    }

    fn tuple(&mut self) -> Result<Vec<usize>, NpyProblem> {
        self.expect('(')?;
        let mut sizes = Vec::new();
        while !self.accept(')') {
            let digits =
                self.rest.len() - self.rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, rest) = self.rest.split_at(digits);
            // An empty number is an error too; Python 2 marked long integers with an L.
            sizes.push(number.parse().map_err(|_| self.wrong("a size"))?);
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            if sizes.len() > MAX_RANK {
                return Err(NpyProblem::Header(format!("more than {MAX_RANK} axes")));
            }
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(sizes)
    }
}

/// The beginning of hostile text, fit for a message.
fn shown(text: &str) -> String {
    text.chars().take(24).flat_map(char::escape_debug).collect::<String>()
}

/// How one element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Float { big: bool, wide: bool },
    Int { big: bool, signed: bool, bytes: usize },
}

impl Kind {
    /// Of NumPy's name for it.
    pub fn parse(descr: &str) -> Result<Kind, NpyProblem> {
        let (order, name) = match descr.chars().next() {
            Some(order @ ('<' | '>' | '=' | '|')) => (order, &descr[1..]),
            _ => ('=', descr),
        };
        let big = order == '>' || (order == '=' && cfg!(target_endian = "big"));
        let int = |signed, bytes| Ok(Kind::Int { big, signed, bytes });
        match name {
            "b1" | "?" => Ok(Kind::Bool),
            "f4" => Ok(Kind::Float { big, wide: false }),
            "f8" => Ok(Kind::Float { big, wide: true }),
            "i1" => int(true, 1),
            "i2" => int(true, 2),
            "i4" => int(true, 4),
            "i8" => int(true, 8),
            "u1" => int(false, 1),
            "u2" => int(false, 2),
            "u4" => int(false, 4),
            "u8" => int(false, 8),
            _ if name.starts_with('O') => Err(NpyProblem::Object),
            _ => Err(NpyProblem::ElementType(shown(descr))),
        }
    }

    /// Bytes one element takes.
    pub fn bytes(self) -> usize {
        match self {
            Kind::Bool => 1,
            Kind::Float { wide, .. } => 4 << usize::from(wide),
            Kind::Int { bytes, .. } => bytes,
        }
    }
}
