//! The interpreter against values worked out by hand.

use kiln_loops::{BufferId, Interp, Memory, RunError, parse, run};
use kiln_tensor::{Data, Tensor};

/// Runs a program on the given inputs (its first buffers) and returns its last buffer.
fn last(text: &str, inputs: &[Tensor]) -> Tensor {
    let program = parse(text).unwrap();
    let mut memory = Memory::for_program(&program).unwrap();
    for (i, input) in inputs.iter().enumerate() {
        memory.set(BufferId(i as u32), input).unwrap();
    }
    if let Err(error) = run(&program, &mut memory) {
        panic!("{error}");
    }
    memory.get(BufferId(program.buffers.len() as u32 - 1)).clone()
}

fn f32s(tensor: &Tensor) -> &[f32] {
    tensor.as_f32().unwrap()
}

#[test]
fn chunks_cover_the_whole_range_once() {
    let text = "program {
        buffer b0 \"x\": f32[7] input
        buffer b1 \"y\": f32[7] output
        kernel \"scale\"(b0, b1) {
            local l0: f32[3]
            parallel i0 in 0..7 step 3 {
                for i1 in i0..min(i0+3, 7) {
                    %0 = load a0[i1] %1 = affine i1 %2 = cast f32 %1 %3 = mul %0, %2
                    store l0[i1 - i0] = %3
                }
                vector i2 in i0..min(i0+3, 7) {
                    %4 = load l0[i2 - i0] %5 = neg %4 store a1[i2] = %5
                }
            }
        }
    }";
    let x = Tensor::f32(&[7], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]).unwrap();
    assert_eq!(f32s(&last(text, &[x])), [-0.0, -2.0, -6.0, -12.0, -20.0, -30.0, -42.0]);
}

#[test]
fn what_has_no_elements_reads_nothing_wherever_it_lies() {
    let text = "program {
        buffer b0 \"x\": f32[4] input
        buffer b1 \"ids\": i32[3] input
        buffer b2 \"y\": f32[2] output
        kernel \"k\"(b0, b1, b2) {
            transform a2[9] strides(1, 1, 1) = winograd_result4to2 a0[9] strides(1, 1, 1) len 0 bias a1[99] residual a0[99] rows(1, 1) relu
            contract a2[9] = a0[9] * a0[9] rows(0:1:1) cols(2:1:1) depth(1:1:1) bias a1[99] residual a0[99] rows(1)
        }
    }";
    kiln_loops::verify(&parse(text).unwrap()).unwrap();
    // Memory that nobody writes stays what it was.
    assert!(f32s(&last(text, &[])).iter().all(|y| y.is_nan()));
}

#[test]
fn registers_fold_and_select() {
    let text = "program {
        buffer b0 \"x\": f32[4] input
        buffer b1 \"ids\": i32[3] input
        buffer b2 \"y\": f32[6] output
        kernel \"k\"(b0, b1, b2) {
            %0 = f32 -inf %1 = f32 1.0 %2 = i32 0
            mut %3 = %0 mut %4 = %1 mut %5 = %2
            for i0 in 0..4 {
                %6 = load a0[i0]
                accumulate %3 max %6
                accumulate %4 mul %6
                %7 = gt %6, %1
                %8 = cast i32 %7
                accumulate %5 add %8
            }
            store a2[0] = %3
            store a2[1] = %4
            %9 = cast f32 %5
            store a2[2] = %9
            for i1 in 0..3 {
                %10 = load a1[i1]
                %11 = clamp %10, 4
                %12 = load a0[%11]
                store a2[i1 + 3] = %12
            }
        }
    }";
    let x = Tensor::f32(&[4], vec![2.0, -3.0, 0.5, 5.0]).unwrap();
    let ids = Tensor::i32(&[3], vec![-7, 2, 99]).unwrap();
    assert_eq!(f32s(&last(text, &[x, ids])), [5.0, -15.0, 2.0, 2.0, 0.5, 5.0]);
}

#[test]
fn blocks_end_with_the_range() {
    let text = "program {
        buffer b0 \"x\": f32[5] input
        buffer b1 \"y\": f32[5] output
        kernel \"exp\"(b0, b1) {
            for i0 in 0..5 step 4 { block a1[i0] = exp a0[i0] len min(4, 5-i0) }
            block a1[1] = log a1[1] len 2
        }
    }";
    let x = Tensor::f32(&[5], vec![0.0, 1.0, -2.0, 3.0, f32::NEG_INFINITY]).unwrap();
    let y = last(text, &[x]);
    let expected = [1.0, 1.0, -2.0, 3f64.exp() as f32, 0.0];
    for (y, expected) in f32s(&y).iter().zip(expected) {
        assert!((y - expected).abs() < 1e-6, "{y} {expected}");
    }
}

/// A convolution of one 4x4 image with two 2x2 filters, plainly and through a packed operand.
#[test]
fn contractions_are_convolutions() {
    let x: Vec<f32> = (0..16u8).map(f32::from).collect();
    let w = [1.0, 0.0, 0.0, -1.0, 0.5, 0.5, 0.5, 0.5];
    let mut expected = Vec::new();
    for filter in w.chunks(4) {
        for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
            let at = |k: usize, l: usize| x[(i + k) * 4 + j + l] * filter[k * 2 + l];
            expected.push(10.0 + at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1));
        }
    }
    for (operand, packed, before) in [
        ("a0[0]", "", ""),
        ("l0[1]", "packed", "pack l0[1] = a0[0] cols(3:4:1, 3:1:1) depth(2:2:4, 2:1:1)"),
    ] {
        let text = format!(
            "program {{
                buffer b0 \"x\": f32[1,4,4] input
                buffer b1 \"w\": f32[2,1,2,2] param
                buffer b2 \"y\": f32[2,3,3] output
                kernel \"conv\"(b0, b1, b2) {{
                    local l0: f32[129]
                    %0 = f32 10.0
                    for i0 in 0..18 {{ store a2[i0] = %0 }}
                    {before}
                    contract a2[0] += a1[0] * {operand}
                        rows(2:4:9) cols(3:4:3, 3:1:1) depth(2:2:4, 2:1:1) {packed}
                }}
            }}"
        );
        let x = Tensor::f32(&[1, 4, 4], x.clone()).unwrap();
        let w = Tensor::f32(&[2, 1, 2, 2], w.to_vec()).unwrap();
        assert_eq!(f32s(&last(&text, &[x, w])), expected);
    }
}

/// Two taps along a line of two pixels of three channels, each with taps of its own; then bias, the
/// maximum with 0 and the minimum with 6.
#[test]
fn channelwise_contractions_are_depthwise_convolutions() {
    for (operand, packed, before) in
        [("a1[0]", "", ""), ("l0[0]", "packed", "pack l0[0] = a1[0] cols(3:2:1) depth(2:3:1)")]
    {
        let text = format!(
            "program {{
                buffer b0 \"x\": f32[3,3] input
                buffer b1 \"w\": f32[3,2] input
                buffer b2 \"bias\": f32[3] input
                buffer b3 \"y\": f32[2,3] output
                kernel \"depthwise\"(b0, b1, b2, b3) {{
                    local l0: f32[64]
                    {before}
                    contract a3[0] = a0[0] * {operand} rows(2:3:3) cols(3:2:1) depth(2:3:1)
                        channelwise {packed} bias a2[0] relu min f32 6.0
                }}
            }}"
        );
        let x = Tensor::f32(&[3, 3], (0..9u8).map(f32::from).collect()).unwrap();
        let w = Tensor::f32(&[3, 2], vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.5]).unwrap();
        let bias = Tensor::f32(&[3], vec![0.25, 0.0, 0.0]).unwrap();
        assert_eq!(f32s(&last(&text, &[x, w, bias])), [0.25, 4.0, 0.5, 3.25, 6.0, 0.0]);
    }
}

#[test]
fn an_empty_depth_gives_zeros_and_empty_rows_give_nothing() {
    let text = "program {
        buffer b0 \"x\": f32[0] input
        buffer b1 \"y\": f32[4] output
        kernel \"k\"(b0, b1) {
            local l0: f32[1]
            contract a1[0] = a0[0] * l0[0] rows(2:0:2) cols(2:1:1) depth(0:1:1)
            contract a1[9] = a0[0] * l0[0] rows(0:0:2) cols(2:1:1) depth(7:1:1)
        }
    }";
    assert_eq!(f32s(&last(text, &[])), [0.0; 4]);
}

#[test]
fn state_lives_on_and_unwritten_memory_shows() {
    let text = "program {
        buffer b0 \"step\": i32[] state
        buffer b1 \"y\": f32[2] output
        kernel \"count\"(b0, b1) {
            local l0: f32[1]
            %0 = load a0[0] %1 = i32 1 %2 = add %0, %1 store a0[0] = %2
            %3 = load l0[0] store a1[0] = %3
        }
    }";
    let program = parse(text).unwrap();
    let interp = Interp::new(&program).unwrap();
    let mut memory = Memory::for_program(&program).unwrap();
    for step in 1..=3 {
        interp.run(&mut memory).unwrap();
        assert_eq!(memory.get(BufferId(0)).data(), &Data::I32(vec![step]));
        assert!(f32s(memory.get(BufferId(1))).iter().all(|x| x.is_nan()));
    }
}

#[test]
fn every_construct_runs() {
    let program = parse(include_str!("every_construct.kiln-loops")).unwrap();
    let mut memory = Memory::for_program(&program).unwrap();
    let x = Tensor::f32(&[2, 3, 8], (0..48u8).map(f32::from).collect()).unwrap();
    memory.set(BufferId(0), &x).unwrap();
    let ids = Tensor::i32(&[7], vec![-1, 0, 1, 2, 3, 4, 100]).unwrap();
    memory.set(BufferId(10), &ids).unwrap();
    let param = Tensor::f32(&[64], (0..64u8).map(f32::from).collect()).unwrap();
    memory.set(BufferId(5), &param).unwrap();
    run(&program, &mut memory).unwrap();
    let gathered = &f32s(memory.get(BufferId(9)))[..7];
    assert_eq!(gathered, [3.0, 5.0, 15.0, 25.0, 35.0, 45.0, 63.0]);
    // Rows of b0 by the 2x4 matrix that starts at b5[0]: x = 0, 4, 8 and x + 1.
    let product = &f32s(memory.get(BufferId(8)))[..4];
    assert_eq!(product, [4.0, 5.0, 6.0, 7.0]);
}

#[test]
fn foreign_memory_and_values_are_refused() {
    let one = parse("program { buffer b0 \"x\": f32[2] input }").unwrap();
    let two = parse("program { buffer b0 \"x\": f32[3] input }").unwrap();
    let mut memory = Memory::for_program(&one).unwrap();
    let error = run(&two, &mut memory).unwrap_err();
    assert_eq!(error.to_string(), "buffer b0 is f32[3], not f32[2]");
    let error = memory.set(BufferId(0), &Tensor::i32(&[2], vec![1, 2]).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "buffer b0 is f32[2], not i32[2]");
    let error = memory.set(BufferId(1), &Tensor::scalar(1.0)).unwrap_err();
    assert_eq!(error.to_string(), "buffer b1 is absent, not f32[]");

    let broken = parse("program { kernel \"k\"(b0) { } }").unwrap();
    let mut memory = Memory::for_program(&broken).unwrap();
    assert!(matches!(run(&broken, &mut memory), Err(RunError::Program(_))));
}
