//! Single operators and short chains of them, `kernels.kiln`, on one thread: the time, and the share of
//! what the processor can do, measured in the same run. `cargo bench -p kiln-benches --bench kernels -- softmax`
//!
//! Contractions are compared with a loop of multiply-adds, by the multiplications that they would take
//! directly: Winograd's convolutions may reach more than 100 %. Everything else is compared with copying
//! as many bytes as it must read and write.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput};
use kiln::{Options, Session};

/// Wall time, and throughput in percent of the machine's.
struct Share {
    time: WallTime,
    /// Multiplications and additions a second.
    peak: f64,
    /// Nanoseconds that copying takes, by the bytes read and written.
    copies: RefCell<HashMap<u64, f64>>,
}

impl Share {
    fn new() -> Share {
        let isa = kiln_kernels::Isa::detect().unwrap_or_else(|e| panic!("{e}"));
        let peak = kiln_kernels::peak(isa);
        println!("{}: {:.1} GFLOP/s at most", isa.name(), peak / 1e9);
        Share { time: WallTime, peak, copies: RefCell::default() }
    }

    /// The least nanoseconds of copying, to memory that is mapped, so that so many bytes are read and
    /// written.
    fn copy(&self, bytes: u64) -> f64 {
        *self.copies.borrow_mut().entry(bytes).or_insert_with(|| {
            let source = vec![1u8; bytes as usize / 2];
            let mut target = vec![2u8; bytes as usize / 2];
            let until = Instant::now() + Duration::from_millis(300);
            let mut least = f64::INFINITY;
            while Instant::now() < until {
                let begun = Instant::now();
                black_box(&mut target).copy_from_slice(black_box(&source));
                least = least.min(begun.elapsed().as_nanos() as f64);
            }
            least
        })
    }
}

impl Measurement for Share {
    type Intermediate = Instant;
    type Value = Duration;

    fn start(&self) -> Instant {
        self.time.start()
    }

    fn end(&self, begun: Instant) -> Duration {
        self.time.end(begun)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        self.time.add(one, other)
    }

    fn zero(&self) -> Duration {
        self.time.zero()
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        self.time.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Share {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        self.time.formatter().scale_values(typical, values)
    }

    fn scale_throughputs(&self, typical: f64, of: &Throughput, ns: &mut [f64]) -> &'static str {
        let (whole, unit) = match of {
            Throughput::Elements(flops) => (*flops as f64 / self.peak * 1e9, "% of the peak"),
            Throughput::Bytes(bytes) => (self.copy(*bytes), "% of copy speed"),
            other => return self.time.formatter().scale_throughputs(typical, other, ns),
        };
        ns.iter_mut().for_each(|ns| *ns = 100.0 * whole / *ns);
        unit
    }

    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        self.time.formatter().scale_for_machines(values)
    }
}

/// A model of `kernels.kiln`, its sizes, and what it has to do.
struct Row {
    name: String,
    model: &'static str,
    set: Vec<(&'static str, usize)>,
    work: Throughput,
}

fn row(name: String, model: &'static str, set: &[(&'static str, usize)], work: Throughput) -> Row {
    Row { name, model, set: set.to_vec(), work }
}

/// Multiplications and additions of a product.
fn flops(rows: usize, cols: usize, depth: usize) -> Throughput {
    Throughput::Elements((2 * rows * cols * depth) as u64)
}

/// So many f32 read and written.
fn floats(count: usize) -> Throughput {
    Throughput::Bytes(4 * count as u64)
}

/// ResNet-50's convolutions of an image: side, channels in and out, kernel, stride.
const RESNET50: &[(usize, usize, usize, usize, usize)] = &[
    (224, 3, 64, 7, 2),
    (56, 64, 64, 1, 1),
    (56, 64, 64, 3, 1),
    (56, 64, 256, 1, 1),
    (56, 256, 64, 1, 1),
    (56, 256, 128, 1, 1),
    (56, 128, 128, 3, 2),
    (56, 256, 512, 1, 2),
    (28, 128, 512, 1, 1),
    (28, 512, 128, 1, 1),
    (28, 128, 128, 3, 1),
    (28, 512, 256, 1, 1),
    (28, 256, 256, 3, 2),
    (28, 512, 1024, 1, 2),
    (14, 256, 1024, 1, 1),
    (14, 1024, 256, 1, 1),
    (14, 256, 256, 3, 1),
    (14, 1024, 512, 1, 1),
    (14, 512, 512, 3, 2),
    (14, 1024, 2048, 1, 2),
    (7, 512, 2048, 1, 1),
    (7, 2048, 512, 1, 1),
    (7, 512, 512, 3, 1),
];

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for n in [256, 512, 1024, 2048] {
        let set = [("M", n), ("K", n), ("O", n)];
        rows.push(row(format!("sgemm {n}"), "product", &set, flops(n, n, n)));
    }
    let dense = |n| [("N", n), ("C", 9216), ("out", 4096)];
    rows.push(row("dense 1x9216x4096".into(), "dense", &dense(1), floats(9216 * 4096)));
    rows.push(row("dense 16x9216x4096".into(), "dense", &dense(16), flops(16, 4096, 9216)));
    for &(side, channels, out, size, stride) in RESNET50 {
        let name = format!("conv {size}x{size} by {stride}, {side}x{side}x{channels} to {out}");
        let set = [("H", side), ("W", side), ("C", channels), ("out", out), ("size", size)];
        let set = [&set[..], &[("stride", stride), ("pad", size / 2)]].concat();
        let pixels = side.div_ceil(stride).pow(2);
        rows.push(row(name, "convolution", &set, flops(pixels, out, channels * size * size)));
    }
    const VECTOR: usize = 1 << 24;
    for model in ["copy", "plain_chain", "chain"] {
        rows.push(row(format!("{model} 16M"), model, &[("N", VECTOR)], floats(2 * VECTOR)));
    }
    for (model, c) in [("softmax_rows", 1000), ("norm_rows", 1024)] {
        let set = [("N", 4096), ("C", c)];
        rows.push(row(format!("{model} 4096x{c}"), model, &set, floats(2 * 4096 * c)));
    }
    for model in ["total", "row_sums", "column_sums", "row_maxima"] {
        let set = [("N", 4096), ("C", 4096)];
        rows.push(row(format!("{model} 4096x4096"), model, &set, floats(VECTOR)));
    }
    for model in ["max_pooling", "avg_pooling"] {
        for (stride, side, channels) in [(1usize, 28usize, 256), (2, 112, 64)] {
            let name = format!("{model} 3x3 by {stride}, {side}x{side}x{channels}");
            let set = [("H", side), ("W", side), ("C", channels), ("stride", stride)];
            let pixels = side.pow(2) + side.div_ceil(stride).pow(2);
            rows.push(row(name, model, &set, floats(pixels * channels)));
        }
    }
    rows
}

/// A session of the row's model with weights and inputs, on one thread.
fn session(row: &Row) -> kiln::Result<Session> {
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels.kiln"));
    let module = kiln::lang::Module::parse_file(file)?;
    let model = kiln::Model::of(module, Some(row.model))?;
    let options = row.set.iter().fold(Options::default().threads(1), |o, (k, v)| o.bind(k, v));
    let exe = kiln::compile(&model.inference()?, &options)?;
    let mut session = exe.session()?;
    session.set_weights(&kiln::initial_weights(&model, &options)?)?;
    for (name, tensor) in kiln::random_inputs(&exe, 0)? {
        session.set(&name, &tensor)?;
    }
    Ok(session)
}

fn main() {
    let criterion = Criterion::default().with_measurement(Share::new());
    let mut criterion = criterion
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
        .configure_from_args();
    let mut group = criterion.benchmark_group("kernels");
    for row in rows() {
        group.throughput(row.work.clone());
        let mut ready = None;
        group.bench_function(&row.name, |b| {
            // Compiled only if the row is chosen.
            let session =
                ready.get_or_insert_with(|| session(&row).unwrap_or_else(|e| panic!("{e}")));
            b.iter(|| session.step().unwrap_or_else(|e| panic!("{e}")));
        });
    }
    group.finish();
    criterion.final_summary();
}
