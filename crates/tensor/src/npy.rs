//! NumPy's `.npy` files: one dense array each.
//!
//! The format is that of NumPy Enhancement Proposal 1 (`numpy.lib.format`), versions 1.0, 2.0 and
//! 3.0. Only plain numeric elements are read; pickled objects are never parsed. The size the header
//! declares is compared with the file's before anything is allocated.

mod header;
#[cfg(test)]
mod tests;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use self::header::{Kind, MAX_HEADER, read_header};
use crate::{DType, Data, Shape, ShapeError, Tensor, TensorError, write_atomic};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// The data begins at a multiple of this.
const ALIGNMENT: usize = 64;

/// Why a `.npy` file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", .path.display())]
pub struct NpyError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: NpyProblem,
}

/// What is wrong with a `.npy` file.
#[derive(Debug, thiserror::Error)]
pub enum NpyProblem {
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not a regular file: it has no size to compare with.
    #[error("it is not a regular file")]
    NotAFile,
    /// Other bytes than an npy file begins with.
    #[error("it is not an npy file{}", .0)]
    Magic(&'static str),
    /// A version nobody has defined yet.
    #[error("npy version {0}.{1} is unknown (1.0, 2.0 and 3.0 are read)")]
    Version(u8, u8),
    /// The header is longer than any array needs.
    #[error("its header takes {0} bytes, the limit is {MAX_HEADER}")]
    HeaderSize(usize),
    /// The file ends within the header.
    #[error("it ends within its header")]
    HeaderEnd,
    /// The header is not the dictionary it should be.
    #[error("its header is broken: {0}")]
    Header(String),
    /// Elements are Python objects.
    #[error("it holds pickled Python objects, which are never read; save a numeric array")]
    Object,
    /// Elements are of a type that is not read.
    #[error(
        "elements of type `{0}` are not read; save f4, f8, i1, i2, i4, i8, u1, u2, u4, u8 or bool"
    )]
    ElementType(String),
    /// The shape is too large.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The header declares another number of bytes than the file has.
    #[error(
        "its header declares {descr}{shape}, which is {expected} bytes of data, but {found} follow"
    )]
    Size {
        /// The element type, as NumPy writes it.
        descr: String,
        /// The declared shape.
        shape: Shape,
        /// The bytes that takes.
        expected: u64,
        /// The bytes that follow the header.
        found: u64,
    },
    /// An element that the 32-bit type cannot hold.
    #[error("element [{}] is {value}, which does not fit {dtype}", list(.index))]
    Range {
        /// Where it stands.
        index: Vec<usize>,
        /// The element.
        value: String,
        /// The type it should become.
        dtype: DType,
    },
    /// The tensor cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

fn list(index: &[usize]) -> String {
    index.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

impl Tensor {
    /// Reads a `.npy` file. `f4` and `f8` become `f32` (`f8` rounded to nearest), integers become
    /// `i32`, booleans `bool`; both byte orders and both memory orders are read.
    ///
    /// # Errors
    /// If the file cannot be read, is no npy file of numbers, has another size than it declares, or
    /// has an element that the 32-bit type cannot hold; the error names the file and the element.
    pub fn read_npy(path: impl AsRef<Path>) -> Result<Tensor, NpyError> {
        let path = path.as_ref();
        read_file(path).map_err(|problem| NpyError { path: path.to_path_buf(), problem })
    }

    /// Writes a `.npy` file of version 1.0, little endian, row-major, atomically (see
    /// [`write_atomic`]): `f32` as `<f4`, `i32` as `<i4`, `bool` as `|b1`.
    ///
    /// # Errors
    /// If the file cannot be written; an old file is then as it was.
    pub fn write_npy(&self, path: impl AsRef<Path>) -> Result<(), NpyError> {
        let path = path.as_ref();
        write_atomic(path, |out| write(self, out))
            .map_err(|e| NpyError { path: path.to_path_buf(), problem: e.into() })
    }
}

fn read_file(path: &Path) -> Result<Tensor, NpyProblem> {
    // Asked before opening: opening a pipe would wait for its writer.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(NpyProblem::NotAFile);
    }
    read(&mut BufReader::with_capacity(CHUNK, File::open(path)?), metadata.len())
}

fn read(stream: &mut impl Read, len: u64) -> Result<Tensor, NpyProblem> {
    let (shape, data) = read_npy(stream, len)?;
    let data = match data {
        NpyData::U8(v) => Data::I32(v.into_iter().map(i32::from).collect()),
        NpyData::Other(data) => data,
    };
    Ok(Tensor::new(shape, data)?)
}

/// The elements of an array as they are read; unsigned bytes, of which data sets are made, stay bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum NpyData {
    /// Elements of type u1.
    U8(Vec<u8>),
    /// All others.
    Other(Data),
}

/// Reads an array from a stream of `len` bytes.
///
/// # Errors
/// If it is no array of plain numbers, or has another size than it declares.
pub fn read_npy(stream: &mut impl Read, len: u64) -> Result<(Shape, NpyData), NpyProblem> {
    let (header, header_bytes) = read_header(stream)?;
    let kind = Kind::parse(&header.descr)?;
    let shape = Shape::new(header.shape)?;
    // At most 2^38 elements of 8 bytes: no overflow.
    let expected = shape.elements() as u64 * kind.bytes() as u64;
    let found = len.saturating_sub(header_bytes);
    if expected != found {
        return Err(NpyProblem::Size { descr: header.descr, shape, expected, found });
    }
    let columns = header.fortran_order && shape.rank() > 1;
    let order = |i| if columns { fortran_index(&shape, i) } else { index(&shape, i) };
    let data = match kind {
        Kind::Bool => {
            let v = elements(stream, &shape, |[b]: [u8; 1], _| Ok(b != 0))?;
            NpyData::Other(Data::Bool(row_major(&shape, v, columns)?))
        }
        Kind::Float { big, wide } => {
            let v = floats(stream, &shape, big, wide, order)?;
            NpyData::Other(Data::F32(row_major(&shape, v, columns)?))
        }
        Kind::Int { signed: false, bytes: 1, .. } => {
            let v = elements(stream, &shape, |[b]: [u8; 1], _| Ok(b))?;
            NpyData::U8(row_major(&shape, v, columns)?)
        }
        Kind::Int { big, signed, bytes } => {
            let v = integers(stream, &shape, big, signed, bytes, order)?;
            NpyData::Other(Data::I32(row_major(&shape, v, columns)?))
        }
    };
    Ok((shape, data))
}

/// Bytes read at a time; a multiple of every element size.
const CHUNK: usize = 64 << 10;

/// Reads the elements of `shape`, each of `B` bytes; `convert` also gets the element's number.
fn elements<T, const B: usize>(
    stream: &mut impl Read,
    shape: &Shape,
    convert: impl Fn([u8; B], usize) -> Result<T, NpyProblem>,
) -> Result<Vec<T>, NpyProblem> {
    let n = shape.elements();
    let mut out = Vec::new();
    out.try_reserve_exact(n).map_err(|_| TensorError::Memory {
        shape: shape.clone(),
        bytes: n.saturating_mul(size_of::<T>()),
    })?;
    let mut buffer = vec![0; CHUNK.min(n * B)];
    while out.len() < n {
        let part = &mut buffer[..CHUNK.min((n - out.len()) * B)];
        stream.read_exact(part)?;
        for bytes in part.as_chunks::<B>().0 {
            out.push(convert(*bytes, out.len())?);
        }
    }
    Ok(out)
}

fn floats(
    stream: &mut impl Read,
    shape: &Shape,
    big: bool,
    wide: bool,
    index: impl Fn(usize) -> Vec<usize>,
) -> Result<Vec<f32>, NpyProblem> {
    if !wide {
        let read = if big { f32::from_be_bytes } else { f32::from_le_bytes };
        return elements(stream, shape, |bytes, _| Ok(read(bytes)));
    }
    let read = if big { f64::from_be_bytes } else { f64::from_le_bytes };
    elements(stream, shape, |bytes, i| {
        let value = read(bytes);
        let narrow = value as f32;
        if narrow.is_infinite() && value.is_finite() {
            let (value, dtype) = (format!("{value:e}"), DType::F32);
            return Err(NpyProblem::Range { index: index(i), value, dtype });
        }
        Ok(narrow)
    })
}

fn integers(
    stream: &mut impl Read,
    shape: &Shape,
    big: bool,
    signed: bool,
    bytes: usize,
    index: impl Fn(usize) -> Vec<usize>,
) -> Result<Vec<i32>, NpyProblem> {
    /// Little-endian bytes of an element, as an integer.
    fn value<const B: usize>(mut bytes: [u8; B], big: bool, signed: bool) -> i128 {
        if big {
            bytes.reverse();
        }
        let negative = signed && bytes[B - 1] & 0x80 != 0;
        let mut wide = if negative { [0xFF; 16] } else { [0; 16] };
        wide[..B].copy_from_slice(&bytes);
        i128::from_le_bytes(wide)
    }
    let narrow = |value: i128, i| {
        i32::try_from(value).map_err(|_| NpyProblem::Range {
            index: index(i),
            value: value.to_string(),
            dtype: DType::I32,
        })
    };
    match bytes {
        1 => elements(stream, shape, |b: [u8; 1], i| narrow(value(b, big, signed), i)),
        2 => elements(stream, shape, |b: [u8; 2], i| narrow(value(b, big, signed), i)),
        4 => elements(stream, shape, |b: [u8; 4], i| narrow(value(b, big, signed), i)),
        _ => elements(stream, shape, |b: [u8; 8], i| narrow(value(b, big, signed), i)),
    }
}

/// Where element number `i` in row-major order stands.
fn index(shape: &Shape, mut i: usize) -> Vec<usize> {
    let strides = shape.strides();
    strides
        .iter()
        .map(|&stride| {
            let at = i / stride;
            i %= stride;
            at
        })
        .collect()
}

/// Where element number `i` in column-major order stands.
fn fortran_index(shape: &Shape, mut i: usize) -> Vec<usize> {
    let mut index = Vec::with_capacity(shape.rank());
    for &size in shape.iter() {
        index.push(i % size);
        i /= size;
    }
    index
}

/// The elements in row-major order, given in column-major order if `columns`.
fn row_major<T: Copy>(shape: &Shape, from: Vec<T>, columns: bool) -> Result<Vec<T>, TensorError> {
    if !columns {
        return Ok(from);
    }
    let mut column_strides = Vec::with_capacity(shape.rank());
    let mut stride = 1;
    for &size in shape.iter() {
        column_strides.push(stride);
        stride *= size;
    }
    let mut to = Vec::new();
    to.try_reserve_exact(from.len()).map_err(|_| TensorError::Memory {
        shape: shape.clone(),
        bytes: from.len().saturating_mul(size_of::<T>()),
    })?;
    // Counts through the index of `to`, the last axis fastest, keeping the place in `from`.
    let (mut index, mut source) = (vec![0; shape.rank()], 0);
    for _ in 0..from.len() {
        to.push(from[source]);
        for axis in (0..shape.rank()).rev() {
            index[axis] += 1;
            source += column_strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            source -= column_strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    Ok(to)
}

fn write(tensor: &Tensor, out: &mut dyn Write) -> io::Result<()> {
    let descr = match tensor.dtype() {
        DType::F32 => "<f4",
        DType::I32 => "<i4",
        DType::Bool => "|b1",
    };
    let shape = match &tensor.shape()[..] {
        [size] => format!("({size},)"),
        sizes => format!("({})", list(sizes)),
    };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let before = MAGIC.len() + 4;
    let padded = (before + header.len() + 1).next_multiple_of(ALIGNMENT) - before;
    let size = u16::try_from(padded)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "too many axes for npy 1.0"))?;
    header.extend(std::iter::repeat_n(' ', padded - 1 - header.len()));
    header.push('\n');
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&size.to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    tensor.write_le(out)
}
