//! Contractions from generated code against the interpreter.

mod harness;

use harness::{Case, numbers};
use kiln_loops::{
    Affine, BufferKind, Builder, Contract, Dim, Epilogue, LoopKind, Pack, Residual, Scalar, Stmt,
    packed_elements,
};
use kiln_tensor::{DType, Data};

fn dim(extent: usize, input: i64, output: i64) -> Dim {
    Dim { extent, input, output }
}

/// A matrix product in chunks of rows, with the second operand packed or not, and accumulating.
#[test]
fn matrix_products() {
    for (rows, cols, depth) in [(1, 1, 1), (6, 16, 8), (24, 33, 50), (32, 70, 400), (4, 5, 0)] {
        let mut case = Case::default();
        let a = case.input("a", Data::F32(numbers(rows * depth)));
        let b = case.input("b", Data::F32(numbers(depth * cols)));
        let packed = packed_elements(cols, depth).unwrap();
        let pack = case.buffer("pack", DType::F32, packed, BufferKind::Temp);
        let chunk = if rows % 4 == 0 { rows / 4 } else { rows };
        let col_dims = vec![dim(cols, 1, 1)];
        let depth_dims = vec![dim(depth, 1, cols as i64)];
        let mut k = Builder::new();
        let (src, dst) = (k.arg(b, DType::F32), k.arg(pack, DType::F32));
        k.push(Stmt::Pack(Box::new(Pack {
            src: (src, Affine::default()),
            dst: (dst, Affine::default()),
            cols: col_dims.clone(),
            depth: depth_dims.clone(),
        })));
        case.kernel(k.finish("pack"));
        for is_packed in [false, true] {
            let out = case.output(&format!("c {is_packed}"), DType::F32, rows * cols);
            for accumulate in [false, true] {
                let mut k = Builder::new();
                let x = k.arg(a, DType::F32);
                let y = k.arg(if is_packed { pack } else { b }, DType::F32);
                let z = k.arg(out, DType::F32);
                let i = k.open_loop(None, rows, rows, chunk, LoopKind::Parallel);
                k.push(Stmt::Contract(Box::new(Contract {
                    a: (x, Affine::var(i).times(depth as i64)),
                    b: (y, Affine::default()),
                    c: (z, Affine::var(i).times(cols as i64)),
                    rows: vec![dim(chunk, depth as i64, cols as i64)],
                    cols: col_dims.clone(),
                    depth: depth_dims.clone(),
                    accumulate,
                    packed: is_packed,
                    channelwise: false,
                    epilogue: Epilogue::default(),
                })));
                k.close();
                case.kernel(k.finish("matmul"));
            }
        }
        case.check(1e-5);
    }
}

/// Every epilogue, on a depth of several blocks, packed and not, on many rows and on few.
#[test]
fn epilogues() {
    for (rows, cols, depth, chunk) in [(24, 50, 800, 12), (7, 20, 30, 7), (2, 70, 1500, 2)] {
        let mut case = Case::default();
        let a = case.input("a", Data::F32(numbers(rows * depth)));
        let b = case.input("b", Data::F32(numbers(depth * cols)));
        let bias = case.input("bias", Data::F32(numbers(cols + 3)));
        let spread = 2 * cols + 1;
        let residual = case.input("residual", Data::F32(numbers(rows * spread)));
        for (has_bias, has_residual, relu) in [
            (true, false, false),
            (true, false, true),
            (true, true, true),
            (false, true, false),
            (false, false, true),
        ] {
            let name = format!("c {has_bias} {has_residual} {relu}");
            let out = case.output(&name, DType::F32, rows * cols);
            let mut k = Builder::new();
            let [x, y, z] = [a, b, out].map(|buffer| k.arg(buffer, DType::F32));
            let extra = [(bias, has_bias), (residual, has_residual)];
            let [t, r] = extra.map(|(buffer, used)| used.then(|| k.arg(buffer, DType::F32)));
            let i = k.open_loop(None, rows, rows, chunk, LoopKind::Parallel);
            let row = |stride: usize| Affine::var(i).times(stride as i64);
            k.push(Stmt::Contract(Box::new(Contract {
                a: (x, row(depth)),
                b: (y, Affine::default()),
                c: (z, row(cols)),
                rows: vec![dim(chunk, depth as i64, cols as i64)],
                cols: vec![dim(cols, 1, 1)],
                depth: vec![dim(depth, 1, cols as i64)],
                accumulate: false,
                packed: false,
                channelwise: false,
                epilogue: Epilogue {
                    bias: t.map(|mem| (mem, Affine::constant(3))),
                    residual: r.map(|mem| Residual {
                        at: (mem, row(spread).plus(&Affine::constant(1))),
                        rows: vec![spread as i64],
                    }),
                    relu,
                    cap: None,
                },
            })));
            k.close();
            case.kernel(k.finish("matmul"));
        }
        case.check(1e-5);
    }
}

/// A depthwise convolution of a padded line, with every epilogue, packed and not.
#[test]
fn channelwise_products() {
    for (pixels, channels, taps) in [(5, 7, 3), (16, 33, 5), (11, 100, 3), (3, 16, 3)] {
        let mut case = Case::default();
        let line = case.input("line", Data::F32(numbers((pixels + taps - 1) * channels)));
        let weights = case.input("weights", Data::F32(numbers(channels * taps)));
        let bias = case.input("bias", Data::F32(numbers(channels)));
        let elements = packed_elements(channels, taps).unwrap();
        let pack = case.buffer("pack", DType::F32, elements, BufferKind::Temp);
        let cols = vec![dim(channels, taps as i64, 1)];
        let depth = vec![dim(taps, channels as i64, 1)];
        let mut k = Builder::new();
        let (src, dst) = (k.arg(weights, DType::F32), k.arg(pack, DType::F32));
        k.push(Stmt::Pack(Box::new(Pack {
            src: (src, Affine::default()),
            dst: (dst, Affine::default()),
            cols: cols.clone(),
            depth: depth.clone(),
        })));
        case.kernel(k.finish("pack"));
        for (packed, relu, cap) in [
            (false, false, None),
            (true, true, None),
            (true, true, Some(0.25)),
            (false, false, Some(0.5)),
        ] {
            let name = format!("c {packed} {relu} {cap:?}");
            let out = case.output(&name, DType::F32, pixels * channels);
            let mut k = Builder::new();
            let operands = [line, if packed { pack } else { weights }, bias, out];
            let [a, b, t, c] = operands.map(|buffer| k.arg(buffer, DType::F32));
            let i = k.open_loop(None, pixels, pixels, 1, LoopKind::Parallel);
            let row = Affine::var(i).times(channels as i64);
            k.push(Stmt::Contract(Box::new(Contract {
                a: (a, row.clone()),
                b: (b, Affine::default()),
                c: (c, row),
                rows: vec![],
                cols: cols.clone(),
                depth: depth.clone(),
                accumulate: false,
                packed,
                channelwise: true,
                epilogue: Epilogue {
                    bias: Some((t, Affine::default())),
                    residual: None,
                    relu,
                    cap: cap.map(Scalar::F32),
                },
            })));
            k.close();
            case.kernel(k.finish("depthwise"));
        }
        case.check(1e-5);
    }
}

/// A convolution with a flipped kernel: strides run backwards through the second operand, and the
/// result goes to scratch first.
#[test]
fn convolutions_with_negative_strides() {
    let (size, channels, filters, window) = (9, 5, 19, 3);
    let places = size - window + 1;
    let mut case = Case::default();
    let x = case.input("x", Data::F32(numbers(size * size * channels)));
    let w = case.input("w", Data::F32(numbers(window * window * channels * filters)));
    let out = case.output("out", DType::F32, places * places * filters);
    let mut k = Builder::new();
    let (x, w, out) = (k.arg(x, DType::F32), k.arg(w, DType::F32), k.arg(out, DType::F32));
    let tile = k.local(DType::F32, 100);
    let sums = k.local(DType::F32, places * filters);
    let row = k.open_loop(None, places, places, 1, LoopKind::Parallel);
    let zero = k.f32(0.0);
    let i = k.open_loop(None, 100, 100, 1, LoopKind::Vector);
    k.store(tile, Affine::var(i), zero);
    k.close();
    let (line, step, f) = ((size * channels) as i64, channels as i64, filters as i64);
    let tap = step * f;
    let last = (window * window - 1) as i64 * tap;
    k.push(Stmt::Contract(Box::new(Contract {
        a: (x, Affine::var(row).times(line)),
        b: (w, Affine::constant(last)),
        c: (sums, Affine::default()),
        rows: vec![dim(places, step, f)],
        cols: vec![dim(filters, 1, 1)],
        depth: vec![
            dim(window, line, -tap * window as i64),
            dim(window, step, -tap),
            dim(channels, 1, f),
        ],
        accumulate: false,
        packed: false,
        channelwise: false,
        epilogue: Epilogue::default(),
    })));
    let n = places * filters;
    let i = k.open_loop(None, n, n, 1, LoopKind::Vector);
    let sum = k.load(sums, Affine::var(i));
    let bias = k.load(tile, Affine::constant(7));
    let value = k.binary(kiln_loops::Binary::Add, sum, bias);
    let value = k.binary(kiln_loops::Binary::Max, value, zero);
    k.store(out, Affine::var(row).times(n as i64).plus(&Affine::var(i)), value);
    k.close();
    k.close();
    case.kernel(k.finish("conv"));
    case.check(1e-5);
}
