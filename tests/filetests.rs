//! Every stage as text: the cases of `cases/`, the blocks of the documents, the library and the
//! models of `dsl/`, and damaged models.
//!
//! `BLESS=1 cargo test -p kiln-tests --test filetests` rewrites what cases expect; read the
//! difference before you commit it. `CASE=word` runs only the cases with this word in their path.

mod runner;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_lang::lex::{Kind as Word, Lexer};
use kiln_lang::{Code, Diagnostic, Diagnostics, FileId, Kind, Module, Options};
use kiln_passes::{GRAPH_PASSES, PROGRAM_PASSES};

use runner::case::{Case, ENDINGS, difference};
use runner::mutate::{Random, misspelt, mutate, without_bracket};
use runner::pipeline::{self, Failure};
use runner::{documents, files, models, read, root};

/// Cases name their files relative to the repository.
fn enter_root() {
    env::set_current_dir(root()).unwrap_or_else(|e| panic!("{}: {e}", root().display()));
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn cases() -> Vec<Case> {
    let paths = files(&root().join("tests/cases"), &ENDINGS);
    let read = |path| Case::read(path).unwrap_or_else(|e| panic!("{}: {e}", relative(path)));
    paths.iter().filter_map(|path| read(path)).collect()
}

/// What a case gives, if it fails where it is to fail and nowhere else.
fn outcome(case: &Case) -> Result<String, String> {
    match (pipeline::run(case, &relative(&case.path)), case.error) {
        (Ok(text), false) => Ok(text),
        (Ok(text), true) => Err(format!("is not refused, but gives\n{text}")),
        (Err(failure), false) => Err(format!("is refused:\n{}", failure.text)),
        (Err(failure), true) => {
            check_marks(case, &failure).map_err(|e| format!("{e}\n{}", failure.text))?;
            Ok(failure.text.trim_end().to_owned() + "\n")
        }
    }
}

/// Every error that stands on a line of the case has its `#~` there, and the other way round.
fn check_marks(case: &Case, failure: &Failure) -> Result<(), String> {
    let mut marks = case.marks();
    for (line, error) in &failure.places {
        let fits = |(at, text): &(usize, String)| at == line && error.contains(text.as_str());
        match marks.iter().position(fits) {
            Some(at) => {
                marks.remove(at);
            }
            None => return Err(format!("line {line} has no `#~` for: {error}")),
        }
    }
    match marks.first() {
        Some((line, text)) => Err(format!("line {line}: no error says `{text}`")),
        None => Ok(()),
    }
}

#[test]
fn every_case_gives_what_it_expects() {
    enter_root();
    let bless = env::var_os("BLESS").is_some();
    let chosen = env::var("CASE").unwrap_or_default();
    let mut wrong = Vec::new();
    for case in cases().iter().filter(|case| relative(&case.path).contains(&chosen)) {
        let start = Instant::now();
        let name = relative(&case.path);
        match outcome(case) {
            Err(message) => wrong.push(format!("{name}: {message}")),
            Ok(found) if found == case.expected => {}
            Ok(found) if bless => {
                fs::write(&case.path, case.with(&found)).unwrap_or_else(|e| panic!("{name}: {e}"));
            }
            Ok(found) => {
                wrong.push(format!("{name}: {}", difference(&case.expected, &found)));
            }
        }
        if start.elapsed() > Duration::from_secs(2) {
            wrong.push(format!("{name}: takes {:?}", start.elapsed()));
        }
    }
    assert!(wrong.is_empty(), "{} cases are wrong\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_pass_has_cases_of_its_own() {
    let graph = GRAPH_PASSES.iter().map(|p| p.name);
    for pass in graph.chain(PROGRAM_PASSES.iter().map(|p| p.name)) {
        let folder = root().join("tests/cases/pass").join(pass);
        assert!(folder.is_dir(), "there is no {}", relative(&folder));
        for path in files(&folder, &ENDINGS) {
            let case = Case::read(&path).ok().flatten();
            let steps = case.map(|case| case.steps).unwrap_or_default();
            let named = |argument: &str| argument.split(',').any(|name| name.trim() == pass);
            assert!(
                steps.iter().any(|s| s.name == "pass" && named(&s.argument)),
                "{} does not name the pass `{pass}`",
                relative(&path)
            );
        }
    }
}

/// The names that a source mentions.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let tokens = Lexer::new(text, FileId(0)).filter(|token| token.kind == Word::Word);
    tokens.map(|token| &text[token.span.start as usize..token.span.end as usize])
}

#[test]
fn every_definition_of_the_library_has_its_values_checked() {
    let cases = cases();
    let elaborated = cases.iter().filter(|case| !case.error && case.step("elaborate").is_some());
    let texts = elaborated.flat_map(|case| {
        std::iter::once(case.input.as_str()).chain(case.set.iter().map(|(_, value)| value.as_str()))
    });
    // Those of library_pytorch.rs have PyTorch's numbers.
    let pytorch = read(&root().join("tests/fixtures/std.kiln"));
    let used: BTreeSet<&str> = texts.chain([pytorch.as_str()]).flat_map(words).collect();
    let mut unused = Vec::new();
    for path in files(&root().join("dsl/std"), &["kiln"]) {
        let text = read(&path);
        // Inside an imported file, a definition's name is known to its own file only.
        let module = Module::parse(&text, &relative(&path)).unwrap_or_else(|e| panic!("{e}"));
        for item in &module.ast().items {
            let kiln_lang::ast::Item::Definition(definition) = item else {
                panic!("{} holds more than definitions", relative(&path));
            };
            let name = definition.node.name.node.as_str();
            let helps = words(&text).filter(|word| *word == name).count() > 1;
            if !used.contains(name) && !helps {
                unused.push(format!("{name} of {}", relative(&path)));
            }
        }
    }
    assert!(unused.is_empty(), "no case has values of {}", unused.join(", "));
}

/// The sizes of a model in its first comparison with PyTorch; its own where there is none.
fn small(model: &str) -> Options {
    let manifests = files(&root().join("tests/fixtures/networks"), &["json"]);
    let manifests = manifests.iter().map(|path| serde_json::from_str(&read(path)).expect("JSON"));
    let mut its = manifests.filter(|manifest: &serde_json::Value| manifest["model"] == model);
    let first = its.next().unwrap_or_default();
    let set = first["set"].as_object().into_iter().flatten();
    set.fold(Options::default(), |o, (key, value)| o.bind(key, value.as_str().expect("text")))
}

#[test]
fn every_model_goes_through_every_stage_as_text() {
    enter_root();
    let paths = files(&root().join("dsl/models"), &["kiln"]);
    assert!(!paths.is_empty());
    for path in paths {
        let name = relative(&path);
        let text = read(&path);
        let module = Module::parse_file(&name).unwrap_or_else(|e| panic!("{e}"));
        let formatted = kiln_lang::format::format(&text, &name).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(formatted, text, "{name} is not formatted");
        let model = module.model(None).unwrap_or_else(|e| panic!("{e}"));
        let axes = model.free_axes();
        let options = axes.iter().fold(small(&name), |o, axis| o.bind(axis, 2));
        let printed = kiln_lang::print::print(module.ast());
        let again = Module::parse(&printed, &name).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(kiln_lang::print::print(again.ast()), printed, "{name} prints differently");
        for kind in [Kind::Inference, Kind::Training, Kind::Validation, Kind::Init] {
            models::walk(&model, kind, &options).unwrap_or_else(|e| panic!("{name} {kind:?}: {e}"));
        }
    }
}

/// What damage is done to: the models, and what cases elaborate.
fn samples() -> Vec<String> {
    let models = files(&root().join("dsl/models"), &["kiln"]);
    let mut texts: Vec<String> = models.iter().map(|path| read(path)).collect();
    texts.extend(cases().into_iter().filter_map(|case| {
        let whole = !case.error && case.step("elaborate").is_some();
        (whole && case.input.contains("model ")).then_some(case.input)
    }));
    texts
}

/// Longer than any answer takes on a busy machine in an unoptimised build: who takes longer unrolls without end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Parses and elaborates a text as far as it goes.
fn answer(text: &str) -> Result<(), Diagnostics> {
    let start = Instant::now();
    let result = Module::parse(text, "damaged.kiln").and_then(|module| {
        let model = module.model(None)?;
        let axes = model.free_axes();
        let options = axes.iter().fold(Options::default(), |o, axis| o.bind(axis, 2));
        model.elaborate(Kind::Inference, &options)?;
        if model.training(&options)?.is_some() {
            model.elaborate(Kind::Training, &options)?;
        }
        Ok(())
    });
    assert!(start.elapsed() < PATIENCE, "{:?} for\n{text:.4000}", start.elapsed());
    if let Err(diagnostics) = &result {
        pipeline::is_good(diagnostics)
            .unwrap_or_else(|e| panic!("{e}:\n{diagnostics}\n{text:.4000}"));
    }
    result
}

#[test]
fn damaged_models_are_answered_with_good_errors() {
    const MUTANTS: usize = 200;
    let samples = samples();
    let (mut random, mut refused) = (Random(1), 0);
    for at in 0..MUTANTS {
        refused += usize::from(answer(&mutate(&samples[at % samples.len()], &mut random)).is_err());
    }
    assert!(refused > MUTANTS / 2, "only {refused} of {MUTANTS} were refused");
}

#[test]
fn a_missing_bracket_is_reported_at_a_bracket() {
    let (mut random, samples) = (Random(2), samples());
    for text in samples.iter().cycle().take(200) {
        let Some(text) = without_bracket(text, &mut random) else { continue };
        let Err(diagnostics) = answer(&text) else { panic!("is not refused:\n{text}") };
        let at_bracket = |d: &Diagnostic| {
            let span = d.labels[0].0;
            let at = &text[span.start as usize..span.end as usize];
            d.code == Code::Syntax && at.starts_with(['(', ')', '[', ']', '{', '}'])
        };
        assert!(diagnostics.list().iter().any(at_bracket), "{diagnostics}");
    }
}

#[test]
fn a_misspelt_name_is_answered_with_the_nearest() {
    let (mut random, samples, mut helped) = (Random(3), samples(), 0);
    for text in samples.iter().cycle().take(300) {
        let Some((text, right, wrong)) = misspelt(text, &mut random) else { continue };
        let Err(diagnostics) = answer(&text) else { continue };
        // Another name may be as near as the right one.
        let named = |d: &Diagnostic| d.help.as_ref().is_some_and(|h| h.contains("did you mean `"));
        let about = |d: &&Diagnostic| d.message.contains(&format!("`{wrong}`"));
        if let Some(d) = diagnostics.list().iter().find(about).filter(|d| d.code == Code::Name) {
            assert!(named(d), "{wrong} for {right}:\n{diagnostics}");
            helped += 1;
        }
    }
    assert!(helped > 60, "only {helped} names were answered with another");
}

#[test]
fn every_code_of_a_diagnostic_has_a_case() {
    let refused: Vec<Case> = cases().into_iter().filter(|case| case.error).collect();
    for code in Code::ALL {
        let shown = format!("error[{code}]");
        assert!(refused.iter().any(|case| case.expected.contains(&shown)), "no case for {shown}");
    }
}

#[test]
fn the_blocks_of_the_documents_are_what_they_say() {
    enter_root();
    let mut paths = files(&root().join("docs"), &["md"]);
    paths.extend(["README.md", "tests/README.md"].map(|name| root().join(name)));
    let mut wrong = Vec::new();
    for path in paths.iter().filter(|path| path.is_file()) {
        for block in documents::blocks(path) {
            if let Some(Err(message)) = documents::check(&block) {
                wrong.push(format!("{}:{}: {message}", relative(path), block.line));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
