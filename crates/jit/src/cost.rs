//! How long a kernel takes, roughly: what decides whether it is worth waking other threads.

use kiln_loops::{Dim, For, Inst, Kernel, LoopKind, Stmt};

/// Nanoseconds of one scalar statement; a vector of four takes as long.
const STATEMENT: f64 = 0.35;
/// Nanoseconds of a transcendental function called for one element, and of one in a block or vector.
const CALL: f64 = 12.0;
const BLOCK: f64 = 0.6;
/// Nanoseconds of a multiplication and addition in a micro-kernel, and of packing an element.
const PRODUCT: f64 = 0.025;
const PACK: f64 = 0.5;
/// Nanoseconds of an addition or multiplication in a transform of tiles, with what it loads and stores.
const TRANSFORM: f64 = 0.06;

/// Nanoseconds of the whole kernel on one thread.
pub(crate) fn nanoseconds(kernel: &Kernel) -> f64 {
    body(&kernel.body, 1.0)
}

/// `share` is the part of a turn's cost that vectors leave.
fn body(statements: &[Stmt], share: f64) -> f64 {
    statements.iter().map(|stmt| statement(stmt, share)).sum()
}

fn statement(stmt: &Stmt, share: f64) -> f64 {
    match stmt {
        Stmt::For(f) => {
            let share = if f.kind == LoopKind::Vector { 0.25 } else { share };
            turns(f) * (STATEMENT * share + body(&f.body, share))
        }
        Stmt::Let(_, Inst::Const(_)) => 0.0,
        Stmt::Let(_, Inst::Call(..)) if share < 1.0 => BLOCK,
        Stmt::Let(_, Inst::Call(..)) => CALL,
        Stmt::Let(..) | Stmt::Mut(..) | Stmt::Set(..) | Stmt::Accumulate(..) | Stmt::Store(..) => {
            STATEMENT * share
        }
        Stmt::Block(block) => 5.0 + BLOCK * block.len as f64,
        Stmt::Contract(c) => 100.0 + PRODUCT * volume(&c.rows) * volume(&c.cols) * volume(&c.depth),
        Stmt::Transform(t) => 10.0 + TRANSFORM * (t.map.operations() * t.len) as f64,
        Stmt::Pack(p) => 50.0 + PACK * volume(&p.cols) * volume(&p.depth),
    }
}

fn turns(f: &For) -> f64 {
    f.extent.min(f.end).div_ceil(f.step.max(1)) as f64
}

fn volume(dims: &[Dim]) -> f64 {
    dims.iter().map(|d| d.extent as f64).product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_loops::{BufferId, Builder, Index};
    use kiln_tensor::DType;

    #[test]
    fn cost_grows_with_turns_and_falls_with_vectors() {
        let copy = |n: usize, kind: LoopKind| {
            let mut b = Builder::new();
            let (x, y) = (b.arg(BufferId(0), DType::F32), b.arg(BufferId(1), DType::F32));
            let i = b.open_loop(None, n, n, 1, kind);
            let value = b.load(x, Index::var(i));
            b.store(y, Index::var(i), value);
            b.close();
            nanoseconds(&b.finish("copy"))
        };
        assert_eq!(copy(2000, LoopKind::Serial), 2.0 * copy(1000, LoopKind::Serial));
        assert_eq!(copy(1000, LoopKind::Serial), 4.0 * copy(1000, LoopKind::Vector));
    }
}
