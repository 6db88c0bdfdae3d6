//! Running the binary, and what came of it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// One run of the binary.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// Processor time and largest resident set, as last seen while it ran; 0 where `/proc` is not.
    pub cpu_seconds: f64,
    pub peak_bytes: u64,
}

impl Run {
    /// Fails unless the exit code is this.
    #[track_caller]
    pub fn exits(self, code: i32) -> Run {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// The repository's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file of the repository.
pub fn file(path: &str) -> String {
    root().join(path).display().to_string()
}

/// An empty folder.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Writes a file, and makes the folders it lies in; its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        let folder = Path::new(&path).parent().expect("a path in a folder");
        fs::create_dir_all(folder).expect("a writable folder");
        fs::write(&path, content).expect("a writable folder");
        path
    }

    /// The names in it, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("a readable folder");
        let names =
            entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

/// The command with these arguments, in the repository's folder.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the binary to its end.
pub fn kiln(arguments: &[&str]) -> Run {
    finish(command(arguments))
}

/// Runs a command to its end, looking at it every few milliseconds.
pub fn finish(mut command: Command) -> Run {
    let mut child = command.spawn().expect("the binary starts");
    let read = |mut stream: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut text = Vec::new();
            stream.read_to_end(&mut text).expect("a readable pipe");
            String::from_utf8(text).expect("UTF-8")
        })
    };
    let stdout = child.stdout.take().map(|s| read(Box::new(s)));
    let stderr = child.stderr.take().map(|s| read(Box::new(s)));
    let (mut cpu_seconds, mut peak_bytes) = (0.0, 0);
    let status = loop {
        let (cpu, peak) = usage(child.id());
        cpu_seconds = f64::max(cpu_seconds, cpu);
        peak_bytes = peak_bytes.max(peak);
        if let Some(status) = child.try_wait().expect("a child to wait for") {
            break status;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let text = |t: Option<thread::JoinHandle<String>>| {
        t.map_or(String::new(), |t| t.join().expect("a reader that ends"))
    };
    Run { code: status.code(), stdout: text(stdout), stderr: text(stderr), cpu_seconds, peak_bytes }
}

/// Seconds of processor time, and the largest resident set in bytes, of a running process.
fn usage(id: u32) -> (f64, u64) {
    let read = |name: &str| fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
    // After the name in parentheses: state and 10 more fields, then user and system ticks of 10 ms.
    let stat = read("stat");
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum();
    let status = read("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|p| p.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    (ticks / 100.0, peak.unwrap_or(0) * 1024)
}
