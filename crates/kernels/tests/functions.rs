//! Block functions against f64 over the whole range, and against each other bit by bit.

use kiln_kernels::{BlockFunction, Isa};

/// Bits between two tested floats; coarser under Miri.
const STEP: usize = if cfg!(miri) { 160_000_003 } else { 431 };
/// Floats tested at a time.
const BLOCK: usize = 4096;

/// The function in f64.
fn reference(function: BlockFunction) -> fn(f64) -> f64 {
    match function {
        BlockFunction::Exp => f64::exp,
        BlockFunction::Log => f64::ln,
        BlockFunction::Tanh => f64::tanh,
        BlockFunction::Sigmoid => {
            |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
        }
        BlockFunction::Erf => erf,
        BlockFunction::Sin => f64::sin,
        BlockFunction::Cos => f64::cos,
    }
}

/// `2/sqrt(pi) exp(-x^2) sum of 2^n x^(2n+1) / (1 3 5 ... (2n+1))`: all terms of one sign.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    let mut n = 1.0;
    while term.abs() > 1e-17 * sum.abs() {
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// The distance in units in the last place of the f32 at `expected`.
fn ulps(got: f32, expected: f64) -> f64 {
    let rounded = expected as f32;
    if got.to_bits() == rounded.to_bits() || (got.is_nan() && rounded.is_nan()) {
        // Still the error before rounding, so that 0.5 is the best possible.
        return if rounded.is_finite() {
            (f64::from(got) - expected).abs() / ulp(expected)
        } else {
            0.0
        };
    }
    if got.is_nan() || rounded.is_nan() {
        return f64::INFINITY;
    }
    // Infinity stands for the first number too large for an f32.
    let value =
        if got.is_infinite() { f64::from(got.signum()) * 2f64.powi(128) } else { f64::from(got) };
    (value - expected).abs() / ulp(expected)
}

/// The gap between f32 numbers around `x`.
fn ulp(x: f64) -> f64 {
    let exponent = ((x.abs().to_bits() >> 52) as i32 - 1023).clamp(-126, 127);
    2f64.powi(exponent - 23)
}

#[test]
fn errors_stay_below_the_bars_over_all_finite_floats() {
    let inputs: Vec<f32> =
        (0..=u32::MAX).step_by(STEP).map(f32::from_bits).filter(|x| x.is_finite()).collect();
    for &function in BlockFunction::ALL {
        let exact = reference(function);
        let (mut worst, mut at) = (0.0, 0.0);
        let mut first = [0f32; BLOCK];
        let mut other = [0f32; BLOCK];
        for block in inputs.chunks(BLOCK) {
            let mut isas = Isa::available().into_iter().rev();
            let widest = isas.next().expect("generic at least");
            let got = &mut first[..block.len()];
            function.apply(widest, got, block);
            for (&x, &y) in block.iter().zip(got.iter()) {
                let error = ulps(y, exact(f64::from(x)));
                if error > worst {
                    (worst, at) = (error, x);
                }
            }
            for isa in isas {
                let other = &mut other[..block.len()];
                function.apply(isa, other, block);
                for ((&x, &y), &z) in block.iter().zip(got.iter()).zip(other.iter()) {
                    let same = y.to_bits() == z.to_bits() || y.is_nan() && z.is_nan();
                    assert!(
                        same,
                        "{}({x:e}): {y:e} by {widest:?}, {z:e} by {isa:?}",
                        function.name()
                    );
                }
            }
        }
        println!("{:8} {worst:.3} ulp at {at:e}", function.name());
        assert!(worst <= function.max_ulp(), "{}: {worst} ulp at {at:e}", function.name());
    }
}

#[test]
fn special_values() {
    use BlockFunction::*;
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let tiny = f32::from_bits(1);
    let table: &[(BlockFunction, f32, f32)] = &[
        (Exp, inf, inf),
        (Exp, -inf, 0.0),
        (Exp, 0.0, 1.0),
        (Exp, 88.8, inf),
        (Exp, -104.0, 0.0),
        (Exp, -103.2, tiny),
        (Log, 0.0, -inf),
        (Log, -0.0, -inf),
        (Log, 1.0, 0.0),
        (Log, inf, inf),
        (Log, -inf, nan),
        (Log, -1.0, nan),
        (Log, -tiny, nan),
        (Log, tiny, -103.278_93),
        (Tanh, inf, 1.0),
        (Tanh, -inf, -1.0),
        (Tanh, -0.0, -0.0),
        (Tanh, tiny, tiny),
        (Sigmoid, inf, 1.0),
        (Sigmoid, -inf, 0.0),
        (Sigmoid, 0.0, 0.5),
        (Sigmoid, -103.2, tiny),
        (Erf, inf, 1.0),
        (Erf, -inf, -1.0),
        (Erf, -0.0, -0.0),
        (Erf, tiny, tiny),
        (Sin, inf, nan),
        (Sin, -inf, nan),
        (Sin, -0.0, -0.0),
        (Sin, -tiny, -tiny),
        (Cos, inf, nan),
        (Cos, -inf, nan),
        (Cos, -0.0, 1.0),
    ];
    for isa in Isa::available() {
        for &(function, x, expected) in table {
            let mut y = [x];
            function.apply_in_place(isa, &mut y);
            let same = y[0].to_bits() == expected.to_bits() || y[0].is_nan() && expected.is_nan();
            assert!(same, "{isa:?} {}({x:e}) = {:e}, not {expected:e}", function.name(), y[0]);
        }
        for &function in BlockFunction::ALL {
            for x in [nan, -nan] {
                let mut y = [x];
                function.apply_in_place(isa, &mut y);
                assert!(y[0].is_nan(), "{isa:?} {}(NaN) = {}", function.name(), y[0]);
            }
        }
    }
}

#[test]
fn an_element_has_the_same_bits_anywhere_in_a_block() {
    let values: Vec<f32> = (0..67).map(|i| (i as f32 - 33.0) * 1.37).collect();
    for isa in Isa::available() {
        for &function in BlockFunction::ALL {
            let alone: Vec<u32> = values
                .iter()
                .map(|&x| {
                    let mut y = [x];
                    function.apply_in_place(isa, &mut y);
                    y[0].to_bits()
                })
                .collect();
            for start in (0..values.len()).step_by(if cfg!(miri) { 23 } else { 1 }) {
                for end in [start, (start + 5).min(67), 67] {
                    // One element more at either side, to see that it stays.
                    let mut out = vec![7.0; end - start + 2];
                    let inner = 1..end - start + 1;
                    function.apply(isa, &mut out[inner.clone()], &values[start..end]);
                    let got: Vec<u32> = out[inner].iter().map(|y| y.to_bits()).collect();
                    assert_eq!(
                        got,
                        alone[start..end],
                        "{isa:?} {} {start}..{end}",
                        function.name()
                    );
                    assert_eq!((out[0], out[end - start + 1]), (7.0, 7.0));
                }
            }
        }
    }
}

#[test]
fn the_table_of_symbols_names_every_function_once() {
    for isa in Isa::available() {
        let table = kiln_kernels::symbols(isa);
        for &function in BlockFunction::ALL {
            let found = table.iter().filter(|(name, _)| *name == function.symbol()).count();
            assert_eq!(found, 1, "{}", function.symbol());
        }
        assert!(
            table.iter().all(|(name, address)| name.starts_with("kiln_") && !address.is_null())
        );
    }
}
