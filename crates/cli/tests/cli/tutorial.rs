//! The tutorial is true: its files are written, its commands run, and what comes out is what it shows.

use std::fs;

use crate::process::{Folder, command, file, finish};

/// A fenced block: what stands behind the fence, and the lines between.
fn blocks(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(tag) = line.strip_prefix("```") {
            found.push((tag, lines.by_ref().take_while(|l| *l != "```").collect()));
        }
    }
    found
}

/// Whether a line is the one shown, numbers aside that depend on the machine: a time or a rate may be anything, what
/// training reaches may be off by a little.
fn alike(line: &str, shown: &str) -> bool {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (line, shown) = (words(line), words(shown));
    let unit = |at: usize| {
        shown
            .get(at + 1)
            .is_some_and(|u| ["s", "s,", "ms", "examples/s", "examples/s,"].contains(&&**u))
    };
    line.len() == shown.len()
        && line.iter().zip(&shown).enumerate().all(|(at, (a, b))| {
            let number = |word: &str| {
                word.contains('.').then(|| word.trim_end_matches(',').parse::<f64>().ok()).flatten()
            };
            let whole = a.parse::<f64>().is_ok() && b.parse::<f64>().is_ok();
            a == b
                || unit(at) && whole
                || matches!((number(a), number(b)), (Some(a), Some(b)) if (a - b).abs() <= 0.15 * b.abs().max(0.3))
        })
}

/// Fails unless `found` is `shown`, where `...` stands for any lines.
fn compare(found: &str, shown: &[&str], what: &str) {
    let mut rest = found.lines().map(str::trim_end).collect::<Vec<_>>();
    let mut parts = shown.split(|line| *line == "...").peekable();
    let mut first = true;
    while let Some(part) = parts.next() {
        let fits = |from: usize| {
            rest.len() >= from + part.len()
                && part.iter().zip(&rest[from..]).all(|(shown, line)| alike(line, shown))
        };
        let last = parts.peek().is_none();
        let from = match (first, last) {
            (true, _) => Some(0).filter(|&at| fits(at)),
            (false, true) => rest.len().checked_sub(part.len()).filter(|&at| fits(at)),
            (false, false) => (0..=rest.len()).find(|&at| fits(at)),
        };
        let Some(from) = from else {
            panic!("`{what}` does not show\n{}\nbut\n{found}", part.join("\n"));
        };
        rest.drain(..from + part.len());
        first = false;
    }
    assert!(rest.is_empty(), "`{what}` shows more:\n{}", rest.join("\n"));
}

#[test]
fn the_tutorial_shows_what_comes_out() {
    let text = fs::read_to_string(file("docs/tutorial.md")).expect("the tutorial");
    let folder = Folder::new();
    fs::create_dir(folder.path("data")).expect("a writable folder");
    fs::copy(file("data/digits.csv"), folder.path("data/digits.csv")).expect("the digits");
    let mut commands = 0;
    for (tag, lines) in blocks(&text) {
        if let Some(name) = tag.split(',').find_map(|word| word.strip_prefix("file=")) {
            let path = folder.path(name.trim_start_matches('+'));
            let before = if name.starts_with('+') {
                fs::read_to_string(&path).expect("a file to add to") + "\n"
            } else {
                String::new()
            };
            fs::write(path, before + &lines.join("\n") + "\n").expect("a writable folder");
        }
        if tag != "sh" {
            continue;
        }
        for run in split_commands(&lines) {
            let (line, shown) = run.split_first().expect("a command");
            let words: Vec<&str> = line.trim_start_matches("$ kiln ").split(' ').collect();
            let mut command = command(&words);
            command.current_dir(folder.path(""));
            let run = finish(command);
            compare(&(run.stdout + &run.stderr), shown, line);
            commands += 1;
        }
    }
    assert!(commands >= 7, "{commands} commands");
}

/// Each `$ kiln ...` with the lines below it.
fn split_commands<'l>(lines: &'l [&'l str]) -> Vec<&'l [&'l str]> {
    let starts: Vec<usize> =
        (0..lines.len()).filter(|&i| lines[i].starts_with("$ kiln ")).collect();
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    starts.iter().zip(ends).map(|(&from, to)| &lines[from..to]).collect()
}
