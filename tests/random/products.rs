//! Steps that add matrix products, convolutions and sliding windows.

use kiln_graph::{Attrs, ops};
use kiln_tensor::{DType, Shape};

use super::{Growth, Item};

impl<'b> Growth<'b> {
    /// What is cut into chunks when it is lowered: a large array, a product of large matrices, one
    /// of great depth, a convolution of many channels.
    pub(super) fn begin_large(&mut self) {
        let kind = self.random.below(5);
        let mut size = |low, high| self.random.within(low, high);
        match kind {
            0 | 1 => {
                let dims = self.large_shape();
                self.fresh(DType::F32, &dims);
            }
            2 | 3 => {
                let [b, m, k, n] = match kind {
                    2 => [size(1, 2), size(48, 120), size(16, 64), size(16, 70)],
                    _ => [size(1, 2), size(1, 9), 64 * size(32, 48), size(1, 9)],
                };
                let x = self.fresh(DType::F32, &[b, m, k]).var;
                let w = self.fresh(DType::F32, &[b, k, n]).var;
                self.push(x.dot(w), false);
            }
            _ => {
                let [n, c, o, h, w] =
                    [size(1, 3), size(1, 6), size(4, 20), size(8, 16), size(8, 16)];
                let image = self.fresh(DType::F32, &[n, c, h, w]).var;
                let kernel = self.fresh(DType::F32, &[o, c, 3, 3]).var;
                self.push(image.conv(kernel, [1, 1], [1, 1], [1, 1], 1), false);
            }
        }
    }

    /// The value as `rank` axes, elements in order, sometimes seen through a transposition.
    fn reshaped(&mut self, x: Item<'b>, rank: usize) -> Item<'b> {
        let shape = x.var.shape();
        if shape.rank() == rank {
            return x;
        }
        let dims = self.split(shape.elements(), rank);
        Item { var: x.var.reshape(&dims), ..x }
    }

    pub(super) fn dot(&mut self) -> Option<()> {
        let x = self.pick_dtype(DType::F32)?;
        let mut a = self.reshaped(x, 3).var;
        if self.random.one_in(3) {
            a = a.transpose(&[0, 2, 1]);
        }
        let s = a.shape();
        let mut n = self.random.within(1, 9);
        if self.random.one_in(4) || self.most > 1000 {
            n = self.random.within(10, 70);
        }
        if s[0] * s[1] * n > self.most || s.elements() * n > self.most_products {
            return None;
        }
        let b = if self.random.one_in(3) {
            let turned = Shape::new([s[0], n, s[2]]).ok()?;
            self.like(DType::F32, &turned, false).var.transpose(&[0, 2, 1])
        } else {
            let plain = Shape::new([s[0], s[2], n]).ok()?;
            self.like(DType::F32, &plain, false).var
        };
        let y = if self.random.one_in(4) {
            b.transpose(&[0, 2, 1]).dot(a.transpose(&[0, 2, 1]))
        } else {
            a.dot(b)
        };
        let y = self.push(y, false).var;
        if self.random.one_in(2) {
            let bias = self.like(DType::F32, &y.shape(), false).var;
            self.push((y + bias).relu(), false);
        }
        Some(())
    }

    /// A matrix product in the words of the language: a sum of broadcast products.
    pub(super) fn linear(&mut self) -> Option<()> {
        let x = self.pick(|i| i.var.dtype() == DType::F32 && i.var.shape().rank() == 2)?.var;
        let (m, k) = (x.shape()[0], x.shape()[1]);
        let n = self.random.within(1, 8);
        if m * k * n > self.most_products.min(20_000) {
            return None;
        }
        let w = self.like(DType::F32, &Shape::new([n, k]).ok()?, false).var;
        let y = if self.random.one_in(2) {
            x.broadcast(&[m, k, n], &[0, 1]) * w.transpose(&[1, 0]).broadcast(&[m, k, n], &[1, 2])
        } else {
            x.transpose(&[1, 0]).broadcast(&[k, n, m], &[0, 2])
                * w.transpose(&[1, 0]).broadcast(&[k, n, m], &[0, 1])
        };
        let axis = usize::from(y.shape()[..] == [m, k, n]);
        self.push(y.sum(&[axis]), false);
        Some(())
    }

    pub(super) fn convolve(&mut self) -> Option<()> {
        let x = self.pick_dtype(DType::F32)?;
        let x = self.reshaped(x, 4).var;
        let s = x.shape();
        let groups = if s[1].is_multiple_of(2) && self.random.one_in(2) { 2 } else { 1 };
        let out = groups * self.random.within(1, 4);
        let (stride, pad) = (self.pair(1, 3), self.pair(0, 2));
        let dilation = self.pair(1, 2);
        let taps = [0, 1].map(|a| {
            let room = (s[2 + a] + 2 * pad[a] - 1) / dilation[a] + 1;
            self.random.within(1, room.min(3))
        });
        let places = (s[2] + 4) * (s[3] + 4);
        if s[0] * out * places > self.most
            || s[0] * out * places * taps[0] * taps[1] * s[1] / groups > self.most_products
        {
            return None;
        }
        let kernel = Shape::new([out, s[1] / groups, taps[0], taps[1]]).ok()?;
        let kernel = self.like(DType::F32, &kernel, false).var;
        let y = x.conv(kernel, stride, pad, dilation, groups);
        let y = self.push(y, false).var;
        if self.random.one_in(2) {
            let bias = self.fresh(DType::F32, &[out]).var;
            self.push((y + bias.broadcast(&y.shape(), &[1])).relu(), false);
        }
        Some(())
    }

    fn pair(&mut self, low: usize, high: usize) -> [usize; 2] {
        [self.random.within(low, high), self.random.within(low, high)]
    }

    /// A window that fits an image: taps, stride, dilation.
    fn window(&mut self, size: [usize; 2]) -> [[usize; 2]; 3] {
        let (stride, dilation) = (self.pair(1, 3), self.pair(1, 2));
        let taps = [0, 1].map(|a| {
            let most = (size[a] - 1) / dilation[a] + 1;
            self.random.within(1, most.min(3))
        });
        [taps, stride, dilation]
    }

    fn image(&mut self, exact: bool) -> Option<Item<'b>> {
        let fits = |i: &Item<'b>| i.var.dtype() == DType::F32 && (i.exact || !exact);
        let x = self.pick(fits)?;
        let rank = self.random.within(2, 4).max(x.var.shape().rank());
        Some(self.reshaped(x, rank))
    }

    pub(super) fn pool(&mut self) -> Option<()> {
        let mut x = self.image(false)?;
        let rank = x.var.shape().rank();
        let size = |x: Item<'b>| [x.var.shape()[rank - 2], x.var.shape()[rank - 1]];
        let [taps, stride, dilation] = self.window(size(x));
        let greatest = self.random.one_in(2);
        if self.random.one_in(3) && x.var.shape().elements() * 4 <= self.most {
            // Padded so that every window sees something of the image.
            let mut around = vec![0; rank];
            for axis in 0..2 {
                around[rank - 2 + axis] = (taps[axis] > 1 && dilation[axis] == 1).into();
            }
            let value = if greatest { f32::NEG_INFINITY } else { 0.0 };
            x.var = x.var.pad(&around, &around, &vec![0; rank], value);
        }
        let (y, exact) = match greatest {
            true => (x.var.max_pool(taps, stride, dilation), x.exact),
            false => (x.var.sum_pool(taps, stride, dilation), false),
        };
        self.push(y, exact);
        Some(())
    }

    /// Positions in windows, what stands there, and back.
    pub(super) fn positions(&mut self) -> Option<()> {
        let x = self.image(true)?;
        let rank = x.var.shape().rank();
        let size = [x.var.shape()[rank - 2], x.var.shape()[rank - 1]];
        let [taps, stride, dilation] = self.window(size);
        let at = self.push(x.var.pool_argmax(taps, stride, dilation), true).var;
        let attrs = Attrs::new()
            .with("kernel", &taps[..])
            .with("stride", &stride[..])
            .with("dilation", &dilation[..]);
        let shape = at.shape();
        match self.random.below(3) {
            0 => {
                let other = self.like(DType::F32, &x.var.shape(), false);
                let y = self.b.op(&ops::POOL_TAKE, attrs, &[other.var, at]);
                self.push(y, other.exact);
            }
            1 => {
                let values = self.like(DType::F32, &shape, false).var;
                let attrs = attrs.with("size", &size[..]);
                self.push(self.b.op(&ops::UNPOOL, attrs, &[values, at]), false);
            }
            _ => {}
        }
        Some(())
    }
}
