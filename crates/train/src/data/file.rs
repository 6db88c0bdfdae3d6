//! Opening the files of data sets.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::Error;

/// Opens a regular file; also gives its size. Nothing else is ever opened: a pipe would wait for its writer, a device
/// has no end.
pub(super) fn open(path: &Path) -> Result<(File, u64), Error> {
    let metadata = fs::metadata(path).map_err(Error::read(path))?;
    if !metadata.is_file() {
        return Err(Error::file(path, "it is not a regular file"));
    }
    Ok((File::open(path).map_err(Error::read(path))?, metadata.len()))
}

/// Reads a regular file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let (file, len) = open(path)?;
    if len > limit {
        return Err(Error::file(path, format!("{len} bytes are too many; the limit is {limit}")));
    }
    let mut bytes = Vec::new();
    let room = usize::try_from(len).ok().map(|n| bytes.try_reserve_exact(n));
    if !matches!(room, Some(Ok(()))) {
        return Err(Error::file(path, format!("no memory for its {len} bytes")));
    }
    // It may have grown since: no more than was promised is read.
    file.take(len).read_to_end(&mut bytes).map_err(Error::read(path))?;
    Ok(bytes)
}

/// A compressed file may declare so many bytes for each of its own ...
const RATIO: u64 = 32;
/// ... beyond these. Images of digits shrink to a fifth, a bomb to a thousandth.
const FREE: u64 = 16 << 20;

/// The most bytes that so many compressed ones may declare; more is taken for a decompression bomb.
pub(super) fn bomb_limit(stored: u64) -> u64 {
    stored.saturating_mul(RATIO).saturating_add(FREE)
}
