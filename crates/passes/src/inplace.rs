//! `inplace`: a kernel writes its result over a value that nobody reads again.
//!
//! A next value (of a weight, a momentum) is computed into the memory of the old one, so that the
//! copy at the end of the step goes away; and an element-wise result takes the place of an operand.
//! Either way a kernel may write over what it reads only if each element is read before, at the
//! index at which it is written.

use kiln_loops::{BufferId, BufferKind, Index, Inst, Kernel, Mem, Program, Stmt};
use smallvec::SmallVec;

use crate::lower::COPY;
use crate::pass::{Notes, Pass, PassError};
use crate::walk::{self, Touched};

/// See the module.
pub static PASS: Pass<Program> =
    Pass { name: "inplace", doc: "write results over values that are read no more", run };

fn run(mut program: Program, notes: &mut Notes) -> Result<Program, PassError> {
    remove_copies(&mut program, notes);
    reuse_operands(&mut program);
    drop_unused(&mut program);
    Ok(program)
}

/// The kernels that touch a buffer, ascending.
#[derive(Clone, Default)]
struct Uses {
    writers: SmallVec<[usize; 2]>,
    readers: SmallVec<[usize; 2]>,
}

fn uses(program: &Program) -> Vec<Uses> {
    let mut all = vec![Uses::default(); program.buffers.len()];
    for (position, kernel) in program.kernels.iter().enumerate() {
        let Touched { reads, writes } = Touched::by(kernel);
        writes.iter().for_each(|b| all[b.0 as usize].writers.push(position));
        reads.iter().for_each(|b| all[b.0 as usize].readers.push(position));
    }
    all
}

/// Lets the kernel that computes a next value write it where it belongs.
fn remove_copies(program: &mut Program, notes: &mut Notes) {
    let uses = uses(program);
    let mut removed = vec![false; program.kernels.len()];
    let mut moved = vec![false; program.buffers.len()];
    for (position, removed) in removed.iter_mut().enumerate() {
        let kernel = &program.kernels[position];
        let [from, to] = kernel.args[..] else { continue };
        let (source, target) = (&uses[from.0 as usize], &uses[to.0 as usize]);
        let is_temp = program.buffer(from).kind == BufferKind::Temp && !moved[from.0 as usize];
        if kernel.name != COPY || !is_temp || target.writers[..] != [position] {
            continue;
        }
        let [writer] = source.writers[..] else { continue };
        let read_after = target.readers.last().is_some_and(|&r| r > writer);
        if read_after || !may_overwrite(&program.kernels[writer], from, to) {
            let name = &program.buffer(to).name;
            notes.remark_kernel(
                kernel,
                format!("`{name}` is copied: its old value is still read when the new one is made"),
            );
            continue;
        }
        *removed = true;
        moved[from.0 as usize] = true;
        for &user in source.writers.iter().chain(&source.readers) {
            rename_in(&mut program.kernels[user], from, to);
        }
    }
    let mut removed = removed.into_iter();
    program.kernels.retain(|_| removed.next() == Some(false));
}

/// Lets an element-wise kernel write over an operand that it is the last to read.
fn reuse_operands(program: &mut Program) {
    let uses = uses(program);
    let mut now: Vec<BufferId> = (0..program.buffers.len() as u32).map(BufferId).collect();
    let mut last_read: Vec<Option<usize>> =
        uses.iter().map(|u| u.readers.last().copied()).collect();
    for position in 0..program.kernels.len() {
        for arg in &mut program.kernels[position].args {
            *arg = now[arg.0 as usize];
        }
        let Touched { reads, writes } = Touched::by(&program.kernels[position]);
        for result in writes {
            let is_temp = |id: BufferId| program.buffer(id).kind == BufferKind::Temp;
            if !is_temp(result) || uses[result.0 as usize].writers[..] != [position] {
                continue;
            }
            let fits = |operand: &&BufferId| {
                let (o, r) = (program.buffer(**operand), program.buffer(result));
                is_temp(**operand)
                    && last_read[operand.0 as usize] == Some(position)
                    && o.bytes() == r.bytes()
                    && o.dtype == r.dtype
                    && may_overwrite(&program.kernels[position], result, **operand)
            };
            let Some(&operand) = reads.iter().find(fits) else { continue };
            // From here on the operand's buffer is the result's.
            now[result.0 as usize] = operand;
            last_read[operand.0 as usize] = last_read[result.0 as usize];
            rename_in(&mut program.kernels[position], result, operand);
        }
    }
}

/// Whether the kernel may write what it writes to `result` over `old`.
fn may_overwrite(kernel: &Kernel, result: BufferId, old: BufferId) -> bool {
    let mem = |id: BufferId| kernel.args.iter().position(|&a| a == id).map(|a| Mem::Arg(a as u32));
    let Some(result) = mem(result) else { return false };
    let Some(old) = mem(old) else { return true };
    let mut places: Vec<&Index> = Vec::new();
    let mut legal = true;
    walk::each(&kernel.body, &mut |stmt| match stmt {
        Stmt::Store(mem, index, _) if *mem == result => {
            legal &= places.is_empty() || places.iter().all(|p| *p == index);
            places.push(index);
        }
        Stmt::Store(mem, ..) => legal &= *mem != old,
        Stmt::Let(..) | Stmt::For(_) | Stmt::Mut(..) | Stmt::Set(..) | Stmt::Accumulate(..) => {}
        other => {
            legal &= walk::reads(other).all(|m| m != old);
            legal &= walk::writes(other).is_none_or(|m| m != old && m != result);
        }
    });
    let [place] = places[..] else { return false };
    if !place.dynamic.is_empty() {
        return false;
    }
    // Every load of the old value stands before the store, at the same index. An index is of one
    // set of loops, so an equal index means the same turn of the same loops, or of none.
    let mut stored = false;
    walk::each(&kernel.body, &mut |stmt| match stmt {
        Stmt::Store(mem, ..) if *mem == result => stored = true,
        Stmt::Let(_, Inst::Load(mem, index)) if *mem == old => {
            legal &= !stored && index == place;
        }
        _ => {}
    });
    legal
}

/// `from` becomes `to` in the kernel.
fn rename_in(kernel: &mut Kernel, from: BufferId, to: BufferId) {
    let Some(position) = kernel.args.iter().position(|&a| a == from) else { return };
    let Some(kept) = kernel.args.iter().position(|&a| a == to) else {
        kernel.args[position] = to;
        return;
    };
    // Both stand in the list: one goes.
    kernel.args.remove(position);
    let moved = |a: u32| {
        let a = a as usize;
        let to = if a == position { kept } else { a };
        (if to > position { to - 1 } else { to }) as u32
    };
    walk::map_mem(&mut kernel.body, &mut |mem| {
        if let Mem::Arg(a) = mem {
            *a = moved(*a);
        }
    });
}

/// Temporary buffers that no kernel touches go away.
pub(crate) fn drop_unused(program: &mut Program) {
    let mut used = vec![false; program.buffers.len()];
    program.kernels.iter().flat_map(|k| &k.args).for_each(|a| used[a.0 as usize] = true);
    let mut next = 0;
    let mut new: Vec<BufferId> = Vec::with_capacity(used.len());
    for (buffer, used) in program.buffers.iter().zip(&mut used) {
        *used |= buffer.kind != BufferKind::Temp;
        new.push(BufferId(next));
        next += u32::from(*used);
    }
    let mut keep = used.into_iter();
    program.buffers.retain(|_| keep.next() == Some(true));
    for arg in program.kernels.iter_mut().flat_map(|k| &mut k.args) {
        *arg = new[arg.0 as usize];
    }
}
