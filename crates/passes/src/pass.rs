//! What a pass is, and the runner that verifies, times and records.
//!
//! A pass takes an intermediate representation and gives back another of the same meaning. It
//! never prints: what it has to say goes into [`Notes`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use kiln_graph::{Graph, GraphError, Location, NodeId, nearest};
use kiln_loops::{Kernel, Program};

/// One pass over `T`, a [`Graph`] or a [`Program`].
pub struct Pass<T: 'static> {
    /// The name on the command line, of its test cases and in the timing report.
    pub name: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
    /// Does it.
    pub run: fn(T, &mut Notes) -> Result<T, PassError>,
}

/// What passes may read besides the graph or program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassOptions {
    /// Keep every rounding of the source: no sum is moved across a product.
    pub precise: bool,
    /// Threads the program will run on. Results must not depend on it, only speed.
    pub threads: usize,
    /// Whether vector loops have vectors as wide as the processor's, and the steps of functions in
    /// them. Otherwise vectors have four elements, and functions are called on blocks; the results
    /// are the same.
    pub wide_loops: bool,
    /// The most nodes a graph may grow to.
    pub node_limit: usize,
    /// What is decided already.
    pub choices: Choices,
}

/// For the subject of a [`Decision`] the name of the way to take, whatever the estimates say.
pub type Choices = BTreeMap<String, String>;

/// A way to compute something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    /// What it is called.
    pub name: &'static str,
    /// About how long it takes on one core.
    pub nanoseconds: f64,
}

/// A choice among ways to compute the same.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What is computed; equal subjects are the same work.
    pub subject: String,
    /// The ways there are.
    pub ways: Vec<Way>,
    /// The name of the one that was taken.
    pub chosen: &'static str,
    /// A graph that does little else, to time the ways by.
    pub alone: Graph,
}

impl Default for PassOptions {
    fn default() -> PassOptions {
        let choices = Choices::new();
        PassOptions {
            precise: false,
            threads: 1,
            wide_loops: false,
            node_limit: 1_000_000,
            choices,
        }
    }
}

/// Why a pass left something as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The pass.
    pub pass: &'static str,
    /// The node or kernel, as dumps taken before the pass name it.
    pub node: String,
    /// Why.
    pub reason: String,
    /// The source text the node comes from, if any.
    pub location: Option<Location>,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        write!(f, "{}: {}: {}", self.pass, self.node, self.reason)
    }
}

/// What one pass did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassReport {
    /// The pass.
    pub pass: &'static str,
    /// Nodes or kernels before.
    pub before: usize,
    /// Nodes or kernels after.
    pub after: usize,
    /// Wall time of the pass, verification excluded.
    pub time: Duration,
}

/// What passes are told, and what they and the runner leave behind.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// What the caller asked for.
    pub options: PassOptions,
    /// What was declined, in the order it was met.
    pub remarks: Vec<Remark>,
    /// What was decided, each subject once.
    pub decisions: Vec<Decision>,
    /// The passes that have run, in order.
    pub report: Vec<PassReport>,
    /// Wall time of all verification.
    pub verification: Duration,
    pass: &'static str,
}

/// Whether a way that takes more memory is fast enough to be worth it.
fn pays(best: &Way, way: &Way) -> bool {
    way.nanoseconds < 0.9 * best.nanoseconds
}

impl Notes {
    /// Nothing noted yet.
    pub fn new(options: PassOptions) -> Notes {
        Notes { options, ..Notes::default() }
    }

    /// Takes one of several ways (at least one, from the one that takes the least memory to the one
    /// that takes the most): the one that the caller chose for this subject, or else the one with the
    /// least estimate, but for more memory a way has to be a tenth faster. `alone` makes a graph to
    /// time them by.
    pub fn decide(
        &mut self,
        subject: &str,
        ways: &[Way],
        alone: impl FnOnce() -> Result<Graph, GraphError>,
    ) -> Result<&'static str, PassError> {
        let told = self.options.choices.get(subject);
        let told = ways.iter().find(|way| told.is_some_and(|told| told == way.name));
        let faster = |best, way| if pays(best, way) { way } else { best };
        let estimated = || ways.iter().reduce(faster);
        let chosen = told.or_else(estimated).map_or("", |way| way.name);
        if self.decisions.iter().all(|d| d.subject != subject) {
            let (subject, ways) = (subject.to_owned(), ways.to_vec());
            self.decisions.push(Decision { subject, ways, chosen, alone: alone()? });
        }
        Ok(chosen)
    }

    /// Notes about a node of the graph the running pass was given.
    pub fn remark(&mut self, graph: &Graph, id: NodeId, reason: impl Into<String>) {
        let node = &graph[id];
        self.remarks.push(Remark {
            pass: self.pass,
            node: format!("%{} {}", id.index(), node.op.name),
            reason: reason.into(),
            location: node.locations.first().cloned(),
        });
    }

    /// Notes about a kernel of the program the running pass was given.
    pub fn remark_kernel(&mut self, kernel: &Kernel, reason: impl Into<String>) {
        self.remarks.push(Remark {
            pass: self.pass,
            node: kernel.name.clone(),
            reason: reason.into(),
            location: kernel.locations.first().cloned(),
        });
    }
}

/// Why a pass failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pass `{pass}`: {message}")]
pub struct PassError {
    /// The pass; the runner fills it in.
    pub pass: &'static str,
    /// Whether the compiler is at fault, rather than what it was given.
    pub defect: bool,
    /// What is wrong.
    pub message: String,
}

impl PassError {
    /// The input asks for more than a limit allows.
    pub fn limit(message: impl Into<String>) -> PassError {
        PassError { pass: "", defect: false, message: message.into() }
    }

    /// The compiler is at fault.
    pub fn defect(message: impl Into<String>) -> PassError {
        PassError { pass: "", defect: true, message: message.into() }
    }
}

impl From<GraphError> for PassError {
    /// A pass that builds a wrong node is at fault.
    fn from(error: GraphError) -> PassError {
        PassError::defect(error.to_string())
    }
}

/// What passes run over.
pub trait Ir {
    /// Whether it is well formed; if not, what is wrong.
    ///
    /// # Errors
    /// The first thing wrong.
    fn verify(&self) -> Result<(), String>;

    /// The number of nodes or kernels.
    fn size(&self) -> usize;
}

impl Ir for Graph {
    fn verify(&self) -> Result<(), String> {
        kiln_graph::verify(self).map_err(|e| e.to_string())
    }

    fn size(&self) -> usize {
        self.len()
    }
}

impl Ir for Program {
    fn verify(&self) -> Result<(), String> {
        kiln_loops::verify(self).map_err(|e| e.to_string())
    }

    fn size(&self) -> usize {
        self.kernels.len()
    }
}

/// Runs passes in order, and shows `observe` what each gave back.
///
/// What comes out is verified; in builds with debug assertions so is what each pass gives back, and
/// the pass that is at fault is named.
///
/// # Errors
/// If a pass fails or gives back something that is not well formed.
pub fn run<T: Ir>(
    passes: &[&'static Pass<T>],
    mut ir: T,
    notes: &mut Notes,
    observe: &mut dyn FnMut(&'static str, &T),
) -> Result<T, PassError> {
    for (position, pass) in passes.iter().enumerate() {
        notes.pass = pass.name;
        let (before, start) = (ir.size(), Instant::now());
        ir = (pass.run)(ir, notes).map_err(|e| PassError { pass: pass.name, ..e })?;
        let time = start.elapsed();
        notes.report.push(PassReport { pass: pass.name, before, after: ir.size(), time });
        if cfg!(debug_assertions) || position + 1 == passes.len() {
            let start = Instant::now();
            let verified = ir.verify();
            notes.verification += start.elapsed();
            verified.map_err(|message| PassError {
                pass: pass.name,
                defect: true,
                message: format!("left something malformed: {message}"),
            })?;
        }
        observe(pass.name, &ir);
    }
    Ok(ir)
}

/// A name that is not of a pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnknownPass {
    /// The name given.
    pub name: String,
    /// The pass whose name is nearest, if one is near.
    pub nearest: Option<&'static str>,
    /// Every pass, in the order of the table.
    pub known: Vec<&'static str>,
}

impl fmt::Display for UnknownPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown pass `{}`", self.name)?;
        if let Some(nearest) = self.nearest {
            write!(f, ", did you mean `{nearest}`?")?;
        }
        write!(f, " (passes: {})", self.known.join(", "))
    }
}

/// The passes of a comma-separated list such as `cse,dce`, in the order given.
///
/// # Errors
/// If a name is not in the table.
pub fn select<T>(
    table: &[&'static Pass<T>],
    names: &str,
) -> Result<Vec<&'static Pass<T>>, UnknownPass> {
    let names = names.split(',').map(str::trim).filter(|n| !n.is_empty());
    names
        .map(|name| {
            table.iter().copied().find(|p| p.name == name).ok_or_else(|| UnknownPass {
                name: name.to_owned(),
                nearest: nearest(name, table.iter().map(|p| p.name)),
                known: distinct(table.iter().map(|p| p.name)),
            })
        })
        .collect()
}

fn distinct(names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut list = Vec::new();
    for name in names {
        if !list.contains(&name) {
            list.push(name);
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use kiln_tensor::DType;

    use super::*;
    use crate::GRAPH_PASSES;
    use crate::testing::graph;

    #[test]
    fn passes_are_chosen_by_name_in_the_order_given() {
        let names =
            |list: Vec<&'static Pass<Graph>>| list.iter().map(|p| p.name).collect::<Vec<_>>();
        let chosen = select(GRAPH_PASSES, "dce, cse,dce").expect("known names");
        assert_eq!(names(chosen), ["dce", "cse", "dce"]);
        assert_eq!(names(select(GRAPH_PASSES, "").expect("no name")), [""; 0]);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_and_the_list() {
        let table: [&'static Pass<Graph>; 2] = [&crate::cse::PASS, &crate::simplify::PASS];
        let error = select(&table, "cse,simplfy").map(|_| ()).expect_err("no such pass");
        assert_eq!(
            error.to_string(),
            "unknown pass `simplfy`, did you mean `simplify`? (passes: cse, simplify)"
        );
    }

    #[test]
    fn the_runner_observes_and_reports_each_pass() {
        let passes = select(GRAPH_PASSES, "fold,dce").expect("known names");
        let before = graph(|b| vec![b.data("x", DType::F32, &[]) * (b.scalar(2.0) + 1.0)]);
        let (mut notes, mut seen) = (Notes::default(), Vec::new());
        run(&passes, before, &mut notes, &mut |name, g| seen.push((name, g.len())))
            .expect("succeeds");
        assert_eq!(seen, [("fold", 3), ("dce", 3)]);
        let sizes: Vec<_> = notes.report.iter().map(|r| (r.pass, r.before, r.after)).collect();
        assert_eq!(sizes, [("fold", 5, 3), ("dce", 3, 3)]);
    }

    #[test]
    fn a_pass_that_leaves_something_malformed_is_named() {
        static BROKEN: Pass<Graph> = Pass {
            name: "broken",
            doc: "forget what an output is",
            run: |mut g, _| {
                g.outputs.push(("nothing".to_owned(), NodeId::new(99)));
                Ok(g)
            },
        };
        let error = run(&[&BROKEN], Graph::new(), &mut Notes::default(), &mut |_, _| {});
        let error = error.expect_err("the output does not exist");
        assert!(error.defect);
        assert_eq!(
            error.to_string(),
            "pass `broken`: left something malformed: %99 does not exist"
        );
    }
}
