//! Contractions against plain loops in f64, and against each other bit by bit.

use kiln_kernels::{Contraction, ContractionError, Isa, Scratch, Tables};

/// A small counter-based generator (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }
}

fn strided(n: usize, stride: usize) -> Vec<u32> {
    (0..n).map(|i| (i * stride) as u32).collect()
}

/// All sums of `outer` and `inner`, outer first.
fn outer_sum(outer: &[u32], inner: &[u32]) -> Vec<u32> {
    outer.iter().flat_map(|o| inner.iter().map(move |i| o + i)).collect()
}

/// A matrix product; `layout` holds a bit for each operand that is transposed.
fn matrices(m: usize, n: usize, k: usize, layout: usize) -> Tables {
    let pair = |bit: usize, rows, cols| {
        if layout & bit == 0 {
            (strided(rows, cols), strided(cols, 1))
        } else {
            (strided(rows, 1), strided(cols, rows))
        }
    };
    let (a_row, a_depth) = pair(1, m, k);
    let (b_depth, b_col) = pair(2, k, n);
    let (c_row, c_col) = pair(4, m, n);
    Tables { a_row, a_depth, b_depth, b_col, c_row, c_col }
}

/// What a convolution of an image `[C, H, W]` with weights `[O, C, KH, KW]` to `[O, OH, OW]` needs.
struct Convolution {
    c: usize,
    h: usize,
    w: usize,
    o: usize,
    kernel: usize,
    stride: usize,
    channels_last: bool,
}

impl Convolution {
    fn out(&self) -> (usize, usize) {
        let out = |n| (n - self.kernel) / self.stride + 1;
        (out(self.h), out(self.w))
    }

    /// Offsets of the pixels of the output, and of the window under one, in the image.
    fn image(&self) -> (Vec<u32>, Vec<u32>) {
        let (oh, ow) = self.out();
        let (sh, sw, sc) = if self.channels_last {
            (self.w * self.c, self.c, 1)
        } else {
            (self.w, 1, self.h * self.w)
        };
        let pixels = outer_sum(&strided(oh, sh * self.stride), &strided(ow, sw * self.stride));
        let window = outer_sum(
            &strided(self.c, sc),
            &outer_sum(&strided(self.kernel, sh), &strided(self.kernel, sw)),
        );
        (pixels, window)
    }

    fn forward(&self) -> Tables {
        let (a_row, a_depth) = self.image();
        let (pixels, taps) = (a_row.len(), a_depth.len());
        let (c_row, c_col) = if self.channels_last {
            (strided(pixels, self.o), strided(self.o, 1))
        } else {
            (strided(pixels, 1), strided(self.o, pixels))
        };
        Tables {
            a_row,
            a_depth,
            b_depth: strided(taps, 1),
            b_col: strided(self.o, taps),
            c_row,
            c_col,
        }
    }

    fn weight_gradient(&self) -> Tables {
        let (a_depth, a_row) = self.image();
        let (pixels, taps) = (a_depth.len(), a_row.len());
        let (b_depth, b_col) = if self.channels_last {
            (strided(pixels, self.o), strided(self.o, 1))
        } else {
            (strided(pixels, 1), strided(self.o, pixels))
        };
        Tables {
            a_row,
            a_depth,
            b_depth,
            b_col,
            c_row: strided(taps, 1),
            c_col: strided(self.o, taps),
        }
    }
}

/// Runs the contraction every way there is and compares.
fn check(tables: &Tables, accumulate: bool, seed: u64) {
    check_form(tables, accumulate, false, seed);
}

/// The same, also of a channelwise one.
fn check_form(tables: &Tables, accumulate: bool, channelwise: bool, seed: u64) {
    let contraction = |isa| {
        let plain = Contraction::new(isa, tables.clone(), accumulate).unwrap();
        if channelwise { plain.channelwise() } else { plain }
    };
    let mut random = Random(seed);
    let mut outcomes: Vec<(Isa, Vec<f32>)> = Vec::new();
    let sizes = contraction(Isa::Generic);
    let a = random.floats(sizes.a_extent());
    let b = random.floats(sizes.b_extent());
    // What lies between the elements of C must stay as it is.
    let before = random.floats(sizes.c_extent() + 3);

    let mut expected: Vec<f64> = before.iter().map(|&x| f64::from(x)).collect();
    let mut bound: Vec<f64> = vec![0.0; before.len()];
    for (&ar, &cr) in tables.a_row.iter().zip(&tables.c_row) {
        for (column, (&bc, &cc)) in (0u32..).zip(tables.b_col.iter().zip(&tables.c_col)) {
            let ar = ar + if channelwise { column } else { 0 };
            let at = (cr + cc) as usize;
            let (mut sum, mut magnitude) = (0.0, 0.0);
            if accumulate {
                (sum, magnitude) = (expected[at], expected[at].abs());
            }
            for (&ad, &bd) in tables.a_depth.iter().zip(&tables.b_depth) {
                let term = f64::from(a[(ar + ad) as usize]) * f64::from(b[(bd + bc) as usize]);
                sum += term;
                magnitude += term.abs();
            }
            expected[at] = sum;
            bound[at] = (tables.a_depth.len() + 2) as f64 * 2f64.powi(-24) * magnitude;
        }
    }

    for isa in Isa::available() {
        let product = contraction(isa);
        let shape = (product.rows(), product.cols(), product.depth());
        let mut c = before.clone();
        let mut scratch = Scratch::new(product.scratch_bytes());
        product.run(&a, &b, &mut c, &mut scratch);
        for (i, &got) in c.iter().enumerate() {
            let error = (f64::from(got) - expected[i]).abs();
            assert!(error <= bound[i], "{isa:?} {shape:?} C[{i}]: {got}, not {}", expected[i]);
        }

        let packed = product.pack_b(&b);
        let mut again = before.clone();
        product.run_packed(&a, &packed, &mut again, &mut scratch_for_packed(&product));
        for (i, &got) in again.iter().enumerate() {
            let error = (f64::from(got) - expected[i]).abs();
            assert!(
                error <= bound[i],
                "{isa:?} {shape:?} packed C[{i}]: {got}, not {}",
                expected[i]
            );
        }
        if product.rows() > 4 || channelwise {
            assert_eq!(bits(&c), bits(&again), "{isa:?} {shape:?}: packing changes bits");
        }
        let mut far = before.clone();
        let mut scratch = scratch_for_packed(&product);
        product.far().run_packed(&a, &packed, &mut far, &mut scratch);
        assert_eq!(bits(&far), bits(&again), "{isa:?} {shape:?}: prefetching changes bits");
        outcomes.push((isa, c));
    }
    // All instruction sets that fuse multiply and add agree; the generic one rounds twice.
    for pair in outcomes[1..].windows(2) {
        assert_eq!(bits(&pair[0].1), bits(&pair[1].1), "{:?} and {:?}", pair[0].0, pair[1].0);
    }
}

fn scratch_for_packed(product: &Contraction) -> Scratch {
    Scratch::new(product.packed_scratch_bytes())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Under Miri a few of each do.
fn rounds(n: usize) -> usize {
    if cfg!(miri) { n.div_ceil(40) } else { n }
}

#[test]
fn small_matrices_in_every_layout() {
    let mut random = Random(1);
    for round in 0..rounds(400) {
        let [m, n, k] = [(); 3].map(|()| 1 + random.below(if cfg!(miri) { 24 } else { 70 }));
        check(&matrices(m, n, k, round % 8), round % 3 == 0, round as u64);
    }
}

#[test]
fn every_tile_height_and_panel_width() {
    for m in if cfg!(miri) { 4..=7 } else { 1..=17 } {
        for n in if cfg!(miri) { 7..=9 } else { 1..=57 } {
            check(&matrices(m, n, 9, (m + n) % 8), n % 2 == 0, (m * 100 + n) as u64);
        }
    }
}

/// Depthwise convolutions of images of any number of channels, whose results lie channels-last or
/// channel by channel, and the gradients of their weights.
#[test]
fn channelwise_products() {
    let image = |c: usize, stride: usize| Convolution {
        c: 1,
        h: 5,
        w: 9,
        o: 1,
        kernel: 3,
        stride,
        channels_last: c.is_multiple_of(2),
    };
    for channels in if cfg!(miri) { 8..=9 } else { 1..=66 } {
        for stride in [1, 2] {
            // Of one channel: the offsets of the others are between these.
            let of_one = image(channels, stride).forward();
            let spread = |offsets: &[u32]| -> Vec<u32> {
                offsets.iter().map(|&offset| offset * channels as u32).collect()
            };
            let (pixels, taps) = (of_one.a_row.len(), of_one.a_depth.len());
            let (c_row, c_col) = match channels % 2 {
                0 => (strided(pixels, channels), strided(channels, 1)),
                _ => (strided(pixels, 1), strided(channels, pixels)),
            };
            let forward = Tables {
                a_row: spread(&of_one.a_row),
                a_depth: spread(&of_one.a_depth),
                b_depth: strided(taps, 1),
                b_col: strided(channels, taps),
                c_row,
                c_col,
            };
            check_form(&forward, stride == 2, true, channels as u64);
            let gradient = Tables {
                a_row: forward.a_depth,
                a_depth: forward.a_row,
                b_depth: strided(pixels, channels),
                b_col: strided(channels, 1),
                c_row: strided(taps, 1),
                c_col: strided(channels, taps),
            };
            check_form(&gradient, stride == 1, true, channels as u64 + 1000);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "long")]
fn large_matrices_over_several_blocks() {
    for (m, n, k, layout) in [
        (10, 256, 390, 4),
        (11, 300, 7, 3),
        (13, 313, 21, 0),
        (16, 257, 800, 1),
        (16, 344, 385, 7),
        (33, 1100, 900, 0),
        (257, 130, 1153, 1),
        (64, 64, 4100, 2),
        (300, 515, 385, 3),
        (512, 96, 512, 5),
        (1, 2500, 1000, 0),
        (3, 1025, 385, 4),
        (1, 301, 2600, 2),
        (1, 9, 20000, 2),
        (2, 33, 1025, 2),
        (3, 7, 1031, 6),
        (4, 130, 3000, 2),
    ] {
        for accumulate in [false, true] {
            check(&matrices(m, n, k, layout), accumulate, (m + n + k) as u64);
        }
    }
}

/// Heights at which tiles take turns at parts of the depth, and those beside; panels of every width, alone
/// and followed by narrower ones; depths that end within a part, a turn and a block.
#[test]
#[cfg_attr(miri, ignore = "long")]
fn panels_beyond_the_first_cache() {
    for m in 9..=19 {
        for (n, k, layout) in [
            (16, 400, 0),
            (31, 301, 4),
            (32, 768, 2),
            (47, 385, 6),
            (48, 193, 2),
            (63, 147, 0),
            (64, 384, 6),
            (65, 390, 2),
            (208, 161, 4),
        ] {
            check(&matrices(m, n, k, layout), (m + n) % 2 == 0, (m * n + k) as u64);
        }
    }
}

/// Bias, residual, ReLU and cap, against the same done to the plain product.
#[test]
fn epilogues() {
    let mut random = Random(11);
    for (m, n, k, layout) in [(3, 20, 9, 0), (9, 50, 24, 0), (13, 300, 150, 0), (16, 259, 385, 4)] {
        if cfg!(miri) && n > 100 {
            continue;
        }
        let tables = matrices(m, n, k, layout);
        let [a, b] = [m * k, k * n].map(|elements| random.floats(elements));
        let (bias, residual) = (random.floats(n), random.floats(m * n));
        for isa in Isa::available() {
            let plain = Contraction::new(isa, tables.clone(), false).unwrap();
            let mut scratch = Scratch::new(plain.scratch_bytes());
            let mut expected = vec![0.0; m * n];
            plain.run(&a, &b, &mut expected, &mut scratch);
            for &row in &tables.c_row {
                for (&column, bias) in tables.c_col.iter().zip(&bias) {
                    let at = (row + column) as usize;
                    expected[at] = (expected[at] + bias + residual[at]).clamp(0.0, 1.5) + 0.0;
                }
            }
            let product = plain.with_epilogue(tables.c_row.clone(), true, Some(1.5)).unwrap();
            let mut c = vec![0.0; m * n];
            product.run_finished([&a, &b], &mut c, &mut scratch, Some(&bias), Some(&residual));
            assert_eq!(bits(&c), bits(&expected), "{isa:?} {m} x {n} x {k}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "long")]
fn convolutions_and_their_weight_gradients() {
    for (c, h, w, o, kernel, stride) in [
        (20, 12, 12, 50, 5, 1),
        (1, 28, 28, 20, 5, 1),
        (3, 9, 11, 7, 3, 2),
        (8, 7, 7, 33, 1, 1),
        (16, 14, 14, 5, 3, 1),
    ] {
        for channels_last in [false, true] {
            let convolution = Convolution { c, h, w, o, kernel, stride, channels_last };
            check(&convolution.forward(), false, 7);
            check(&convolution.weight_gradient(), true, 8);
        }
    }
}

#[test]
fn arbitrary_tables() {
    let mut random = Random(5);
    for round in 0..rounds(120) {
        let [m, n, k] = [(); 3].map(|()| 1 + random.below(if cfg!(miri) { 12 } else { 40 }));
        let mut scatter = |n: usize, step: usize| -> Vec<u32> {
            let mut places: Vec<u32> = strided(n, step);
            for i in (1..n).rev() {
                places.swap(i, random.below(i + 1));
            }
            places
        };
        // Rows of C far enough apart that no two elements share a place.
        let c_row = scatter(m, 3 * n);
        let c_col = scatter(n, 3);
        let tables = Tables {
            a_row: scatter(m, 2),
            a_depth: scatter(k, 5),
            b_depth: scatter(k, 3),
            b_col: scatter(n, 1),
            c_row,
            c_col,
        };
        check(&tables, round % 2 == 0, round as u64);
    }
}

#[test]
fn empty_extents() {
    for (m, n, k) in [(0, 5, 5), (5, 0, 5), (0, 0, 0), (3, 0, 2), (1, 0, 0)] {
        check(&matrices(m, n, k, 0), false, 1);
    }
    // A sum of nothing is zero, and adds nothing.
    for m in [2, 9] {
        for b_step in [1, 2] {
            // Offsets that lie outside the operands, which have no elements.
            let mut tables = matrices(m, 5, 0, 0);
            tables.a_row = strided(m, 7);
            tables.b_col = strided(5, b_step);
            check(&tables, false, 1);
            check(&tables, true, 1);
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_tile() {
    let (m, n, k) = if cfg!(miri) { (7, 11, 5) } else { (29, 41, 700) };
    let mut random = Random(3);
    let (a, b) = (random.floats(m * k), random.floats(k * n));
    for isa in Isa::available() {
        let all = Contraction::new(isa, matrices(m, n, k, 0), false).unwrap();
        let mut whole = vec![0.0; m * n];
        all.run(&a, &b, &mut whole, &mut Scratch::new(all.scratch_bytes()));
        let packed = all.pack_b(&b);
        for start in 0..m {
            // Every height of what is left, narrow products included.
            let part = Contraction::new(isa, matrices(m - start, n, k, 0), false).unwrap();
            assert_eq!(part.packed_b_bytes(), all.packed_b_bytes());
            let mut c = vec![0.0; (m - start) * n];
            part.run(&a[start * k..], &b, &mut c, &mut Scratch::new(part.scratch_bytes()));
            assert_eq!(bits(&c), bits(&whole[start * n..]), "{isa:?} from row {start}");
            part.run_packed(&a[start * k..], &packed, &mut c, &mut scratch_for_packed(&part));
            assert_eq!(bits(&c), bits(&whole[start * n..]), "{isa:?} packed from row {start}");
        }
    }
}

#[test]
fn unequal_tables_are_refused() {
    let mut tables = matrices(2, 3, 4, 0);
    tables.b_depth.pop();
    let error = Contraction::new(Isa::Generic, tables, false).unwrap_err();
    assert_eq!(error, ContractionError::Lengths("depth", 4, 3));
}

#[test]
fn not_a_number_stays_in_its_row_and_column() {
    for isa in Isa::available() {
        let product = Contraction::new(isa, matrices(9, 11, 5, 0), false).unwrap();
        let (mut a, b) = (vec![1.0; 45], vec![1.0; 55]);
        a[3 * 5 + 2] = f32::NAN;
        let mut c = vec![0.0; 99];
        product.run(&a, &b, &mut c, &mut Scratch::new(product.scratch_bytes()));
        for (i, x) in c.iter().enumerate() {
            assert_eq!(x.is_nan(), i / 11 == 3, "{isa:?} C[{i}] = {x}");
        }
    }
}
