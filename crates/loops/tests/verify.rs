//! What the verifier accepts, and one program for each rule that it refuses.

use kiln_loops::{parse, verify};

/// A program of one kernel over some buffers.
fn program(body: &str) -> String {
    format!(
        "program {{
            buffer b0 \"in\": f32[64] input
            buffer b1 \"out\": f32[64] output
            buffer b2 \"ids\": i32[64] input
            buffer b3 \"const\": f32[2] const [1.0, 2.0]
            buffer b4 \"temp\": f32[64] temp
            buffer b5 \"param\": f32[4096] param
            buffer b6 \"mask\": bool[64] param
            kernel \"k\"(b0, b1, b2, b3, b4, b5, b6) {{ local l0: f32[64] {body} }}
        }}"
    )
}

fn accept(body: &str) {
    if let Err(error) = verify(&parse(&program(body)).unwrap()) {
        panic!("{body}\n{error}");
    }
}

fn reject(body: &str, message: &str) {
    let error = verify(&parse(&program(body)).unwrap()).expect_err(body).to_string();
    assert!(error.contains(message), "{body}\n{error}");
    assert!(error.starts_with("kernel 0 \"k\": "), "{error}");
}

fn reject_program(text: &str, message: &str) {
    let error = verify(&parse(text).unwrap()).expect_err(text).to_string();
    assert!(error.contains(message), "{text}\n{error}");
}

#[test]
fn registers_are_defined_before_use_and_visible() {
    reject("%1 = neg %0", "%0 is not defined here");
    reject("%0 = f32 1.0 %0 = f32 2.0", "%0 is defined twice");
    reject("for i0 in 0..2 { %0 = f32 1.0 } %1 = neg %0", "%0 is not defined here");
    reject("for i0 in 0..2 { %0 = f32 1.0 } %0 = f32 1.0", "%0 is defined twice");
    reject("%1048576 = f32 1.0", "not below");
    reject("%0 = f32 1.0 set %0 = %0", "%0 is not mutable");
    reject("%0 = f32 1.0 accumulate %0 add %0", "%0 is not mutable");
    accept("%0 = f32 1.0 mut %1 = %0 for i0 in 0..2 { set %1 = %0 accumulate %1 add %0 }");
}

#[test]
fn types_fit() {
    reject("%0 = f32 1.0 %1 = i32 1 %2 = add %0, %1", "takes one type, not f32 and i32");
    reject("%0 = f32 1.0 %1 = rem %0, %0", "does not take f32");
    reject("%0 = i32 1 %1 = sqrt %0", "does not take i32");
    reject("%0 = i32 1 %1 = exp %0", "does not take i32");
    reject("%0 = bool true %1 = lt %0, %0", "does not take bool");
    reject("%0 = f32 1.0 %1 = select %0, %0, %0", "does not take f32");
    reject("%0 = f32 1.0 %1 = clamp %0, 3", "does not take f32");
    reject("%0 = i32 1 %1 = clamp %0, 0", "extent that is 0 or beyond an i32");
    reject("%0 = i32 1 %1 = clamp %0, 2147483649", "extent that is 0 or beyond an i32");
    reject("%0 = i32 1 store a1[0] = %0", "%0 is i32, a1 is f32");
    reject("%0 = i32 1 %1 = f32 1.0 mut %2 = %0 set %2 = %1", "%2 is i32, its new value f32");
    reject("%0 = bool true mut %1 = %0 accumulate %1 max %0", "a bool cannot be accumulated");
    reject("block a1[0] = exp a2[0] len 4", "a2 is i32, not f32");
}

#[test]
fn loops_are_well_formed() {
    reject("for i0 in 0..2 { for i0 in 0..2 { } }", "i0 is defined twice");
    reject("for i0 in 0..2 { } for i0 in 0..2 { }", "i0 is defined twice");
    reject("for i1048576 in 0..2 { }", "not below");
    reject("for i0 in 0..2 step 0 { }", "the step is 0");
    reject("for i0 in 0..min(2, 3) { }", "an extent other than its end");
    reject("for i0 in 0..1099511627777 { }", "the loop is too long");
    reject("for i0 in i1..min(i1+2, 3) { }", "i1 is not the variable of a loop around");
    reject("%0 = affine i0", "i0 is not the variable of a loop around");
    let nest: String = (0..256).map(|i| format!("for i{i} in 0..1 {{")).collect();
    accept(&format!("{nest}{}", "}".repeat(256)));
}

#[test]
fn parallel_loops_stand_alone_and_outermost() {
    accept("parallel i0 in 0..2 { }");
    reject("parallel i0 in 0..2 { } %0 = f32 1.0", "only statement of its kernel");
    reject("for i0 in 0..2 { parallel i1 in 0..2 { } }", "only statement of its kernel");
    accept("parallel i0 in 0..2 { parallel i1 in 0..2 { parallel i2 in 0..3 { } } }");
    reject("parallel i0 in 0..2 { %0 = f32 1.0 parallel i1 in 0..2 { } }", "only statement");
    reject("parallel i0 in 0..2 { parallel i1 in 0..2 { } parallel i2 in 0..2 { } }", "only");
    reject("parallel i0 in 0..2 { for i1 in 0..2 { parallel i2 in 0..2 { } } }", "only statement");
    reject("parallel i0 in 0..4 step 2 { parallel i1 in i0..min(i0+2, 4) { } }", "starts at 0");
}

#[test]
fn vector_loops_hold_scalar_code_with_unit_strides() {
    accept(
        "for i0 in 0..8 { vector i1 in 0..8 { %0 = load a0[8*i0 + i1] store a1[8*i0 + i1] = %0 } }",
    );
    accept(
        "vector i0 in 0..8 { for i1 in 0..8 { %0 = load a0[i0 + 8*i1] store a1[i0 + 8*i1] = %0 } }",
    );
    accept(
        "parallel i0 in 0..61 step 8 { vector i1 in i0..min(i0+8, 61) {
        %0 = load a0[i1] store l0[-i0 + i1] = %0 %1 = load l0[-i0 + i1] store a1[i1] = %1 } }",
    );
    reject("vector i0 in 0..2 { vector i1 in 0..2 { } }", "in a vector loop");
    reject("vector i0 in 0..2 step 2 { }", "the step of a vector loop is 1");
    reject("vector i0 in 0..2 { for i1 in i0..min(i0+1, 2) { } }", "depend on the vector loop");
    reject("vector i0 in 0..8 { %0 = load a0[2*i0] }", "is not 0 or 1");
    reject("vector i0 in 0..8 { block l0[i0] = exp a0[i0] len 1 }", "scalar statements only");
    reject(
        "vector i0 in 0..8 { %0 = load a2[i0] %1 = clamp %0, 9 %2 = load a0[%1] }",
        "a register is an index in a vector loop",
    );
    reject("%0 = f32 1.0 mut %1 = %0 vector i0 in 0..8 { set %1 = %0 }", "outside the vector loop");
    reject(
        "%0 = f32 1.0 mut %1 = %0 vector i0 in 0..8 { %2 = neg %1 accumulate %1 add %0 }",
        "%1 is read in the vector loop that accumulates it",
    );
    reject(
        "%0 = f32 1.0 mut %1 = %0 vector i0 in 0..8 { accumulate %1 add %0 accumulate %1 max %0 }",
        "accumulated in two ways",
    );
    accept(
        "%0 = f32 1.0 mut %1 = %0 vector i0 in 0..8 { mut %2 = %1 set %2 = %0 accumulate %2 mul %0 }",
    );
    // Lanes that meet.
    reject(
        "vector i0 in 0..8 { %0 = load a1[i0] store a1[i0 + 1] = %0 }",
        "iterations of i0 may meet",
    );
    reject(
        "%0 = f32 1.0 vector i0 in 0..8 { store a1[0] = %0 }",
        "iterations of i0 may meet in a1",
    );
    reject(
        "%0 = f32 1.0 vector i0 in 0..8 { store l0[0] = %0 }",
        "iterations of i0 may meet in l0",
    );
    accept("for i1 in 0..8 { vector i0 in 0..8 { %0 = load a5[i0 + 8] store a5[i0] = %0 } }");
}

#[test]
fn elements_are_in_bounds() {
    reject("%0 = load a9[0]", "there is no a9");
    reject("%0 = load l1[0]", "there is no l1");
    reject("%0 = load a0[64]", "between 64 and 64");
    reject("%0 = load a0[-1]", "between -1 and -1");
    reject("for i0 in 0..65 { %0 = load a0[i0] }", "between 0 and 64");
    reject("for i0 in 0..8 { for i1 in 0..8 { %0 = load a0[8*i0 + i1 + 1] } }", "between 1 and 64");
    reject("for i0 in 0..9 step 8 { for i1 in 0..8 { %0 = load a0[8*i0 - i1 + 7] } }", "and 71");
    accept("for i0 in 0..9 { %0 = load a0[-8*i0 + 64 - 1 + i0] }");
    accept("for i0 in 0..64 step 16 { for i1 in 0..16 { %0 = load a0[i0 + i1] } }");
    reject("%0 = load a0[9223372036854775807]", "between 9223372036854775807");
    reject(
        "for i0 in 0..1099511627776 { %0 = load a0[9223372036854775807*i0] }",
        "a0 has 64 elements",
    );
    // Chunks, by the whole range and by the distance from the start.
    accept("for i0 in 0..64 step 24 { for i1 in i0..min(i0+24, 64) { %0 = load a0[i1] } }");
    accept(
        "for i0 in 0..4096 step 64 { for i1 in i0..min(i0+64, 4096) { %0 = load a0[i1 - i0] } }",
    );
    accept(
        "for i0 in 0..4096 step 512 { for i1 in i0..min(i0+512, 4096) step 64 {
        for i2 in i1..min(i1+64, 4096) { %0 = load a0[i2 - i1] %1 = load a5[i2] } } }",
    );
    reject(
        "for i0 in 0..64 step 24 { for i1 in i0..min(i0+24, 65) { %0 = load a0[i1] } }",
        "and 64",
    );
    reject(
        "for i0 in 0..99 step 33 { for i1 in i0..min(i0+65, 99) { %0 = load a0[i1 - i0] } }",
        "and 64",
    );
    // Data-dependent indices.
    accept("%0 = load a2[0] %1 = clamp %0, 8 %2 = load a0[8*%1 + 7]");
    reject("%0 = load a2[0] %1 = clamp %0, 8 %2 = load a0[8*%1 + 8]", "between 8 and 64");
    reject("%0 = load a2[0] %1 = load a0[%0]", "not defined by clamp");
    reject("%0 = load a2[0] %1 = clamp %0, 8 mut %2 = %1 %3 = load a0[%2]", "not defined by clamp");
    // Statements in loops that never run are in bounds.
    accept("for i0 in 0..0 { %0 = load a0[i0 + 99] }");
}

#[test]
fn blocks_are_in_bounds_and_do_not_overlap() {
    accept("block a1[0] = exp a0[0] len 64");
    accept("block a4[0] = exp a0[0] len 64 block a4[0] = log a4[0] len 64");
    accept("block l0[0] = exp a0[0] len 64 block l0[32] = log l0[0] len 32");
    reject("block a1[1] = exp a0[0] len 64", "between 1 and 64");
    reject("block l0[31] = exp l0[0] len 32", "may overlap");
    accept("for i0 in 0..64 step 24 { block a1[i0] = exp a0[i0] len min(24, 64-i0) }");
    reject("for i0 in 0..64 step 24 { block a1[i0] = exp a0[i0] len 24 }", "and 71");
    reject("for i0 in 0..64 step 24 { block a1[i0] = exp a0[i0] len min(24, 65-i0) }", "and 64");
    reject("block a1[0] = exp a0[0] len 1099511627777", "too long");
}

#[test]
fn transforms_stay_inside_and_write_each_place_once() {
    let transform =
        |dst: &str, src: &str| format!("transform {dst} = winograd_result4to2 {src} len 4");
    accept(&transform("a1[0] strides(8, 4, 1)", "a0[0] strides(16, 4, 1)"));
    accept(&transform("a1[0] strides(2, 1, 16)", "a0[0] strides(4, 1, 16)"));
    reject(&transform("a1[0] strides(8, 4, 1)", "a0[1] strides(16, 4, 1)"), "a0 has 64 elements");
    reject(&transform("a1[0] strides(8, 4, 1)", "a0[0] strides(4, 1, 17)"), "a0 has 64 elements");
    reject(&transform("a1[56] strides(8, 4, 1)", "a0[0] strides(16, 4, 1)"), "a1 has 64 elements");
    reject(&transform("a1[0] strides(8, 3, 1)", "a0[0] strides(16, 4, 1)"), "may meet");
    reject(&transform("a1[0] strides(8, 4, 4)", "a0[0] strides(16, 4, 1)"), "may meet");
    reject(
        &transform("a1[0] strides(8, 4, 1)", "a1[0] strides(0, 0, 0)"),
        "also the destination's",
    );
    reject(&transform("a1[0] strides(8, 4, 1)", "a2[0] strides(16, 4, 1)"), "a2 is i32, not f32");
    let ended =
        |rest: &str| transform("a1[0] strides(8, 4, 1)", "a0[0] strides(16, 4, 1)") + " " + rest;
    accept(
        &ended("bias a3[0] residual a5[4] rows(100, 7) relu min f32 6.0").replace("len 4", "len 2"),
    );
    reject(&ended("bias a3[0]"), "a3 has 2 elements");
    reject(&ended("bias a6[0]"), "a6 is bool, not f32");
    reject(&ended("bias a1[0]"), "also the destination's");
    reject(&ended("residual a1[0] rows(8, 4)"), "also the destination's");
    reject(&ended("residual a4[0] rows(8)"), "another number of row dimensions");
    reject(&ended("residual a4[0] rows(57, 4)"), "a4 has 64 elements");
    reject(&ended("residual a4[0] rows(0, -1)"), "a4 has 64 elements");
    reject(&ended("relu min f32 0.0"), "not with a positive f32");
    let empty = |rest: &str| ended(rest).replace("len 4", "len 0");
    accept(&empty("bias a2[99] residual a4[99] rows(8, 4)"));
    reject(&empty("residual a4[0] rows(8)"), "another number of row dimensions");
    let outside = "transform a1[0] strides(8, 4, 1) = haar a0[0] strides(16, 4, 1) len 4";
    assert!(parse(&program(outside)).unwrap_err().to_string().contains("a map"));
}

#[test]
fn contractions_are_in_bounds_and_write_apart() {
    let matmul = |c: &str, rest: &str| format!("contract {c} = a0[0] * a5[0] {rest}");
    accept(&matmul("a1[0]", "rows(8:8:8) cols(8:1:1) depth(8:1:8)"));
    accept(&matmul("a1[0]", "rows(4:16:16, 2:8:8) cols(8:1:1) depth(2:4:32, 4:1:8)"));
    accept(&matmul("a1[0]", "rows() cols() depth()"));
    accept(&matmul("a1[60]", "rows(0:1:1) cols(99:1:1) depth(9:1:1)"));
    reject(&matmul("a1[1]", "rows(8:8:8) cols(8:1:1) depth(8:1:8)"), "between 1 and 64");
    reject(&matmul("a1[0]", "rows(8:9:8) cols(8:1:1) depth(8:1:8)"), "a0 has 64 elements");
    reject(&matmul("a1[0]", "rows(8:8:8) cols(8:1:1) depth(8:1:600)"), "a5 has 4096 elements");
    reject(&matmul("a1[0]", "rows(8:8:7) cols(8:1:1) depth(8:1:8)"), "may meet in the result");
    reject(&matmul("a1[0]", "rows(8:8:0) cols(8:1:1) depth(8:1:8)"), "meet in the result");
    reject(&matmul("a1[0]", "rows(1099511627776:0:1, 2:0:1) cols() depth()"), "too large");
    // The columns of the first operand follow each other, over all dimensions of the columns.
    accept(&matmul("a1[0]", "rows(7:8:8) cols(8:1:1) depth(2:8:8) channelwise"));
    accept(&matmul("a1[0]", "rows(7:8:8) cols(2:1:4, 4:1:1) depth(2:8:8) channelwise min f32 0.5"));
    reject(
        &matmul("a1[0]", "rows(8:8:8) cols(2:1:4, 4:1:1) depth(2:8:8) channelwise"),
        "a0 has 64 elements, the index lies between 0 and 71",
    );
    reject(&matmul("a1[0]", "rows(2:8:8) cols(8:1:1) depth() min f32 0.0"), "a positive f32");
    reject(&matmul("a1[0]", "rows(2:8:8) cols(8:1:1) depth() relu min f32 nan"), "a positive f32");
    reject("contract a4[0] = a0[0] * a4[0] rows() cols() depth()", "also an operand's");
    reject("contract a4[0] = a4[0] * a0[0] rows() cols() depth()", "also an operand's");
    reject("contract a1[0] = a2[0] * a0[0] rows() cols() depth()", "a2 is i32");
    accept("pack l0[0] = a5[0] cols(32:1:1) depth(2:1:32)");
    reject(
        "pack l0[0] = a5[0] cols(33:1:1) depth(1:1:33) pack l0[32] = a5[0] cols(1:1:1) depth(2:1:1)",
        "between 32 and 95",
    );
    reject("pack a5[0] = a5[64] cols(1:1:1) depth(1:1:1)", "also the destination's");
    reject("pack l0[0] = a0[0] cols(2:64:1) depth(1:1:1)", "a0 has 64 elements");
    accept("contract a1[0] = a0[0] * l0[0] rows(2:8:8) cols(8:1:1) depth(2:1:8) packed");
    reject(
        "contract a1[0] = a0[0] * l0[0] rows(2:8:8) cols(8:1:1) depth(3:1:8) packed",
        "l0 has 64 elements, the index lies between 0 and 95",
    );
}

#[test]
fn iterations_of_a_parallel_loop_write_apart() {
    let zero = |rest: &str| format!("parallel i0 in 0..8 {{ %0 = f32 0.0 {rest} }}");
    accept(&zero("for i1 in 0..8 { store a1[8*i0 + i1] = %0 }"));
    accept(&zero("for i1 in 0..8 { store a1[i0 + 8*i1] = %0 }"));
    accept(&zero("for i1 in 0..2 { for i2 in 0..4 { store a1[32*i1 + 4*i0 + i2] = %0 } }"));
    reject(&zero("for i1 in 0..9 { store a1[4*i0 + i1] = %0 }"), "iterations of i0 may meet in a1");
    reject(&zero("store a1[0] = %0"), "iterations of i0 may meet in a1");
    reject(&zero("store a1[i0] = %0 store a1[-i0 + 7] = %0"), "may meet");
    reject(&zero("store a4[i0] = %0 %1 = load a4[i0 + 1]"), "may meet in a4");
    accept(&zero("store a4[i0] = %0 %1 = load a4[i0]"));
    reject(&zero("store a5[8*i0] = %0 %1 = load a5[i0 + 8]"), "may meet in a5");
    accept(&zero("store a5[2*i0] = %0 %1 = load a5[2*i0 + 1]"));
    accept(&zero("store a5[8*i0] = %0 %1 = load a5[64]"));
    accept("parallel i0 in 0..1 { %0 = f32 0.0 store a1[0] = %0 }");
    let nest = |rest: &str| format!("parallel i0 in 0..4 {{ parallel i1 in 0..3 {{ {rest} }} }}");
    accept(&nest("%0 = f32 0.0 store a1[3*i0 + i1] = %0"));
    reject(&nest("%0 = f32 0.0 store a1[2*i0 + i1] = %0"), "iterations of i0 may meet in a1");
    reject(&nest("%0 = f32 0.0 store a1[i0] = %0"), "iterations of i1 may meet in a1");
    // Scratch is each thread's own.
    accept(&zero("store l0[0] = %0"));
    // Chunks: their own part of the range, also as the inner axis of something larger.
    let chunk = |rest: &str| {
        format!(
            "parallel i0 in 0..61 step 8 {{ %0 = f32 0.0
            for i1 in i0..min(i0+8, 61) {{ {rest} }} }}"
        )
    };
    accept(&chunk("store a1[i1] = %0"));
    accept(&chunk("for i2 in 0..67 { store a5[61*i2 + i1] = %0 %1 = load a5[61*i2 + i1] }"));
    accept(&chunk("for i2 in 0..67 { store a5[67*i1 + i2] = %0 }"));
    reject(&chunk("for i2 in 0..67 { store a5[60*i2 + i1] = %0 }"), "may meet in a5");
    reject(&chunk("store a1[i1] = %0 %1 = load a1[i1 + 1]"), "may meet in a1");
    accept(
        "parallel i0 in 0..61 step 8 { %0 = f32 0.0
        for i1 in i0..min(i0+8, 61) { for i2 in 0..61 { store a5[61*i2 + i1] = %0 } }
        for i3 in i0..min(i0+8, 61) { for i4 in 0..61 { %1 = load a5[61*i4 + i3] } } }",
    );
    reject(
        "parallel i0 in 0..61 step 8 { %0 = f32 0.0
        for i1 in i0..min(i0+9, 61) { store a1[i1] = %0 } }",
        "may meet in a1",
    );
    accept("parallel i0 in 0..61 step 8 { block a1[i0] = exp a0[i0] len min(8, 61-i0) }");
    accept(
        "parallel i0 in 0..64 step 8 {
        contract a5[i0] = a0[0] * l0[0] rows(64:0:64) cols(8:1:1) depth(1:1:1) }",
    );
    reject(
        "parallel i0 in 0..64 step 8 {
        contract a5[i0] = a0[0] * l0[0] rows(63:0:64) cols(9:1:1) depth(1:1:1) }",
        "may meet in a5",
    );
    // Scattered writes are apart where the parallel axis is another one.
    accept(
        "parallel i0 in 0..8 { %0 = f32 1.0 for i1 in 0..64 { %1 = load a2[i1]
        %2 = clamp %1, 8 %3 = load a5[8*%2 + i0] %4 = add %3, %0 store a5[8*%2 + i0] = %4 } }",
    );
    reject(
        "parallel i0 in 0..8 { %0 = f32 1.0 %1 = load a2[i0] %2 = clamp %1, 8 store a1[%2] = %0 }",
        "may meet in a1",
    );
}

#[test]
fn buffers_are_what_they_say() {
    reject("%0 = f32 0.0 store a0[0] = %0", "its buffer is input");
    reject("%0 = f32 0.0 store a3[0] = %0", "its buffer is const");
    reject("pack a3[0] = a0[0] cols(1:1:1) depth(1:1:1)", "its buffer is const");
    reject("%0 = load a4[0]", "b4 (temp) is read before anything wrote it");
    reject("%0 = load a1[0]", "b1 (out) is read before anything wrote it");
    reject(
        "contract a1[0] += a0[0] * a0[0] rows() cols() depth()",
        "read before anything wrote it",
    );
    reject_program(
        "program { buffer b0 \"x\": f32[] temp buffer b1 \"x\": f32[] temp }",
        "same name",
    );
    reject_program("program { kernel \"k\"(b0) { } }", "there is no buffer b0");
    reject_program(
        "program { buffer b0 \"x\": f32[] temp kernel \"k\"(b0, b0) { } }",
        "given twice",
    );
    reject_program("program { kernel \"k\"() { local l0: f32[274877906945] } }", "too large");
    let mut program = parse("program { buffer b0 \"x\": f32[2] const [1.0, 2.0] }").unwrap();
    program.buffers[0].dtype = kiln_tensor::DType::I32;
    assert!(verify(&program).unwrap_err().to_string().contains("its constant is f32[2]"));
}

#[test]
fn planned_offsets_are_aligned_and_inside() {
    let one = |offset: usize, arena: usize| {
        format!("program arena {arena} {{ buffer b0 \"x\": f32[5] temp @{offset} }}")
    };
    verify(&parse(&one(64, 84)).unwrap()).unwrap();
    reject_program(&one(32, 128), "offset 32 is not a multiple of 64");
    reject_program(&one(64, 83), "ends beyond the arena's 83 bytes");
    reject_program(&one(usize::MAX - 63, 128), "ends beyond the arena");
}

#[test]
fn affine_terms_are_canonical() {
    use kiln_loops::{Affine, Inst, Reg, Stmt, Var};
    let mut program =
        parse("program { kernel \"k\"() { for i0 in 0..2 { for i1 in 0..2 { } } } }").unwrap();
    let Stmt::For(outer) = &mut program.kernels[0].body[0] else { panic!("a loop") };
    let Stmt::For(inner) = &mut outer.body[0] else { panic!("a loop") };
    for terms in [vec![(Var(0), 0)], vec![(Var(1), 1), (Var(0), 1)], vec![(Var(0), 1), (Var(0), 1)]]
    {
        inner.body =
            vec![Stmt::Let(Reg(0), Inst::Affine(Affine { constant: 0, terms: terms.into() }))];
        let kernels = vec![kiln_loops::Kernel {
            name: "k".into(),
            args: vec![],
            locations: [].into(),
            locals: vec![],
            body: vec![Stmt::For(kiln_loops::For {
                var: Var(0),
                start: None,
                extent: 2,
                end: 2,
                step: 1,
                kind: kiln_loops::LoopKind::Serial,
                body: vec![Stmt::For(inner.clone())],
            })],
        }];
        let error = verify(&kiln_loops::Program { kernels, ..Default::default() }).unwrap_err();
        assert!(error.to_string().contains("are not sorted, or one is 0"), "{error}");
    }
}

#[test]
fn a_prelude_reads_weights_and_leaves_what_is_prepared() {
    let with = |prelude: usize, kernels: &[(usize, usize)]| {
        let copies: String = kernels
            .iter()
            .map(|(from, to)| {
                format!(
                    "kernel \"k\"(b{from}, b{to}) {{ for i0 in 0..4 {{ %0 = load a0[i0] \
                     store a1[i0] = %0 }} }} "
                )
            })
            .collect();
        format!(
            "program prelude {prelude} {{ buffer b0 \"x\": f32[4] input buffer b1 \"w\": f32[4] param \
             buffer b2 \"p\": f32[4] prepared buffer b3 \"t\": f32[4] temp buffer b4 \"y\": f32[4] output \
             {copies} }}"
        )
    };
    reject_program(&with(2, &[(1, 3), (3, 2), (0, 3), (3, 4)]), "after the prelude, it writes b3");
    verify(&parse(&with(2, &[(1, 3), (3, 2), (2, 4)])).unwrap()).expect("what a prelude is for");
    reject_program(&with(1, &[(0, 2), (2, 4)]), "part of the prelude, it reads b0");
    reject_program(&with(1, &[(1, 4)]), "part of the prelude, it writes b4");
    reject_program(&with(1, &[(1, 2), (0, 2)]), "after the prelude, it writes b2");
    reject_program(&with(1, &[(1, 2), (0, 1)]), "after the prelude, it writes b1");
    reject_program(&with(1, &[(1, 3), (3, 4)]), "after the prelude, it reads b3");
    reject_program(&with(0, &[(1, 2), (2, 4)]), "after the prelude, it writes b2");
    reject_program(&with(3, &[(1, 2), (2, 4)]), "it has 3 kernels of 2");
}

#[test]
fn what_an_epilogue_reads_is_within_bounds_and_not_the_result() {
    let contract = |end: &str| {
        format!("contract a1[0] = a0[0] * a5[0] rows(4:4:8) cols(8:1:1) depth(4:1:8) {end}")
    };
    accept(&contract("bias a5[4088] residual a4[0] rows(16) relu").replace("a4[0]", "a5[0]"));
    reject(&contract("bias a5[4089]"), "a5 has 4096 elements");
    reject(&contract("bias a1[0]"), "the result's memory is also an operand's");
    reject(&contract("residual a1[0] rows(8)"), "the result's memory is also an operand's");
    reject(&contract("residual a5[4072] rows(8)"), "a5 has 4096 elements");
    reject(&contract("residual a5[0] rows(8, 8)"), "another number of row dimensions");
    reject(&contract("bias a2[0]"), "a2 is i32, not f32");
}

#[test]
fn hostile_programs_are_answered_quickly() {
    let stores: String = (0..5_000).map(|i| format!("store a5[{} + i0] = %0 ", i % 4000)).collect();
    reject(&format!("parallel i0 in 0..8 {{ %0 = f32 0.0 {stores} }}"), "too many accesses");
    let chain: String =
        (1..200).map(|i| format!("for i{i} in i{}..min(i{}+2, 4096) {{", i - 1, i - 1)).collect();
    let sum: String = (1..200).map(|i| format!("- i{i} + 2*i{}", i - 1)).collect();
    let text = format!("for i0 in 0..9 {{ {chain} %0 = load a5[0 {sum}] {}", "}".repeat(200));
    reject(&text, "a5 has 4096 elements");
}
