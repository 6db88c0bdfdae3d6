//! Values for the inputs of a case: `# input: x = [1, 2.5, nan]`.
//!
//! | value | is |
//! |---|---|
//! | `[1, 2, 3]` | these, as many as the input has elements |
//! | `iota` | 0, 1, 2, ... |
//! | `random` | f32 between -1 and 1, i32 of 0..4, bool; a function of the input's name |
//! | `zeros`, `ones` | what they say |
//! | `init` | what the model starts from |
//!
//! The name `*` stands for every input that is not named.

use std::collections::BTreeMap;

use kiln_graph::Graph;
use kiln_graph::eval::Value;
use kiln_loops::{BufferKind, Program};
use kiln_tensor::{DType, Shape};

/// Values by name.
pub type Inputs = BTreeMap<String, Value>;

/// Values for every input of a graph.
pub fn of_graph(
    graph: &Graph,
    given: &[(String, String)],
    start: &Inputs,
) -> Result<Inputs, String> {
    let inputs = graph.inputs().filter_map(|id| {
        let ty = &graph[id].ty;
        Some((graph.input(id)?.0.to_owned(), ty.dtype, ty.shape.clone()))
    });
    values(inputs.collect(), given, start)
}

/// Values for every buffer that a program is given.
pub fn of_program(program: &Program, given: &[(String, String)]) -> Result<Inputs, String> {
    let buffers = program.buffers.iter().filter(|b| {
        !matches!(
            b.kind,
            BufferKind::Temp | BufferKind::Prepared | BufferKind::Output | BufferKind::Const(_)
        )
    });
    let inputs = buffers.map(|b| (b.name.clone(), b.dtype, b.shape.clone()));
    values(inputs.collect(), given, &Inputs::new())
}

fn values(
    inputs: Vec<(String, DType, Shape)>,
    given: &[(String, String)],
    start: &Inputs,
) -> Result<Inputs, String> {
    for (name, _) in given {
        if name != "*" && !inputs.iter().any(|(known, ..)| known == name) {
            return Err(format!("there is no input `{name}`"));
        }
    }
    let text = |name: &str| given.iter().find(|(n, _)| n == name).map(|(_, text)| text.as_str());
    let value = |(name, dtype, shape): (String, DType, Shape)| {
        let text = text(&name).or_else(|| text("*"));
        let text = text.ok_or_else(|| format!("no value is given for `{name}`"))?;
        let data = match (text, start.get(&name)) {
            ("init", Some(value)) => value.data.clone(),
            ("init", None) => return Err(format!("`{name}` has no initial value")),
            _ => elements(text, &name, dtype, shape.elements())?,
        };
        Ok((name, Value { shape, data }))
    };
    inputs.into_iter().map(value).collect()
}

fn elements(text: &str, name: &str, dtype: DType, count: usize) -> Result<Vec<f64>, String> {
    let rounded = |x: f64| if dtype == DType::F32 { f64::from(x as f32) } else { x };
    let all: Vec<f64> = match text {
        "iota" => (0..count).map(|i| i as f64).collect(),
        "zeros" => vec![0.0; count],
        "ones" => vec![1.0; count],
        "random" => {
            let mut state =
                name.bytes().fold(7_u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
            let next = |_| {
                // Knuth's MMIX generator.
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                match dtype {
                    DType::F32 => f64::from((state >> 40) as u32) / f64::from(1 << 23) - 1.0,
                    DType::I32 => (state >> 62) as f64,
                    DType::Bool => (state >> 63) as f64,
                }
            };
            (0..count).map(next).collect()
        }
        list => {
            let list = list.strip_prefix('[').and_then(|l| l.strip_suffix(']'));
            let list = list.ok_or_else(|| format!("`{text}` is no value for `{name}`"))?;
            let number = |x: &str| match x {
                "true" => Ok(1.0),
                "false" => Ok(0.0),
                x => x.parse().map_err(|_| format!("`{x}` is no number")),
            };
            let items = list.split(',').map(str::trim).filter(|x| !x.is_empty());
            items.map(number).collect::<Result<_, _>>()?
        }
    };
    if all.len() != count {
        return Err(format!("`{name}` has {count} elements, {} are given", all.len()));
    }
    Ok(all.into_iter().map(rounded).collect())
}
