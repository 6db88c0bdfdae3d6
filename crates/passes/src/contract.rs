//! `contract`: sums of broadcast products become matrix products.
//!
//! The language writes a linear layer, attention and any other contraction as what it is, a
//! product summed over the axes both factors share: `sum[D](q * k)`. Read literally that is a
//! product with one element for every multiplication. This pass sorts the axes of the product:
//!
//! | in the left factor | in the right | in the sum | the axis is |
//! |---|---|---|---|
//! | yes | yes | yes | of the batch |
//! | yes | yes | no | contracted |
//! | yes | no | yes | a row |
//! | no | yes | yes | a column |
//! | one of the two | | no | summed before the product |
//! | no | no | yes | broadcast after the product |
//!
//! and builds `dot` with the views around it that bring each factor to `[batch, rows, contracted]`
//! and `[batch, contracted, columns]`. It stands before `autodiff`, so that the gradients of a
//! contraction are contractions too.
//!
//! Where a window slides along a factor, as `x[H = i + u]` of the language's index form says, the
//! contraction is a convolution and becomes `conv` (`slide`).

mod slide;

use std::collections::{HashMap, HashSet};

use kiln_graph::op::{Lower, Reduction};
use kiln_graph::{Builder, Graph, NodeId, Var, copy_results, merge, ops, sweep};
use kiln_loops::{Fold, Index};
use kiln_tensor::DType;

use crate::pass::{Notes, Pass, PassError};
use crate::rewrite;
use slide::Window;

/// See the module.
pub static PASS: Pass<Graph> =
    Pass { name: "contract", doc: "make sums of products matrix products", run };

/// A factor is looked for below at most this many views.
const MAX_VIEWS: usize = 64;

fn run(graph: Graph, notes: &mut Notes) -> Result<Graph, PassError> {
    // A value that is differentiated by must stay on the path to the loss.
    let kept: HashSet<NodeId> = graph
        .ids()
        .filter(|&id| graph[id].op == &ops::GRAD)
        .map(|id| graph.operands(id)[1])
        .collect();
    let b = Builder::new();
    let mut new: Vec<NodeId> = Vec::with_capacity(graph.len());
    let mut arranged = Arranged::new();
    for id in graph.ids() {
        new.push(match recognise(&graph, id, &kept, notes) {
            Some(plan) => {
                let product = graph.operands(id)[0];
                let taken = rewrite::between(&graph, id, &[plan.left.source, plan.right.source]);
                let taken = taken.iter().chain([&product]).map(|&id| &graph[id].locations);
                b.locate(merge([&graph[id].locations].into_iter().chain(taken)));
                plan.build(&b, &graph, id, &new, &mut arranged)
            }
            None => {
                let operands: Vec<NodeId> =
                    graph.operands(id).iter().map(|o| new[o.index()]).collect();
                b.modify(|g| g.append(graph[id].clone(), &operands))
            }
        });
    }
    b.modify(|g| copy_results(&graph, g, |id| new[id.index()]));
    Ok(sweep(b.finish()?))
}

/// Factors that were arranged before: what of, the axes summed, the order of the others, and the sizes.
type Arranged = HashMap<(NodeId, Vec<usize>, Vec<usize>, Vec<usize>), NodeId>;

/// One factor of the product.
struct Factor {
    /// The array below the views.
    source: NodeId,
    /// For each axis of the product, the axis of the source it runs along, if any.
    axes: Vec<Option<usize>>,
    /// Axes of the product that only this factor has and the sum does not.
    alone: Vec<usize>,
    /// Windows that slide along the source; both axes of each run along the window's axis.
    windows: Vec<Window>,
}

/// A sum of products as a matrix product, or as a convolution if windows slide along the left factor; axes are
/// those of the product.
struct Plan {
    left: Factor,
    right: Factor,
    batch: Vec<usize>,
    rows: Vec<usize>,
    cols: Vec<usize>,
    contracted: Vec<usize>,
    /// Sizes of the product's axes.
    extents: Vec<usize>,
    /// For each axis of the product its axis in the sum, if it is kept.
    place: Vec<Option<usize>>,
}

fn recognise(
    graph: &Graph,
    sum: NodeId,
    kept: &HashSet<NodeId>,
    notes: &mut Notes,
) -> Option<Plan> {
    let Lower::Reduce(space, Reduction::Fold(Fold::Add)) = graph[sum].op.lower else { return None };
    let product = graph.operands(sum)[0];
    if graph[product].op != &ops::MUL || graph[sum].ty.dtype != DType::F32 {
        return None;
    }
    let mut decline = |reason: &str| {
        notes.remark(graph, sum, format!("not a matrix product: {reason}"));
        None
    };
    if kept.contains(&product) {
        return decline("a gradient is taken by the product");
    }
    let extents = graph[product].ty.shape.to_vec();
    if extents.contains(&0) {
        return decline("it is empty");
    }
    let kept_axes = graph[sum].ty.shape.rank();
    let mut place = Vec::with_capacity(extents.len());
    for axis in &graph.with_view(sum, space).operands[0].0 {
        // Anything but one axis of the space at its own index is a window.
        let [(to, 1)] = axis.terms[..] else { return None };
        if axis.offset != 0 {
            return None;
        }
        place.push((to < kept_axes).then_some(to));
    }
    let factors = graph.operands(product);
    let sorted = |below_windows| -> Result<Plan, &str> {
        let kept = |id| kept.contains(&id);
        let places = if below_windows { Some(&place[..]) } else { None };
        let left = factor(graph, factors[0], &extents, kept, places);
        let right = factor(graph, factors[1], &extents, kept, places);
        sort(left, right, &extents, &place)
    };
    // Windows that are none of a convolution are axes like others.
    let plan = match sorted(true) {
        Ok(plan) if plan.is_whole() => Ok(plan),
        _ => sorted(false),
    };
    let mut plan = match plan {
        Ok(plan) => plan,
        Err(reason) => {
            notes.remark(graph, sum, format!("not a matrix product: {reason}"));
            return None;
        }
    };
    if notes.options.precise && !(plan.left.alone.is_empty() && plan.right.alone.is_empty()) {
        notes.remark(graph, sum, "not a matrix product: it would sum before it multiplies");
        return None;
    }
    let walked = |f: &Factor| f.windows.is_empty() && graph[f.source].op == &ops::UNFOLD;
    if (walked(&plan.left) || walked(&plan.right)) && (plan.rows.is_empty() || plan.cols.is_empty())
    {
        let reason = "not a matrix product: its windows would be stored to be read once";
        notes.remark(graph, sum, reason);
        return None;
    }
    // Rows come before columns in the sum where possible: then nothing need be transposed.
    let first = plan.rows.iter().chain(&plan.cols).min_by_key(|&&a| plan.place[a]);
    let turn = first.is_some_and(|a| plan.cols.contains(a));
    if plan.left.windows.is_empty() && turn || !plan.right.windows.is_empty() {
        std::mem::swap(&mut plan.left, &mut plan.right);
        std::mem::swap(&mut plan.rows, &mut plan.cols);
    }
    Some(plan)
}

/// Sorts the axes of a product into classes; or says why it is no contraction.
fn sort(
    mut left: Factor,
    mut right: Factor,
    extents: &[usize],
    place: &[Option<usize>],
) -> Result<Plan, &'static str> {
    let [mut batch, mut rows, mut cols, mut contracted] = [const { Vec::new() }; 4];
    for axis in (0..extents.len()).filter(|&a| extents[a] > 1) {
        match (left.axes[axis].is_some(), right.axes[axis].is_some(), place[axis].is_some()) {
            (true, true, true) => batch.push(axis),
            (true, true, false) => contracted.push(axis),
            (true, false, true) => rows.push(axis),
            (false, true, true) => cols.push(axis),
            (true, false, false) => left.alone.push(axis),
            (false, true, false) => right.alone.push(axis),
            (false, false, true) => {}
            (false, false, false) => return Err("it sums over an axis no factor has"),
        }
    }
    if contracted.is_empty() {
        return Err("no summed axis is in both factors");
    }
    if rows.is_empty() && cols.is_empty() {
        return Err("no axis is in one factor alone, which makes it an ordinary sum");
    }
    let (extents, place) = (extents.to_vec(), place.to_vec());
    Ok(Plan { left, right, batch, rows, cols, contracted, extents, place })
}

/// The array below a factor's views, and how the product's axes run along it; below windows too if
/// it is told which axes the sum keeps.
fn factor(
    graph: &Graph,
    factor: NodeId,
    extents: &[usize],
    kept: impl Fn(NodeId) -> bool,
    place: Option<&[Option<usize>]>,
) -> Factor {
    // A factor of rank 0 is read at every index.
    let rank = graph[factor].ty.shape.rank();
    let axes = (0..extents.len()).map(|a| (a < rank && extents[a] > 1).then_some(a)).collect();
    let mut factor = Factor { source: factor, axes, alone: Vec::new(), windows: Vec::new() };
    for _ in 0..MAX_VIEWS {
        if kept(factor.source) {
            break;
        }
        if place.is_some_and(|place| factor.step_below_window(graph, place)) {
            continue;
        }
        let Some(map) = through_view(graph, factor.source) else { break };
        if factor.windows.iter().any(|w| map[w.axis].is_none()) {
            break;
        }
        factor.axes.iter_mut().for_each(|a| *a = a.and_then(|a| map[a]));
        factor.windows.iter_mut().for_each(|w| w.axis = map[w.axis].unwrap_or(w.axis));
        factor.source = graph.operands(factor.source)[0];
    }
    factor
}

/// For each axis of a view the axis of its operand that it runs along whole, if any; `None` if the
/// node is no view, or one that reads its operand in any other way.
fn through_view(graph: &Graph, id: NodeId) -> Option<Vec<Option<usize>>> {
    let operand = *graph.operands(id).first()?;
    let (to, from) = (&graph[id].ty.shape, &graph[operand].ty.shape);
    let mut map = vec![None; to.rank()];
    match graph[id].op.lower {
        Lower::View(view) => {
            let index: Vec<Index> =
                (0..to.rank()).map(|a| Index::var(kiln_loops::Var(a as u32))).collect();
            for (axis, index) in graph.with_view(id, |v| view(v, &index)).iter().enumerate() {
                if from[axis] == 1 {
                    continue;
                }
                if index.affine.constant != 0 || !index.dynamic.is_empty() {
                    return None;
                }
                let [(var, 1)] = index.affine.terms[..] else { return None };
                let along = var.0 as usize;
                if to[along] != from[axis] || map[along].is_some() {
                    return None;
                }
                map[along] = Some(axis);
            }
        }
        // Axes of size 1 may come and go.
        Lower::Reshape => {
            let wide = |s: &[usize]| (0..s.len()).filter(|&a| s[a] != 1).collect::<Vec<_>>();
            let (wide_to, wide_from) = (wide(to), wide(from));
            if !wide_to.iter().map(|&a| to[a]).eq(wide_from.iter().map(|&a| from[a])) {
                return None;
            }
            wide_to.into_iter().zip(wide_from).for_each(|(t, f)| map[t] = Some(f));
        }
        _ => return None,
    }
    Some(map)
}

impl Plan {
    /// Whether windows, if there are any, make it a convolution.
    fn is_whole(&self) -> bool {
        let Plan { left, right, rows, cols, contracted, .. } = self;
        left.slides(right, rows, contracted) && right.slides(left, cols, contracted)
    }

    /// Builds what stands for the sum; `new` says what became of the nodes before it.
    fn build(
        &self,
        b: &Builder,
        graph: &Graph,
        sum: NodeId,
        new: &[NodeId],
        arranged: &mut Arranged,
    ) -> NodeId {
        let var = |f: &Factor| b.var(new[f.source.index()]);
        let (left, right) = (var(&self.left), var(&self.right));
        let (product, axes) = if self.left.windows.is_empty() {
            self.product(left, right, arranged)
        } else {
            self.convolution(left, right, arranged)
        };
        // From the product's order to that of the sum.
        let sizes: Vec<usize> = axes.iter().map(|&a| self.extents[a]).collect();
        let mut order: Vec<usize> = (0..axes.len()).collect();
        order.sort_by_key(|&i| self.place[axes[i]]);
        let places: Vec<usize> = order.iter().filter_map(|&i| self.place[axes[i]]).collect();
        let spread = product.reshape(&sizes).transpose(&order);
        let shape = &graph[sum].ty.shape;
        let whole = (0..shape.rank()).all(|a| shape[a] == 1 || places.contains(&a));
        if whole { spread.reshape(shape) } else { spread.broadcast(shape, &places) }.id()
    }

    /// The matrix product, and the axes of the product of the factors that it has, in order.
    fn product<'b>(
        &self,
        left: Var<'b>,
        right: Var<'b>,
        known: &mut Arranged,
    ) -> (Var<'b>, Vec<usize>) {
        let left =
            self.arrange(left, &self.left, &[&self.batch, &self.rows, &self.contracted], known);
        let right =
            self.arrange(right, &self.right, &[&self.batch, &self.contracted, &self.cols], known);
        let axes = [&self.batch, &self.rows, &self.cols].into_iter().flatten();
        (left.dot(right), axes.copied().collect())
    }

    /// A factor with its axes in groups, each made one axis. A weight that several contractions arrange alike is
    /// arranged once, so that their gradients meet there.
    fn arrange<'b>(
        &self,
        x: Var<'b>,
        factor: &Factor,
        groups: &[&[usize]],
        known: &mut Arranged,
    ) -> Var<'b> {
        let alone: Vec<usize> = factor.alone.iter().filter_map(|&a| factor.axes[a]).collect();
        let left: Vec<usize> = (0..x.shape().rank()).filter(|a| !alone.contains(a)).collect();
        let shape = x.shape();
        let of = |group: &[usize]| group.iter().filter_map(|&a| factor.axes[a]).collect::<Vec<_>>();
        let wanted = groups.iter().flat_map(|group| of(group));
        let mut order: Vec<usize> =
            wanted.filter_map(|a| left.iter().position(|&l| l == a)).collect();
        // What remains are axes of size 1.
        let rest: Vec<usize> = (0..left.len()).filter(|a| !order.contains(a)).collect();
        order.extend(rest);
        let size = |group: &&[usize]| of(group).iter().map(|&a| shape[a]).product::<usize>();
        let sizes: Vec<usize> = groups.iter().map(size).collect();
        let key = (x.id(), alone, order, sizes);
        if let Some(&id) = known.get(&key) {
            let b = x.builder();
            b.modify(|g| g.locate(id, &b.locations()));
            return b.var(id);
        }
        let (_, alone, order, sizes) = &key;
        let arranged = x.sum(alone).transpose(order).reshape(sizes);
        known.insert(key, arranged.id());
        arranged
    }
}

#[cfg(test)]
mod tests {
    use kiln_graph::Location;

    use super::*;
    use crate::autodiff;
    use crate::testing::{after, assert_same, count, graph};

    fn data<'b>(b: &'b Builder, name: &str, dims: &[usize]) -> Var<'b> {
        b.data(name, DType::F32, dims)
    }

    /// The graph after the pass, of the same values.
    fn contracted(before: Graph) -> Graph {
        let (g, notes) = after(&PASS, before.clone());
        assert_eq!(notes.remarks, [], "{before}");
        assert_eq!((count(&g, "dot"), count(&g, "mul")), (1, 0), "{g}");
        assert_same(&before, &g, 1e-12);
        g
    }

    #[test]
    fn a_linear_layer_needs_no_transpose_of_its_result() {
        // x[N, A] * weight[O, A] is [N, A, O]; summed over A.
        let g = contracted(graph(|b| {
            let (x, w) = (data(b, "x", &[4, 5]), data(b, "w", &[3, 5]));
            let product = x.broadcast(&[4, 5, 3], &[0, 1])
                * w.transpose(&[1, 0]).broadcast(&[4, 5, 3], &[1, 2]);
            vec![product.sum(&[1])]
        }));
        let ops: Vec<&str> = g.ids().map(|id| g[id].op.name).collect();
        assert_eq!(ops, ["input", "input", "reshape", "transpose", "reshape", "dot", "reshape"]);
    }

    #[test]
    fn attention_has_batches() {
        // q[N, T, H, D] * k[N, S, H, D] is [N, T, H, D, S]; summed over D.
        let g = contracted(graph(|b| {
            let (q, k) = (data(b, "q", &[2, 3, 2, 4]), data(b, "k", &[2, 5, 2, 4]));
            let shape = [2, 3, 2, 4, 5];
            let k = k.transpose(&[0, 2, 3, 1]).broadcast(&shape, &[0, 2, 3, 4]);
            vec![(q.broadcast(&shape, &[0, 1, 2, 3]) * k).sum(&[3])]
        }));
        let dot = g.ids().find(|&id| g[id].op == &ops::DOT).expect("a dot");
        assert_eq!(g[dot].ty.shape[..], [4, 3, 5]);
    }

    #[test]
    fn any_number_of_axes_of_each_class_in_any_order() {
        // Axes: 0 column, 1 contracted, 2 batch, 3 row, 4 contracted, 5 in neither, 6 of size 1,
        // 7 summed alone on the left, 8 summed alone on the right, 9 column, 10 batch.
        let shape = [2, 3, 2, 4, 2, 3, 1, 3, 2, 3, 2];
        let g = contracted(graph(|b| {
            let left = data(b, "a", &[3, 2, 4, 2, 3, 2]).broadcast(&shape, &[1, 2, 3, 4, 7, 10]);
            let right = data(b, "b", &[3, 2, 3, 2, 1, 2, 2, 2])
                .transpose(&[5, 0, 6, 1, 4, 3, 2, 7])
                .broadcast(&[2, 3, 2, 2, 3, 1, 2, 3, 2], &[0, 1, 2, 3, 5, 6, 7, 8]);
            let right = right.broadcast(&shape, &[0, 1, 2, 4, 5, 6, 8, 9, 10]);
            vec![(left * right).sum(&[1, 4, 7, 8])]
        }));
        let dot = g.ids().find(|&id| g[id].op == &ops::DOT).expect("a dot");
        assert_eq!(g[dot].ty.shape[..], [4, 6, 4]);
        assert_eq!(count(&g, "sum"), 2, "each factor is summed over its own axis first");
    }

    #[test]
    fn views_above_and_below_a_broadcast_are_seen_through() {
        contracted(graph(|b| {
            let (x, w) = (data(b, "x", &[4, 5]), data(b, "w", &[5, 3]));
            let x = x.broadcast(&[3, 4, 5], &[1, 2]).transpose(&[1, 2, 0]);
            let w = w.reshape(&[5, 1, 3]).transpose(&[1, 0, 2]).reshape(&[5, 3]);
            vec![(x * w.broadcast(&[4, 5, 3], &[1, 2])).sum(&[1])]
        }));
    }

    #[test]
    fn what_a_view_cuts_off_is_no_part_of_the_factor() {
        contracted(graph(|b| {
            let (x, w) = (data(b, "x", &[4, 9]), data(b, "w", &[5, 3]));
            let x = x.slice(&[0, 0], &[4, 5], &[1, 1]).broadcast(&[4, 5, 3], &[0, 1]);
            vec![(x * w.reverse(&[0]).broadcast(&[4, 5, 3], &[1, 2])).sum(&[1])]
        }));
    }

    #[test]
    fn ordinary_sums_stay_with_the_reason() {
        let declined = |build: for<'b> fn(&'b Builder) -> Var<'b>| {
            let (g, notes) = after(&PASS, graph(|b| vec![build(b)]));
            assert_eq!(count(&g, "dot"), 0);
            notes.remarks.into_iter().map(|r| r.reason).collect::<Vec<_>>()
        };
        assert_eq!(
            declined(|b| (data(b, "x", &[4, 5]) * data(b, "y", &[4, 5])).sum(&[1])),
            [
                "not a matrix product: no axis is in one factor alone, which makes it an ordinary sum"
            ]
        );
        assert_eq!(
            declined(|b| (data(b, "x", &[4, 5]) * b.scalar(2.0)).sum(&[1])),
            ["not a matrix product: no summed axis is in both factors"]
        );
        assert_eq!(
            declined(|b| {
                let (x, y) = (data(b, "x", &[4, 5]), data(b, "y", &[5]));
                (x.broadcast(&[4, 5, 2, 3], &[0, 1]) * y.broadcast(&[4, 5, 2, 3], &[1]))
                    .sum(&[1, 2])
            }),
            ["not a matrix product: it sums over an axis no factor has"]
        );
        assert_eq!(declined(|b| data(b, "x", &[4, 5]).exp().sum(&[1])), [""; 0]);
    }

    #[test]
    fn gradients_are_contractions_and_those_by_the_product_are_kept() {
        fn layer(b: &Builder) -> (Var<'_>, Var<'_>, Var<'_>, Var<'_>) {
            let (x, w) = (data(b, "x", &[4, 5]), b.param("w", &[3, 5]));
            let w_axes = w.transpose(&[1, 0]).broadcast(&[4, 5, 3], &[1, 2]);
            let product = x.broadcast(&[4, 5, 3], &[0, 1]) * w_axes;
            (x, w, product, product.sum(&[1]).tanh().sum(&[0, 1]))
        }
        let before = graph(|b| {
            let (x, w, _, loss) = layer(b);
            vec![loss.grad(x), loss.grad(w)]
        });
        let (plain, _) = after(&autodiff::PASS, before.clone());
        let (g, _) = after(&autodiff::PASS, after(&PASS, before).0);
        assert_eq!(count(&g, "dot"), 3, "{g}");
        assert_same(&plain, &g, 1e-12);

        let before = graph(|b| {
            let (_, w, product, loss) = layer(b);
            vec![loss.grad(product), loss.grad(w)]
        });
        let (plain, _) = after(&autodiff::PASS, before.clone());
        let (g, notes) = after(&PASS, before);
        assert_eq!(
            notes.remarks[0].reason,
            "not a matrix product: a gradient is taken by the product"
        );
        assert_same(&plain, &after(&autodiff::PASS, g).0, 1e-12);
    }

    #[test]
    fn rounding_is_kept_on_demand() {
        let before = graph(|b| {
            let (x, w) = (data(b, "x", &[4, 5]), data(b, "w", &[5, 3, 2]));
            let x = x.broadcast(&[4, 5, 3, 2], &[0, 1]);
            vec![(x * w.broadcast(&[4, 5, 3, 2], &[1, 2, 3])).sum(&[1, 3])]
        });
        let mut notes = Notes::default();
        notes.options.precise = true;
        let g = (PASS.run)(before, &mut notes).expect("the pass succeeds");
        assert_eq!((count(&g, "dot"), notes.remarks.len()), (0, 1));
    }

    #[test]
    fn the_product_carries_the_places_of_both() {
        let b = Builder::new();
        let (x, w) = (data(&b, "x", &[4, 5]), data(&b, "w", &[5, 3]));
        let at = |line| b.locate([Location { file: "a.kiln".into(), line, column: 1 }].into());
        at(2);
        let product = x.broadcast(&[4, 5, 3], &[0, 1]) * w.broadcast(&[4, 5, 3], &[1, 2]);
        at(1);
        b.output("y", product.sum(&[1]));
        let g = contracted(b.finish().expect("a well-formed graph"));
        let dot = g.ids().find(|&id| g[id].op == &ops::DOT).expect("a dot");
        assert_eq!(g[dot].locations.iter().map(|l| l.line).collect::<Vec<_>>(), [1, 2]);
    }
}
