//! `erf`.

use std::f64::consts::PI;

use kiln_loops::Math;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static ERF: OpDef = OpDef {
    name: "erf",
    doc: "Error function of every element.",
    infer: rules::same_f32,
    grad: Some(|g| {
        let slope = (-(g.x[0] * g.x[0])).exp() * (2.0 / PI.sqrt()) as f32;
        vec![Some(g.dy * slope)]
    }),
    lower: Lower::Map(|b, _, x| b.call(Math::Erf, x[0])),
    eval: |_, x| rules::map(x, |x| erf(x[0])),
    samples: &[Sample { operands: &[Operand::f32(&[3, 5])], attrs: Attrs::new }],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Error function of every element.
    pub fn erf(self) -> Var<'b> {
        self.unary(&ERF, Attrs::new())
    }
}

/// The series `2 / sqrt(pi) * e^-x^2 * sum of 2^n x^(2n+1) / (1 * 3 * ... * (2n+1))` (Abramowitz and
/// Stegun 7.1.6): no term is negative for positive x, so nothing cancels. Beyond 6 the function is
/// 1 in f64.
fn erf(x: f64) -> f64 {
    if x.abs() >= 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > sum.abs() * 1e-18 {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::erf;

    #[test]
    fn agrees_with_published_values() {
        // Abramowitz and Stegun, table 7.1, and the complementary function at 3.
        for (x, y) in [
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
        ] {
            assert!((erf(x) - y).abs() < 1e-15, "{x}");
            assert!((erf(-x) + y).abs() < 1e-15, "-{x}");
        }
        assert!((1.0 - erf(3.0) - 2.209_049_699_858_544e-5).abs() < 1e-15);
        assert!(erf(f64::NAN).is_nan());
        assert_eq!(erf(f64::NEG_INFINITY), -1.0);
    }
}
