//! What memory a statement touches, without asking where.

use crate::ir::{BufferKind, Epilogue, Inst, Mem, Program, Stmt};

/// Memory that a statement reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// The memory.
    pub mem: Mem,
    /// Whether it is written.
    pub write: bool,
}

/// What a statement touches, reads first; what is inside a loop is not of the loop.
pub fn accesses(stmt: &Stmt) -> impl Iterator<Item = Access> {
    let read = |mem| Some(Access { mem, write: false });
    let write = |mem| Some(Access { mem, write: true });
    let added = |epilogue: &Epilogue| {
        let Epilogue { bias, residual, .. } = epilogue;
        [bias.as_ref(), residual.as_ref().map(|r| &r.at)].map(|p| p.and_then(|p| read(p.0)))
    };
    let all = match stmt {
        Stmt::Let(_, Inst::Load(mem, _)) => [read(*mem), None, None, None, None, None],
        Stmt::Store(mem, ..) => [write(*mem), None, None, None, None, None],
        Stmt::Block(block) => [read(block.src.0), write(block.dst.0), None, None, None, None],
        Stmt::Contract(contract) => {
            let (a, b, c) = (contract.a.0, contract.b.0, contract.c.0);
            let [bias, residual] = added(&contract.epilogue);
            let result = read(c).filter(|_| contract.accumulate);
            [read(a), read(b), bias, residual, result, write(c)]
        }
        Stmt::Pack(pack) => [read(pack.src.0), write(pack.dst.0), None, None, None, None],
        Stmt::Transform(t) => {
            let [bias, residual] = added(&t.epilogue);
            [read(t.src.0), bias, residual, write(t.dst.0), None, None]
        }
        Stmt::For(_) | Stmt::Let(..) | Stmt::Mut(..) | Stmt::Set(..) | Stmt::Accumulate(..) => {
            [None; 6]
        }
    };
    all.into_iter().flatten()
}

/// Visits every statement, outer ones first.
pub fn visit<'s>(body: &'s [Stmt], visitor: &mut impl FnMut(&'s Stmt)) {
    for stmt in body {
        visitor(stmt);
        if let Stmt::For(header) = stmt {
            visit(&header.body, visitor);
        }
    }
}

/// For each buffer whether it is a weight or state that no kernel after the prelude touches: once
/// the prelude has run, its memory holds nothing that a run needs.
pub fn sources(program: &Program) -> Vec<bool> {
    let mut sources: Vec<bool> = program
        .buffers
        .iter()
        .map(|b| matches!(b.kind, BufferKind::Param | BufferKind::State | BufferKind::Slot))
        .map(|lives| lives && program.prelude > 0)
        .collect();
    for kernel in program.kernels.iter().skip(program.prelude) {
        kernel.args.iter().for_each(|id| sources[id.0 as usize] = false);
    }
    sources
}
