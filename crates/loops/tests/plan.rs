//! The plan checker, the views, the cost and kernels that do the same.

use kiln_loops::{
    LiveRange, PlanError, Program, alike, check_plan, cost, dump, live_ranges, parse,
};

/// A chain of three kernels: in -> t0 -> t1 -> out, with the temporary buffers placed as given.
fn chain(t0: usize, t1: usize, arena: usize) -> Program {
    let copy = "for i0 in 0..16 { %0 = load a0[i0] store a1[i0] = %0 } }";
    parse(&format!(
        "program arena {arena} {{
            buffer b0 \"in\": f32[16] input @0
            buffer b1 \"t0\": f32[16] temp @{t0}
            buffer b2 \"t1\": f32[16] temp @{t1}
            buffer b3 \"out\": f32[16] output @64
            buffer b4 \"unused\": f32[16] temp
            kernel \"k0\"(b0, b1) {{ {copy}
            kernel \"k1\"(b1, b2) {{ {copy}
            kernel \"k2\"(b2, b3) {{ {copy}
        }}"
    ))
    .unwrap()
}

#[test]
fn live_ranges_are_those_of_the_kernels() {
    let range = |first, last| Some(LiveRange { first, last });
    let ranges = live_ranges(&chain(128, 192, 256));
    assert_eq!(ranges, [range(0, 2), range(0, 1), range(1, 2), range(0, 2), None]);
}

#[test]
fn a_plan_without_overlap_holds() {
    let plan = check_plan(&chain(128, 192, 256)).unwrap();
    assert_eq!((plan.arena_bytes, plan.bound_bytes, plan.ratio()), (256, 256, 1.0));
    assert_eq!(check_plan(&chain(192, 256, 320)).unwrap().ratio(), 1.25);
}

#[test]
fn overlaps_are_found() {
    // Both temporary buffers are live at kernel 1.
    for (t0, t1) in [(128, 128), (128, 132), (160, 128), (132, 128)] {
        let error = check_plan(&chain(t0, t1, 512)).unwrap_err();
        let expected = PlanError::Overlap("b1 \"t0\"".into(), "b2 \"t1\"".into(), 1);
        assert_eq!(error, expected, "{t0} {t1}");
    }
    // Buffers seen from outside are live throughout.
    let error = check_plan(&chain(128, 0, 512)).unwrap_err();
    assert_eq!(error, PlanError::Overlap("b0 \"in\"".into(), "b2 \"t1\"".into(), 1));
    // One that spans several.
    let mut program = chain(128, 192, 512);
    program.buffers[1].offset = Some(60);
    assert!(matches!(check_plan(&program), Err(PlanError::Overlap(..))));
}

#[test]
fn buffers_that_are_never_live_together_may_share() {
    let copy = "for i0 in 0..16 { %0 = load a0[i0] store a1[i0] = %0 } }";
    let text = format!(
        "program arena 320 {{
            buffer b0 \"in\": f32[16] input @0
            buffer b1 \"t0\": f32[16] temp @64
            buffer b2 \"t1\": f32[16] temp @128
            buffer b3 \"t2\": f32[32] temp @192
            buffer b4 \"t3\": f32[16] temp @64
            kernel \"k0\"(b0, b1) {{ {copy}
            kernel \"k1\"(b1, b2) {{ {copy}
            kernel \"k2\"(b2, b3) {{ {copy}
            kernel \"k3\"(b3, b4) {{ {copy}
        }}"
    );
    let plan = check_plan(&parse(&text).unwrap()).unwrap();
    assert_eq!((plan.bound_bytes, plan.arena_bytes), (256, 320));
}

#[test]
fn places_are_in_the_arena() {
    let error = check_plan(&chain(128, 192, 255)).unwrap_err();
    assert_eq!(error, PlanError::Outside("b2 \"t1\"".into(), 255));
    let mut program = chain(128, 192, 256);
    program.buffers[2].offset = None;
    assert_eq!(check_plan(&program), Err(PlanError::Unplanned("b2 \"t1\"".into())));
    program.buffers[2].offset = Some(usize::MAX);
    assert!(matches!(check_plan(&program), Err(PlanError::Outside(..))));
}

#[test]
fn the_listing_has_a_line_for_each_buffer_and_reads_back() {
    let expected = "        offset          bytes        live  buffer
             0             64       0..=2  b0 \"in\" input f32[16]
           128             64       0..=1  b1 \"t0\" temp f32[16]
           192             64       1..=2  b2 \"t1\" temp f32[16]
            64             64       0..=2  b3 \"out\" output f32[16]
             -             64       never  b4 \"unused\" temp f32[16]
arena 256 bytes | bound 256 bytes | ratio 1.0000
";
    let program = chain(128, 192, 256);
    let table: String = expected.lines().map(|line| format!("# {line}\n")).collect();
    assert_eq!(dump::plan(&program), format!("{table}{program}"));
    assert_eq!(parse(&dump::plan(&program)).as_ref(), Ok(&program));
}

#[test]
fn json_and_dot_show_kernels_and_buffers() {
    let program = chain(128, 192, 256);
    let json: serde_json::Value = serde_json::from_str(&dump::json(&program)).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["buffers"][1]["offset"], 128);
    assert_eq!(json["buffers"][1]["last"], 1);
    assert_eq!(json["buffers"][4]["first"], serde_json::Value::Null);
    assert_eq!(json["kernels"][1]["reads"], serde_json::json!([1]));
    assert_eq!(json["kernels"][1]["writes"], serde_json::json!([2]));
    assert!(json["kernels"][1]["body"].as_str().unwrap().starts_with("for i0 in 0..16 {\n"));

    let plan: serde_json::Value = serde_json::from_str(&dump::plan_json(&program)).unwrap();
    assert_eq!(plan["bound_bytes"], 256);
    assert_eq!(plan["ratio"], 1.0);

    let dot = dump::dot(&program);
    assert!(dot.contains("  b1 -> k1;\n  k1 -> b2;\n"), "{dot}");
    assert!(dot.contains("b3 [label=\"out\\nf32[16] output\", shape=ellipse];"), "{dot}");
}

#[test]
fn costs_are_counted() {
    let text = "program {
        buffer b0 \"x\": f32[60] input
        buffer b1 \"w\": f32[60] param
        buffer b2 \"y\": f32[60] output
        kernel \"k\"(b0, b1, b2) {
            parallel i0 in 0..60 step 8 {
                for i1 in i0..min(i0+8, 60) {
                    %0 = load a0[i1] %1 = load a1[0] %2 = mul %0, %1 %3 = exp %2
                    store a2[i1] = %3
                }
            }
        }
        kernel \"dot\"(b0, b1, b2) {
            contract a2[0] += a0[0] * a1[0] rows(3:4:5) cols(5:1:1) depth(4:1:5)
        }
    }";
    let program = parse(text).unwrap();
    kiln_loops::verify(&program).unwrap();
    let first = cost(&program, &program.kernels[0]);
    assert_eq!((first.flops, first.functions), (60.0, 60.0));
    // The weight is counted at each of its 60 loads: an upper bound, never above the buffer.
    assert_eq!((first.read_bytes, first.written_bytes), (480.0, 240.0));
    let dot = cost(&program, &program.kernels[1]);
    assert_eq!((dot.flops, dot.functions), (120.0, 0.0));
    assert_eq!(dot.read_bytes, 4.0 * (12.0 + 20.0 + 15.0));
    assert_eq!(dot.written_bytes, 60.0);
}

#[test]
fn kernels_share_code_whatever_their_names() {
    let text = "program {
        buffer b0 \"x\": f32[8] param
        buffer b1 \"y\": f32[9] param
        buffer b2 \"z\": i32[8] param
        kernel \"one\"(b0, b1) { for i0 in 0..4 { for i1 in 0..2 { %0 = load a0[2*i0 + i1] store a1[i1] = %0 } } }
        kernel \"two\"(b1, b0) { for i0 in 0..4 { for i1 in 0..2 { %0 = load a0[2*i0 + i1] store a1[i1] = %0 } } }
        kernel \"three\"(b0, b1) { for i0 in 0..4 { for i1 in 0..2 { %0 = load a0[2*i1 + i0] store a1[i1] = %0 } } }
        kernel \"four\"(b2, b2) { for i0 in 0..4 { for i1 in 0..2 { %0 = load a0[2*i0 + i1] store a1[i1] = %0 } } }
        kernel \"five\"(b0, b1) { local l0: f32[1] for i0 in 0..4 { for i1 in 0..2 { %0 = load a0[2*i0 + i1] store a1[i1] = %0 } } }
    }";
    let program = parse(text).unwrap();
    assert_eq!(alike(&program, |b| b.dtype), [0, 0, 2, 3, 4]);
    let sizes = alike(&program, |b| (b.dtype, b.shape.elements()));
    assert_eq!(sizes, [0, 1, 2, 3, 4], "where sizes count, the arguments differ");
}
