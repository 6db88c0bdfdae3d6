//! Rules of the repository that no compiler checks: which crate may import which, where `unsafe`
//! may stand, and documents that agree with the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates in which machine code is written or run.
const UNSAFE_CRATES: [&str; 2] = ["kernels", "jit"];

/// No source file reaches this many lines.
const MOST_LINES: usize = 700;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every file below a folder, sorted; hidden ones and build output left out.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') || name.starts_with("target") || name == "__pycache__" {
                continue;
            }
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The crates under `crates/`, by folder.
fn crates() -> BTreeSet<String> {
    let entries = fs::read_dir(root().join("crates")).expect("crates/ is there");
    let names = entries.map(|e| e.expect("a readable folder").file_name());
    names.map(|n| n.to_string_lossy().into_owned()).collect()
}

/// A crate's folder, by the name of its package.
fn folder(package: &str) -> Option<String> {
    match package {
        "kiln" => Some("kiln".to_owned()),
        _ => package.strip_prefix("kiln-").map(str::to_owned),
    }
}

/// The names in one section of a manifest.
fn section(manifest: &str, header: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|l| l.trim() != header).skip(1);
    let lines = lines.take_while(|l| !l.starts_with('['));
    let names = lines.filter_map(|l| l.split_once('=').map(|(name, _)| name.trim()));
    names
        .filter(|n| !n.starts_with('#'))
        .map(|n| n.trim_end_matches(".workspace").trim_matches('"').to_owned())
        .collect()
}

/// The rows of the first table of a document whose header's first cell is `head`.
fn table<'d>(document: &'d str, head: &str) -> Vec<Vec<&'d str>> {
    let cells = |line: &'d str| -> Vec<&'d str> {
        line.trim().trim_matches('|').split('|').map(str::trim).collect()
    };
    let is_head = |line: &'d str| line.starts_with('|') && cells(line).first() == Some(&head);
    let start = document.lines().position(is_head);
    let start = start.unwrap_or_else(|| panic!("there is no table of `{head}`"));
    document.lines().skip(start + 2).take_while(|l| l.starts_with('|')).map(cells).collect()
}

/// The names in back quotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn crates_import_what_the_table_of_layers_allows() {
    let architecture = read("docs/architecture.md");
    let rows = table(&architecture, "crate");
    let mut allowed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in &rows {
        let imports = quoted(row[1]);
        for name in quoted(row[0]) {
            for import in &imports {
                assert!(
                    allowed.contains_key(import),
                    "`{name}` may import `{import}`, which does not stand above it in the table"
                );
            }
            allowed.insert(name, imports.clone());
        }
    }
    let listed: BTreeSet<String> = allowed.keys().cloned().collect();
    assert_eq!(listed, crates(), "the table of layers lists each crate once");
    for name in crates() {
        let manifest = read(format!("crates/{name}/Cargo.toml"));
        for header in ["[dependencies]", "[build-dependencies]"] {
            let ours = section(&manifest, header).into_iter().filter_map(|d| folder(&d));
            for import in ours {
                assert!(
                    allowed[&name].contains(&import),
                    "crates/{name} imports `{import}`; the table of layers allows {:?}",
                    allowed[&name]
                );
            }
        }
    }
}

#[test]
fn manifests_are_read() {
    let manifest = read("crates/passes/Cargo.toml");
    let ours: Vec<String> =
        section(&manifest, "[dependencies]").iter().filter_map(|d| folder(d)).collect();
    assert_eq!(ours, ["tensor", "loops", "graph"]);
}

/// Rust text without comments, strings and characters.
fn code(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let at = |i: usize| bytes.get(i).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < bytes.len() {
        match (at(i), at(i + 1)) {
            ('/', '/') => {
                while i < bytes.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            ('/', '*') => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= bytes.len() {
                        break;
                    }
                }
            }
            ('r', '"' | '#') if i == 0 || !is_word(at(i - 1)) || at(i - 1) == 'b' => {
                let hashes = (i + 1..).take_while(|&j| at(j) == '#').count();
                i += 1 + hashes;
                if at(i) != '"' {
                    continue; // a raw identifier
                }
                i += 1;
                let closes = |i: usize| at(i) == '"' && (1..=hashes).all(|h| at(i + h) == '#');
                while i < bytes.len() && !closes(i) {
                    i += 1;
                }
                i += 1 + hashes;
            }
            ('"', _) => {
                i += 1;
                while i < bytes.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
                out.push(' ');
            }
            // A character, not a lifetime.
            ('\'', '\\') => {
                i += 3;
                while i < bytes.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            ('\'', _) if at(i + 2) == '\'' => i += 3,
            (c, _) => {
                out.push(c);
                i += 1;
            }
        }
    }
    out
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

#[test]
fn comments_and_strings_are_no_code() {
    let text = "// unsafe\nlet a = \"unsafe \\\" unsafe\"; /* unsafe /* unsafe */ unsafe */ let b = 'u';\n\
                let c = r#\"unsafe \" unsafe\"#; let d: &'static str = br\"unsafe\"; let e = '\\''; unsafe {}";
    let code = code(text);
    assert_eq!(words(&code).filter(|w| *w == "unsafe").count(), 1, "{code}");
    assert_eq!(words(&code).filter(|w| *w == "let").count(), 5, "{code}");
}

#[test]
fn unsafe_stands_in_kernels_and_jit_only() {
    let mut read_any = false;
    for path in files(root()) {
        let name = relative(&path);
        let may = UNSAFE_CRATES.iter().any(|c| name.starts_with(&format!("crates/{c}/")));
        if may || path.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        read_any = true;
        let code = code(&read(&path));
        for word in ["unsafe", "unsafe_code"] {
            let found = words(&code).any(|w| w == word);
            assert!(!found, "{name}: `{word}` may stand only in {UNSAFE_CRATES:?}");
        }
    }
    assert!(read_any, "there is Rust in the repository");
}

#[test]
fn source_files_are_short() {
    let mut folders = vec![root().join("dsl"), root().join("tests")];
    folders.extend(crates().iter().map(|c| root().join("crates").join(c).join("src")));
    for path in folders.iter().flat_map(|f| files(f)) {
        // Fixtures of other programs are binary.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let lines = text.lines().count();
        assert!(
            lines < MOST_LINES,
            "{}: {lines} lines, {MOST_LINES} are too many",
            relative(&path)
        );
    }
}

#[test]
fn generated_pages_are_current() {
    let pages = [
        ("docs/ops.md", kiln_graph::docs::ops_markdown()),
        ("docs/std.md", kiln_lang::library::markdown()),
    ];
    for (path, current) in pages {
        if std::env::var_os("BLESS").is_some() {
            fs::write(root().join(path), &current).unwrap_or_else(|e| panic!("{path}: {e}"));
        }
        assert_eq!(read(path), current, "BLESS=1 cargo test -p kiln-tests writes {path}");
    }
}

/// The links of a Markdown document to files of the repository.
fn links(document: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut is_code = false;
    for line in document.lines() {
        let fence = line.trim_start().starts_with("```");
        is_code ^= fence;
        if !is_code && !fence {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    // What stands in back quotes is no link.
    let prose: String = prose.split('`').step_by(2).collect();
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let targets = targets.map(|(target, _)| target.split('#').next().unwrap_or_default());
    targets.filter(|t| !t.is_empty() && !t.contains("://")).map(str::to_owned).collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let documents = files(root()).into_iter().filter(|p| p.extension().is_some_and(|e| e == "md"));
    let mut count = 0;
    for path in documents {
        let folder = path.parent().expect("a file lies in a folder");
        for link in links(&read(&path)) {
            assert!(folder.join(&link).exists(), "{}: {link} is not there", relative(&path));
            count += 1;
        }
    }
    assert!(count > 10, "{count} links");
}

#[test]
fn no_merge_is_left_half_done() {
    for path in
        files(root()).into_iter().filter(|p| std::fs::metadata(p).is_ok_and(|m| m.len() < 1 << 20))
    {
        let bytes = std::fs::read(&path).expect("a readable file");
        for line in String::from_utf8_lossy(&bytes).lines() {
            let mark = ['<', '>'].iter().any(|&c| line.starts_with(&String::from(c).repeat(7)));
            assert!(!mark, "{}: {line}", relative(&path));
        }
    }
}

#[test]
fn every_decision_is_listed() {
    let index = links(&read("docs/decisions/README.md"));
    let mut numbers = BTreeSet::new();
    for path in files(&root().join("docs/decisions")) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == "README.md" {
            continue;
        }
        assert!(index.contains(&name), "docs/decisions/README.md does not list {name}");
        let number = name.split('-').next().unwrap_or_default().to_owned();
        assert!(number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit()), "{name}");
        assert!(numbers.insert(number), "two decisions have the number of {name}");
        let heading = read(&path).lines().next().unwrap_or_default().to_owned();
        assert!(heading.starts_with(&format!("# {}", &name[..4])), "{name} begins `{heading}`");
    }
    assert!(!numbers.is_empty());
}

#[test]
fn every_dependency_has_a_reason() {
    let decision = read("docs/decisions/0001-dependencies.md");
    let given: BTreeSet<String> =
        table(&decision, "dependency").iter().flat_map(|row| quoted(row[0])).collect();
    let all = section(&read("Cargo.toml"), "[workspace.dependencies]");
    let foreign = all.into_iter().filter(|d| folder(d).is_none()).collect::<BTreeSet<_>>();
    assert_eq!(given, foreign, "docs/decisions/0001-dependencies.md against Cargo.toml");
}
