//! Zip archives as NumPy writes them: members stored or deflated, found by the central directory at the end.
//!
//! Every size in the directory is compared with the file before anything is read or allocated for it, no more than the
//! declared bytes of a member are ever unpacked, and its checksum must agree.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;

use super::file::{self, bomb_limit};
use crate::Error;

/// The fixed part of the record at the end, and the longest comment after it.
const END: usize = 22;
const COMMENT: u64 = 0xFFFF;
/// The fixed parts of a member's record in the directory, and of its header.
const RECORD: usize = 46;
const HEADER: usize = 30;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// What numbers of 32 bits say where larger ones stand elsewhere.
const LARGE: u32 = u32::MAX;

/// An opened archive.
pub(super) struct Archive {
    path: PathBuf,
    file: File,
    entries: Vec<Entry>,
}

/// A member.
#[derive(Debug)]
pub(super) struct Entry {
    name: String,
    method: u16,
    checksum: u32,
    stored: u64,
    size: u64,
    header: u64,
}

impl Entry {
    /// Its bytes, unpacked.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Archive {
    /// Opens an archive and reads its directory.
    pub fn open(path: &Path) -> Result<Archive, Error> {
        let (mut file, len) = file::open(path)?;
        let wrong = |message: &str| Error::file(path, message.to_string());
        let tail_len = len.min(END as u64 + COMMENT);
        let tail = read_at(&mut file, len - tail_len, tail_len).map_err(Error::read(path))?;
        let at = (0..=tail.len().saturating_sub(END)).rev();
        let end = at.map(|at| &tail[at..]).find(|tail| tail.starts_with(b"PK\x05\x06"));
        let Some(end) = end.filter(|end| end.len() >= END) else {
            return Err(wrong(
                "it is no zip archive, or truncated: it has no directory at its end",
            ));
        };
        let (size, begin) = (u32_at(end, 12), u32_at(end, 16));
        if begin == LARGE || size == LARGE || u16_at(end, 10) == u16::MAX {
            return Err(wrong("an archive of 4 GiB and more; save its arrays as .npy files"));
        }
        if u64::from(begin) + u64::from(size) > len {
            return Err(wrong("truncated: its directory ends behind the file"));
        }
        let directory = read_at(&mut file, begin.into(), size.into()).map_err(Error::read(path))?;
        let mut entries = Vec::new();
        let mut rest = &directory[..];
        while rest.starts_with(b"PK\x01\x02") {
            let record = rest.get(..RECORD).ok_or_else(|| wrong("its directory is cut off"))?;
            let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(u16_at(record, at)));
            let end = RECORD + name + extra + comment;
            let name = rest.get(RECORD..RECORD + name).filter(|_| rest.len() >= end);
            let name = name.ok_or_else(|| wrong("its directory is cut off"))?;
            let entry = Entry {
                name: String::from_utf8_lossy(name).into_owned(),
                method: u16_at(record, 10),
                checksum: u32_at(record, 16),
                stored: u32_at(record, 20).into(),
                size: u32_at(record, 24).into(),
                header: u32_at(record, 42).into(),
            };
            if entry.header + HEADER as u64 + entry.stored > len {
                let message = format!("truncated: its member {} ends behind the file", entry.name);
                return Err(Error::file(path, message));
            }
            if u16_at(record, 8) & 1 != 0 {
                return Err(Error::file(path, format!("its member {} is encrypted", entry.name)));
            }
            entries.push(entry);
            rest = &rest[end..];
        }
        if entries.len() != usize::from(u16_at(end, 10)) {
            return Err(wrong("its directory has another number of members than it declares"));
        }
        Ok(Archive { path: path.to_path_buf(), file, entries })
    }

    /// The names of its members.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The member of this name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// The bytes of a member: exactly so many as it declares, or an error.
    pub fn read(&self, entry: &Entry) -> Result<impl Read + use<>, Error> {
        let wrong = |message: String| Error::file(&self.path, format!("{}: {message}", entry.name));
        let mut file = self.file.try_clone().map_err(Error::read(&self.path))?;
        let header =
            read_at(&mut file, entry.header, HEADER as u64).map_err(Error::read(&self.path))?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err(wrong("it has no header where the directory says".to_string()));
        }
        let skipped = u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        file.seek(SeekFrom::Current(skipped as i64)).map_err(Error::read(&self.path))?;
        let stored = io::BufReader::with_capacity(1 << 16, file.take(entry.stored));
        let data: Box<dyn Read> = match entry.method {
            STORED if entry.stored == entry.size => Box::new(stored),
            STORED => {
                let (stored, size) = (entry.stored, entry.size);
                return Err(wrong(format!("it declares {size} bytes, {stored} are stored")));
            }
            DEFLATED if entry.size > bomb_limit(entry.stored) => {
                let (stored, size) = (entry.stored, entry.size);
                return Err(wrong(format!(
                    "it declares {size} bytes in {stored} compressed ones, which is taken for a decompression bomb (if \
                     it is none, save it with numpy.savez)"
                )));
            }
            DEFLATED => Box::new(DeflateDecoder::new(stored)),
            other => return Err(wrong(format!("compression method {other} is not read"))),
        };
        let (checksum, crc) = (entry.checksum, flate2::Crc::new());
        Ok(Checked { data: data.take(entry.size), checksum, crc })
    }
}

/// A member's bytes on their way through the checksum.
struct Checked {
    data: io::Take<Box<dyn Read>>,
    checksum: u32,
    crc: flate2::Crc,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.data.read(buffer)?;
        self.crc.update(&buffer[..got]);
        if got == 0 && !buffer.is_empty() {
            if self.data.limit() > 0 {
                let message = format!("it ends {} bytes early", self.data.limit());
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            if self.crc.sum() != self.checksum {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum is wrong"));
            }
        }
        Ok(got)
    }
}

/// So many bytes from a place in a file; the caller has compared both with its length.
fn read_at(file: &mut File, at: u64, len: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at + 2)) << 16 | u32::from(u16_at(bytes, at))
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    use super::*;

    /// An archive of these members.
    pub fn archive(members: &[(String, &[u8])], deflate: bool) -> Vec<u8> {
        let (mut file, mut directory) = (Vec::new(), Vec::new());
        for (name, bytes) in members {
            let stored = if deflate {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            } else {
                bytes.to_vec()
            };
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            let mut middle = Vec::new();
            middle.extend([20, 0, 0, 0, if deflate { 8 } else { 0 }, 0, 0, 0, 0, 0]);
            middle.extend(crc.sum().to_le_bytes());
            middle.extend((stored.len() as u32).to_le_bytes());
            middle.extend((bytes.len() as u32).to_le_bytes());
            middle.extend((name.len() as u16).to_le_bytes());
            directory.extend(b"PK\x01\x02\x14\0");
            directory.extend(&middle);
            directory.extend([0; 12]);
            directory.extend((file.len() as u32).to_le_bytes());
            directory.extend(name.as_bytes());
            file.extend(b"PK\x03\x04");
            file.extend(&middle);
            // An extra field of four bytes, as NumPy's headers have one and its directory none.
            file.extend([4, 0]);
            file.extend(name.as_bytes());
            file.extend([1, 0, 0, 0]);
            file.extend(stored);
        }
        let begin = file.len() as u32;
        file.extend(&directory);
        file.extend(b"PK\x05\x06\0\0\0\0");
        file.extend((members.len() as u16).to_le_bytes());
        file.extend((members.len() as u16).to_le_bytes());
        file.extend((directory.len() as u32).to_le_bytes());
        file.extend(begin.to_le_bytes());
        file.extend([0, 0]);
        file
    }

    #[test]
    fn whatever_is_wrong_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.zip");
        // Everything in it is read; gives the error, if there is one.
        let read = |bytes: &[u8]| -> Option<String> {
            fs::write(&path, bytes).unwrap();
            let archive = match Archive::open(&path) {
                Ok(archive) => archive,
                Err(e) => return Some(e.to_string()),
            };
            for entry in &archive.entries {
                let mut unpacked = Vec::new();
                match archive.read(entry) {
                    Ok(mut stream) => match stream.read_to_end(&mut unpacked) {
                        Ok(_) => assert_eq!(unpacked, b"hello hello hello"),
                        Err(e) => return Some(e.to_string()),
                    },
                    Err(e) => return Some(e.to_string()),
                }
            }
            None
        };
        for deflate in [false, true] {
            let whole = archive(&[("m".to_string(), b"hello hello hello")], deflate);
            assert_eq!(read(&whole), None);
            for end in 0..whole.len() {
                assert!(read(&whole[..end]).is_some(), "cut at {end}");
            }
            // Flipped bits: the same content, or an error; never a panic.
            for at in 0..whole.len() {
                for bit in [0x01, 0x80] {
                    let mut flipped = whole.clone();
                    flipped[at] ^= bit;
                    read(&flipped);
                }
            }
        }
    }
}
