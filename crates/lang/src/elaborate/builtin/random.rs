//! Random numbers: functions of the seed, the step, the path of the block that draws and the element's position.

use kiln_graph::Var;

use super::super::value::{Axis, Value};
use super::super::{Elaborator, Eval};
use super::{Axes, Builtin, Given};
use crate::ast::DefinitionKind;
use crate::diagnostic::Code;

pub(super) static TABLE: &[Builtin] = &[
    Builtin {
        name: "random",
        params: &["like?"],
        axes: Axes::None,
        run: |e, g| fill(e, g, uniform),
    },
    Builtin {
        name: "gaussian",
        params: &["like?"],
        axes: Axes::None,
        run: |e, g| fill(e, g, gaussian),
    },
];

type Draw = for<'b> fn(&mut Elaborator<'_, 'b>, &[usize]) -> Var<'b>;

/// Fills the shape of a tensor, or in an initialiser that of the weight.
fn fill<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>, draw: Draw) -> Eval<Value<'b>> {
    let (axes, dims): (Vec<Axis>, Vec<usize>) = match (g.get("like"), e.frame().fills.clone()) {
        (Some(_), _) => {
            let t = g.tensor(e, "like")?;
            (t.axes, t.shape.to_vec())
        }
        (None, Some(fills)) => fills,
        (None, None) => {
            let message = format!("`{}` needs a tensor whose shape it fills", g.name());
            return e.error(Code::Type, g.span, message, "only an initialiser knows it");
        }
    };
    let shape = e.shape(&axes, &dims, g.span)?;
    if u32::try_from(shape.elements()).is_err() {
        let message = format!("{} random numbers at once are too many", shape.elements());
        return e.error(Code::Limit, g.span, message, "the limit is 2^32");
    }
    let var = draw(e, &dims);
    Ok(Value::Tensor(e.tensor(var, axes, g.span)))
}

/// Uniform in `[0, 1)`.
fn uniform<'b>(e: &mut Elaborator<'_, 'b>, dims: &[usize]) -> Var<'b> {
    let path = e.frame().path.clone();
    let draws = e.draws.entry(path.clone()).or_default();
    *draws += 1;
    let key = hash(&format!("{path}#{draws}"));
    let seed = e.builder.scalar_i32(e.seed as i32);
    // Weights start before the first step.
    let starts = e.frames.iter().any(|f| f.kind == Some(DefinitionKind::Init));
    let step = match &e.step {
        Some(step) if !starts => step.var,
        _ => e.builder.scalar_i32(0),
    };
    e.builder.random(dims, key, seed, step)
}

/// Mean 0, deviation 1, by the transform of Box and Muller (1958).
fn gaussian<'b>(e: &mut Elaborator<'_, 'b>, dims: &[usize]) -> Var<'b> {
    let (u, v) = (uniform(e, dims), uniform(e, dims));
    let radius = ((1.0 - u).log() * -2.0).sqrt();
    radius * (v * (2.0 * std::f32::consts::PI)).cos()
}

/// FNV-1a of 64 bits (Fowler, Noll, Vo): the key of a path.
fn hash(text: &str) -> i64 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    hash as i64
}

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_as_published() {
        assert_eq!(super::hash("") as u64, 0xcbf2_9ce4_8422_2325);
        assert_eq!(super::hash("a") as u64, 0xaf63_dc4c_8601_ec8c);
        assert_eq!(super::hash("foobar") as u64, 0x8594_4171_f739_67e8);
    }
}
