use super::*;

/// An npy file of version 1.0 with this header text and data.
fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

fn header(descr: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n")
}

fn parse(file: &[u8]) -> Result<Tensor, String> {
    read(&mut &file[..], file.len() as u64).map_err(|e| e.to_string())
}

fn array(descr: &str, shape: &str, data: &[u8]) -> Result<Tensor, String> {
    parse(&npy(&header(descr, shape), data))
}

#[test]
fn what_is_written_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.npy");
    let bools = Tensor::new(Shape::new([3]).unwrap(), Data::Bool(vec![true, false, true]));
    for tensor in [
        Tensor::f32(&[2, 3], vec![0.0, -1.5, f32::INFINITY, 1e-45, f32::MAX, -0.0]).unwrap(),
        Tensor::i32(&[4], vec![i32::MIN, -1, 0, i32::MAX]).unwrap(),
        bools.unwrap(),
        Tensor::scalar(2.5),
        Tensor::f32(&[2, 0, 3], vec![]).unwrap(),
    ] {
        tensor.write_npy(&path).unwrap();
        assert_eq!(Tensor::read_npy(&path).unwrap(), tensor);
        let file = fs::read(&path).unwrap();
        let header = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
        assert_eq!((header % ALIGNMENT, file[header - 1]), (0, b'\n'));
    }
}

#[test]
fn the_bytes_are_numpys() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.npy");
    Tensor::i32(&[2], vec![1, -1]).unwrap().write_npy(&path).unwrap();
    let mut expected = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    expected.extend(b"{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }");
    expected.resize(127, b' ');
    expected.extend(b"\n\x01\0\0\0\xff\xff\xff\xff");
    assert_eq!(fs::read(&path).unwrap(), expected);
}

#[test]
fn every_numeric_type_and_byte_order_is_read() {
    let float = |descr, data: &[u8]| array(descr, "(1,)", data).unwrap().as_f32().unwrap()[0];
    let int = |descr, data: &[u8]| array(descr, "(1,)", data).unwrap().as_i32().unwrap()[0];
    assert_eq!(float("<f4", &1.25f32.to_le_bytes()), 1.25);
    assert_eq!(float(">f4", &1.25f32.to_be_bytes()), 1.25);
    assert_eq!(float("<f8", &0.1f64.to_le_bytes()), 0.1);
    assert_eq!(float(">f8", &f64::NEG_INFINITY.to_be_bytes()), f32::NEG_INFINITY);
    assert_eq!(int("|i1", &[0xFE]), -2);
    assert_eq!(int("|u1", &[0xFE]), 254);
    assert_eq!(int("<i2", &(-300i16).to_le_bytes()), -300);
    assert_eq!(int(">u2", &60_000u16.to_be_bytes()), 60_000);
    assert_eq!(int(">i4", &(-7i32).to_be_bytes()), -7);
    assert_eq!(int("<i8", &(-7i64).to_le_bytes()), -7);
    assert_eq!(int(">u8", &7u64.to_be_bytes()), 7);
    assert_eq!(array("|b1", "(2,)", &[0, 1]).unwrap().data(), &Data::Bool(vec![false, true]));
}

#[test]
fn versions_two_and_three_have_a_longer_header_size() {
    let text = header("<i4", "()");
    for version in [2, 3] {
        let mut file = b"\x93NUMPY".to_vec();
        file.extend([version, 0]);
        file.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        file.extend(text.as_bytes());
        file.extend(5i32.to_le_bytes());
        assert_eq!(parse(&file).unwrap(), Tensor::i32(&[], vec![5]).unwrap());
    }
}

#[test]
fn column_major_arrays_become_row_major() {
    // np.asfortranarray(np.arange(24).reshape(2, 3, 4)), element by element in memory order.
    let mut data = Vec::new();
    for k in 0..4 {
        for j in 0..3 {
            for i in 0..2 {
                data.push(12 * i + 4 * j + k);
            }
        }
    }
    let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3, 4)}";
    let tensor = parse(&npy(header, &data)).unwrap();
    assert_eq!(tensor.as_i32().unwrap(), (0..24).collect::<Vec<i32>>());
}

#[test]
fn elements_that_do_not_fit_are_named() {
    let mut data = Vec::new();
    for value in [0i64, 1, 2, 3, 1 << 31, 5] {
        data.extend(value.to_le_bytes());
    }
    let error = "element [1, 1] is 2147483648, which does not fit i32";
    assert_eq!(array("<i8", "(2, 3)", &data).unwrap_err(), error);
    let fortran = "{'descr': '<i8', 'fortran_order': True, 'shape': (2, 3)}";
    let error = "element [0, 2] is 2147483648, which does not fit i32";
    assert_eq!(parse(&npy(fortran, &data)).unwrap_err(), error);
    let error = array("<f8", "(1,)", &1e39f64.to_le_bytes()).unwrap_err();
    assert_eq!(error, "element [0] is 1e39, which does not fit f32");
    let error = array("<u8", "()", &u64::MAX.to_le_bytes()).unwrap_err();
    assert_eq!(error, "element [] is 18446744073709551615, which does not fit i32");
}

#[test]
fn pickles_are_named_and_never_parsed() {
    let error = array("|O", "(3,)", b"\x80\x04N.").unwrap_err();
    assert!(error.contains("pickled Python objects"), "{error}");
    let error = parse(b"\x80\x04\x95\x10\0\0\0\0\0\0\0").unwrap_err();
    assert!(error.contains("pickled Python objects"), "{error}");
}

#[test]
fn declared_and_stored_sizes_must_agree() {
    let error = array("<f4", "(2, 3)", &[0; 20]).unwrap_err();
    assert_eq!(error, "its header declares <f4[2,3], which is 24 bytes of data, but 20 follow");
    assert!(array("<f4", "(2, 3)", &[0; 28]).unwrap_err().ends_with("but 28 follow"));
    // Nothing is allocated for what only the header claims.
    let error = array("<f4", "(200000000000,)", &[0; 4]).unwrap_err();
    assert!(error.contains("800000000000 bytes"), "{error}");
    let error = array("<f4", "(4294967296, 4294967296, 4294967296)", &[]).unwrap_err();
    assert!(error.contains("too large"), "{error}");
    let error = array("<f4", "(99999999999999999999,)", &[]).unwrap_err();
    assert!(error.contains("a size expected"), "{error}");
}

#[test]
fn broken_headers_are_described() {
    let broken = |header: &str| parse(&npy(header, &[])).unwrap_err();
    assert_eq!(parse(b"").unwrap_err(), "it is not an npy file (it is empty)");
    assert_eq!(parse(b"P6 640 480 255").unwrap_err(), "it is not an npy file");
    assert!(parse(b"PK\x03\x04\0\0\0\0").unwrap_err().contains("zip archive"));
    assert!(parse(b"\x93NUMPY\x04\x00\0\0\0\0").unwrap_err().contains("version 4.0"));
    assert_eq!(
        parse(b"\x93NUMPY\x01\x00\x40\x00{'descr'").unwrap_err(),
        "it ends within its header"
    );
    let long = parse(b"\x93NUMPY\x02\x00\xff\xff\xff\x7f").unwrap_err();
    assert_eq!(long, "its header takes 2147483647 bytes, the limit is 65536");
    assert!(array("<c8", "()", &[0; 8]).unwrap_err().contains("`<c8`"));
    assert!(array("<f2", "()", &[0; 2]).unwrap_err().contains("`<f2`"));
    assert!(array("<é8", "()", &[0; 8]).unwrap_err().contains("`<é8`"));
    let record = "{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': ()}";
    assert!(broken(record).contains("`record`"));
    assert!(broken("{'descr': '<f4', 'shape': ()}").contains("`fortran_order` is missing"));
    assert!(broken("{'descr': '<f4").contains("closing quote"));
    assert!(broken("{'descr': '<f4', 'fortran_order': None}").contains("True or False expected"));
    assert!(broken("{'descr': '<f4', 'shape': (2,,)}").contains("a size expected before `,)}`"));
    assert!(broken("{'descr': '<f4', 'shape': (-1,)}").contains("a size expected"));
    assert!(broken("{'other': 1}").contains("unknown key `other`"));
    assert!(broken("").contains("`{` expected"));
    assert!(broken("{} trailing").contains("the end expected before"));
    assert!(
        array("<f4", &format!("({})", "1,".repeat(65)), &[0; 4]).unwrap_err().contains("64 axes")
    );
}

#[test]
fn errors_name_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("no.npy");
    let missing = Tensor::read_npy(&path).unwrap_err().to_string();
    assert!(missing.contains("no.npy: "), "{missing}");
    let not_a_file = Tensor::read_npy(directory.path()).unwrap_err().to_string();
    assert!(not_a_file.ends_with("it is not a regular file"), "{not_a_file}");
    let unwritable = Tensor::scalar(0.0).write_npy(directory.path()).unwrap_err().to_string();
    assert!(unwritable.ends_with("it is a directory"), "{unwritable}");
}
