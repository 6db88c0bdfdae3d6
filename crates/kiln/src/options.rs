//! How to compile.

use kiln_lang::Limits;
use kiln_passes::Choices;

/// What executes a graph. All give the same answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// Machine code.
    #[default]
    Jit,
    /// The interpreter of the loop IR.
    Loops,
    /// The reference: the graph as the program says it, in f64, no pass but autodiff.
    Eval,
}

impl Engine {
    /// Every engine.
    pub const ALL: [Engine; 3] = [Engine::Jit, Engine::Loops, Engine::Eval];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Engine::Jit => "jit",
            Engine::Loops => "loops",
            Engine::Eval => "eval",
        }
    }
}

/// How to compile: sizes, overrides, threads.
///
/// ```
/// let options = kiln::Options::default().bind("N", 8).threads(2);
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    language: kiln_lang::Options,
    pub(crate) threads: usize,
    pub(crate) engine: Engine,
    pub(crate) precise: bool,
    pub(crate) without: Vec<String>,
    pub(crate) tune: bool,
    pub(crate) choices: Choices,
}

impl Default for Options {
    /// As many threads as the machine has cores, machine code, every pass.
    fn default() -> Options {
        Options {
            language: kiln_lang::Options::default(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            engine: Engine::Jit,
            precise: false,
            without: Vec::new(),
            tune: false,
            choices: Choices::new(),
        }
    }
}

impl Options {
    /// Binds a free axis (`N`), a hyper-parameter of the model or a key of its train section.
    /// The value is text of the language; later bindings win.
    #[must_use]
    pub fn bind(mut self, key: &str, value: impl ToString) -> Options {
        self.language = self.language.bind(key, value);
        self
    }

    /// Whether [`bind`](Options::bind) has given this key a value.
    pub fn is_bound(&self, key: &str) -> bool {
        self.language.bindings.iter().any(|(bound, _)| bound == key)
    }

    /// The number of threads, at least 1. Results do not depend on it.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Options {
        self.threads = threads.max(1);
        self
    }

    /// What executes the graph.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Options {
        self.engine = engine;
        self
    }

    /// Forbids transformations that change the rounding of sums.
    #[must_use]
    pub fn precise(mut self, precise: bool) -> Options {
        self.precise = precise;
        self
    }

    /// Whether ways to compute the same that are estimated to take about as long are timed, and the
    /// fastest taken, for machine code. What was found is remembered in a file for the next time: in
    /// the folder that the environment variable `KILN_CACHE` names, or else among the user's caches.
    /// Other ways may round otherwise.
    #[must_use]
    pub fn tune(mut self, tune: bool) -> Options {
        self.tune = tune;
        self
    }

    /// Whether dropout drops in training graphs; if not it passes its input through.
    #[must_use]
    pub fn dropout(mut self, dropout: bool) -> Options {
        self.language.dropout = dropout;
        self
    }

    /// Whether a training graph also gives every gradient, as the output `grad.` and the name of
    /// the weight.
    #[must_use]
    pub fn gradients(mut self, gradients: bool) -> Options {
        self.language.gradients = gradients;
        self
    }

    /// Batches in an epoch, which learning-rate schedules count in.
    #[must_use]
    pub fn steps_per_epoch(mut self, steps: u64) -> Options {
        self.language.steps_per_epoch = steps;
        self
    }

    /// Limits that guard the compiler: statements, nodes, bytes, calls.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Options {
        self.language.limits = limits;
        self
    }

    /// Leaves a pass out. Passes that others need (`autodiff`, `fuse`, `plan`) always run.
    #[must_use]
    pub fn without(mut self, pass: &str) -> Options {
        self.without.push(pass.to_owned());
        self
    }

    pub(crate) fn limited(&self) -> Limits {
        self.language.limits
    }

    pub(crate) fn language(&self) -> kiln_lang::Options {
        self.language.clone()
    }
}
