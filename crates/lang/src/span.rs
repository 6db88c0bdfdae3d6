//! Source files and places in them.

use std::sync::Arc;

/// One of the files of a [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileId(pub u32);

/// A stretch of one file, in bytes, `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// The first byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl Span {
    /// The stretch from the start of `self` to the end of `last`, which lies in the same file.
    pub fn to(self, last: Span) -> Span {
        Span { end: last.end.max(self.end), ..self }
    }
}

/// One source file: its name as messages show it, and its text.
#[derive(Debug)]
pub struct Source {
    name: String,
    text: String,
    line_starts: Vec<u32>,
}

impl Source {
    /// The name that messages show: the path as the user gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte, both counted from 1, columns in characters.
    pub fn line_column(&self, offset: u32) -> (usize, usize) {
        let line = self.line_starts.partition_point(|&s| s <= offset) - 1;
        let start = self.line_starts[line] as usize;
        let end = (offset as usize).min(self.text.len());
        let column = self.text.as_bytes()[start..end].iter().filter(|&&b| b & 0xC0 != 0x80).count();
        (line + 1, column + 1)
    }

    /// The text of a line, counted from 1, without its newline.
    pub fn line(&self, line: usize) -> &str {
        let start = self.line_starts[line - 1] as usize;
        let end = self.line_starts.get(line).map_or(self.text.len(), |&e| e as usize);
        self.text[start..end].trim_end_matches(['\n', '\r'])
    }

    /// The byte at which a line, counted from 1, starts.
    pub fn line_start(&self, line: usize) -> u32 {
        self.line_starts[line - 1]
    }
}

/// The files that a program consists of. Cloning is cheap: the texts are shared.
#[derive(Clone, Debug, Default)]
pub struct Sources(Vec<Arc<Source>>);

impl Sources {
    /// Adds a file. `text` must be shorter than 4 GiB, which the loader sees to.
    pub fn add(&mut self, name: &str, text: &str) -> FileId {
        let starts =
            text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i as u32 + 1);
        let source = Source {
            name: name.to_string(),
            text: text.to_string(),
            line_starts: std::iter::once(0).chain(starts).collect(),
        };
        self.0.push(Arc::new(source));
        FileId(self.0.len() as u32 - 1)
    }

    /// The file with this number.
    pub fn get(&self, file: FileId) -> &Source {
        &self.0[file.0 as usize]
    }

    /// The text under a span.
    pub fn text(&self, span: Span) -> &str {
        &self.get(span.file).text()[span.start as usize..span.end as usize]
    }

    /// `file:line:column` of a span's start.
    pub fn place(&self, span: Span) -> String {
        let (line, column) = self.get(span.file).line_column(span.start);
        format!("{}:{line}:{column}", self.get(span.file).name())
    }

    /// `file:line` of a span's start.
    pub fn line_place(&self, span: Span) -> String {
        let (line, _) = self.get(span.file).line_column(span.start);
        format!("{}:{line}", self.get(span.file).name())
    }
}
