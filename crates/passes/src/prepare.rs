//! `prepare`: what depends on weights alone is computed once, after they were set.
//!
//! In a graph that does not train, weights only change when the caller sets them. Kernels that read
//! nothing else (batch normalisation folded into a convolution's weights, their packing) move into
//! the program's prelude; what they leave to the others lives across runs.

use kiln_loops::{BufferKind, Program};

use crate::pass::{Notes, Pass, PassError};
use crate::walk::Touched;

/// See the module.
pub static PASS: Pass<Program> =
    Pass { name: "prepare", doc: "compute once what depends on weights alone", run };

fn run(mut program: Program, _: &mut Notes) -> Result<Program, PassError> {
    let early = early(&program);
    let mut left = vec![false; program.buffers.len()];
    for (kernel, _) in program.kernels.iter().zip(&early).filter(|k| !k.1) {
        Touched::by(kernel).reads.iter().for_each(|b| left[b.0 as usize] = true);
    }
    for (kernel, _) in program.kernels.iter().zip(&early).filter(|k| *k.1) {
        for id in Touched::by(kernel).writes.into_iter().filter(|b| left[b.0 as usize]) {
            program.buffers[id.0 as usize].kind = BufferKind::Prepared;
        }
    }
    let kernels = std::mem::take(&mut program.kernels).into_iter().zip(early);
    let (prelude, rest): (Vec<_>, Vec<_>) = kernels.partition(|k| k.1);
    program.prelude = prelude.len();
    program.kernels = prelude.into_iter().chain(rest).map(|k| k.0).collect();
    Ok(program)
}

/// For each kernel whether it belongs to the prelude.
fn early(program: &Program) -> Vec<bool> {
    let touched: Vec<Touched> = program.kernels.iter().map(Touched::by).collect();
    let mut writers = vec![0; program.buffers.len()];
    touched.iter().flat_map(|t| &t.writes).for_each(|b| writers[b.0 as usize] += 1);
    // Whether a buffer holds the same in every run until weights are set.
    let mut fixed: Vec<bool> = program
        .buffers
        .iter()
        .zip(&writers)
        .map(|(buffer, &writers)| match buffer.kind {
            BufferKind::Param | BufferKind::State | BufferKind::Slot => writers == 0,
            BufferKind::Const(_) => true,
            _ => false,
        })
        .collect();
    let is_early = |Touched { reads, writes }: &Touched, fixed: &[bool]| {
        let id = |b: &kiln_loops::BufferId| b.0 as usize;
        !reads.is_empty()
            && reads.iter().all(|b| fixed[id(b)])
            && writes.iter().all(|b| writers[id(b)] == 1 && is_temp(program, *b))
    };
    touched
        .iter()
        .map(|t| {
            let early = is_early(t, &fixed);
            t.writes.iter().filter(|_| early).for_each(|b| fixed[b.0 as usize] = true);
            early
        })
        .collect()
}

fn is_temp(program: &Program, id: kiln_loops::BufferId) -> bool {
    program.buffer(id).kind == BufferKind::Temp
}

#[cfg(test)]
mod tests {
    use kiln_loops::Kernel;

    use super::*;

    const TEXT: &str = r#"program {
  buffer b0 "x": f32[4] input
  buffer b1 "w": f32[4] param
  buffer b2 "moved": f32[4] state
  buffer b3 "twice": f32[4] temp
  buffer b4 "four": f32[4] temp
  buffer b5 "y": f32[4] output
  kernel
"#;

    fn copy(from: usize, to: usize) -> String {
        format!(
            "  kernel \"copy\"(b{from}, b{to}) {{\n    for i0 in 0..4 {{\n      %0 = load a0[i0]\n      \
             store a1[i0] = %0\n    }}\n  }}\n"
        )
    }

    fn prepared(kernels: &[(usize, usize)]) -> Program {
        let (head, _) = TEXT.split_once("  kernel").expect("a kernel follows");
        let kernels: String = kernels.iter().map(|&(from, to)| copy(from, to)).collect();
        let program = kiln_loops::parse(&format!("{head}{kernels}}}\n")).expect("well-formed");
        let program = run(program, &mut Notes::default()).expect("succeeds");
        kiln_loops::verify(&program).expect("legal");
        program
    }

    fn order(program: &Program) -> Vec<(u32, u32)> {
        program.kernels.iter().map(|k: &Kernel| (k.args[0].0, k.args[1].0)).collect()
    }

    #[test]
    fn kernels_on_weights_come_first_and_what_others_read_of_theirs_is_kept() {
        let program = prepared(&[(0, 5), (1, 3), (3, 4), (4, 5)]);
        assert_eq!((program.prelude, order(&program)), (2, vec![(1, 3), (3, 4), (0, 5), (4, 5)]));
        assert_eq!(program.buffers[3].kind, BufferKind::Temp);
        assert_eq!(program.buffers[4].kind, BufferKind::Prepared);
    }

    #[test]
    fn a_state_that_the_program_changes_is_read_in_every_run() {
        let program = prepared(&[(2, 3), (3, 5), (0, 2)]);
        assert_eq!(program.prelude, 0);
        assert_eq!(program.buffers[3].kind, BufferKind::Temp);
    }

    #[test]
    fn what_a_run_also_writes_is_not_prepared() {
        assert_eq!(prepared(&[(1, 3), (0, 3), (3, 5)]).prelude, 0);
        assert_eq!(prepared(&[(1, 5)]).prelude, 0);
    }
}
