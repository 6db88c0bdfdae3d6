//! Standard output and standard error.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;

use crate::failure::Failure;

/// Writes to standard output.
///
/// # Errors
/// If it is closed or full.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Err(Failure::ClosedPipe),
        Err(e) => Err(Failure::input(format!("cannot write to standard output: {e}"))),
    }
}

/// Writes a line to standard output, as [`print`].
pub fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Writes the verb's one JSON object.
pub fn json(object: &serde_json::Value) -> Result<(), Failure> {
    line(&object.to_string())
}

/// Writes a line to standard error. If that is closed there is nobody to tell.
pub fn error(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether messages on standard error may have colours.
pub fn has_colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Fails if a file could not be written: asked before the work that fills it.
///
/// # Errors
/// If it could not, with the path and the reason.
pub fn check(path: &Path) -> Result<(), Failure> {
    kiln::check_writable(path)
        .map_err(|e| Failure::input(format!("cannot write {}: {e}", path.display())))
}

/// A number with a comma between thousands.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let shown = [0, 999, 1000, 431_080, 11_689_512].map(thousands);
        assert_eq!(shown, ["0", "999", "1,000", "431,080", "11,689,512"]);
    }
}
