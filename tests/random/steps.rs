//! The steps by which a random graph grows: one for each kind of operator.

use kiln_tensor::{DType, Shape};

use super::{Growth, Item};

type Step<'b> = fn(&mut Growth<'b>) -> Option<()>;

impl<'b> Growth<'b> {
    /// Adds operators to the pool; may find nothing to work on.
    pub(super) fn step(&mut self) {
        let steps: [Step<'b>; 33] = [
            Growth::unary,
            Growth::unary,
            Growth::unary,
            Growth::binary,
            Growth::binary,
            Growth::binary,
            Growth::binary,
            Growth::jump,
            Growth::whole,
            Growth::compare,
            Growth::logic,
            Growth::select,
            Growth::cast,
            Growth::reduce,
            Growth::reduce,
            Growth::argmax,
            Growth::broadcast,
            Growth::transpose,
            Growth::reshape,
            Growth::slice,
            Growth::reverse,
            Growth::unfold,
            Growth::pad,
            Growth::concat,
            Growth::gather,
            Growth::scatter,
            Growth::numbers,
            Growth::dot,
            Growth::linear,
            Growth::convolve,
            Growth::pool,
            Growth::positions,
            Growth::leaf,
        ];
        // Nothing to do is no failure.
        let _: Option<()> = self.random.of(&steps)(self);
    }

    fn leaf(&mut self) -> Option<()> {
        let dims = self.small_shape();
        let dtype = self.random.of(&[DType::F32, DType::F32, DType::I32, DType::Bool]);
        match self.random.below(4) {
            0 => self.constant(dtype, &dims),
            _ => self.fresh(dtype, &dims),
        };
        Some(())
    }

    fn unary(&mut self) -> Option<()> {
        let x = self.pick_dtype(DType::F32)?;
        let (v, mut exact) = (x.var, false);
        let y = match self.random.below(14) {
            0 => v.tanh(),
            1 => v.sigmoid(),
            2 => v.erf(),
            3 => v.sin(),
            4 => v.cos(),
            5 if self.magnitude(x) <= 4.0 => v.exp(),
            5 => (-v.abs()).exp(),
            6 => (v * v + 1.0).log(),
            7 => (v * v + 0.5).sqrt(),
            8 => {
                exact = x.exact;
                -v
            }
            9 => {
                exact = x.exact;
                v.abs()
            }
            10 => {
                exact = x.exact;
                v.detach()
            }
            11 => v * 0.5 + 0.25,
            12 => v * v,
            _ => {
                exact = x.exact;
                v.relu()
            }
        };
        self.push(y, exact);
        Some(())
    }

    fn binary(&mut self) -> Option<()> {
        let x = self.pick_dtype(DType::F32)?;
        let y = self.partner(x, false);
        let (mut a, mut b) = (x.var, y.var);
        if self.random.one_in(2) {
            (a, b) = (b, a);
        }
        let both = x.exact && y.exact;
        let (value, exact) = match self.random.below(7) {
            0 | 1 => (a + b, false),
            2 => (a - b, false),
            3 => (a * b, false),
            4 => (a / (b * b + 1.0), false),
            5 => (a.maximum(b), both),
            _ => (a.minimum(b), both),
        };
        self.push(value, exact);
        Some(())
    }

    /// Functions that jump.
    fn jump(&mut self) -> Option<()> {
        let x = self.pick(|i| i.exact && i.var.dtype() == DType::F32)?.var;
        let y = match self.random.below(5) {
            0 => x.floor(),
            1 => x.ceil(),
            2 => x.round(),
            3 => x.cast(DType::I32),
            _ => x.cast(DType::Bool),
        };
        self.push(y, true);
        Some(())
    }

    fn whole(&mut self) -> Option<()> {
        let x = self.pick_dtype(DType::I32)?;
        let (a, b) = (x.var, self.partner(x, true).var);
        let y = match self.random.below(13) {
            0 => a + b,
            1 => a - b,
            2 => a * b,
            3 => a / b,
            4 => a % b,
            5 => a & b,
            6 => a | b,
            7 => a ^ b,
            8 => !a,
            9 => -a,
            10 => a.abs(),
            11 => a.maximum(b),
            _ => a.minimum(b),
        };
        self.push(y, true);
        Some(())
    }

    fn compare(&mut self) -> Option<()> {
        let x = self.pick(|i| i.exact)?;
        let (a, b) = (x.var, self.partner(x, true).var);
        let y = match self.random.below(6) {
            0 => a.eq(b),
            1 => a.ne(b),
            _ if a.dtype() == DType::Bool => a.ne(b),
            2 => a.lt(b),
            3 => a.le(b),
            4 => a.gt(b),
            _ => a.ge(b),
        };
        self.push(y, true);
        Some(())
    }

    fn logic(&mut self) -> Option<()> {
        let x = self.pick_dtype(DType::Bool)?;
        let (a, b) = (x.var, self.partner(x, true).var);
        let y = match self.random.below(4) {
            0 => a & b,
            1 => a | b,
            2 => a ^ b,
            _ => !a,
        };
        self.push(y, true);
        Some(())
    }

    fn select(&mut self) -> Option<()> {
        let x = self.pick(|_| true)?;
        let y = self.partner(x, false);
        let shape = if x.var.shape().rank() > 0 { x.var.shape() } else { y.var.shape() };
        let cond = self.like(DType::Bool, &shape, true);
        self.push(cond.var.select(x.var, y.var), x.exact && y.exact);
        Some(())
    }

    fn cast(&mut self) -> Option<()> {
        let x = self.pick(|i| i.var.dtype() != DType::F32)?;
        let to = self.random.of(&[DType::F32, DType::I32, DType::Bool]);
        let tame = to != DType::F32 || self.magnitude(x) <= 1000.0;
        self.push(if tame { x.var.cast(to) } else { (x.var % 17.0).cast(to) }, true);
        Some(())
    }

    fn reduce(&mut self) -> Option<()> {
        let x = self.pick(|i| i.var.dtype() != DType::Bool && i.var.shape().rank() > 0)?;
        let whole = x.var.dtype() == DType::I32;
        let axes = self.random.some_of(x.var.shape().rank());
        let (y, exact) = match self.random.below(6) {
            0..=2 => (x.var.sum(&axes), whole),
            3 => (x.var.mean(&axes), whole),
            4 => (x.var.reduce_max(&axes), x.exact),
            _ => (x.var.reduce_min(&axes), x.exact),
        };
        self.push(y, exact);
        Some(())
    }

    fn argmax(&mut self) -> Option<()> {
        let fits = |i: &Item<'b>| i.exact && i.var.shape().rank() > 0;
        let x = self.pick(|i| fits(i) && i.var.dtype() != DType::Bool)?.var;
        let axis = self.random.below(x.shape().rank());
        self.push(x.argmax(axis), true);
        Some(())
    }

    fn broadcast(&mut self) -> Option<()> {
        let most = self.most;
        let x = self.pick(|i| i.var.shape().rank() < 4 && i.var.shape().elements() * 2 <= most)?;
        let mut dims = x.var.shape().to_vec();
        let mut axes: Vec<usize> = (0..dims.len()).collect();
        for _ in 0..self.random.within(1, 2) {
            let room = self.most / dims.iter().product::<usize>();
            let (at, size) =
                (self.random.within(0, dims.len()), self.random.within(1, 7.min(room)));
            dims.insert(at, size);
            axes.iter_mut().filter(|a| **a >= at).for_each(|a| *a += 1);
        }
        self.push(x.var.broadcast(&dims, &axes), x.exact);
        Some(())
    }

    fn transpose(&mut self) -> Option<()> {
        let x = self.pick(|i| i.var.shape().rank() > 1)?;
        let mut perm: Vec<usize> = (0..x.var.shape().rank()).collect();
        for i in (1..perm.len()).rev() {
            perm.swap(i, self.random.within(0, i));
        }
        self.push(x.var.transpose(&perm), x.exact);
        Some(())
    }

    /// Another shape of as many elements, of this many axes.
    pub(super) fn split(&mut self, elements: usize, rank: usize) -> Vec<usize> {
        let mut dims = vec![1; rank];
        let (mut rest, mut factor) = (elements, 2);
        while rest > 1 && rank > 0 {
            while rest.is_multiple_of(factor) {
                dims[self.random.below(rank)] *= factor;
                rest /= factor;
            }
            factor = if factor * factor > rest { rest.max(2) } else { factor + 1 };
        }
        dims
    }

    fn reshape(&mut self) -> Option<()> {
        let x = self.pick(|_| true)?;
        let mut dims = x.var.shape().to_vec();
        match self.random.below(4) {
            // Two neighbours become one.
            0 if dims.len() > 1 => {
                let at = self.random.below(dims.len() - 1);
                dims[at] *= dims.remove(at + 1);
            }
            // One becomes two.
            1 if !dims.is_empty() => {
                let at = self.random.below(dims.len());
                let parts = self.split(dims[at], 2);
                dims.splice(at..=at, parts);
            }
            // An axis of one element more.
            2 => {
                let at = self.random.within(0, dims.len());
                dims.insert(at, 1);
            }
            _ => {
                let rank = self.random.within(usize::from(dims.iter().any(|&d| d != 1)), 4);
                dims = self.split(x.var.shape().elements(), rank);
            }
        }
        self.push(x.var.reshape(&dims), x.exact);
        Some(())
    }

    fn slice(&mut self) -> Option<()> {
        let x = self.pick(|i| i.var.shape().rank() > 0)?;
        let shape = x.var.shape();
        let (mut start, mut limit, mut step) = (Vec::new(), Vec::new(), Vec::new());
        for &size in shape.iter() {
            let whole = self.random.one_in(2);
            let from = if whole { 0 } else { self.random.below(size) };
            start.push(from);
            limit.push(if whole { size } else { self.random.within(from + 1, size) });
            step.push(if self.random.one_in(3) { self.random.within(1, 3) } else { 1 });
        }
        self.push(x.var.slice(&start, &limit, &step), x.exact);
        Some(())
    }

    fn reverse(&mut self) -> Option<()> {
        let x = self.pick(|i| i.var.shape().rank() > 0)?;
        let axes = self.random.some_of(x.var.shape().rank());
        self.push(x.var.reverse(&axes), x.exact);
        Some(())
    }

    /// A sliding window, its taps forwards or backwards.
    fn unfold(&mut self) -> Option<()> {
        let x = self.pick(|i| i.var.shape().rank() > 0)?;
        let shape = x.var.shape();
        let axis = self.random.below(shape.rank());
        let (stride, dilation) = (self.random.within(1, 2), self.random.within(1, 2));
        let taps = self.random.within(1, 3);
        let reach = (taps - 1) * dilation;
        if shape[axis] <= reach {
            return None;
        }
        let places = (shape[axis] - 1 - reach) / stride + 1;
        if shape.elements() / shape[axis] * places * taps > self.most {
            return None;
        }
        let (offset, step) =
            if self.random.one_in(2) { (0, dilation as i64) } else { (reach, -(dilation as i64)) };
        let strides = [stride as i64, step];
        self.push(x.var.unfold(axis, offset as i64, &[places, taps], &strides), x.exact);
        Some(())
    }

    fn pad(&mut self) -> Option<()> {
        let x = self.pick(|i| i.var.shape().rank() > 0)?;
        let rank = x.var.shape().rank();
        let mut amounts = |most: usize| -> Vec<usize> {
            let mut amount = || if self.random.one_in(2) { self.random.within(0, most) } else { 0 };
            (0..rank).map(|_| amount()).collect()
        };
        let (low, high, interior) = (amounts(2), amounts(2), amounts(2));
        let shape = x.var.shape();
        let sizes = shape
            .iter()
            .enumerate()
            .map(|(a, &size)| low[a] + high[a] + size + size.saturating_sub(1) * interior[a]);
        if sizes.product::<usize>() > self.most {
            return None;
        }
        let value = match x.var.dtype() {
            DType::F32 => self.random.of(&[0.0, 0.0, -1.5]),
            DType::I32 => self.random.of(&[0.0, 7.0]),
            DType::Bool => self.random.of(&[0.0, 1.0]),
        };
        self.push(x.var.pad(&low, &high, &interior, value), x.exact);
        Some(())
    }

    fn concat(&mut self) -> Option<()> {
        let x = self.pick(|i| i.var.shape().rank() > 0)?;
        let (shape, dtype) = (x.var.shape(), x.var.dtype());
        let axis = self.random.below(shape.rank());
        let mut parts = vec![x];
        for _ in 0..self.random.within(1, 2) {
            let other = self.pick(|i| {
                let other = i.var.shape();
                i.var.dtype() == dtype
                    && other.rank() == shape.rank()
                    && (0..shape.rank()).all(|a| a == axis || other[a] == shape[a])
            })?;
            parts.push(other);
        }
        let total: usize = parts.iter().map(|p| p.var.shape().elements()).sum();
        if total > self.most {
            return None;
        }
        let vars: Vec<_> = parts.iter().map(|p| p.var).collect();
        self.push(self.b.concat(&vars, axis), parts.iter().all(|p| p.exact));
        Some(())
    }

    /// Whole numbers to index with: from the pool or new.
    fn indices(&mut self) -> Item<'b> {
        let small = |i: &Item<'b>| i.var.shape().rank() <= 2 && i.var.shape().elements() <= 40;
        match self.pick(|i| i.var.dtype() == DType::I32 && small(i)) {
            Some(item) if !self.random.one_in(3) => item,
            _ => {
                let dims = self.random.of(&[&[][..], &[1], &[5], &[12], &[3, 4]]);
                self.fresh(DType::I32, dims)
            }
        }
    }

    fn gather(&mut self) -> Option<()> {
        let table = self.pick(|i| i.var.shape().rank() > 0)?;
        let indices = self.indices();
        let row = table.var.shape()[1..].iter().product::<usize>();
        if row * indices.var.shape().elements() > self.most {
            return None;
        }
        self.push(table.var.gather(indices.var), table.exact);
        Some(())
    }

    fn scatter(&mut self) -> Option<()> {
        let updates = self.pick(|i| i.var.dtype() != DType::Bool && i.var.shape().rank() > 0)?;
        let shape = updates.var.shape();
        let rank = self.random.within(0, shape.rank().min(2));
        let chosen = Shape::new(&shape[..rank]).ok()?;
        let indices = self.like(DType::I32, &chosen, true);
        let rows = self.random.within(1, 9);
        if shape[rank..].iter().product::<usize>() * rows > self.most {
            return None;
        }
        let whole = updates.var.dtype() == DType::I32;
        self.push(indices.var.scatter_add(updates.var, rows), whole);
        Some(())
    }

    /// Counting and random numbers.
    fn numbers(&mut self) -> Option<()> {
        let mut dims = self.small_shape();
        if self.random.one_in(2) {
            dims.push(self.random.within(1, 6));
            let axis = self.random.below(dims.len());
            self.push(self.b.iota(&dims, axis), true);
        } else {
            let scalar = |i: &Item<'b>| i.var.dtype() == DType::I32 && i.var.shape().rank() == 0;
            let number = |g: &mut Growth<'b>| match g.pick(scalar) {
                Some(item) => item,
                None => g.fresh(DType::I32, &[]),
            };
            let (seed, step) = (number(self).var, number(self).var);
            let key = self.random.below(1 << 40) as i64;
            self.push(self.b.random(&dims, key, seed, step), true);
        }
        Some(())
    }
}
