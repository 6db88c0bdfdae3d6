//! Programs in the Kiln language, and the graphs that a model stands for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kiln_graph::Graph;
use kiln_lang::ast::{DefinitionKind, ExprKind, Item, Param};
use kiln_lang::{Elaborated, Interface, Kind, Module, Training};

use crate::{Error, Options, Result, Tensor};

/// A model of a parsed program: one text from which several graphs are made.
#[derive(Clone, Debug)]
pub struct Model {
    module: Arc<Module>,
    name: String,
}

/// Parses a program and the files it imports.
///
/// # Errors
/// If a file cannot be read, every syntax error found, or if the file has no model or several and
/// no single one with a train section (choose with [`Model::named`]).
pub fn parse_file(path: impl AsRef<Path>) -> Result<Model> {
    Model::of(Module::parse_file(path)?, None)
}

/// Parses a program. `path` is the name that messages show; imports are relative to it.
///
/// # Errors
/// As [`parse_file`].
pub fn parse(text: &str, path: &str) -> Result<Model> {
    Model::of(Module::parse(text, path)?, None)
}

impl Model {
    /// The model `name` of a parsed program, or its only one.
    ///
    /// # Errors
    /// If there is no such model.
    pub fn of(module: Module, name: Option<&str>) -> Result<Model> {
        let name = module.model(name)?.name().to_owned();
        Ok(Model { module: Arc::new(module), name })
    }

    /// Another model of the same program.
    ///
    /// # Errors
    /// If there is no such model.
    pub fn named(&self, name: &str) -> Result<Model> {
        let name = self.module.model(Some(name))?.name().to_owned();
        Ok(Model { module: self.module.clone(), name })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The program it belongs to.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Whether it has a train section.
    pub fn is_trained(&self) -> bool {
        let is_its = |item: &Item| matches!(item, Item::Train(t) if t.node.model.node == self.name);
        self.module.ast().items.iter().any(is_its)
    }

    /// The graph that computes the model's results from its inputs.
    ///
    /// # Errors
    /// None today; models of later versions may refuse to run without training.
    pub fn inference(&self) -> Result<Network> {
        self.network(Kind::Inference)
    }

    /// The graph of one training step: forward, backward and update.
    ///
    /// # Errors
    /// If the model has no train section.
    pub fn training(&self) -> Result<Network> {
        self.network(Kind::Training)
    }

    /// The graph of loss and metrics on a batch, without training.
    ///
    /// # Errors
    /// If the model has no train section.
    pub fn validation(&self) -> Result<Network> {
        self.network(Kind::Validation)
    }

    /// The graph of the initial values of weights and states.
    ///
    /// # Errors
    /// None today.
    pub fn initial(&self) -> Result<Network> {
        self.network(Kind::Init)
    }

    /// The plain part of the train section (data, batch, epochs), with the options' bindings.
    ///
    /// # Errors
    /// If the model has no train section or a key or value of it is wrong.
    pub fn settings(&self, options: &Options) -> Result<Training> {
        let model = self.module.model(Some(&self.name))?;
        let training = model.training(&options.language())?;
        training.ok_or_else(|| match self.is_trained() {
            false => self.untrained(),
            true => Error::input(format!(
                "{}: the train section of `{}` names no data; add  data = ...",
                self.module.path(),
                self.name
            )),
        })
    }

    /// Its inputs in order: names, and the names of their axes.
    pub fn inputs(&self) -> Vec<(&str, Vec<&str>)> {
        let definition = self.module.ast().items.iter().find_map(|item| match item {
            Item::Definition(d)
                if d.node.kind == DefinitionKind::Model && d.node.name.node == self.name =>
            {
                Some(&d.node)
            }
            _ => None,
        });
        let inputs = definition.and_then(|d| d.params.last()).into_iter().flatten();
        inputs.map(|p| (p.name.node.as_str(), axes(p))).collect()
    }

    /// Gives every axis that is free and not bound yet the size it has in these inputs.
    ///
    /// ```
    /// use kiln::{Options, Tensor};
    /// let model = kiln::parse("model double(x: f32[N]) { y = 2 * x return y }", "double.kiln")?;
    /// let x = Tensor::f32(&[3], vec![1.0, 2.0, 3.0])?;
    /// let options = model.bind_from(&Options::default(), &[("x", &x)])?;
    /// let double = kiln::compile(&model.inference()?, &options)?;
    /// let out = double.session()?.run(&[("x", &x)])?;
    /// assert_eq!(out["y"].as_f32(), Some(&[2.0, 4.0, 6.0][..]));
    /// # Ok::<(), kiln::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an input has another number of axes than the model says, or two inputs disagree.
    pub fn bind_from(&self, options: &Options, inputs: &[(&str, &Tensor)]) -> Result<Options> {
        let free = self.module.model(Some(&self.name))?.free_axes();
        let mut found: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        for (name, axes) in self.inputs() {
            let Some((_, tensor)) = inputs.iter().find(|(given, _)| *given == name) else {
                continue;
            };
            let shape = tensor.shape();
            if shape.rank() != axes.len() {
                return Err(Error::input(format!(
                    "the input `{name}` has the axes [{}], the array given has the shape {shape}",
                    axes.join(", ")
                )));
            }
            for (axis, &size) in axes.into_iter().zip(shape.iter()) {
                if options.is_bound(axis) || free.iter().all(|f| f != axis) {
                    continue;
                }
                match found.get(axis) {
                    Some(&(other, by)) if other != size => {
                        return Err(Error::input(format!(
                            "the axis {axis} has size {other} in `{by}` and {size} in `{name}`"
                        )));
                    }
                    _ => found.insert(axis, (size, name)),
                };
            }
        }
        let bind = |options: Options, (axis, (size, _)): (&str, _)| options.bind(axis, size);
        Ok(found.into_iter().fold(options.clone(), bind))
    }

    /// Gives every axis that is free and not bound yet this size, for looking at a model whatever
    /// its batch; also says which axes those were.
    ///
    /// # Errors
    /// None today.
    pub fn bind_rest(&self, options: &Options, size: usize) -> Result<(Options, Vec<String>)> {
        let mut free = self.module.model(Some(&self.name))?.free_axes();
        free.retain(|axis| !options.is_bound(axis));
        let bound = free.iter().fold(options.clone(), |o, axis| o.bind(axis, size));
        Ok((bound, free))
    }

    fn network(&self, kind: Kind) -> Result<Network> {
        Ok(Network { model: self.clone(), kind })
    }

    fn untrained(&self) -> Error {
        let path = self.module.path();
        Error::input(format!(
            "{path}: the model `{0}` has no train section; add  train {0} {{ ... }}",
            self.name
        ))
    }
}

/// The names of the axes in a parameter's type.
fn axes(param: &Param) -> Vec<&str> {
    let items = param.ty.iter().flat_map(|ty| &ty.axes).flat_map(|brackets| &brackets.left);
    items
        .filter_map(|item| match (&item.name, &item.value.node) {
            (Some(name), _) => Some(name.node.as_str()),
            (None, ExprKind::Name(name)) => Some(name.as_str()),
            _ => None,
        })
        .collect()
}

/// One of the graphs of a model, before any size is bound.
#[derive(Clone, Debug)]
pub struct Network {
    model: Model,
    kind: Kind,
}

impl Network {
    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Which of its graphs.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

/// What can be compiled: a [`Network`] of a model file, or a graph made by
/// [`Builder`](crate::Builder).
pub trait Source {
    /// The graph, and what its inputs and outputs mean.
    ///
    /// # Errors
    /// Every mistake found in the program.
    fn elaborate(&self, options: &Options) -> Result<Elaborated>;
}

impl Source for Network {
    fn elaborate(&self, options: &Options) -> Result<Elaborated> {
        let model = self.model.module.model(Some(&self.model.name))?;
        if matches!(self.kind, Kind::Training | Kind::Validation) && !self.model.is_trained() {
            return Err(self.model.untrained());
        }
        Ok(model.elaborate(self.kind, &options.language())?)
    }
}

impl Source for Graph {
    fn elaborate(&self, _: &Options) -> Result<Elaborated> {
        kiln_graph::verify(self).map_err(Error::input)?;
        let of = |name: &str, id| {
            let ty = &self[id].ty;
            let axes = ty.shape.iter().enumerate().map(|(i, &d)| (format!("axis{i}"), d)).collect();
            Interface { name: name.to_owned(), dtype: ty.dtype, axes }
        };
        let mut elaborated = Elaborated {
            graph: self.clone(),
            kind: Kind::Inference,
            inputs: Vec::new(),
            outputs: self.outputs.iter().map(|(name, id)| of(name, *id)).collect(),
            variables: Vec::new(),
            training: None,
            types: Vec::new(),
        };
        for id in self.inputs() {
            let Some((name, kind)) = self.input(id) else { continue };
            let interface = of(name, id);
            if kind == kiln_graph::InputKind::Data {
                elaborated.inputs.push(interface);
            } else {
                let place = self[id].locations.first().map_or(String::new(), ToString::to_string);
                elaborated.variables.push(kiln_lang::Variable { interface, kind, place });
            }
        }
        Ok(elaborated)
    }
}
