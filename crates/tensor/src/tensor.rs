//! Dense tensors.

use std::fmt;
use std::io::{self, Write};

use crate::{DType, Shape, ShapeError};

/// The elements of a [`Tensor`], row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Elements of [`DType::F32`].
    F32(Vec<f32>),
    /// Elements of [`DType::I32`].
    I32(Vec<i32>),
    /// Elements of [`DType::Bool`].
    Bool(Vec<bool>),
}

impl Data {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::I32(v) => v.len(),
            Data::Bool(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A dense row-major array.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Data,
}

/// Why a tensor cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The shape is too large.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The number of elements is not the shape's.
    #[error("shape {shape} needs {} elements, {found} were given", .shape.elements())]
    Elements {
        /// The shape asked for.
        shape: Shape,
        /// The number of elements given.
        found: usize,
    },
    /// The memory could not be had.
    #[error("out of memory: {bytes} bytes for a tensor of shape {shape}")]
    Memory {
        /// The shape asked for.
        shape: Shape,
        /// Its bytes.
        bytes: usize,
    },
}

impl Tensor {
    /// A tensor of these elements.
    ///
    /// # Errors
    /// If the number of elements is not the shape's.
    pub fn new(shape: Shape, data: Data) -> Result<Tensor, TensorError> {
        if data.len() != shape.elements() {
            return Err(TensorError::Elements { found: data.len(), shape });
        }
        Ok(Tensor { shape, data })
    }

    /// An `f32` tensor of these elements.
    ///
    /// # Errors
    /// If the shape is too large or the number of elements is not the shape's.
    pub fn f32(dims: &[usize], data: Vec<f32>) -> Result<Tensor, TensorError> {
        Tensor::new(Shape::new(dims)?, Data::F32(data))
    }

    /// An `i32` tensor of these elements.
    ///
    /// # Errors
    /// If the shape is too large or the number of elements is not the shape's.
    pub fn i32(dims: &[usize], data: Vec<i32>) -> Result<Tensor, TensorError> {
        Tensor::new(Shape::new(dims)?, Data::I32(data))
    }

    /// A tensor of zeros (`false` for booleans).
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn zeros(shape: Shape, dtype: DType) -> Result<Tensor, TensorError> {
        fn filled<T: Clone>(shape: &Shape, value: T, dtype: DType) -> Result<Vec<T>, TensorError> {
            let mut v = Vec::new();
            v.try_reserve_exact(shape.elements()).map_err(|_| TensorError::Memory {
                shape: shape.clone(),
                bytes: shape.bytes(dtype),
            })?;
            v.resize(shape.elements(), value);
            Ok(v)
        }
        let data = match dtype {
            DType::F32 => Data::F32(filled(&shape, 0.0, dtype)?),
            DType::I32 => Data::I32(filled(&shape, 0, dtype)?),
            DType::Bool => Data::Bool(filled(&shape, false, dtype)?),
        };
        Ok(Tensor { shape, data })
    }

    /// The tensor of rank 0 that holds `value`.
    pub fn scalar(value: f32) -> Tensor {
        Tensor { shape: Shape::scalar(), data: Data::F32(vec![value]) }
    }

    /// The sizes of the axes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        match self.data {
            Data::F32(_) => DType::F32,
            Data::I32(_) => DType::I32,
            Data::Bool(_) => DType::Bool,
        }
    }

    /// The elements, row-major.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The elements, row-major, for writing in place.
    pub fn data_mut(&mut self) -> DataMut<'_> {
        match &mut self.data {
            Data::F32(v) => DataMut::F32(v),
            Data::I32(v) => DataMut::I32(v),
            Data::Bool(v) => DataMut::Bool(v),
        }
    }

    /// The elements of an `f32` tensor; `None` for the other types.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(v) => Some(v),
            _ => None,
        }
    }

    /// The elements of an `i32` tensor; `None` for the other types.
    pub fn as_i32(&self) -> Option<&[i32]> {
        match &self.data {
            Data::I32(v) => Some(v),
            _ => None,
        }
    }

    /// Writes the elements, row-major and little endian, as every file format of ours has them.
    ///
    /// # Errors
    /// If `out` fails.
    pub fn write_le(&self, out: &mut dyn Write) -> io::Result<()> {
        fn write<T: Copy, const B: usize>(
            elements: &[T],
            bytes: impl Fn(T) -> [u8; B],
            out: &mut dyn Write,
        ) -> io::Result<()> {
            let mut buffer = Vec::new();
            for chunk in elements.chunks(1 << 14) {
                buffer.clear();
                buffer.extend(chunk.iter().flat_map(|&x| bytes(x)));
                out.write_all(&buffer)?;
            }
            Ok(())
        }
        match &self.data {
            Data::F32(v) => write(v, f32::to_le_bytes, out),
            Data::I32(v) => write(v, i32::to_le_bytes, out),
            Data::Bool(v) => write(v, |x| [u8::from(x)], out),
        }
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// If the element counts differ.
    pub fn reshaped(self, shape: Shape) -> Result<Tensor, TensorError> {
        Tensor::new(shape, self.data)
    }
}

/// The elements of a tensor, borrowed for writing; the number of elements cannot change.
#[derive(Debug)]
pub enum DataMut<'a> {
    /// Elements of [`DType::F32`].
    F32(&'a mut [f32]),
    /// Elements of [`DType::I32`].
    I32(&'a mut [i32]),
    /// Elements of [`DType::Bool`].
    Bool(&'a mut [bool]),
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        write!(f, "{}{} {{ ", self.dtype(), self.shape)?;
        match &self.data {
            Data::F32(v) => v.iter().take(SHOWN).try_for_each(|x| write!(f, "{x} "))?,
            Data::I32(v) => v.iter().take(SHOWN).try_for_each(|x| write!(f, "{x} "))?,
            Data::Bool(v) => v.iter().take(SHOWN).try_for_each(|x| write!(f, "{x} "))?,
        }
        f.write_str(if self.data.len() > SHOWN { "... }" } else { "}" })
    }
}
