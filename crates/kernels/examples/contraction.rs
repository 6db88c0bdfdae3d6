//! Speed of contractions against the processor's peak, measured in the same run.
//!
//! `cargo run --release -p kiln-kernels --example contraction [ISA] [CASE]`
//!
//! Each line is the fastest of many repeats; `peak` is a loop of independent fused multiply-adds.

use kiln_kernels::{Contraction, Isa, Scratch, Tables};
use std::time::Instant;

fn strided(n: usize, stride: usize) -> Vec<u32> {
    (0..n).map(|i| (i * stride) as u32).collect()
}

fn outer_sum(outer: &[u32], inner: &[u32]) -> Vec<u32> {
    outer.iter().flat_map(|o| inner.iter().map(move |i| o + i)).collect()
}

/// Row-major matrices; `B` transposed on request.
fn matrices(m: usize, n: usize, k: usize, b_transposed: bool) -> Tables {
    let (b_depth, b_col) =
        if b_transposed { (strided(k, 1), strided(n, k)) } else { (strided(k, n), strided(n, 1)) };
    Tables {
        a_row: strided(m, k),
        a_depth: strided(k, 1),
        b_depth,
        b_col,
        c_row: strided(m, n),
        c_col: strided(n, 1),
    }
}

/// One image of a convolution without padding, stride 1: pixels and windows of the image.
fn image(c: usize, side: usize, kernel: usize, channels_last: bool) -> (Vec<u32>, Vec<u32>) {
    let out = side - kernel + 1;
    let (sh, sw, sc) = if channels_last { (side * c, c, 1) } else { (side, 1, side * side) };
    let pixels = outer_sum(&strided(out, sh), &strided(out, sw));
    let taps = outer_sum(&strided(kernel, sh), &strided(kernel, sw));
    // Channels innermost where they are contiguous.
    let window = if channels_last {
        outer_sum(&taps, &strided(c, sc))
    } else {
        outer_sum(&strided(c, sc), &taps)
    };
    (pixels, window)
}

/// Convolution of one image: rows are pixels, columns are channels of the output.
fn forward(c: usize, side: usize, o: usize, kernel: usize, last: bool) -> Tables {
    let (a_row, a_depth) = image(c, side, kernel, last);
    let (pixels, taps) = (a_row.len(), a_depth.len());
    let (c_row, c_col) = if last {
        (strided(pixels, o), strided(o, 1))
    } else {
        (strided(pixels, 1), strided(o, pixels))
    };
    Tables { a_row, a_depth, b_depth: strided(taps, 1), b_col: strided(o, taps), c_row, c_col }
}

/// The gradient of its weights: rows are the window, depths are pixels of `images` images.
fn gradient(c: usize, side: usize, o: usize, kernel: usize, last: bool, images: usize) -> Tables {
    let (pixels, a_row) = image(c, side, kernel, last);
    let (count, taps) = (pixels.len(), a_row.len());
    let a_depth = outer_sum(&strided(images, c * side * side), &pixels);
    let (b_depth, b_col) = if last {
        (strided(images * count, o), strided(o, 1))
    } else {
        (outer_sum(&strided(images, o * count), &strided(count, 1)), strided(o, count))
    };
    let (c_row, c_col) = (strided(taps, o), strided(o, 1));
    Tables { a_row, a_depth, b_depth, b_col, c_row, c_col }
}

/// Seconds of the fastest of `repeats` runs.
fn fastest(repeats: usize, mut run: impl FnMut()) -> f64 {
    (0..repeats)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let isa = match std::env::args().nth(1) {
        Some(name) => Isa::named(&name)?,
        None => Isa::detect()?,
    };
    println!("{isa:?}, {:?}", kiln_kernels::CacheSizes::detect());
    println!("{:44} {:>9} {:>9} {:>6} {:>9} {:>6}", "", "peak", "GFLOP/s", "", "packed B", "");
    let cases = [
        ("square 512", matrices(512, 512, 512, false)),
        ("square 512, B transposed", matrices(512, 512, 512, true)),
        ("square 1024", matrices(1024, 1024, 1024, false)),
        ("LeNet conv1, one image, NCHW", forward(1, 28, 20, 5, false)),
        ("LeNet conv2, one image, NCHW", forward(20, 12, 50, 5, false)),
        ("LeNet conv2, one image, NHWC", forward(20, 12, 50, 5, true)),
        ("conv1 transposed, one image, NCHW", forward(1, 28, 20, 5, false).transposed()),
        ("conv2 transposed, one image, NCHW", forward(20, 12, 50, 5, false).transposed()),
        ("conv2 weight gradient, 1 image, NCHW", gradient(20, 12, 50, 5, false, 1)),
        ("conv2 weight gradient, 1 image, NHWC", gradient(20, 12, 50, 5, true, 1)),
        ("conv2 weight gradient, 16 images, NCHW", gradient(20, 12, 50, 5, false, 16)),
        ("conv2 weight gradient, 16 images, NHWC", gradient(20, 12, 50, 5, true, 16)),
        ("fc1 64 x 500 x 800, B = W transposed", matrices(64, 500, 800, true)),
        ("fc1 64 x 500 x 800, B row-major", matrices(64, 500, 800, false)),
        ("fc2 64 x 10 x 500, B = W transposed", matrices(64, 10, 500, true)),
        ("3x3 256 -> 256 on 16x16, NHWC", forward(256, 16, 256, 3, true)),
        ("its weight gradient, 1 image, NHWC", gradient(256, 16, 256, 3, true, 1)),
        ("1x1 64 -> 256 on 56x56, NHWC", forward(64, 56, 256, 1, true)),
        ("1x1 512 -> 2048 on 7x7, NHWC", forward(512, 7, 2048, 1, true)),
        ("1x1 2048 -> 512 on 7x7, NHWC", forward(2048, 7, 512, 1, true)),
        ("3x3 512 -> 512 on 9x9, NHWC", forward(512, 9, 512, 3, true)),
        ("1 x 500 x 800, B = W transposed", matrices(1, 500, 800, true)),
        ("1 x 500 x 800, B row-major", matrices(1, 500, 800, false)),
        ("1 x 4096 x 4096, B = W transposed", matrices(1, 4096, 4096, true)),
        ("1 x 4096 x 4096, B row-major", matrices(1, 4096, 4096, false)),
        ("16 x 4096 x 4096, B = W transposed", matrices(16, 4096, 4096, true)),
    ];
    let wanted = std::env::args().nth(2).unwrap_or_default();
    for (name, tables) in cases.into_iter().filter(|(name, _)| name.contains(&wanted)) {
        let product = Contraction::new(isa, tables, false)?;
        let flops = 2.0 * (product.rows() * product.cols() * product.depth()) as f64;
        let repeats = (4e9 / flops).clamp(10.0, 20_000.0) as usize;
        let a = vec![0.5f32; product.a_extent()];
        let b = vec![0.25f32; product.b_extent()];
        let mut c = vec![0f32; product.c_extent()];
        let mut scratch = Scratch::new(product.scratch_bytes());
        let packed = product.pack_b(&b);
        let peak = kiln_kernels::peak(isa) / 1e9;
        let plain = fastest(repeats, || product.run(&a, &b, &mut c, &mut scratch));
        let mut scratch = Scratch::new(product.packed_scratch_bytes());
        let fast = fastest(repeats, || product.run_packed(&a, &packed, &mut c, &mut scratch));
        let (plain, fast) = (flops / plain / 1e9, flops / fast / 1e9);
        println!(
            "{name:44} {peak:9.1} {plain:9.1} {:5.0}% {fast:9.1} {:5.0}%",
            100.0 * plain / peak,
            100.0 * fast / peak
        );
    }
    Ok(())
}
