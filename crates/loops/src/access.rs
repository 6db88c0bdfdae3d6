//! What memory a statement touches, without asking where.

use crate::ir::{Inst, Mem, Stmt};

/// Memory that a statement reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// The memory.
    pub mem: Mem,
    /// Whether it is written.
    pub write: bool,
}

/// What a statement touches, reads first; what is inside a loop is not of the loop.
pub fn accesses(stmt: &Stmt) -> Vec<Access> {
    let read = |mem| Access { mem, write: false };
    let write = |mem| Access { mem, write: true };
    match stmt {
        Stmt::Let(_, Inst::Load(mem, _)) => vec![read(*mem)],
        Stmt::Store(mem, ..) => vec![write(*mem)],
        Stmt::Block(block) => vec![read(block.src.0), write(block.dst.0)],
        Stmt::Contract(contract) => {
            let mut all = vec![read(contract.a.0), read(contract.b.0)];
            if contract.accumulate {
                all.push(read(contract.c.0));
            }
            all.push(write(contract.c.0));
            all
        }
        Stmt::Pack(pack) => vec![read(pack.src.0), write(pack.dst.0)],
        Stmt::For(_) | Stmt::Let(..) | Stmt::Mut(..) | Stmt::Set(..) | Stmt::Accumulate(..) => {
            Vec::new()
        }
    }
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
