//! What a caller may decide.

/// How to elaborate.
#[derive(Clone, Debug)]
pub struct Options {
    /// `key=value` pairs, values in the language: they bind a free axis (`N=8`), override a key of the train section
    /// (`epochs=1`, `optimizer=adam()`) or a hyper-parameter of the model (`depths=[2, 2]`).
    pub bindings: Vec<(String, String)>,
    /// Whether dropout drops in training; `false` lets it pass its input through.
    pub dropout: bool,
    /// Whether a training graph also outputs each gradient, named `grad.` and the weight's name.
    pub gradients: bool,
    /// Batches in an epoch, which schedules need; the trainer knows it from the data set's size.
    pub steps_per_epoch: u64,
    /// What guards the compiler.
    pub limits: Limits,
}

/// Limits that guard the compiler against programs that unroll without end or ask for absurd sizes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Statements executed.
    pub statements: u64,
    /// Nodes of the graph.
    pub nodes: usize,
    /// Bytes of all inputs, weights and states together.
    pub bytes: u64,
    /// Calls within calls.
    pub calls: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            bindings: Vec::new(),
            dropout: true,
            gradients: false,
            steps_per_epoch: 1,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { statements: 1_000_000, nodes: 1_000_000, bytes: 64 << 30, calls: 128 }
    }
}

impl Options {
    /// These and one more binding; later ones win.
    #[must_use]
    pub fn bind(mut self, key: &str, value: impl ToString) -> Options {
        self.bindings.push((key.to_string(), value.to_string()));
        self
    }
}
