//! What `kiln train` shows while it trains: a bar on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kiln_train::{EpochEnd, Progress, Scores, Status};

/// How often a plain line tells of an epoch that goes on.
const INTERVAL: Duration = Duration::from_secs(10);

/// Shows a training.
pub struct Display {
    /// On a terminal.
    bar: Option<ProgressBar>,
    /// Whether lines go to standard error, because standard output is for something else.
    aside: bool,
    told: Instant,
}

impl Display {
    /// Lines go to standard output or, `aside`, to standard error; the bar to standard error, if
    /// that is a terminal.
    pub fn new(aside: bool) -> Display {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}  {msg}");
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar
        });
        Display { bar, aside, told: Instant::now() }
    }

    /// Shows a line, above the bar. A closed pipe is no reason to stop a training.
    pub fn line(&self, text: &str) {
        let write = || {
            let _ = match self.aside {
                true => writeln!(io::stderr().lock(), "{text}"),
                false => writeln!(io::stdout().lock(), "{text}"),
            };
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Display {
    fn step(&mut self, status: &Status) {
        let epoch = epoch(status.epoch, status.epochs);
        let rest = || {
            let speed = status.images_per_second;
            let left = clock(status.remaining);
            format!("{}  {speed:.0} examples/s  {left} left", scores(&status.scores))
        };
        if let Some(bar) = &self.bar {
            if status.step == 1 {
                bar.reset();
                bar.set_length(status.steps as u64);
                bar.set_prefix(epoch);
            }
            // Drawing is limited to some times a second; the text is, too.
            if status.step == status.steps || self.told.elapsed() > Duration::from_millis(50) {
                self.told = Instant::now();
                bar.set_message(rest());
                bar.set_position(status.step as u64);
            }
        } else if self.told.elapsed() >= INTERVAL {
            self.told = Instant::now();
            self.line(&format!("{epoch}  step {}/{}  {}", status.step, status.steps, rest()));
        }
    }

    fn epoch(&mut self, end: &EpochEnd) {
        let validation = end
            .validation
            .as_ref()
            .map_or(String::new(), |validation| format!("  validation {}", scores(validation)));
        self.line(&format!(
            "{}  {}{validation}  {:.0} examples/s  {:.1} s",
            epoch(end.epoch, end.epochs),
            scores(&end.train),
            end.images_per_second,
            end.seconds
        ));
        self.told = Instant::now();
    }

    fn saved(&mut self, path: &Path) {
        self.line(&format!("saved {}", path.display()));
    }
}

/// `epoch  3/15`.
fn epoch(epoch: u64, epochs: u64) -> String {
    let width = epochs.to_string().len();
    format!("epoch {epoch:>width$}/{epochs}")
}

/// `loss 0.1234  accuracy 0.9712`.
pub fn scores(scores: &Scores) -> String {
    let mut text = format!("loss {:.4}", scores.loss);
    for (name, value) in &scores.metrics {
        text.push_str(&format!("  {name} {value:.4}"));
    }
    text
}

/// `1:02:03` or `2:03`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_epochs_read_well() {
        assert_eq!(clock(Duration::from_secs(59)), "0:59");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
        assert_eq!(epoch(3, 15), "epoch  3/15");
        let metrics = [("accuracy".to_owned(), 0.5)].into();
        assert_eq!(scores(&Scores { loss: 1.0, metrics }), "loss 1.0000  accuracy 0.5000");
    }
}
