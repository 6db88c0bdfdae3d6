//! Random graphs: deterministic, of 1 to about 40 operators, over every operator of the table.
//!
//! A graph grows step by step from a pool of values. Each value is evaluated at once, so that
//! numbers stay tame, and each knows whether it is exact: whether f32 holds what it is without
//! rounding. Only exact values go where a rounding error would make a jump (comparisons, floor,
//! argmax, casts to whole numbers); with that a compiled graph may differ from the reference by
//! rounding errors alone.

mod products;
pub mod reference;
pub mod shrink;
mod steps;

use std::collections::BTreeMap;

use kiln_graph::eval::Value;
use kiln_graph::{Builder, Graph, InputKind, Var};
use kiln_tensor::{DType, Shape, Tensor};

/// Values of inputs, by name.
pub type Inputs = BTreeMap<String, Value>;

/// A graph and values for its inputs.
#[derive(Clone, Debug)]
pub struct Case {
    /// The graph; its gradients are not expanded.
    pub graph: Graph,
    /// A value for each input, exact in the input's type.
    pub inputs: Inputs,
}

/// Numbers that depend on a seed and on how many were drawn before: SplitMix64 (Steele, Lea and
/// Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    count: u64,
}

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Random {
        Random { seed: mix(seed ^ 0x6A09_E667_F3BC_C908), count: 0 }
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        mix(self.seed.wrapping_add(self.count.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }

    /// A whole number in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// A whole number in `low..=high`.
    pub fn within(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A number in `-1.0..1.0`.
    pub fn signed(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// One of several.
    pub fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Some of the numbers `0..n`, ascending; at least one if there is one.
    pub fn some_of(&mut self, n: usize) -> Vec<usize> {
        let mut chosen: Vec<usize> = (0..n).filter(|_| self.one_in(2)).collect();
        if chosen.is_empty() && n > 0 {
            chosen.push(self.below(n));
        }
        chosen
    }
}

fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The graph of a seed.
///
/// # Panics
/// If a node is not well formed, which is a defect of the generator.
pub fn case(seed: u64) -> Case {
    let builder = Builder::new();
    let mut growth = Growth::new(&builder, seed);
    growth.grow();
    growth.finish();
    let inputs = growth.inputs;
    let graph = builder.finish().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    Case { graph, inputs }
}

/// A value that steps may use.
#[derive(Clone, Copy, Debug)]
struct Item<'b> {
    var: Var<'b>,
    exact: bool,
}

/// A growing graph.
struct Growth<'b> {
    b: &'b Builder,
    random: Random,
    pool: Vec<Item<'b>>,
    /// What each node is, by index.
    values: Vec<Value>,
    inputs: Inputs,
    /// Elements of an array, at most.
    most: usize,
    /// Products in one contraction, at most.
    most_products: usize,
    /// Operators to reach.
    operators: usize,
}

/// Values beyond this go through tanh.
const TAME: f64 = 50.0;

impl<'b> Growth<'b> {
    fn new(b: &'b Builder, seed: u64) -> Growth<'b> {
        let mut random = Random::new(seed);
        let large = random.one_in(16);
        let operators = if large { random.within(1, 6) } else { random.within(1, 36) };
        let most = if large { 80_000 } else { 1_000 };
        let most_products = if large { 1_000_000 } else { 60_000 };
        let (pool, values, inputs) = (Vec::new(), Vec::new(), Inputs::new());
        let mut growth = Growth { b, random, pool, values, inputs, most, most_products, operators };
        if large {
            growth.begin_large();
        }
        growth
    }

    fn grow(&mut self) {
        for _ in 0..self.random.within(1, 3) {
            let dims = self.small_shape();
            let dtype = self.random.of(&[DType::F32, DType::F32, DType::F32, DType::I32]);
            self.fresh(dtype, &dims);
        }
        // A step that finds nothing it can work on does nothing.
        for _ in 0..400 {
            let leaf = |g: &Graph, id| g.operands(id).is_empty();
            let made = self.b.inspect(|g| g.ids().filter(|&id| !leaf(g, id)).count());
            if made >= self.operators {
                break;
            }
            self.step();
        }
    }

    /// Adds a value to the pool, by way of tanh if it is large.
    fn push(&mut self, var: Var<'b>, exact: bool) -> Item<'b> {
        self.evaluate();
        let large = |v: &Value| v.data.iter().any(|x| x.abs() > TAME || x.is_nan());
        let tame = var.dtype() != DType::F32 || !large(&self.values[var.id().index()]);
        let item = if tame { Item { var, exact } } else { Item { var: var.tanh(), exact: false } };
        self.evaluate();
        self.pool.push(item);
        item
    }

    /// Evaluates the nodes that are new.
    fn evaluate(&mut self) {
        self.b.inspect(|graph| {
            for id in graph.ids().skip(self.values.len()) {
                let value = match graph.input(id) {
                    Some((name, _)) => self.inputs[name].clone(),
                    None => {
                        let operands = graph.operands(id);
                        let x: Vec<&Value> =
                            operands.iter().map(|o| &self.values[o.index()]).collect();
                        graph.with_view(id, |view| (graph[id].op.eval)(view, &x))
                    }
                };
                self.values.push(value);
            }
        });
    }

    /// The greatest absolute value of an item's elements.
    fn magnitude(&self, item: Item<'b>) -> f64 {
        self.values[item.var.id().index()].data.iter().fold(0.0, |m, x| m.max(x.abs()))
    }

    fn small_shape(&mut self) -> Vec<usize> {
        let rank = self.random.of(&[0, 1, 1, 2, 2, 2, 3, 3, 4, 4]);
        let mut dims: Vec<usize> = (0..rank).map(|_| self.random.within(1, 7)).collect();
        if self.random.one_in(6)
            && let Some(last) = dims.last_mut()
        {
            *last = self.random.within(8, 40); // long enough for a vector
        }
        while dims.iter().product::<usize>() > self.most.min(600) {
            dims.pop();
        }
        dims
    }

    fn large_shape(&mut self) -> Vec<usize> {
        let (a, b) = (self.random.within(130, 270), self.random.within(130, 270));
        match self.random.below(5) {
            0 => vec![a * b],
            1 => vec![a, b],
            2 => vec![self.random.within(1, 4), 4096 + 16 * self.random.within(0, 64)],
            3 => vec![16 * self.random.within(100, 256), self.random.within(2, 12)],
            _ => vec![
                self.random.within(2, 4),
                self.random.within(2, 8),
                self.random.within(20, 30),
                self.random.within(20, 30),
            ],
        }
    }

    /// A new input, in the pool.
    fn fresh(&mut self, dtype: DType, dims: &[usize]) -> Item<'b> {
        let kinds: &[InputKind] = match dtype {
            DType::F32 => &InputKind::ALL,
            _ => &[InputKind::Data, InputKind::State],
        };
        let kind = self.random.of(kinds);
        let name = format!("{}{}", kind.name(), self.inputs.len());
        let var = self.b.input(&name, kind, dtype, dims);
        let value = self.contents(dtype, dims);
        self.inputs.insert(name, value);
        self.push(var, true)
    }

    /// Multiples of 1/64 up to 2, whole numbers up to 9, truth values.
    fn contents(&mut self, dtype: DType, dims: &[usize]) -> Value {
        let shape = Shape::new(dims).expect("shapes are small");
        Value::from_fn(&shape, |_| match dtype {
            DType::F32 => (self.random.below(257) as f64 - 128.0) / 64.0,
            DType::I32 => self.random.below(19) as f64 - 9.0,
            DType::Bool => self.random.below(2) as f64,
        })
    }

    /// A new constant, in the pool.
    fn constant(&mut self, dtype: DType, dims: &[usize]) -> Item<'b> {
        let value = self.contents(dtype, dims);
        let tensor: Tensor = value.to_tensor(dtype).expect("one shape");
        self.push(self.b.constant(tensor), true)
    }

    /// Some value of the pool that fits; later ones, and those that nothing reads yet, are likelier.
    fn pick(&mut self, fits: impl Fn(&Item<'b>) -> bool) -> Option<Item<'b>> {
        let found: Vec<Item<'b>> = self.pool.iter().copied().filter(fits).collect();
        if found.is_empty() {
            return None;
        }
        let unread = self.unread(&found);
        if !unread.is_empty() && self.random.one_in(2) {
            return Some(self.random.of(&unread));
        }
        let at = self.random.below(found.len()).max(self.random.below(found.len()));
        Some(found[at])
    }

    /// Those among the items that nothing reads yet.
    fn unread(&self, items: &[Item<'b>]) -> Vec<Item<'b>> {
        let is_unread = |i: &&Item<'b>| self.b.inspect(|g| g.users(i.var.id()).is_empty());
        items.iter().filter(is_unread).copied().collect()
    }

    fn pick_dtype(&mut self, dtype: DType) -> Option<Item<'b>> {
        self.pick(|item| item.var.dtype() == dtype)
    }

    /// A value of this type: from the pool, repeated from one of fewer axes, or new.
    fn like(&mut self, dtype: DType, shape: &Shape, exact: bool) -> Item<'b> {
        let fits = |i: &Item<'b>| i.var.dtype() == dtype && (i.exact || !exact);
        if !self.random.one_in(4)
            && let Some(item) = self.pick(|i| fits(i) && i.var.shape() == *shape)
        {
            return item;
        }
        if !self.random.one_in(4)
            && shape.rank() > 0
            && let Some(item) = self.pick(|i| fits(i) && placed(&i.var.shape(), shape).is_some())
        {
            let axes = placed(&item.var.shape(), shape).expect("chosen so");
            return Item { var: item.var.broadcast(shape, &axes), ..item };
        }
        match self.random.below(3) {
            0 => self.constant(dtype, shape),
            1 => {
                let value = self.contents(dtype, &[]).data[0];
                Item { var: self.b.full(dtype, shape, value), exact: true }
            }
            _ => self.fresh(dtype, shape),
        }
    }

    /// The second operand of an element-wise operator: as [`Growth::like`], or one number.
    fn partner(&mut self, first: Item<'b>, exact: bool) -> Item<'b> {
        let dtype = first.var.dtype();
        if self.random.one_in(6) {
            let number = self.pick(|i| {
                i.var.dtype() == dtype && i.var.shape().rank() == 0 && (i.exact || !exact)
            });
            return number.unwrap_or_else(|| self.constant(dtype, &[]));
        }
        self.like(dtype, &first.var.shape(), exact)
    }

    /// Results, gradients and next values.
    fn finish(&mut self) {
        let mut results = vec![*self.pool.last().expect("the pool begins with inputs")];
        for item in self.unread(&self.pool.clone()) {
            if !self.random.one_in(3) {
                results.push(item);
            }
        }
        for _ in 0..self.random.below(3) {
            results.push(self.pick(|_| true).expect("the pool is not empty"));
        }
        for (i, item) in results.iter().enumerate() {
            self.b.output(&format!("y{i}"), item.var);
        }
        let gradients = if self.random.one_in(2) { self.gradients() } else { BTreeMap::new() };
        self.updates(&gradients);
    }

    /// Gradients of a number made of some values with respect to some inputs, by name; a part of
    /// them are results.
    fn gradients(&mut self) -> BTreeMap<String, Var<'b>> {
        let mut gradients = BTreeMap::new();
        let mut loss: Option<Var<'b>> = None;
        for _ in 0..self.random.within(1, 3) {
            let Some(item) = self.pick_dtype(DType::F32) else { return gradients };
            let all: Vec<usize> = (0..item.var.shape().rank()).collect();
            let term = if self.random.one_in(2) { item.var.tanh() } else { item.var };
            let term = term.mean(&all);
            loss = Some(loss.map_or(term, |sum| sum + term));
        }
        let Some(mut loss) = loss else { return gradients };
        self.b.output("loss", loss);
        if self.random.one_in(6)
            && let Some(item) = self.pick_dtype(DType::F32)
        {
            let gradient = loss.grad(item.var);
            let all: Vec<usize> = (0..item.var.shape().rank()).collect();
            loss = (gradient * gradient).mean(&all);
            self.b.output("penalty", loss);
        }
        let leaves: Vec<(String, Var<'b>)> = self.b.inspect(|g| {
            let floats = g.inputs().filter(|&id| g[id].ty.dtype == DType::F32);
            let named = floats.filter_map(|id| Some((g.input(id)?.0.to_owned(), self.b.var(id))));
            named.collect()
        });
        for (name, leaf) in leaves {
            if self.random.one_in(3) {
                continue;
            }
            let gradient = loss.grad(leaf);
            if self.random.one_in(3) {
                self.b.output(&format!("d_{name}"), gradient);
            }
            gradients.insert(name, gradient);
        }
        gradients
    }

    fn updates(&mut self, gradients: &BTreeMap<String, Var<'b>>) {
        let kept: Vec<(String, Var<'b>)> = self.b.inspect(|g| {
            let named = g.inputs().filter_map(|id| match g.input(id)? {
                (_, InputKind::Data) => None,
                (name, _) => Some((name.to_owned(), self.b.var(id))),
            });
            named.collect()
        });
        let mut swapped = Vec::new();
        for (name, input) in &kept {
            let ty = input.ty();
            if swapped.contains(&input.id()) || self.random.one_in(3) {
                continue;
            }
            let mut twin = || {
                kept.iter().map(|k| k.1).find(|other| {
                    other.id() > input.id()
                        && other.ty() == ty
                        && !swapped.contains(&other.id())
                        && self.random.one_in(2)
                })
            };
            if let Some(other) = twin() {
                swapped.push(other.id());
                self.b.update(*input, other);
                self.b.update(other, *input);
                continue;
            }
            let next = match (gradients.get(name), self.pick(|i| i.var.ty() == ty)) {
                (Some(&gradient), _) if !self.random.one_in(4) => *input - gradient * 0.1,
                (_, Some(item)) if self.random.one_in(2) => item.var,
                (_, Some(item)) if ty.dtype == DType::F32 => *input * 0.75 + item.var * 0.25,
                (_, Some(item)) if ty.dtype == DType::I32 => *input + item.var,
                _ => continue,
            };
            self.b.update(*input, next);
        }
    }
}

/// The first ascending places of the axes of `from` among those of `to`, which has more.
fn placed(from: &[usize], to: &[usize]) -> Option<Vec<usize>> {
    let mut axes = Vec::new();
    for (axis, size) in to.iter().enumerate() {
        if from.get(axes.len()) == Some(size) {
            axes.push(axis);
        }
    }
    (axes.len() == from.len() && from.len() < to.len()).then_some(axes)
}
