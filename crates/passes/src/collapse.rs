//! `collapse`: two nested loops that walk memory like one become one.
//!
//! Longer inner loops make longer vectors and fewer branches; a loop over a whole contiguous array
//! becomes flat whatever the array's shape.

use kiln_loops::{Affine, For, LoopKind, Program, Stmt};

use crate::pass::{Notes, Pass, PassError};
use crate::walk;

/// See the module.
pub static PASS: Pass<Program> =
    Pass { name: "collapse", doc: "merge nested loops over contiguous memory", run };

fn run(mut program: Program, _: &mut Notes) -> Result<Program, PassError> {
    for kernel in &mut program.kernels {
        collapse(&mut kernel.body);
    }
    Ok(program)
}

fn collapse(body: &mut [Stmt]) {
    for stmt in body {
        let Stmt::For(outer) = stmt else { continue };
        collapse(&mut outer.body);
        while let Some(merged) = merge(outer) {
            *outer = merged;
        }
    }
}

/// The single loop that does what `outer` and the only loop inside it do.
fn merge(outer: &For) -> Option<For> {
    let [Stmt::For(inner)] = &outer.body[..] else { return None };
    let plain = |f: &For| walk::is_whole(f) && f.kind == LoopKind::Serial;
    if !plain(outer)
        || !plain(inner)
        || walk::bounds_use(&inner.body, outer.var)
        || walk::bounds_use(&inner.body, inner.var)
    {
        return None;
    }
    let extent = inner.extent.checked_mul(outer.extent)?;
    let mut contiguous = true;
    walk::each_affine(&inner.body, &mut |affine| {
        let (o, i) = (affine.coefficient(outer.var), affine.coefficient(inner.var));
        contiguous &= i.checked_mul(inner.extent as i64) == Some(o);
    });
    contiguous.then(|| {
        let mut body = inner.body.clone();
        walk::map_affine(&mut body, &mut |a| *a = a.substitute(outer.var, &Affine::default()));
        For { extent, end: extent, body, ..inner.clone() }
    })
}
