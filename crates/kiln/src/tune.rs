//! Which way to compute something is found by timing, where estimates are close, and remembered.
//!
//! The file of answers has a line for each: what the machine is, what was timed, what was the
//! fastest, between tabs. Lines that mean nothing are passed over. It is replaced as a whole, so it
//! is whole whenever it is read; of two programs that write at once one's answers may be lost, and
//! are found again.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use kiln_jit::Isa;
use kiln_passes::{Choices, Decision};

use crate::{Error, Options, Result, Session, compile, write_atomic};

/// Estimates further apart than this factor are believed.
const CLOSE: f64 = 4.0;
/// How often each way has its turn, and how long a turn takes beyond its first two runs.
const TURNS: usize = 6;
const TURN: Duration = Duration::from_millis(2);
/// The file of answers, and the most bytes of it that are read.
const FILE: &str = "tuned";
const MAX_BYTES: u64 = 4 << 20;

/// The way to take for each of the decisions whose estimates are close.
///
/// # Errors
/// If a way cannot be compiled or run, there is nowhere to remember answers, or they cannot be
/// written.
pub(crate) fn choices(decisions: &[Decision], options: &Options) -> Result<Choices> {
    let open: Vec<(&Decision, Vec<&'static str>)> =
        decisions.iter().map(|d| (d, close(d))).filter(|(_, ways)| ways.len() > 1).collect();
    if open.is_empty() {
        return Ok(Choices::new());
    }
    let machine = machine(options.threads)?;
    let path = file()?;
    let failed = |what: &str, e: &io::Error| {
        Error::input(format!(
            "cannot {what} {}: {e}\nhelp: KILN_CACHE names another folder for what --tune found",
            path.display()
        ))
    };
    let mut known = read(&path).map_err(|e| failed("read", &e))?;
    let mut choices = Choices::new();
    let before = known.len();
    for (decision, ways) in open {
        let answer = known.iter().rev().find(|k| k[0] == machine && k[1] == decision.subject);
        let answer = answer.and_then(|k| ways.iter().find(|way| **way == k[2]));
        let way = match answer {
            Some(way) => way,
            None => {
                let way = fastest(decision, &ways, options)?;
                known.push([&machine, &decision.subject, way].map(str::to_owned));
                way
            }
        };
        choices.insert(decision.subject.clone(), way.to_owned());
    }
    if known.len() > before {
        // Others may have found something in the meantime.
        let mut all = read(&path).map_err(|e| failed("read", &e))?;
        all.extend(known.drain(before..));
        write(&path, &all).map_err(|e| failed("write", &e))?;
    }
    Ok(choices)
}

/// The ways that may be the fastest, by their estimates.
fn close(decision: &Decision) -> Vec<&'static str> {
    let least = decision.ways.iter().map(|w| w.nanoseconds).fold(f64::INFINITY, f64::min);
    let close = decision.ways.iter().filter(|w| w.nanoseconds <= CLOSE * least);
    close.map(|w| w.name).collect()
}

/// The fastest of several ways, by turns.
fn fastest(decision: &Decision, ways: &[&'static str], options: &Options) -> Result<&'static str> {
    let session = |way: &&'static str| -> Result<(&'static str, Session, Duration)> {
        let mut alone = Options::default().threads(options.threads);
        alone.choices = [(decision.subject.clone(), (*way).to_owned())].into();
        Ok((way, compile(&decision.alone, &alone)?.session()?, Duration::MAX))
    };
    let mut sessions: Vec<_> = ways.iter().map(session).collect::<Result<_>>()?;
    for _ in 0..TURNS {
        for (_, session, least) in &mut sessions {
            // The first finds other data in the caches, and threads asleep.
            (0..2).try_for_each(|_| session.step())?;
            let begun = Instant::now();
            while begun.elapsed() < TURN {
                let run = Instant::now();
                session.step()?;
                *least = run.elapsed().min(*least);
            }
        }
    }
    let fastest = sessions.iter().min_by_key(|s| s.2).map(|s| s.0);
    fastest.ok_or_else(|| Error::defect("a decision without ways"))
}

/// What times depend on: the compiler, the processor, its instruction set and the threads.
fn machine(threads: usize) -> Result<String> {
    let isa = Isa::detect().map_err(Error::input)?;
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or(env::consts::ARCH, |(_, model)| model.trim()).replace('\t', " ");
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!("kiln {version}, {model}, {}, {threads} threads", isa.name()))
}

/// Where answers are.
fn file() -> Result<PathBuf> {
    let named = |variable: &str| env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = named("KILN_CACHE")
        .or_else(|| named("XDG_CACHE_HOME").map(|caches| caches.join("kiln")))
        .or_else(|| named("HOME").map(|home| home.join(".cache").join("kiln")));
    let missing = "--tune remembers what it finds: KILN_CACHE or HOME must name a folder";
    folder.map(|folder| folder.join(FILE)).ok_or_else(|| Error::input(missing))
}

fn read(path: &std::path::Path) -> io::Result<Vec<[String; 3]>> {
    let text = match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
        Ok(found) if !found.is_file() => return Err(io::Error::other("it is not a regular file")),
        // A file that grew beyond all use begins anew.
        Ok(found) if found.len() > MAX_BYTES => return Ok(Vec::new()),
        Ok(_) => String::from_utf8_lossy(&fs::read(path)?).into_owned(),
    };
    let answer = |line: &str| {
        <[String; 3]>::try_from(line.split('\t').map(str::to_owned).collect::<Vec<_>>()).ok()
    };
    Ok(text.lines().filter_map(answer).collect())
}

fn write(path: &std::path::Path, answers: &[[String; 3]]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    write_atomic(path, |out| answers.iter().try_for_each(|a| writeln!(out, "{}", a.join("\t"))))
}
