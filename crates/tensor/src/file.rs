//! Output files that appear whole or not at all.
//!
//! The bytes go to a temporary file in the directory of the target; it is flushed to the disk, takes the target's name
//! in one step (`rename`), and the directory is flushed too. Whatever happens in between, a full disk or a killed
//! process included, the old file is untouched.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file atomically: `write` produces its bytes (they are buffered).
///
/// A symbolic link is followed; permissions of an existing file are kept; something that is not a regular file, such
/// as `/dev/null` or a pipe, is written to directly.
///
/// # Errors
/// If the target is a directory or read-only, its directory is missing or not writable, or `write` or the disk fails.
/// An existing file is then as it was, and no temporary file is left.
pub fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let target = match Target::find(path)? {
        Target::Direct(file) => {
            let mut out = BufWriter::new(file);
            write(&mut out)?;
            return out.flush();
        }
        Target::Replace(target) => target,
    };
    let mut temporary = Temporary::create(&target)?;
    let mut out = BufWriter::with_capacity(1 << 18, &mut temporary.file);
    write(&mut out)?;
    out.flush()?;
    drop(out);
    temporary.file.sync_all()?;
    temporary.rename(&target)
}

/// Whether [`write_atomic`] could write there now, found by making and removing its temporary file: what is about to
/// compute for long asks first.
///
/// # Errors
/// As [`write_atomic`].
pub fn check_writable(path: &Path) -> io::Result<()> {
    match Target::find(path)? {
        Target::Direct(_) => Ok(()),
        Target::Replace(target) => Temporary::create(&target).map(drop),
    }
}

/// How a path is written.
enum Target {
    /// By opening what is there: a device or a pipe.
    Direct(File),
    /// By renaming a temporary file to this path.
    Replace(PathBuf),
}

impl Target {
    fn find(path: &Path) -> io::Result<Target> {
        if path.file_name().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
        }
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"))
            }
            Ok(found) if found.is_file() => {
                if found.permissions().readonly() {
                    return Err(io::Error::new(
                        io::ErrorKind::PermissionDenied,
                        "the file is read-only",
                    ));
                }
                Ok(Target::Replace(fs::canonicalize(path)?))
            }
            Ok(_) => Ok(Target::Direct(OpenOptions::new().write(true).open(path)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let directory = parent(path);
                match fs::metadata(directory) {
                    Ok(found) if found.is_dir() => Ok(Target::Replace(path.to_path_buf())),
                    Ok(_) => Err(io::Error::new(
                        io::ErrorKind::NotADirectory,
                        format!("`{}` is not a directory", directory.display()),
                    )),
                    Err(_) => Err(io::Error::new(
                        io::ErrorKind::NotFound,
                        format!("the directory `{}` does not exist", directory.display()),
                    )),
                }
            }
            Err(e) => Err(e),
        }
    }
}

/// The directory a path lies in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// A new file beside the target; it is removed unless it was renamed.
struct Temporary {
    file: File,
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    fn create(target: &Path) -> io::Result<Temporary> {
        /// Distinguishes the files of one process.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}-{}.tmp", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let path = parent(target).join(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let temporary = Temporary { file, path, renamed: false };
        if let Ok(old) = fs::metadata(target) {
            temporary.file.set_permissions(old.permissions())?;
        }
        Ok(temporary)
    }

    fn rename(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.renamed = true;
        // Elsewhere a directory cannot be opened, and the rename itself is durable enough.
        if cfg!(unix) {
            File::open(parent(target))?.sync_all()?;
        }
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // The file's removal is a courtesy: the error that led here is the one to report.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        write_atomic(&path, |out| out.write_all(b"old")).unwrap();
        let failed = write_atomic(&path, |out| {
            out.write_all(&[0; 1 << 20])?;
            Err(io::Error::other("no"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write_atomic(&path, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["out"]);
    }

    #[test]
    fn asking_leaves_no_trace() {
        let directory = tempfile::tempdir().unwrap();
        check_writable(&directory.path().join("out")).unwrap();
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn what_cannot_be_written_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(check_writable(path).unwrap_err().to_string(), "it is a directory");
        let missing = check_writable(&path.join("no/out")).unwrap_err().to_string();
        assert!(missing.contains("/no` does not exist"), "{missing}");
        fs::write(path.join("file"), "x").unwrap();
        assert!(check_writable(&path.join("file/out")).is_err());
        assert!(check_writable(Path::new("..")).is_err());

        let mut permissions = fs::metadata(path.join("file")).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(path.join("file"), permissions).unwrap();
        assert_eq!(
            check_writable(&path.join("file")).unwrap_err().to_string(),
            "the file is read-only"
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_devices_stay_devices() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomic(&link, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());

        write_atomic(Path::new("/dev/null"), |out| out.write_all(b"gone")).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
