//! Runs one command of the road and measures it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// How often the memory of the running command is read.
const POLL: Duration = Duration::from_millis(40);

/// One command of the road.
#[derive(Clone, Debug)]
pub struct Step {
    /// Short name, also the name of its log files.
    pub name: String,
    /// Which of the toolkit's programs runs.
    pub program: &'static str,
    /// Its arguments.
    pub args: Vec<String>,
    /// Whether exit code 1 (finished, some inputs rejected) is an expected end here.
    pub rejects_expected: bool,
}

impl Step {
    /// A step that must end with exit code 0.
    pub fn new(name: &str, program: &'static str, args: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            program,
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            rejects_expected: false,
        }
    }

    /// The same step, for inputs of which some are known to be rejected.
    pub fn rejects_expected(mut self) -> Self {
        self.rejects_expected = true;
        self
    }

    /// The command as a person would type it.
    pub fn command_line(&self) -> String {
        let quote = |arg: &String| {
            if arg.contains([' ', '"', '*']) {
                format!("'{arg}'")
            } else {
                arg.clone()
            }
        };
        std::iter::once(self.program.to_owned())
            .chain(self.args.iter().map(quote))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// What one command did.
#[derive(Clone, Debug, Serialize)]
pub struct StepResult {
    /// Name of the step.
    pub name: String,
    /// The command as typed.
    pub command: String,
    /// Wall time.
    pub seconds: f64,
    /// Peak resident memory of the process.
    pub peak_mib: f64,
    /// Exit code (0 or 1).
    pub exit_code: i32,
    /// Last line of its standard output, when that is JSON.
    pub summary: Option<serde_json::Value>,
    /// Everything on standard output.
    #[serde(skip)]
    pub stdout: String,
}

/// Where the programs are: the folder of the running one.
///
/// # Errors
/// When the system does not tell where this program lies.
pub fn program_folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let folder = own.parent().context("this program lies in no folder")?;
    // A test runs from `deps/`, the programs lie one level up.
    Ok(if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder).to_owned()
    } else {
        folder.to_owned()
    })
}

/// Runs a step; its output goes to `logs/NAME.out` and `logs/NAME.log`.
///
/// # Errors
/// When the program is missing, or ends with a code that was not expected: the message holds
/// the end of its log.
pub fn run_step(step: &Step, logs: &Path) -> Result<StepResult> {
    let program = program_folder()?.join(step.program);
    if !program.exists() {
        bail!(
            "{} is not built; remedy: cargo build --release --workspace",
            program.display()
        );
    }
    std::fs::create_dir_all(logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let (out_path, log_path) = (
        logs.join(format!("{}.out", step.name)),
        logs.join(format!("{}.log", step.name)),
    );
    let create = |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
    let start = Instant::now();
    let mut child = Command::new(&program)
        .args(&step.args)
        .stdin(Stdio::null())
        .stdout(create(&out_path)?)
        .stderr(create(&log_path)?)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut peak_kib = 0u64;
    let status = loop {
        peak_kib = peak_kib.max(peak_memory_kib(child.id()));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(POLL);
    };
    let seconds = start.elapsed().as_secs_f64();
    let stdout = std::fs::read_to_string(&out_path).unwrap_or_default();
    let exit_code = status.code().unwrap_or(-1);
    if !(exit_code == 0 || (exit_code == 1 && step.rejects_expected)) {
        let log = std::fs::read_to_string(&log_path).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(12)..].join("\n");
        bail!(
            "step '{}' ended with exit code {exit_code}\n  {}\n{end}\n(whole log: {})",
            step.name,
            step.command_line(),
            log_path.display()
        );
    }
    let summary = stdout
        .lines()
        .rev()
        .find(|l| !l.trim().is_empty())
        .and_then(|l| serde_json::from_str(l).ok());
    Ok(StepResult {
        name: step.name.clone(),
        command: step.command_line(),
        seconds,
        peak_mib: peak_kib as f64 / 1024.0,
        exit_code,
        summary,
        stdout,
    })
}

/// Peak resident memory that Linux has counted for a process so far, 0 where it does not tell.
fn peak_memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn command_lines_quote_what_a_shell_would_split() {
        let step = Step::new("query", "dataset", &["query", "out", "SELECT count(*) FROM pairs"]);
        assert_eq!(step.command_line(), "dataset query out 'SELECT count(*) FROM pairs'");
    }

    #[test]
    fn own_memory_is_visible() {
        assert!(peak_memory_kib(std::process::id()) > 0);
    }
}
