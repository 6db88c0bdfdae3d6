//! The sum of what the users of a value send back to it.

use std::collections::BTreeMap;

use kiln_graph::{Builder, NodeId, Var, ops};
use kiln_tensor::DType;

/// So many terms wait to be added at most, apart from pieces: of a weight that a recurrence applies in every turn,
/// each term is as large as the weight.
const WAITING: usize = 8;

/// Terms of a sum, in the order in which they came.
#[derive(Default)]
pub(super) struct Terms {
    others: Vec<NodeId>,
    /// Gradients of slices: zero but for a stretch of one axis. By axis.
    pieces: BTreeMap<usize, Vec<Piece>>,
}

struct Piece {
    /// What stands in the stretch.
    value: NodeId,
    start: usize,
    end: usize,
    /// It with zeros around.
    padded: NodeId,
}

impl Terms {
    /// One more term.
    pub fn add(&mut self, b: &Builder, term: Var<'_>) {
        if let Some((axis, piece)) = piece(b, term) {
            self.pieces.entry(axis).or_default().push(piece);
            return;
        }
        self.others.push(term.id());
        if self.others.len() > WAITING {
            let sum = total(b, &self.others).map(|sum| sum.id());
            self.others = sum.into_iter().collect();
        }
    }

    /// The sum of all terms. Pieces that lie side by side are joined: slices that tile an axis, such as the steps of a
    /// recurrence, send back one value and not as many of its size.
    pub fn sum(mut self, b: &Builder) -> Option<Var<'_>> {
        for (axis, mut pieces) in self.pieces {
            pieces.sort_by_key(|p| p.start);
            let mut joined: Vec<Piece> = Vec::new();
            for piece in pieces {
                if joined.last().is_some_and(|last| piece.start < last.end) {
                    self.others.push(piece.padded);
                } else {
                    joined.push(piece);
                }
            }
            self.others.push(join(b, axis, &joined));
        }
        total(b, &self.others)
    }
}

fn total<'b>(b: &'b Builder, terms: &[NodeId]) -> Option<Var<'b>> {
    terms.iter().map(|&t| b.var(t)).reduce(|sum, t| sum + t)
}

/// A term as a piece, if it is one.
fn piece(b: &Builder, term: Var<'_>) -> Option<(usize, Piece)> {
    b.inspect(|g| {
        let node = &g[term.id()];
        if node.op != &ops::PAD || node.attrs.float("value") != 0.0 {
            return None;
        }
        let [low, high, interior] = ["low", "high", "interior"].map(|name| node.attrs.ints(name));
        let value = g.operands(term.id())[0];
        let shape = &g[value].ty.shape;
        let padded: Vec<usize> = (0..shape.rank()).filter(|&a| low[a] + high[a] > 0).collect();
        let [axis] = padded[..] else { return None };
        let gaps = (0..shape.rank()).any(|a| interior[a] > 0 && shape[a] > 1);
        let start = low[axis] as usize;
        let end = start + shape[axis];
        (!gaps).then(|| (axis, Piece { value, start, end, padded: term.id() }))
    })
}

/// Pieces in order, with zeros between and around them.
fn join(b: &Builder, axis: usize, pieces: &[Piece]) -> NodeId {
    let [first, .., last] = pieces else { return pieces[0].padded };
    let whole = b.var(first.padded).shape();
    let mut values = Vec::with_capacity(pieces.len());
    let mut end = first.start;
    for piece in pieces {
        if piece.start > end {
            let mut gap = whole.to_vec();
            gap[axis] = piece.start - end;
            values.push(b.full(DType::F32, &gap, 0.0));
        }
        values.push(b.var(piece.value));
        end = piece.end;
    }
    let (mut low, mut high) = (vec![0; whole.rank()], vec![0; whole.rank()]);
    low[axis] = first.start;
    high[axis] = whole[axis] - last.end;
    b.concat(&values, axis).pad(&low, &high, &vec![0; whole.rank()], 0.0).id()
}
