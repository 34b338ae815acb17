//! Latencies against a baseline of the same run, as a table and a line of JSON.

use std::{fmt::Write, fs, path::Path, process::Command, time::Duration};

use serde_json::json;
use tempfile::NamedTempFile;

/// What was measured, and what it is held against.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// Name of the measurement in the line of JSON.
    pub benchmark: &'a str,
    /// The first line of the table.
    pub title: &'a str,
    /// Name and times of the baseline.
    pub baseline: (&'a str, Vec<Duration>),
    /// Name and times of what is measured.
    pub measured: (&'a str, Vec<Duration>),
}

const PERCENTS: [usize; 3] = [50, 95, 99];

/// A percentile of times in order, in milliseconds.
#[must_use]
pub fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100].as_secs_f64() * 1000.0
}

impl Comparison<'_> {
    /// The table with its line of JSON.
    #[must_use]
    pub fn report(mut self) -> String {
        self.baseline.1.sort();
        self.measured.1.sort();
        let of = |times: &[Duration]| PERCENTS.map(|percent| percentile(times, percent));
        let (baseline, measured) = (of(&self.baseline.1), of(&self.measured.1));
        let ratio: Vec<f64> = measured.iter().zip(baseline).map(|(one, other)| one / other).collect();
        let mut text = format!("{}, {} runs each, milliseconds\n", self.title, self.measured.1.len());
        let _ = writeln!(text, "{:16}{:>8}{:>8}{:>8}", "", "p50", "p95", "p99");
        for (name, times) in [(self.baseline.0, baseline), (self.measured.0, measured)] {
            let _ = writeln!(text, "{name:16}{:8.2}{:8.2}{:8.2}", times[0], times[1], times[2]);
        }
        let _ = writeln!(text, "{:16}{:8.1}{:8.1}{:8.1}", "ratio", ratio[0], ratio[1], ratio[2]);
        let named = |times: &[f64]| json!({"p50": times[0], "p95": times[1], "p99": times[2]});
        let line = json!({
            "benchmark": self.benchmark, "runs": self.measured.1.len(), "unit": "ms",
            "baseline": named(&baseline), "attune": named(&measured), "ratio": named(&ratio),
        });
        text + &line.to_string()
    }
}

/// A shell script in a file of its own: the command that Attune runs, to be run without it.
#[derive(Debug)]
pub struct BareScript(NamedTempFile);

impl BareScript {
    /// Writes the script.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn new(script: &str) -> Self {
        let file = NamedTempFile::new().expect("there is a folder for temporary files");
        fs::write(&file, script).expect("there is room for a script");
        Self(file)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A process that runs it, without any environment.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg(self.path()).env_clear();
        command
    }
}
