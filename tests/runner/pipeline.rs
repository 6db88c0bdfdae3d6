//! The steps of a case: what each takes and gives. After each the result is verified, and its text
//! must read back as the same text.
//!
//! | step | takes | gives |
//! |---|---|---|
//! | `print` | anything | its text |
//! | `fmt` | a source | the source, formatted |
//! | `elaborate: KIND` | a source | the graph of its model for `inference`, `training`, `validation`, `init` |
//! | `verify` | a graph, a program | the same, if it is well formed |
//! | `pass: NAMES` | a graph, a program | what the passes of these names (`all`: of the table) make of it |
//! | `lower` | a graph | the program |
//! | `dump: json`, `dump: dot` | a graph, a program | the view |
//! | `dump: plan` | a program | the plan, checked |
//! | `run: STEPS` | a graph, a program | results of the engines after so many steps, one if not said |
//!
//! Where `print` or `verify` is not said, wrong graphs and programs are refused when they are read.

use std::collections::BTreeMap;

use kiln_graph::Graph;
use kiln_graph::eval::{Value, evaluate};
use kiln_lang::{Code, Diagnostics, Elaborated, Kind, Module, Options};
use kiln_loops::Program;
use kiln_passes::pass::Ir;
use kiln_passes::{GRAPH_PASSES, Notes, PROGRAM_PASSES, Pass};

use super::case::{Case, Language, Step};
use super::{engines, input};

/// Why a step failed.
#[derive(Debug)]
pub struct Failure {
    /// What is shown.
    pub text: String,
    /// The line of each error in the case's input, and the error; empty if it has no line.
    pub places: Vec<(usize, String)>,
}

impl Failure {
    fn new(text: impl ToString) -> Failure {
        Failure { text: text.to_string(), places: Vec::new() }
    }

    fn at(line: usize, text: impl ToString) -> Failure {
        Failure { text: text.to_string(), places: vec![(line, text.to_string())] }
    }

    /// The errors among `diagnostics`, with lines of those in the file `path`.
    fn of(diagnostics: &Diagnostics, path: &str) -> Failure {
        let places = diagnostics.list().iter().filter_map(|d| {
            let (span, label) = d.labels.first()?;
            let source = diagnostics.sources().get(span.file);
            let line = source.line_column(span.start).0;
            let text = format!("error[{}]: {} {label}", d.code, d.message);
            (source.name() == path).then_some((line, text))
        });
        Failure { text: diagnostics.to_string(), places: places.collect() }
    }
}

/// What steps pass on.
enum Stage {
    Source(Module),
    Graph(Graph),
    Program(Program),
    Text(String),
}

impl Stage {
    fn name(&self) -> &'static str {
        match self {
            Stage::Source(_) => "a source",
            Stage::Graph(_) => "a graph",
            Stage::Program(_) => "a program",
            Stage::Text(_) => "a text",
        }
    }
}

/// A case on its way.
struct Pipeline<'c> {
    case: &'c Case,
    path: String,
    /// The value of every weight and state at the start, if the model was elaborated.
    start: BTreeMap<String, Value>,
    remarks: String,
}

/// Does the steps of a case; gives its text, that is the last result's and, if the case asks for
/// them, the remarks.
pub fn run(case: &Case, path: &str) -> Result<String, Failure> {
    let mut pipeline =
        Pipeline { case, path: path.to_owned(), start: BTreeMap::new(), remarks: String::new() };
    let mut stage = pipeline.read()?;
    for step in &case.steps {
        stage = pipeline.step(step, stage)?;
    }
    let text = match stage {
        Stage::Source(module) => kiln_lang::print::print(module.ast()),
        Stage::Graph(graph) => graph.to_string(),
        Stage::Program(program) => program.to_string(),
        Stage::Text(text) => text,
    };
    Ok(if case.remarks { text + &pipeline.remarks } else { text })
}

impl Pipeline<'_> {
    fn read(&self) -> Result<Stage, Failure> {
        let text = &self.case.input;
        Ok(match self.case.language {
            Language::Kiln => Stage::Source(
                Module::parse(text, &self.path).map_err(|d| Failure::of(&d, &self.path))?,
            ),
            Language::Graph => {
                let graph: Graph =
                    text.parse().map_err(|e: kiln_graph::TextError| Failure::at(e.line, e))?;
                kiln_graph::verify(&graph).map_err(Failure::new)?;
                Stage::Graph(graph)
            }
            Language::Loops => {
                let program = kiln_loops::parse(text).map_err(|e| Failure::at(e.line, e))?;
                kiln_loops::verify(&program).map_err(Failure::new)?;
                Stage::Program(program)
            }
        })
    }

    fn step(&mut self, step: &Step, stage: Stage) -> Result<Stage, Failure> {
        Ok(match (step.name.as_str(), stage) {
            ("print", Stage::Source(module)) => Stage::Text(self.print(&module)?),
            ("print", Stage::Graph(graph)) => Stage::Text(graph_text(&graph)?),
            ("print", Stage::Program(program)) => Stage::Text(program_text(&program)?),
            ("verify", stage @ (Stage::Graph(_) | Stage::Program(_))) => stage,
            ("fmt", Stage::Source(_)) => Stage::Text(self.format()?),
            ("elaborate", Stage::Source(module)) => {
                let elaborated = self.elaborate(&module, kind(&step.argument)?)?;
                graph_text(&elaborated.graph)?;
                Stage::Graph(elaborated.graph)
            }
            ("pass", Stage::Graph(graph)) => {
                Stage::Graph(self.passes(GRAPH_PASSES, &step.argument, graph, &graph_text)?)
            }
            ("pass", Stage::Program(program)) => {
                let table = PROGRAM_PASSES;
                Stage::Program(self.passes(table, &step.argument, program, &program_text)?)
            }
            ("lower", Stage::Graph(graph)) => {
                let program = kiln_passes::lower(&graph).map_err(Failure::new)?;
                program_text(&program)?;
                Stage::Program(program)
            }
            ("dump", stage) => Stage::Text(dump(&step.argument, stage)?),
            ("run", stage) => Stage::Text(self.run(&step.argument, stage)?),
            (name, stage) => {
                return Err(Failure::new(format!("`{name}` does not take {}", stage.name())));
            }
        })
    }

    /// The printed source, which must be the same tree.
    fn print(&self, module: &Module) -> Result<String, Failure> {
        let text = kiln_lang::print::print(module.ast());
        let again = Module::parse(&text, &self.path).map_err(|d| Failure::of(&d, &self.path))?;
        match again.ast() == module.ast() && kiln_lang::print::print(again.ast()) == text {
            true => Ok(text),
            false => Err(Failure::new(format!("reads back as another tree:\n{text}"))),
        }
    }

    /// The formatted source, which must be the same tree and formatted already.
    fn format(&self) -> Result<String, Failure> {
        let failure = |d: Diagnostics| Failure::of(&d, &self.path);
        let source = self.case.input.trim_start();
        let text = kiln_lang::format::format(source, &self.path).map_err(failure)?;
        let again = kiln_lang::format::format(&text, &self.path).map_err(failure)?;
        let tree = |text: &str| Module::parse(text, &self.path).map_err(failure);
        match again == text && tree(&text)?.ast() == tree(source)?.ast() {
            true => Ok(text),
            false => Err(Failure::new(format!("formatting again gives\n{again}"))),
        }
    }

    fn elaborate(&mut self, module: &Module, kind: Kind) -> Result<Elaborated, Failure> {
        let options = Options { bindings: self.case.set.clone(), ..Options::default() };
        let failure = |d: Diagnostics| Failure::of(&d, &self.path);
        let model = module.model(None).map_err(failure)?;
        let elaborated = model.elaborate(kind, &options).map_err(failure)?;
        if self.case.step("run").is_some() {
            let init = model.elaborate(Kind::Init, &options).map_err(failure)?;
            self.start = evaluate(&init.graph, &BTreeMap::new()).map_err(Failure::new)?.outputs;
        }
        Ok(elaborated)
    }

    fn passes<T: Ir>(
        &mut self,
        table: &[&'static Pass<T>],
        names: &str,
        ir: T,
        text: &dyn Fn(&T) -> Result<String, Failure>,
    ) -> Result<T, Failure> {
        let chosen = match names {
            "all" => table.to_vec(),
            names => kiln_passes::select(table, names).map_err(Failure::new)?,
        };
        let (mut notes, mut wrong) = (Notes::default(), None);
        let ir = kiln_passes::run(&chosen, ir, &mut notes, &mut |_, ir| {
            wrong = wrong.take().or(text(ir).err());
        });
        let ir = ir.map_err(Failure::new)?;
        self.remarks.extend(notes.remarks.iter().map(|remark| format!("remark: {remark}\n")));
        wrong.map_or(Ok(ir), Err)
    }

    fn run(&self, steps: &str, stage: Stage) -> Result<String, Failure> {
        let steps: usize = match steps {
            "" => 1,
            steps => steps.parse().map_err(|_| Failure::new("`run` wants a number of steps"))?,
        };
        let case = self.case;
        match stage {
            Stage::Graph(graph) => {
                let given = input::of_graph(&graph, &case.inputs, &self.start);
                engines::graph(&graph, &given.map_err(Failure::new)?, steps)
            }
            Stage::Program(program) => {
                let given = input::of_program(&program, &case.inputs).map_err(Failure::new)?;
                engines::program(&program, &given, steps)
            }
            other => Err(format!("`run` does not take {}", other.name())),
        }
        .map_err(Failure::new)
    }
}

/// The kind of graph with this name.
fn kind(name: &str) -> Result<Kind, Failure> {
    Ok(match name {
        "inference" => Kind::Inference,
        "training" => Kind::Training,
        "validation" => Kind::Validation,
        "init" => Kind::Init,
        _ => return Err(Failure::new(format!("no kind of graph is called `{name}`"))),
    })
}

/// The text of a graph, which must read back as the same text.
pub fn graph_text(graph: &Graph) -> Result<String, Failure> {
    let text = graph.to_string();
    let again: Graph = text.parse().map_err(|e| Failure::new(format!("{e} of\n{text}")))?;
    kiln_graph::verify(&again).map_err(|e| Failure::new(format!("{e}:\n{text}")))?;
    match again.to_string() == text {
        true => Ok(text),
        false => Err(Failure::new(format!("reads back as another graph:\n{text}\n{again}"))),
    }
}

/// The text of a program, which must read back as the same text.
pub fn program_text(program: &Program) -> Result<String, Failure> {
    let text = program.to_string();
    let again = kiln_loops::parse(&text).map_err(|e| Failure::new(format!("{e} of\n{text}")))?;
    kiln_loops::verify(&again).map_err(|e| Failure::new(format!("{e}:\n{text}")))?;
    match again.to_string() == text {
        true => Ok(text),
        false => Err(Failure::new(format!("reads back as another program:\n{text}\n{again}"))),
    }
}

/// The table of a program's plan, which is checked, and whose text must read back as the same plan.
pub fn plan_text(program: &Program) -> Result<String, Failure> {
    kiln_loops::check_plan(program).map_err(Failure::new)?;
    let text = kiln_loops::dump::plan(program);
    let again = kiln_loops::parse(&text).map_err(|e| Failure::new(format!("{e} of\n{text}")))?;
    let table = text.lines().filter_map(|line| line.strip_prefix("# "));
    match kiln_loops::dump::plan(&again) == text {
        true => Ok(table.map(|line| format!("{line}\n")).collect()),
        false => Err(Failure::new(format!("reads back as another plan:\n{text}"))),
    }
}

fn dump(form: &str, stage: Stage) -> Result<String, Failure> {
    let closed = |text: String| if text.ends_with('\n') { text } else { text + "\n" };
    Ok(match (form, stage) {
        ("json", Stage::Graph(graph)) => closed(kiln_graph::dump::json(&graph)),
        ("dot", Stage::Graph(graph)) => kiln_graph::dump::dot(&graph),
        ("json", Stage::Program(program)) => closed(kiln_loops::dump::json(&program)),
        ("dot", Stage::Program(program)) => kiln_loops::dump::dot(&program),
        ("plan", Stage::Program(program)) => plan_text(&program)?,
        (form, stage) => {
            return Err(Failure::new(format!("no dump `{form}` of {}", stage.name())));
        }
    })
}

/// Whether every message of `diagnostics` has a text and a place with a line; if not, why.
pub fn is_good(diagnostics: &Diagnostics) -> Result<(), String> {
    if diagnostics.list().is_empty() {
        return Err("refused without a message".to_owned());
    }
    for d in diagnostics.list() {
        if d.message.trim().is_empty() {
            return Err(format!("a message of code {} is empty", d.code));
        }
        for (span, _) in &d.labels {
            let source = diagnostics.sources().get(span.file);
            let length = source.text().len();
            if span.start > span.end || span.end as usize > length {
                return Err(format!("`{}` is beyond the end of {}", d.message, source.name()));
            }
        }
        if d.labels.is_empty() && d.code != Code::File && !d.message.contains("has no model") {
            return Err(format!("`{}` has no place", d.message));
        }
    }
    Ok(())
}
