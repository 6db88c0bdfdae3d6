//! Messages about a program, several at once, each with the source lines that it speaks of.

use std::fmt;

use crate::span::{Sources, Span};

/// What kind of mistake a [`Diagnostic`] reports: the word in `error[word]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The text does not follow the grammar.
    Syntax,
    /// A name, key, axis or argument that does not exist, or exists twice.
    Name,
    /// Sizes or axes of tensors do not fit together.
    Shape,
    /// A value of the wrong kind: a tensor where a number is needed.
    Type,
    /// A number, size or text that is not allowed where it stands.
    Value,
    /// A limit that guards the compiler: nesting, unrolling, bytes.
    Limit,
    /// A file that cannot be read.
    File,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 7] =
        [Code::Syntax, Code::Name, Code::Shape, Code::Type, Code::Value, Code::Limit, Code::File];
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Code::Syntax => "syntax",
            Code::Name => "name",
            Code::Shape => "shape",
            Code::Type => "type",
            Code::Value => "value",
            Code::Limit => "limit",
            Code::File => "file",
        })
    }
}

/// One message. The first label is the place of the error; the others say where what it speaks of comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// The kind of mistake.
    pub code: Code,
    /// The headline.
    pub message: String,
    /// Places and what is to be said of each. May be empty (a file that cannot be opened).
    pub labels: Vec<(Span, String)>,
    /// Further facts, such as the path of block calls.
    pub notes: Vec<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A message without any place yet.
    pub fn new(code: Code, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            message: message.into(),
            labels: Vec::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// Adds a place; the first one added is the error's own.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push((span, text.into()));
        self
    }

    /// Adds a further fact.
    pub fn note(mut self, text: impl Into<String>) -> Diagnostic {
        self.notes.push(text.into());
        self
    }

    /// Says what to do.
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help = Some(text.into());
        self
    }
}

/// Messages with the sources they point into. Displays as rustc does, without colours.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    sources: Sources,
}

impl Diagnostics {
    /// These messages about these sources.
    pub fn new(list: Vec<Diagnostic>, sources: Sources) -> Diagnostics {
        Diagnostics { list, sources }
    }

    /// The messages, in source order where they have one.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// The sources that the spans point into.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The text that a terminal shows; `colours` adds ANSI escapes.
    pub fn render(&self, colours: bool) -> String {
        let paint = Paint { colours };
        let texts: Vec<String> =
            self.list.iter().map(|d| render(d, &self.sources, paint)).collect();
        texts.join("\n")
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Diagnostics {}

#[derive(Clone, Copy)]
struct Paint {
    colours: bool,
}

impl Paint {
    fn red(self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn blue(self, text: &str) -> String {
        self.with("1;34", text)
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// Source lines longer than this are shown as a window around the label.
const WIDEST_LINE: usize = 160;

fn render(d: &Diagnostic, sources: &Sources, paint: Paint) -> String {
    let mut out = format!(
        "{}{}\n",
        paint.red(&format!("error[{}]", d.code)),
        paint.bold(&format!(": {}", d.message))
    );
    let lines = d.labels.iter().map(|(s, _)| sources.get(s.file).line_column(s.start).0);
    let width = lines.max().map_or(1, |n| n.to_string().len().max(2));
    let gutter = " ".repeat(width);
    let bar = paint.blue("|");
    if let Some((primary, _)) = d.labels.first() {
        out +=
            &format!("{gutter}{} {}\n{gutter} {bar}\n", paint.blue("-->"), sources.place(*primary));
        let mut files = vec![primary.file];
        for (span, _) in &d.labels {
            if !files.contains(&span.file) {
                files.push(span.file);
            }
        }
        for file in files {
            if file != primary.file {
                let first = d.labels.iter().filter(|(s, _)| s.file == file).map(|(s, _)| *s).min();
                out += &format!(
                    "{gutter}{} {}\n",
                    paint.blue(":::"),
                    sources.place(first.unwrap_or(*primary))
                );
            }
            let mut labels: Vec<(usize, &(Span, String))> =
                d.labels.iter().enumerate().filter(|(_, (s, _))| s.file == file).collect();
            labels
                .sort_by_key(|(order, (s, _))| (sources.get(file).line_column(s.start).0, *order));
            let mut shown = 0;
            for (order, (span, text)) in labels {
                let source = sources.get(file);
                let (line, column) = source.line_column(span.start);
                let window = Window::around(source.line(line), column);
                if line != shown {
                    out += &format!(
                        "{} {bar} {}\n",
                        paint.blue(&format!("{line:>width$}")),
                        window.text
                    );
                    shown = line;
                }
                let on_line =
                    span.end.min(source.line_start(line) + source.line(line).len() as u32);
                let length = source.line_column(on_line.max(span.start)).1 - column;
                let length = length.clamp(
                    1,
                    (window.text.chars().count() + 1).saturating_sub(window.column).max(1),
                );
                let mark = if order == 0 {
                    paint.red(&"^".repeat(length))
                } else {
                    paint.blue(&"-".repeat(length))
                };
                let text = if text.is_empty() { String::new() } else { format!(" {text}") };
                out += &format!("{gutter} {bar} {}{mark}{text}\n", " ".repeat(window.column - 1));
            }
        }
    }
    for note in &d.notes {
        out += &format!("{gutter} {} {note}\n", paint.blue("="));
    }
    if let Some(help) = &d.help {
        out += &format!("{gutter} {} help: {help}\n", paint.blue("="));
    }
    out
}

/// The part of a source line that is shown, and the label's column in it (from 1).
struct Window {
    text: String,
    column: usize,
}

impl Window {
    fn around(line: &str, column: usize) -> Window {
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        // A window of a few hundred characters is found without walking a line of megabytes twice.
        let skip = if column > WIDEST_LINE - 40 { column - 60 } else { 0 };
        let mut text: String = line.chars().skip(skip).take(WIDEST_LINE).map(printable).collect();
        let mut column = column - skip;
        if skip > 0 {
            text.insert_str(0, "...");
            column += 3;
        }
        if line.chars().skip(skip).nth(WIDEST_LINE).is_some() {
            text.push_str("...");
        }
        Window { text: text.trim_end().to_string(), column }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_in_source_order_and_files_are_named() {
        let mut sources = Sources::default();
        let a = sources.add("a.kiln", "x = 1\ny = x + zz\n");
        let b = sources.add("b.kiln", "w = 2\n");
        let span = |file, start, end| Span { file, start, end };
        let d = Diagnostic::new(Code::Shape, "no fit")
            .label(span(a, 14, 16), "here")
            .label(span(a, 0, 1), "from here")
            .label(span(b, 0, 1), "and here")
            .note("in block(1)")
            .help("try less");
        let text = Diagnostics::new(vec![d], sources).to_string();
        let expected = "\
error[shape]: no fit
  --> a.kiln:2:9
   |
 1 | x = 1
   | - from here
 2 | y = x + zz
   |         ^^ here
  ::: b.kiln:1:1
 1 | w = 2
   | - and here
   = in block(1)
   = help: try less";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_very_long_line_is_shown_as_a_window() {
        let mut sources = Sources::default();
        let file = sources.add("a.kiln", &"x".repeat(1_000_000));
        let d = Diagnostic::new(Code::Syntax, "long")
            .label(Span { file, start: 500_000, end: 900_000 }, "here");
        let text = Diagnostics::new(vec![d], sources).to_string();
        assert!(text.len() < 1000, "{} bytes", text.len());
    }
}
