//! Programs print as text that reads back as the same program.

use kiln_loops::{Affine, BufferKind, Inst, Mem, Stmt, Var, parse};

const EVERY_CONSTRUCT: &str = include_str!("every_construct.kiln-loops");

#[test]
fn every_construct_prints_as_it_was_read() {
    let program = parse(EVERY_CONSTRUCT).unwrap();
    assert_eq!(program.to_string(), EVERY_CONSTRUCT);
    kiln_loops::verify(&program).unwrap();
}

#[test]
fn floats_keep_their_bits() {
    let program = parse(EVERY_CONSTRUCT).unwrap();
    let BufferKind::Const(tensor) = &program.buffers[2].kind else { panic!("a constant") };
    let bits: Vec<u32> = tensor.as_f32().unwrap().iter().map(|x| x.to_bits()).collect();
    assert_eq!(bits, [0xffc0_0001, 1]);
}

#[test]
fn terms_are_put_in_order() {
    let text = "program { kernel \"k\"() { for i0 in 0..9 { for i7 in 0..2 {
        %0 = affine 5 - 2*i7 + i0 - 3 + 4*i0 # a comment
    } } } }";
    let program = parse(text).unwrap();
    let printed = program.to_string();
    assert!(printed.contains("%0 = affine 5*i0 - 2*i7 + 2\n"), "{printed}");
    let Stmt::For(outer) = &program.kernels[0].body[0] else { panic!("a loop") };
    let Stmt::For(inner) = &outer.body[0] else { panic!("a loop") };
    let expected = Affine { constant: 2, terms: [(Var(0), 5), (Var(7), -2)][..].into() };
    assert_eq!(inner.body[0], Stmt::Let(kiln_loops::Reg(0), Inst::Affine(expected)));
    assert_eq!(parse(&printed).unwrap(), program);
}

#[test]
fn extremes_read_back() {
    let mut program = parse("program { kernel \"k\"() { %0 = affine 0 } }").unwrap();
    let extreme = Affine { constant: i64::MIN, terms: [(Var(u32::MAX), i64::MIN)][..].into() };
    program.kernels[0].body.push(Stmt::Let(kiln_loops::Reg(9), Inst::Affine(extreme.clone())));
    let index = kiln_loops::Index { affine: extreme, dynamic: vec![(kiln_loops::Reg(1), 0)] };
    program.kernels[0].body.push(Stmt::Store(Mem::Local(3), index, kiln_loops::Reg(4)));
    assert_eq!(parse(&program.to_string()).unwrap(), program);
}

#[test]
fn errors_name_their_line() {
    let cases = [
        ("", "line 1: expected `program`, found the end of the text"),
        ("program {\n", "line 2: expected `buffer`, `kernel` or `}`, found the end of the text"),
        ("program {\n  buffer b1 \"x\"", "line 2: expected buffer b0 next"),
        ("program { buffer b0 \"x", "line 1: a name has no closing quote"),
        ("program { buffer b0 \"\\q\"", "line 1: unknown escape"),
        ("program { buffer b0 \"\\u{110000}\"", "line 1: `\\u` wants a code point"),
        ("program { buffer b0 \"x\": f16[]", "line 1: expected an element type, found `f16`"),
        ("program { buffer b0 \"x\": f32[1099511627776] temp", "too large"),
        ("program { buffer b0 \"x\": f32[99999999999999999999]", "expected a size"),
        ("program { buffer b0 \"x\": f32[1073741824] const [1.0] }", "needs 1073741824 elements"),
        ("program { buffer b0 \"x\": f32[1] const [nan:0x1] }", "expected the bits of a NaN"),
        ("program { buffer b0 \"x\": i32[1] const [2147483648] }", "does not fit 32 bits"),
        ("program { kernel \"k\"() {\n\n%0 = frob %1", "line 3: unknown instruction `frob`"),
        ("program { kernel \"k\"() { %01 = neg %1", "expected a register, found `%01`"),
        ("program { kernel \"k\"() { %4294967296 = neg %1", "expected a register"),
        ("program { kernel \"k\"() { for i1 in i0..min(i2+1, 3) {", "expected i0"),
        ("program { kernel \"k\"() { %0 = affine 9223372036854775808 } }", "does not fit 64 bits"),
        ("program { kernel \"k\"() { %0 = affine %1 } }", "a register cannot stand here"),
        ("program { } x", "line 1: expected the end of the text, found `x`"),
        ("program { \u{1F980} }", "found `\u{1F980}`"),
    ];
    for (text, message) in cases {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(message), "{text}\n{error}");
    }
}

#[test]
fn hostile_texts_are_refused_quickly() {
    let header = "program { kernel \"k\"() {";
    let nested: String = (0..100_000).map(|i| format!("for i{i} in 0..2 {{")).collect();
    let error = parse(&format!("{header}{nested}")).unwrap_err();
    assert!(error.message.contains("more than 256 deep"), "{error}");

    let terms: String = (0..100_000).map(|i| format!("+ i{i} ")).collect();
    let error = parse(&format!("{header} %0 = affine 0 {terms}")).unwrap_err();
    assert!(error.message.contains("more than 256 terms"), "{error}");
    assert!(parse(&format!("{header}{}", "-".repeat(1_000_000))).is_err());
}

/// Every prefix and every text with one character left out is an error or a program, not a panic.
#[test]
fn damaged_texts_do_not_panic() {
    for at in 0..EVERY_CONSTRUCT.len() {
        let (head, tail) = EVERY_CONSTRUCT.split_at(at);
        let _ = parse(head);
        let shortened = format!("{head}{}", &tail[1..]);
        if let Ok(program) = parse(&shortened) {
            assert_eq!(parse(&program.to_string()).unwrap().to_string(), program.to_string());
            let _ = kiln_loops::verify(&program);
        }
    }
}
