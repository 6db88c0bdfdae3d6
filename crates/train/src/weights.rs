//! Weight files: safetensors, written atomically, read without trusting a number in them.

mod matching;
mod names;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use kiln_tensor::{Data, Shape, Tensor, TensorError, write_atomic};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::value::RawValue;

use crate::Error;

pub use self::matching::{Mismatch, Misshaped, match_weights};
pub use self::names::{Direction, Names};

/// Tensors by name.
pub type Weights = BTreeMap<String, Tensor>;

/// Headers beyond this are refused: some 80,000 tensors.
const MAX_HEADER: u64 = 8 << 20;
/// Bytes read at a time; a multiple of every element size.
const CHUNK: usize = 1 << 16;
/// The key of a header that is no tensor.
const METADATA: &str = "__metadata__";

/// The tensors that a header declares, in the order of their data.
type Entries = Vec<(String, TensorInfo)>;

/// Writes a safetensors file, atomically: the same weights give the same bytes, ordered by name within the element
/// types `f32` (`F32`), `i32` (`I32`) and `bool` (`BOOL`).
///
/// # Errors
/// If the file cannot be written; an old file is then as it was.
pub fn save_weights(path: impl AsRef<Path>, weights: &Weights) -> Result<(), Error> {
    let path = path.as_ref();
    // Larger elements first, as the format asks for, so that all are aligned.
    let mut tensors: Vec<(&String, &Tensor)> = weights.iter().collect();
    tensors.sort_by_key(|(_, tensor)| (std::cmp::Reverse(tensor.dtype().bytes()), tensor.dtype()));
    let mut offset = 0;
    let mut entries = Vec::with_capacity(tensors.len());
    for (name, tensor) in &tensors {
        let dtype = match tensor.data() {
            Data::F32(_) => Dtype::F32,
            Data::I32(_) => Dtype::I32,
            Data::Bool(_) => Dtype::BOOL,
        };
        let end = offset + tensor.shape().bytes(tensor.dtype());
        let shape = tensor.shape().to_vec();
        entries.push(((*name).clone(), TensorInfo { dtype, shape, data_offsets: (offset, end) }));
        offset = end;
    }
    let header = header(entries).map_err(|message| Error::file(path, message))?;
    write_atomic(path, |out| {
        out.write_all(&header)?;
        tensors.iter().try_for_each(|(_, tensor)| tensor.write_le(out))
    })
    .map_err(Error::write(path))
}

/// What a file of these tensors, in the order of their data, begins with: the header and its size.
fn header(entries: Entries) -> Result<Vec<u8>, String> {
    if entries.iter().any(|(name, _)| name == METADATA) {
        return Err(format!("no tensor can be named {METADATA}"));
    }
    let metadata = Metadata::new(None, entries).map_err(|e| e.to_string())?;
    let mut header = serde_json::to_vec(&metadata).map_err(|e| e.to_string())?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes()[..], &header].concat())
}

/// Reads a safetensors file. `F32`, `F16`, `BF16` and `F64` become `f32` (`F64` rounded to nearest), `I32` and `I64`
/// become `i32`, `BOOL` becomes `bool`.
///
/// # Errors
/// If the file cannot be read, its header is broken, or does not declare exactly the bytes that follow it, or a tensor
/// has another element type or an element that the 32-bit type cannot hold; the error names the file and the tensor.
/// Nothing is allocated for a size before the file is known to hold it.
pub fn load_weights(path: impl AsRef<Path>) -> Result<Weights, Error> {
    let path = path.as_ref();
    let (mut file, entries) = open(path)?;
    let mut weights = Weights::new();
    for (name, info) in entries {
        let tensor = read_tensor(&mut file, info).map_err(|fault| match fault {
            Fault::Io(source) => Error::Read { path: path.to_path_buf(), source },
            Fault::Content(message) => Error::file(path, format!("tensor `{name}`: {message}")),
        })?;
        weights.insert(name, tensor);
    }
    Ok(weights)
}

/// A tensor of a file, without its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// The type of its elements in the file, such as `f32` or `bf16`.
    pub dtype: String,
    /// Sizes of its axes; their product is the size of the tensor and does not overflow.
    pub shape: Vec<usize>,
}

/// The tensors of a safetensors file in the order of their data, of whatever type.
///
/// # Errors
/// If the file cannot be read, its header is broken, or does not declare exactly the bytes that follow it.
pub fn list_weights(path: impl AsRef<Path>) -> Result<Vec<Stored>, Error> {
    let (_, entries) = open(path.as_ref())?;
    let stored = |(name, info): (String, TensorInfo)| Stored {
        name,
        dtype: info.dtype.to_string().to_lowercase(),
        shape: info.shape,
    };
    Ok(entries.into_iter().map(stored).collect())
}

/// Writes a safetensors file with the tensors of another under the names that `rename` gives for all of its names;
/// the data are copied as they are, whatever their types.
///
/// # Errors
/// As [`list_weights`] and [`save_weights`], and if the names cannot be translated.
pub fn rename_weights(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    rename: impl FnOnce(&[&str]) -> Result<Vec<String>, String>,
) -> Result<(), Error> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let (mut file, entries) = open(from)?;
    let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    let new = rename(&names).map_err(|message| Error::file(from, message))?;
    let entries = new.into_iter().zip(entries).map(|(name, (_, info))| (name, info)).collect();
    let header = header(entries).map_err(|message| Error::file(to, message))?;
    write_atomic(to, |out| {
        out.write_all(&header)?;
        io::copy(&mut file, out).map(|_| ())
    })
    .map_err(Error::write(to))
}

/// A file at the beginning of its data, and the tensors that its header declares, in the order of their data.
fn open(path: &Path) -> Result<(BufReader<File>, Entries), Error> {
    let wrong = |message: String| Error::file(path, message);
    let metadata = fs::metadata(path).map_err(Error::read(path))?;
    if !metadata.is_file() {
        return Err(wrong("it is not a regular file".to_string()));
    }
    let len = metadata.len();
    let mut file = BufReader::with_capacity(CHUNK, File::open(path).map_err(Error::read(path))?);

    let mut size = [0; 8];
    if len < size.len() as u64 {
        return Err(wrong(format!("it is not a safetensors file: {len} bytes")));
    }
    file.read_exact(&mut size).map_err(Error::read(path))?;
    let size = u64::from_le_bytes(size);
    let room = len - 8;
    if size > room {
        return Err(wrong(format!(
            "it is not a safetensors file, or truncated: it declares a header of {size} bytes, {room} follow"
        )));
    }
    if size > MAX_HEADER {
        return Err(wrong(format!("its header takes {size} bytes, the limit is {MAX_HEADER}")));
    }
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header).map_err(Error::read(path))?;
    let entries = entries(&header, room - size).map_err(wrong)?;
    Ok((file, entries))
}

/// The tensors a header declares, in the order of their data, which is found to fill `data` bytes without gaps.
fn entries(header: &[u8], data: u64) -> Result<Entries, String> {
    let broken = |e: serde_json::Error| format!("it is not a safetensors file: its header: {e}");
    let raw: BTreeMap<String, &RawValue> = serde_json::from_slice(header).map_err(broken)?;
    let mut entries = Vec::with_capacity(raw.len());
    for (name, value) in raw {
        if name == METADATA {
            continue;
        }
        let info: TensorInfo =
            serde_json::from_str(value.get()).map_err(|e| format!("tensor `{name}`: {e}"))?;
        entries.push((name, info));
    }
    entries.sort_by_key(|(_, info)| info.data_offsets);
    let mut offset = 0;
    for (name, info) in &entries {
        let (begin, end) = info.data_offsets;
        let elements = info.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        let bits = elements.and_then(|n| n.checked_mul(info.dtype.bitsize()));
        if begin != offset || end < begin || bits != (end - begin).checked_mul(8) {
            return Err(format!(
                "tensor `{name}`: {} of shape {:?} cannot lie at bytes {begin}..{end} (the tensor before ends at \
                 {offset})",
                info.dtype, info.shape
            ));
        }
        offset = end;
    }
    if offset as u64 != data {
        let fault = if (offset as u64) > data { "truncated" } else { "too long" };
        return Err(format!("{fault}: its tensors take {offset} bytes, {data} follow the header"));
    }
    Ok(entries)
}

/// Why a tensor cannot be read.
enum Fault {
    Io(io::Error),
    Content(String),
}

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Fault {
        Fault::Io(e)
    }
}

fn read_tensor(file: &mut impl Read, info: TensorInfo) -> Result<Tensor, Fault> {
    let fault = |e: TensorError| Fault::Content(e.to_string());
    let shape = Shape::new(info.shape).map_err(|e| fault(e.into()))?;
    let n = shape.elements();
    let data = match info.dtype {
        Dtype::F32 => Data::F32(elements(file, n, |b| Ok(f32::from_le_bytes(b)))?),
        Dtype::F16 => Data::F32(elements(file, n, |b| Ok(f16_to_f32(u16::from_le_bytes(b))))?),
        Dtype::BF16 => Data::F32(elements(file, n, |b| {
            Ok(f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16))
        })?),
        Dtype::F64 => Data::F32(elements(file, n, |b| {
            let wide = f64::from_le_bytes(b);
            let narrow = wide as f32;
            if narrow.is_infinite() && wide.is_finite() {
                return Err(format!("the element {wide:e} does not fit f32"));
            }
            Ok(narrow)
        })?),
        Dtype::I32 => Data::I32(elements(file, n, |b| Ok(i32::from_le_bytes(b)))?),
        Dtype::I64 => Data::I32(elements(file, n, |b| {
            let wide = i64::from_le_bytes(b);
            i32::try_from(wide).map_err(|_| format!("the element {wide} does not fit i32"))
        })?),
        Dtype::BOOL => Data::Bool(elements(file, n, |[b]: [u8; 1]| Ok(b != 0))?),
        other => {
            let read = "F32, F16, BF16, F64, I32, I64 and BOOL are read";
            return Err(Fault::Content(format!("elements of type {other} ({read})")));
        }
    };
    Tensor::new(shape, data).map_err(fault)
}

/// Reads `n` elements of `B` bytes.
fn elements<T, const B: usize>(
    file: &mut impl Read,
    n: usize,
    convert: impl Fn([u8; B]) -> Result<T, String>,
) -> Result<Vec<T>, Fault> {
    let mut out = Vec::new();
    out.try_reserve_exact(n)
        .map_err(|_| Fault::Content(format!("out of memory for {n} elements")))?;
    let mut buffer = [0; CHUNK];
    while out.len() < n {
        let part = &mut buffer[..CHUNK.min((n - out.len()) * B)];
        file.read_exact(part)?;
        for bytes in part.as_chunks::<B>().0 {
            out.push(convert(*bytes).map_err(Fault::Content)?);
        }
    }
    Ok(out)
}

/// The value of an IEEE 754 half-precision number, exactly.
fn f16_to_f32(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let exponent = u32::from(half >> 10) & 0x1F;
    let fraction = u32::from(half) & 0x3FF;
    let magnitude = match exponent {
        // Zero and subnormal numbers: multiples of 2^-24.
        0 => (fraction as f32 / (1 << 24) as f32).to_bits(),
        0x1F => 0x7F80_0000 | fraction << 13,
        _ => (exponent + 127 - 15) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests;
