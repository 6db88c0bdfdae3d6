//! A case is one file: a header of `#` lines, an empty line, the input, `# ---- expect`, what is
//! expected. The ending says what the input is: `.kiln`, `.graph` or `.loops`.
//!
//! ```text
//! # Equal nodes become one.
//! # pass: cse
//!
//! graph { ... }
//! # ---- expect
//! graph { ... }
//! ```
//!
//! A header line that is a lower-case word, or starts with one and a colon, is a directive; any
//! other says what the case is about. Steps are done in their order, each on what the one before gave.

use std::path::{Path, PathBuf};

use super::read;

const EXPECT: &str = "# ---- expect\n";

/// What the input is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// The language.
    Kiln,
    /// The text form of graphs.
    Graph,
    /// The text form of programs.
    Loops,
}

/// Something to do, with what stands after its colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What stands after the colon; may be empty.
    pub argument: String,
}

/// The endings of files that are cases.
pub const ENDINGS: [&str; 3] = ["kiln", "graph", "loops"];

/// Directives that are done, in the order of their lines.
const STEPS: [&str; 8] = ["print", "fmt", "elaborate", "verify", "pass", "lower", "run", "dump"];

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its file.
    pub path: PathBuf,
    /// What the input is written in.
    pub language: Language,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// Whether the last step is to fail.
    pub error: bool,
    /// Whether the passes' remarks are part of what is expected.
    pub remarks: bool,
    /// `key=value` pairs for elaboration.
    pub set: Vec<(String, String)>,
    /// Values of inputs by name, as written.
    pub inputs: Vec<(String, String)>,
    /// The input, with an empty line for each of the header, so that lines have the file's numbers.
    pub input: String,
    /// What is expected.
    pub expected: String,
    /// The file up to and without the expectation.
    head: String,
}

impl Case {
    /// Reads a case; `None` if the file is no case but something that cases import.
    pub fn read(path: &Path) -> Result<Option<Case>, String> {
        if path.iter().any(|folder| folder == "imported") {
            return Ok(None);
        }
        let text = read(path);
        let (head, expected) = match text.split_once(EXPECT) {
            Some((head, expected)) => (head, expected),
            None => (text.as_str(), ""),
        };
        let language = match path.extension().and_then(|e| e.to_str()) {
            Some("kiln") => Language::Kiln,
            Some("graph") => Language::Graph,
            _ => Language::Loops,
        };
        let mut case = Case {
            path: path.to_path_buf(),
            language,
            steps: Vec::new(),
            error: false,
            remarks: false,
            set: Vec::new(),
            inputs: Vec::new(),
            input: String::new(),
            expected: expected.to_owned(),
            head: head.to_owned(),
        };
        let header = head.lines().take_while(|line| line.starts_with('#')).count();
        for (at, line) in head.lines().take(header).enumerate() {
            case.directive(line[1..].trim()).map_err(|e| format!("line {}: {e}", at + 1))?;
        }
        if case.steps.is_empty() {
            return Err("the header names no step".to_owned());
        }
        let body: String = head.split_inclusive('\n').skip(header).collect();
        case.input = "\n".repeat(header) + &body;
        Ok(Some(case))
    }

    fn directive(&mut self, line: &str) -> Result<(), String> {
        let (name, argument) = line.split_once(':').unwrap_or((line, ""));
        let (name, argument) = (name.trim(), argument.trim().to_owned());
        let pair = || {
            let pair = argument.split_once('=').ok_or(format!("`{name}` wants name = value"))?;
            Ok::<_, String>((pair.0.trim().to_owned(), pair.1.trim().to_owned()))
        };
        match name {
            "error" => self.error = true,
            "remarks" => self.remarks = true,
            "set" => self.set.push(pair()?),
            "input" => self.inputs.push(pair()?),
            _ if STEPS.contains(&name) => {
                self.steps.push(Step { name: name.to_owned(), argument });
            }
            _ if name.chars().all(|c| c.is_ascii_lowercase() || c == '-') => {
                return Err(format!("no directive `{name}`"));
            }
            _ => {}
        }
        Ok(())
    }

    /// The whole file, were this what is expected.
    pub fn with(&self, expected: &str) -> String {
        format!("{}{EXPECT}{expected}", self.head)
    }

    /// The lines on which `#~ text` says that an error is expected there, with that text.
    pub fn marks(&self) -> Vec<(usize, String)> {
        let marks =
            self.input.lines().enumerate().filter_map(|(at, line)| {
                Some((at + 1, line.split_once("#~")?.1.trim().to_owned()))
            });
        marks.collect()
    }

    /// The first step of this name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }
}

/// Where two texts differ: the lines of each between what both begin and what both end with.
pub fn difference(expected: &str, found: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[same..], &new[same..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let mut out = format!("after line {same} of the expectation:\n");
    old[..old.len() - tail].iter().for_each(|line| out += &format!("- {line}\n"));
    new[..new.len() - tail].iter().for_each(|line| out += &format!("+ {line}\n"));
    out
}
