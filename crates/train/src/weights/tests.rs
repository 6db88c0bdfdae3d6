use safetensors::SafeTensors;

use super::*;

/// A file of this header and data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn load_bytes(bytes: &[u8]) -> Result<Weights, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.safetensors");
    fs::write(&path, bytes).unwrap();
    load_weights(&path).map_err(|e| {
        let message = e.to_string();
        message.split_once("w.safetensors: ").expect("the file is named").1.to_string()
    })
}

fn entry(name: &str, dtype: &str, shape: &str, begin: usize, end: usize) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
}

fn one(dtype: &str, shape: &str, data: &[u8]) -> Result<Tensor, String> {
    let header = format!("{{{}}}", entry("t", dtype, shape, 0, data.len()));
    load_bytes(&file(&header, data)).map(|mut weights| weights.remove("t").unwrap())
}

fn example() -> Weights {
    Weights::from([
        ("fc.weight".to_string(), Tensor::f32(&[2, 2], vec![1.0, -0.0, f32::MIN, 1e-40]).unwrap()),
        ("a \"quoted\" é".to_string(), Tensor::scalar(3.0)),
        (
            "flag".to_string(),
            Tensor::new(Shape::new([3]).unwrap(), Data::Bool(vec![true, false, true])).unwrap(),
        ),
        ("step".to_string(), Tensor::i32(&[1], vec![-7]).unwrap()),
        ("none".to_string(), Tensor::f32(&[0, 5], vec![]).unwrap()),
    ])
}

#[test]
fn what_is_saved_is_loaded_and_the_bytes_do_not_vary() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
    save_weights(&a, &example()).unwrap();
    save_weights(&b, &example()).unwrap();
    assert_eq!(load_weights(&a).unwrap(), example());
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
}

#[test]
fn the_reference_reader_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w");
    save_weights(&path, &example()).unwrap();
    let bytes = fs::read(&path).unwrap();
    let read = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(read.len(), 5);
    let weight = read.tensor("fc.weight").unwrap();
    assert_eq!((weight.dtype(), weight.shape()), (Dtype::F32, &[2usize, 2][..]));
    let values = [1.0f32, -0.0, f32::MIN, 1e-40];
    assert_eq!(weight.data(), values.map(f32::to_le_bytes).concat());
    // The data begins aligned, and so does every tensor in it.
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(header % 8, 0);
}

#[test]
fn other_element_types_are_converted() {
    let f32s = |dtype, data: &[u8]| one(dtype, "[1]", data).unwrap().as_f32().unwrap()[0];
    for (half, value) in [
        (0x3C00, 1.0),
        (0xC000, -2.0),
        (0x3555, 0.333_251_95),
        (0x7BFF, 65504.0),
        (0x0001, 5.960_464_5e-8),
        (0x03FF, 6.097_555e-5),
        (0x0400, 6.103_515_6e-5),
        (0xFC00, f32::NEG_INFINITY),
    ] {
        assert_eq!(f32s("F16", &u16::to_le_bytes(half)), value);
    }
    assert_eq!(f16_to_f32(0x8000).to_bits(), (-0.0f32).to_bits());
    assert!(f32s("F16", &[0x01, 0x7E]).is_nan());
    assert_eq!(f32s("BF16", &[0x80, 0xBF]), -1.0);
    assert_eq!(f32s("F64", &0.1f64.to_le_bytes()), 0.1);
    assert_eq!(one("I64", "[]", &(-3i64).to_le_bytes()).unwrap().as_i32().unwrap(), [-3]);
    assert_eq!(
        one("F64", "[1]", &1e300f64.to_le_bytes()).unwrap_err(),
        "tensor `t`: the element 1e300 does not fit f32"
    );
    assert_eq!(
        one("I64", "[1]", &(1i64 << 40).to_le_bytes()).unwrap_err(),
        "tensor `t`: the element 1099511627776 does not fit i32"
    );
    let error = one("U16", "[1]", &[0, 0]).unwrap_err();
    assert!(error.starts_with("tensor `t`: elements of type U16"), "{error}");
}

#[test]
fn tensors_may_lie_in_any_order_and_metadata_is_passed_over() {
    let header = format!(
        r#"{{"__metadata__":{{"format":"pt"}},{},{}}}   "#,
        entry("a", "I32", "[1]", 4, 8),
        entry("b", "I32", "[1]", 0, 4)
    );
    let weights = load_bytes(&file(&header, &[1, 0, 0, 0, 2, 0, 0, 0])).unwrap();
    assert_eq!(weights.len(), 2);
    assert_eq!(weights["a"].as_i32().unwrap(), [2]);
    assert_eq!(weights["b"].as_i32().unwrap(), [1]);
}

#[test]
fn broken_files_are_described() {
    let error = |bytes: &[u8]| load_bytes(bytes).unwrap_err();
    assert_eq!(error(b"abc"), "it is not a safetensors file: 3 bytes");
    let long = error(&[0xFF; 64]);
    assert!(long.contains("a header of 18446744073709551615 bytes, 56 follow"), "{long}");
    assert!(error(&file("[]", &[])).contains("its header: "));
    assert!(error(&file(r#"{"t":5}"#, &[])).starts_with("tensor `t`: invalid type"));
    let mut large = (MAX_HEADER + 1).to_le_bytes().to_vec();
    large.resize(MAX_HEADER as usize + 16, b' ');
    assert_eq!(error(&large), "its header takes 8388609 bytes, the limit is 8388608");
    let unknown = format!("{{{}}}", entry("t", "F31", "[1]", 0, 4));
    let unknown = error(&file(&unknown, &[0; 4]));
    assert!(unknown.starts_with("tensor `t`: unknown variant `F31`"), "{unknown}");
}

#[test]
fn sizes_must_agree_before_anything_is_allocated() {
    let header = |entries: &[String]| format!("{{{}}}", entries.join(","));
    let error = |header: &str, data: usize| load_bytes(&file(header, &vec![0; data])).unwrap_err();
    let t = header(&[entry("t", "F32", "[2,3]", 0, 24)]);
    assert_eq!(error(&t, 20), "truncated: its tensors take 24 bytes, 20 follow the header");
    assert_eq!(error(&t, 28), "too long: its tensors take 24 bytes, 28 follow the header");
    let shape = header(&[entry("t", "F32", "[2,3]", 0, 20)]);
    assert_eq!(
        error(&shape, 20),
        "tensor `t`: F32 of shape [2, 3] cannot lie at bytes 0..20 (the tensor before ends at 0)"
    );
    let overlap = header(&[entry("a", "F32", "[1]", 0, 4), entry("b", "F32", "[1]", 2, 6)]);
    assert!(
        error(&overlap, 6).starts_with("tensor `b`: F32 of shape [1] cannot lie at bytes 2..6")
    );
    let backwards = header(&[entry("a", "F32", "[1]", 0, 4), entry("b", "F32", "[1]", 4, 0)]);
    assert!(error(&backwards, 4).starts_with("tensor `b`: "));
    let huge = "[4294967296,4294967296,4294967296]";
    assert!(error(&header(&[entry("t", "F32", huge, 0, 4)]), 4).starts_with("tensor `t`: "));
    let claim = header(&[entry("t", "F32", "[1099511627776]", 0, 4_398_046_511_104)]);
    assert!(error(&claim, 4).starts_with("truncated: its tensors take 4398046511104 bytes, 4 "));
    let gap = header(&[entry("t", "BOOL", "[0,18446744073709551615,7]", 0, 0)]);
    assert!(error(&gap, 0).starts_with("tensor `t`: "));
}

#[test]
fn paths_that_cannot_be_used_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let missing = load_weights(path.join("no")).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read ") && missing.contains("/no: "), "{missing}");
    assert!(load_weights(path).unwrap_err().to_string().ends_with("not a regular file"));
    let unwritable = save_weights(path.join("no/w"), &example()).unwrap_err().to_string();
    assert!(unwritable.starts_with("cannot write "), "{unwritable}");
}
