//! Running an executable.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Index;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kiln_graph::InputKind;
use kiln_graph::eval::{Value, evaluate};
use kiln_loops::{BufferId, BufferKind, Interp, Memory};
use kiln_tensor::{DType, Data, Shape, Tensor};

use crate::compile::Compiled;
use crate::{Error, Profile, Result};

/// The mutable side of an executable: its inputs, weights, states and results.
#[derive(Debug)]
pub struct Session {
    compiled: Arc<Compiled>,
    state: State,
}

/// Where an engine keeps values.
#[derive(Debug)]
enum State {
    Jit(Box<kiln_jit::Session>),
    Loops(Memory),
    /// By name: inputs, weights and states, and after a run the outputs.
    Eval {
        values: BTreeMap<String, Value>,
        outputs: BTreeMap<String, Value>,
    },
}

/// The results of a run, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs(Vec<(String, Tensor)>);

impl Outputs {
    /// The result of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.iter().find(|o| o.0 == name).map(|o| &o.1)
    }

    /// Every result, in the model's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }
}

impl IntoIterator for Outputs {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<(String, Tensor)>;

    /// Every result, in the model's order.
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Index<&str> for Outputs {
    type Output = Tensor;

    /// # Panics
    /// If there is no result of this name.
    fn index(&self, name: &str) -> &Tensor {
        self.get(name).unwrap_or_else(|| panic!("no output is called `{name}`"))
    }
}

impl Session {
    pub(crate) fn new(compiled: Arc<Compiled>) -> Result<Session> {
        let state = match (&compiled.code, &compiled.reference) {
            (Some(code), _) => State::Jit(Box::new(code.session()?)),
            (None, None) => {
                let mut memory = Memory::for_program(&compiled.program).map_err(Error::input)?;
                for (position, buffer) in compiled.program.buffers.iter().enumerate() {
                    if let BufferKind::Param | BufferKind::State | BufferKind::Slot = buffer.kind {
                        let zero = Tensor::zeros(buffer.shape.clone(), buffer.dtype)
                            .map_err(Error::input)?;
                        memory.set(BufferId(position as u32), &zero).map_err(Error::defect)?;
                    }
                }
                State::Loops(memory)
            }
            (None, Some(graph)) => {
                let zero = |id| Value::from_fn(&graph[id].ty.shape, |_| 0.0);
                let values = graph.inputs().filter_map(|id| {
                    let (name, kind) = graph.input(id)?;
                    (kind != InputKind::Data).then(|| (name.to_owned(), zero(id)))
                });
                State::Eval { values: values.collect(), outputs: BTreeMap::new() }
            }
        };
        Ok(Session { compiled, state })
    }

    /// Gives an input, weight or state its value. Whole numbers may stand for an f32 input.
    ///
    /// # Errors
    /// If nothing has this name, or the tensor's type or shape is not the one expected.
    pub fn set(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let (dtype, shape) = self.expected(name)?;
        let converted = convert(tensor, dtype);
        let tensor = converted.as_ref().unwrap_or(tensor);
        if tensor.shape() != &shape || tensor.dtype() != dtype {
            return Err(Error::input(format!(
                "`{name}` is {dtype}{shape}, got {}{}",
                tensor.dtype(),
                tensor.shape()
            )));
        }
        match &mut self.state {
            State::Jit(session) => Ok(session.set(name, tensor)?),
            State::Loops(memory) => {
                let id = buffer(&self.compiled, name)?;
                memory.set(id, tensor).map_err(Error::defect)
            }
            State::Eval { values, .. } => {
                values.insert(name.to_owned(), Value::from(tensor));
                Ok(())
            }
        }
    }

    /// The value of an output, a weight or a state.
    ///
    /// # Errors
    /// If nothing has this name.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        let id = buffer(&self.compiled, name)?;
        match &self.state {
            State::Jit(session) => Ok(session.get(name)?),
            State::Loops(memory) => Ok(memory.get(id).clone()),
            State::Eval { values, outputs } => {
                let dtype = self.compiled.program.buffer(id).dtype;
                let value = outputs.get(name).or_else(|| values.get(name));
                let value =
                    value.ok_or_else(|| Error::input(format!("`{name}` has no value yet")))?;
                value.to_tensor(dtype).map_err(Error::input)
            }
        }
    }

    /// Runs once, on the inputs as they are set.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn step(&mut self) -> Result<()> {
        match &mut self.state {
            State::Jit(session) => Ok(session.run()?),
            State::Loops(memory) => {
                let interp = Interp::new(&self.compiled.program).map_err(Error::defect)?;
                interp.run(memory).map_err(Error::defect)
            }
            State::Eval { values, outputs } => {
                let graph = self.compiled.reference.as_ref();
                let graph = graph.ok_or_else(|| Error::defect("no reference graph"))?;
                let result = evaluate(graph, values).map_err(Error::input)?;
                *outputs = result.outputs.into_iter().collect();
                values.extend(result.updates);
                Ok(())
            }
        }
    }

    /// Runs so many times, at least once, and gives the least time of each kernel. Only then are
    /// kernels timed.
    ///
    /// # Errors
    /// If a run fails, or the engine is not machine code.
    pub fn profile(&mut self, runs: u32) -> Result<Profile> {
        let State::Jit(session) = &mut self.state else {
            return Err(Error::input("only machine code can be profiled"));
        };
        session.set_profiling(true);
        let mut least = vec![Duration::MAX; self.compiled.program.kernels.len()];
        for _ in 0..runs.max(1) {
            session.run()?;
            for (least, (_, time)) in least.iter_mut().zip(session.profile()) {
                *least = time.min(*least);
            }
        }
        session.set_profiling(false);
        Ok(Profile::new(&self.compiled.program, &least))
    }

    /// Sets inputs, runs once, and gives the results.
    ///
    /// # Errors
    /// If an input does not fit or one was never given.
    pub fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Outputs> {
        for (name, tensor) in inputs {
            let known = self.compiled.elaborated.inputs.iter().any(|i| i.name == *name);
            if !known {
                return Err(self.unknown_input(name));
            }
            self.set(name, tensor)?;
        }
        let mut needed = self.compiled.elaborated.inputs.iter();
        let missing = needed.find(|i| inputs.iter().all(|(name, _)| *name != i.name));
        if let Some(missing) = missing {
            return Err(Error::input(format!("the input `{}` is not given", missing.name)));
        }
        self.step()?;
        self.outputs()
    }

    /// The results of the last run.
    ///
    /// # Errors
    /// If the engine has none.
    pub fn outputs(&self) -> Result<Outputs> {
        let outputs = self.compiled.elaborated.outputs.iter();
        let all: Result<Vec<_>> =
            outputs.map(|o| Ok((o.name.clone(), self.get(&o.name)?))).collect();
        Ok(Outputs(all?))
    }

    /// Loads weights and states of the model from a safetensors file.
    ///
    /// # Errors
    /// If the file cannot be read, or tensors are missing, surplus or misshaped: all are listed.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let weights = kiln_train::load_weights(path.as_ref()).map_err(Error::input)?;
        let expected = self.weight_types();
        kiln_train::match_weights(&expected, &weights)
            .map_err(|e| Error::input(format!("{}: {e}", path.as_ref().display())))?;
        self.set_weights(weights)
    }

    /// Gives weights and states their values; names that this graph does not have are passed over.
    /// Weights that are not needed any more are best given by value: each is freed as soon as it is
    /// set, so that they are not held twice.
    ///
    /// # Errors
    /// If a shape does not fit.
    pub fn set_weights(
        &mut self,
        weights: impl IntoIterator<Item = (impl AsRef<str>, impl Borrow<Tensor>)>,
    ) -> Result<()> {
        for (name, tensor) in weights {
            let name = name.as_ref();
            if self.variables().any(|(variable, _)| variable == name) {
                self.set(name, tensor.borrow())?;
            }
        }
        Ok(())
    }

    /// Prepares what depends on weights alone (packs them, folds normalisation into them) now and not
    /// in the next run, and gives back the memory of the weights that nothing else reads: about half of
    /// an inference session's. Those can no longer be read or set; a training step keeps all. What
    /// compiling left free goes back to the system too.
    pub fn release_weights(&mut self) {
        if let State::Jit(session) = &mut self.state {
            session.release_weights();
        }
    }

    /// Weights and states of the model, without those of the optimiser.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn weights(&self) -> Result<kiln_train::Weights> {
        let names = self.variables().filter(|(_, kind)| *kind != InputKind::Slot);
        names.map(|(name, _)| Ok((name.to_owned(), self.get(name)?))).collect()
    }

    /// Name, type and shape of every weight and state of the model.
    pub fn weight_types(&self) -> Vec<(String, DType, Shape)> {
        let names = self.variables().filter(|(_, kind)| *kind != InputKind::Slot);
        names
            .filter_map(|(name, _)| {
                let (dtype, shape) = self.expected(name).ok()?;
                Some((name.to_owned(), dtype, shape))
            })
            .collect()
    }

    fn variables(&self) -> impl Iterator<Item = (&str, InputKind)> {
        self.compiled.elaborated.variables.iter().map(|v| (v.interface.name.as_str(), v.kind))
    }

    /// The type of an input, weight or state.
    fn expected(&self, name: &str) -> Result<(DType, Shape)> {
        let settable = |b: &&kiln_loops::Buffer| {
            b.name == name
                && matches!(
                    b.kind,
                    BufferKind::Input | BufferKind::Param | BufferKind::State | BufferKind::Slot
                )
        };
        match self.compiled.program.buffers.iter().find(settable) {
            Some(buffer) => Ok((buffer.dtype, buffer.shape.clone())),
            None => Err(self.unknown_input(name)),
        }
    }

    fn unknown_input(&self, name: &str) -> Error {
        let inputs: Vec<&str> =
            self.compiled.elaborated.inputs.iter().map(|i| i.name.as_str()).collect();
        let near = kiln_graph::nearest(name, inputs.iter().copied());
        let hint = near.map_or(String::new(), |n| format!(", did you mean `{n}`?"));
        Error::input(format!("no input is called `{name}`{hint} (inputs: {})", inputs.join(", ")))
    }
}

fn buffer(compiled: &Compiled, name: &str) -> Result<BufferId> {
    let position = compiled.program.buffers.iter().position(|b| b.name == name);
    let position = position.ok_or_else(|| Error::input(format!("nothing is called `{name}`")))?;
    Ok(BufferId(position as u32))
}

/// Whole numbers as f32, if that is what is wanted.
fn convert(tensor: &Tensor, dtype: DType) -> Option<Tensor> {
    match (tensor.data(), dtype) {
        (Data::I32(v), DType::F32) => {
            let data = v.iter().map(|&x| x as f32).collect();
            Tensor::new(tensor.shape().clone(), Data::F32(data)).ok()
        }
        _ => None,
    }
}
