//! From a train section's data sets to what the trainer loads, and what a graph wants of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kiln_graph::{Graph, InputKind, NodeId};
use kiln_train::{DataSpec, DataStep, FieldType, Format, Split};

use crate::network::Source;
use crate::{Error, Model, Options, Result};

/// Where a data set is and what is done to it. The program's paths are relative to its file; `data` stands in for
/// them.
pub(crate) fn spec(
    model: &Model,
    source: &kiln_lang::DataSource,
    data: Option<&Path>,
) -> Result<DataSpec> {
    let format = match &source.format {
        kiln_lang::Format::Mnist => Format::Mnist,
        kiln_lang::Format::Digits => Format::Digits,
        kiln_lang::Format::Idx => Format::Idx,
        kiln_lang::Format::Cifar10 => Format::Cifar10,
        kiln_lang::Format::Cifar100 => Format::Cifar100,
        kiln_lang::Format::Images { size } => Format::Images { size: *size },
        kiln_lang::Format::Npy => Format::Npy,
        kiln_lang::Format::Npz => Format::Npz,
        kiln_lang::Format::Csv { label, target } => {
            Format::Csv { label: label.clone(), target: target.clone() }
        }
        kiln_lang::Format::Text { length } => Format::Text { length: *length },
    };
    let split = source.split.map(|split| match split {
        kiln_lang::Split::Train => Split::Train,
        kiln_lang::Split::Test => Split::Test,
    });
    let steps = source.steps.iter().map(|step| match *step {
        kiln_lang::DataStep::Shuffle => DataStep::Shuffle,
        kiln_lang::DataStep::Scale(by) => DataStep::Scale(by),
        kiln_lang::DataStep::Normalize { ref mean, ref std } => {
            DataStep::Normalize { mean: mean.clone(), std: std.clone() }
        }
        kiln_lang::DataStep::Crop { size, pad, random } => DataStep::Crop { size, pad, random },
        kiln_lang::DataStep::Flip { probability } => DataStep::Flip { probability },
    });
    let files = source.files.iter().map(|(field, path)| {
        let path = match data {
            None => beside(model, source, Path::new(path))?,
            // A folder with the files of several fields, or what the one path stands for.
            Some(data) if !field.is_empty() => {
                data.join(Path::new(path).file_name().unwrap_or_default())
            }
            Some(data) => data.to_path_buf(),
        };
        Ok((field.clone(), path))
    });
    let (files, steps) = (files.collect::<Result<_>>()?, steps.collect());
    Ok(DataSpec { format, files, split, steps })
}

/// A path of the program, which is relative to its file.
fn beside(model: &Model, source: &kiln_lang::DataSource, path: &Path) -> Result<PathBuf> {
    if path.is_absolute() {
        let place = model.module().sources().place(source.span);
        return Err(Error::input(format!(
            "{place}: the path \"{}\" is not relative to the program; give it by --data",
            path.display()
        )));
    }
    Ok(Path::new(model.module().path()).parent().unwrap_or(Path::new("")).join(path))
}

/// What the training graph wants of every example: its inputs, without the axis N in front.
pub(crate) fn wanted(model: &Model, options: &Options) -> Result<Vec<FieldType>> {
    // Of one example, so that a senseless batch size is told as that.
    let options = match model.inputs().iter().any(|(_, axes)| axes.contains(&"N")) {
        true => options.clone().bind("N", 1),
        false => options.clone(),
    };
    let network = model.training()?.elaborate(&options)?;
    let graph = &network.graph;
    let inputs: BTreeSet<&str> = model.inputs().into_iter().map(|(name, _)| name).collect();
    let field = |id: NodeId| {
        let (name, InputKind::Data) = graph.input(id)? else { return None };
        let interface = network.inputs.iter().find(|input| input.name == name)?;
        Some(FieldType {
            name: name.to_owned(),
            dtype: interface.dtype,
            axes: interface.axes.get(1..)?.to_vec(),
            input: inputs.contains(name),
            classes: classes(graph, id),
            place: graph[id].locations.first().map_or(String::new(), ToString::to_string),
        })
    };
    Ok(graph.inputs().filter_map(field).collect())
}

/// How many whole numbers from 0 up a graph tells apart in an input: it is compared with the places along an axis, as a
/// label with classes, or chooses rows of a table. Others would be no class at all, silently.
fn classes(graph: &Graph, input: NodeId) -> Option<usize> {
    let mut least: Option<usize> = None;
    let mut open = vec![input];
    let mut seen = BTreeSet::from([input.index()]);
    while let Some(at) = open.pop() {
        for user in graph.users(at) {
            let operands = graph.operands(user);
            let found = match graph[user].op.name {
                "eq" => operands.iter().find_map(|&other| places(graph, other)),
                "gather" if operands[1] == at => Some(graph[operands[0]].ty.shape[0]),
                _ => None,
            };
            least = [least, found].into_iter().flatten().min();
            if is_view(graph, user) && seen.insert(user.index()) {
                open.push(user);
            }
        }
    }
    least
}

/// The size of the axis along which a value counts, if it does.
fn places(graph: &Graph, mut id: NodeId) -> Option<usize> {
    while is_view(graph, id) {
        id = graph.operands(id)[0];
    }
    let node = &graph[id];
    let axis = (node.op.name == "iota").then(|| node.attrs.int("axis"))?;
    node.ty.shape.get(usize::try_from(axis).ok()?).copied()
}

/// Whether a value has the elements of its only operand, elsewhere.
fn is_view(graph: &Graph, id: NodeId) -> bool {
    matches!(graph[id].op.name, "broadcast" | "reshape" | "transpose" | "slice")
}
