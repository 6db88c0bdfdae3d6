//! `winograd`: 3x3 and 5x5 convolutions whose weights do not change become Winograd's F(4x4, 3x3),
//! F(2x2, 3x3) or F(2x2, 5x5).
//!
//! Of 3 x 3 taps, tiles of 4 x 4 results take 36 products instead of 144 and tiles of 2 x 2 take 16
//! instead of 36; of 5 x 5 taps, tiles of 2 x 2 take 36 instead of 100
//! (Lavin & Gray 2015, "Fast algorithms for convolutional neural networks"): factors of the image,
//! a matrix product for each factor with factors of the weights, results of the products. The
//! factors of the weights are computed once (see [`crate::prepare`]), in f64. It pays where the
//! transforms and the larger weights cost less than the products saved; the estimates are in the
//! remarks.
//! Errors of six factors along an axis are some 1e-5 of the range of results, those of F(2x2, 3x3)
//! and of the direct convolution 1e-6 at most; `precise` forbids all.

use std::fmt;

use kiln_graph::op::Lower;
use kiln_graph::ops::WinogradForm;
use kiln_graph::{Builder, Graph, GraphError, Node, Var, ops, rebuild};
use kiln_tensor::DType;

use crate::fixed::fixed;
use crate::pass::{Notes, Pass, PassError, Way};
use crate::rewrite;

/// See the module.
pub static PASS: Pass<Graph> = Pass {
    name: "winograd",
    doc: "3x3 and 5x5 convolutions take fewer products, by Winograd",
    run,
};

/// Channels on either side below which rows of the products are too short.
const CHANNELS: usize = 16;
/// Multiply-adds a nanosecond that a direct convolution reaches on one core, and a product of
/// factors; bytes a nanosecond at which weights come from the last cache meanwhile, where outputs are
/// many enough for few rows to read each line once and where they are not; nanoseconds that a transform
/// takes for each factor.
const DIRECT: f64 = 84.0;
const PRODUCT: f64 = 80.0;
const MANY: usize = 256;
const WEIGHTS: [f64; 2] = [15.0, 12.0];
const TRANSFORM: f64 = 0.06;
/// The name of the way without tiles.
const DIRECT_WAY: &str = "direct";

/// Sizes of a convolution; as text, what it is called among decisions.
struct Sizes {
    taps: usize,
    images: usize,
    channels: usize,
    outputs: usize,
    /// Rows and columns of results.
    results: [usize; 2],
}

impl Sizes {
    fn tiles(&self, tile: usize) -> usize {
        self.results.iter().map(|n| n.div_ceil(tile)).product::<usize>() * self.images
    }

    /// Nanoseconds on one core of `products` matrix products with so many rows.
    fn products(&self, products: usize, rows: usize, rate: f64) -> f64 {
        let weights = (products * self.channels * self.outputs) as f64;
        let bytes = WEIGHTS[usize::from(self.outputs < MANY)];
        weights * (rows as f64 / rate).max(size_of::<f32>() as f64 / bytes)
    }

    /// The direct convolution, and Winograd's where rows of its products are not too short.
    fn ways(&self) -> Vec<Way> {
        let mut ways = vec![Way { name: DIRECT_WAY, nanoseconds: self.direct() }];
        if self.channels.min(self.outputs) >= CHANNELS {
            let tiled = WinogradForm::ALL.into_iter().filter(|form| form.taps == self.taps);
            ways.extend(tiled.map(|f| Way { name: f.name(), nanoseconds: self.tiled(f) }));
        }
        ways
    }

    /// A convolution of these sizes between an image and a reduction, as it stands in a network.
    fn alone(&self) -> Result<Graph, GraphError> {
        let ([h, w], [n, c, o]) = (self.results, [self.images, self.channels, self.outputs]);
        let b = Builder::new();
        let (k, pad) = (self.taps, self.taps / 2);
        let (image, kernel) =
            (b.data("image", DType::F32, &[n, c, h, w]), b.param("kernel", &[o, c, k, k]));
        b.output("most", image.conv(kernel, [1, 1], [pad; 2], [1, 1], 1).reduce_max(&[2, 3]));
        b.finish()
    }

    /// Nanoseconds of the direct convolution, on one core.
    fn direct(&self) -> f64 {
        self.products(
            self.taps * self.taps,
            self.images * self.results[0] * self.results[1],
            DIRECT,
        )
    }

    /// Nanoseconds by tiles.
    fn tiled(&self, form: WinogradForm) -> f64 {
        let (tiles, factors) = (self.tiles(form.tile), form.factors());
        let transformed = factors * tiles * (self.channels + self.outputs);
        self.products(factors, tiles, PRODUCT) + TRANSFORM * transformed as f64
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([h, w], [n, c, o]) = (self.results, [self.images, self.channels, self.outputs]);
        let k = self.taps;
        write!(f, "{k}x{k} convolution to {n}x{o}x{h}x{w} from {c} channels")
    }
}

fn run(graph: Graph, notes: &mut Notes) -> Result<Graph, PassError> {
    if rewrite::has_grad(&graph, notes) || notes.options.precise {
        return Ok(graph);
    }
    let fixed = fixed(&graph);
    let mut chosen = vec![None; graph.len()];
    for id in graph.ids().filter(|&id| graph[id].op == &ops::CONV) {
        let [image, kernel] = graph.operands(id)[..] else { continue };
        let Some(sizes) = sizes(&graph[id], &graph[image], &graph[kernel]) else { continue };
        if !fixed[kernel.index()] || fixed[image.index()] {
            continue;
        }
        let (subject, ways) = (sizes.to_string(), sizes.ways());
        let choice = notes.decide(&subject, &ways, || sizes.alone())?;
        chosen[id.index()] = WinogradForm::ALL.into_iter().find(|f| f.name() == choice);
        let estimates: Vec<String> =
            ways.iter().map(|way| format!("{:.0} ns {}", way.nanoseconds, way.name)).collect();
        let tuned = if notes.options.choices.contains_key(&subject) { " as tuned" } else { "" };
        let reason = format!("{choice}{tuned}: {subject}, about {}", estimates.join(", "));
        notes.remark(&graph, id, reason);
    }
    if chosen.iter().all(Option::is_none) {
        return Ok(graph);
    }
    let rebuilt = rebuild(&graph, |_, id, node, x| {
        let [image, kernel] = x else { return None };
        let form = chosen[id.index()].filter(|_| matches!(node.op.lower, Lower::Contract(_)))?;
        Some(convolution(*image, *kernel, &node.ty.shape, form))
    })?;
    Ok(kiln_graph::sweep(rebuilt))
}

/// The sizes of a convolution that there is a form for: 3x3 or 5x5, stride 1, one group.
fn sizes(node: &Node, image: &Node, kernel: &Node) -> Option<Sizes> {
    let ones = |name| node.attrs.ints(name) == [1, 1];
    let (y, w) = (&node.ty.shape, &kernel.ty.shape);
    let known = w[3] == w[4] && WinogradForm::ALL.iter().any(|form| form.taps == w[3]);
    let fits = ones("stride") && ones("dilation") && w[0] == 1 && known;
    fits.then(|| Sizes {
        taps: w[3],
        images: y[0],
        channels: image.ty.shape[2],
        outputs: y[2],
        results: [y[3], y[4]],
    })
}

/// The convolution of `[N, 1, C, H, W]` with `[1, O, C, K, K]`, of shape `y`, by tiles.
fn convolution<'b>(image: Var<'b>, kernel: Var<'b>, y: &[usize], form: WinogradForm) -> Var<'b> {
    let shape = image.shape();
    let (n, c, o) = (shape[0], shape[2], y[2]);
    let [th, tw] = [y[3], y[4]].map(|n| n.div_ceil(form.tile));
    let side = |tiles: usize| form.tile * tiles + form.taps - 1;
    let more = [side(th) - shape[3], side(tw) - shape[4]];
    let image = extended(image, [n, c, shape[3], shape[4]], more).winograd_image(form);

    let taps = [o, c, form.taps, form.taps];
    let weights = kernel.reshape(&taps).winograd_weights(form).transpose(&[0, 2, 1]);
    let result = image.dot(weights).winograd_result(form, [n, th, tw]);
    result.slice(&[0; 4], &[n, o, y[3], y[4]], &[1; 4]).reshape(y)
}

/// The image as `[N, C, H, W]` with so many zeros after its rows and columns; those join the
/// padding that the image may have already.
fn extended<'b>(image: Var<'b>, shape: [usize; 4], more: [usize; 2]) -> Var<'b> {
    let after = [0, 0, more[0], more[1]];
    let b = image.builder();
    let padded = b.inspect(|g| {
        let mut id = image.id();
        while g[id].op == &ops::RESHAPE {
            id = g.operands(id)[0];
        }
        let node = &g[id];
        let is_frame = node.op == &ops::PAD
            && node.ty.shape[..] == shape
            && node.attrs.float("value").to_bits() == 0
            && node.attrs.ints("interior").iter().all(|&i| i == 0);
        let sides = |name| -> Vec<usize> {
            node.attrs.ints(name).iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect()
        };
        is_frame.then(|| (g.operands(id)[0], sides("low"), sides("high")))
    });
    match padded {
        Some((inner, low, mut high)) => {
            high.iter_mut().zip(after).for_each(|(high, more)| *high += more);
            b.var(inner).pad(&low, &high, &[0; 4], 0.0)
        }
        None => image.reshape(&shape).pad(&[0; 4], &after, &[0; 4], 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pass::PassOptions;
    use crate::testing::{after, assert_same, count};

    fn network(size: [usize; 2], pad: [usize; 2], stride: usize) -> Graph {
        with_taps(3, size, pad, stride)
    }

    fn with_taps(taps: usize, size: [usize; 2], pad: [usize; 2], stride: usize) -> Graph {
        let b = Builder::new();
        let x = b.data("x", DType::F32, &[4, 32, size[0], size[1]]);
        let w = b.param("w", &[48, 32, taps, taps]);
        b.output("y", x.conv(w, [stride; 2], pad, [1, 1], 1));
        b.finish().expect("well-formed")
    }

    #[test]
    fn images_of_any_size_and_padding_have_the_same_convolution() {
        for (size, pad) in
            [([16, 16], [1, 1]), ([13, 10], [1, 0]), ([14, 14], [0, 0]), ([11, 18], [2, 1])]
        {
            let plain = network(size, pad, 1);
            let (new, notes) = after(&PASS, plain.clone());
            assert_eq!([count(&new, "conv"), count(&new, "winograd_image")], [0, 1], "{new}");
            assert!(count(&new, "pad") <= 1, "{new}");
            assert_same(&plain, &new, 1e-12);
            assert!(notes.remarks[0].reason.contains(" ns F(4x4, 3x3)"), "{notes:?}");
        }
    }

    #[test]
    fn five_taps_have_small_tiles() {
        for (size, pad) in [([12, 12], [0, 0]), ([11, 8], [2, 2]), ([9, 13], [1, 0])] {
            let plain = with_taps(5, size, pad, 1);
            let (new, notes) = after(&PASS, plain.clone());
            assert_eq!([count(&new, "conv"), count(&new, "winograd_image")], [0, 1], "{new}");
            assert_same(&plain, &new, 1e-12);
            assert!(notes.remarks[0].reason.starts_with("F(2x2, 5x5): 5x5"), "{notes:?}");
        }
    }

    #[test]
    fn others_stay_direct() {
        let unchanged =
            |graph: Graph| assert_eq!(after(&PASS, graph.clone()).0.to_string(), graph.to_string());
        unchanged(network([16, 16], [1, 1], 2));
        unchanged(network([2, 2], [1, 1], 1));
        unchanged(with_taps(7, [16, 16], [3, 3], 1));
        unchanged(with_taps(5, [16, 16], [2, 2], 2));
        let b = Builder::new();
        let (x, w) =
            (b.data("x", DType::F32, &[2, 32, 16, 16]), b.data("w", DType::F32, &[48, 32, 3, 3]));
        b.output("y", x.conv(w, [1, 1], [1, 1], [1, 1], 1));
        unchanged(b.finish().expect("well-formed"));
    }

    #[test]
    fn small_images_have_small_tiles() {
        for (size, pad) in [([4, 4], [1, 1]), ([8, 6], [0, 1]), ([6, 6], [1, 1])] {
            let plain = network(size, pad, 1);
            let (new, notes) = after(&PASS, plain.clone());
            assert_eq!([count(&new, "conv"), count(&new, "winograd_image")], [0, 1], "{new}");
            assert!(new.to_string().contains("tile=2"), "{new}");
            assert_same(&plain, &new, 1e-12);
            assert!(notes.remarks[0].reason.starts_with("F(2x2, 3x3)"));
        }
    }

    #[test]
    fn what_is_decided_already_is_not_estimated() {
        let (graph, subject) =
            (network([2, 2], [1, 1], 1), "3x3 convolution to 4x48x2x2 from 32 channels");
        let run = |choice: &str| {
            let choices = [(subject.to_owned(), choice.to_owned())].into();
            let mut notes = Notes::new(PassOptions { choices, ..PassOptions::default() });
            let new =
                crate::run(&[&PASS], graph.clone(), &mut notes, &mut |_, _| {}).expect("succeeds");
            (count(&new, "conv"), notes)
        };
        let (convolutions, notes) = run("F(4x4, 3x3)");
        assert_eq!(convolutions, 0);
        assert!(notes.remarks[0].reason.starts_with("F(4x4, 3x3) as tuned: 3x3"), "{notes:?}");
        let [decision] = &notes.decisions[..] else { panic!("one subject") };
        assert_eq!((&decision.subject[..], decision.chosen), (subject, "F(4x4, 3x3)"));
        // The graph to time it by asks for the same decision.
        let mut alone = Notes::default();
        crate::run(&[&PASS], decision.alone.clone(), &mut alone, &mut |_, _| {}).expect("succeeds");
        assert_eq!(alone.decisions[0].subject, subject);
        // Unknown ways are as good as none.
        assert_eq!([run("direct").0, run("F(9, 9)").0], [1, 1]);
    }

    #[test]
    fn precise_forbids_it() {
        let graph = network([16, 16], [1, 1], 1);
        let mut notes = Notes::new(PassOptions { precise: true, ..PassOptions::default() });
        let new = crate::run(&[&PASS], graph, &mut notes, &mut |_, _| {}).expect("succeeds");
        assert_eq!(count(&new, "conv"), 1);
    }
}
