//! `trainer speed compare`: this program and PyTorch in turns, as a table.
//!
//! With one thread a step's time is the processor time of a run of several steps less that of a run of one, over
//! the steps between: start and warm-up drop out, and other work on the machine hardly shows. With several threads
//! waiting counts as well, so each side times its steps by the clock; the machine has to be idle then.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Flags of the comparison.
#[derive(clap::Args)]
pub struct Args {
    /// Python with PyTorch
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// The other side: torch_speed.py of the parity material
    #[arg(long)]
    script: PathBuf,
    /// The other side of embed-files; needs torchvision
    #[arg(long, default_value = "trainer/bench/embed_files.py")]
    files_script: PathBuf,
    /// Times each side runs a case, in turns
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Cases; default all
    #[arg(long, value_delimiter = ',', value_parser = CASES.map(|case| case.name))]
    cases: Vec<String>,
    /// Threads of both sides; more than one are timed by the clock, on an idle machine
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: u64,
    /// Pin both sides to this processor (taskset), with one thread
    #[arg(long, conflicts_with = "threads")]
    core: Option<usize>,
    /// Markdown file to write the table into; rows of other cases in it stay
    #[arg(long)]
    out: PathBuf,
}

/// One row of the table: the arguments that both sides understand, and what it has to reach.
struct Case {
    name: &'static str,
    what: &'static str,
    arguments: &'static [&'static str],
    /// Steps of the longer run.
    steps: u32,
    /// Seconds of this program over seconds of PyTorch, at most.
    goal: f64,
}

/// The case that reads files.
const FILES: &str = "embed-files";
/// Files drawn for it.
const DRAWN_FILES: usize = 8;

const CASES: [Case; 6] = [
    Case {
        name: "mlm",
        what: "BERT-base MLM step, 8 utterances of caption-like lengths up to 128",
        arguments: &["mlm", "--batch", "8", "--max-length", "128"],
        steps: 4,
        goal: 1.0,
    },
    Case {
        name: "keepfit-224",
        what: "joint step, ResNet50 + BERT-base, 224 px, 4 + 4",
        arguments: &["keepfit", "--image", "224"],
        steps: 3,
        goal: 1.3,
    },
    Case {
        name: "keepfit-512",
        what: "joint step, ResNet50 + BERT-base, 512 px, 4 + 4",
        arguments: &["keepfit", "--image", "512"],
        steps: 2,
        goal: 1.3,
    },
    Case {
        name: "embed-512",
        what: "image embedding, ResNet50, 512 px, 4 images",
        arguments: &["embed", "--image", "512", "--batch", "4"],
        steps: 5,
        goal: 1.0,
    },
    Case {
        name: FILES,
        what: "image embedding from 1600 × 1200 JPEG files, ResNet50, 512 px, 4 images",
        arguments: &["embed-files", "--image", "512", "--batch", "4"],
        steps: 4,
        goal: 1.0,
    },
    Case {
        name: "tokenizer",
        what: "codebook step, profile lite, 64 px, 4 images",
        arguments: &["tokenizer", "--image", "64", "--batch", "4"],
        steps: 4,
        goal: 1.3,
    },
];

/// Least time of a step and highest memory of one side over all rounds.
#[derive(Clone, Copy, Default)]
struct Side {
    seconds: f64,
    peak_mib: f64,
}

impl Side {
    fn take(&mut self, seconds: f64, line: &Value) -> Result<()> {
        let peak = line.get("peak_rss_mib").and_then(Value::as_f64);
        let peak = peak.with_context(|| format!("peak_rss_mib is missing in {line}"))?;
        if self.seconds == 0.0 || seconds < self.seconds {
            self.seconds = seconds;
        }
        self.peak_mib = self.peak_mib.max(peak);
        Ok(())
    }
}

/// Processor time of all children that have ended, from Linux's process table.
fn children_seconds() -> Result<f64> {
    // Clock ticks of /proc are 1/100 s on every Linux we know of.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").context("processor times are read from /proc (Linux)")?;
    parse_children(&stat)
        .map(|ticks| ticks / TICKS_PER_SECOND)
        .context("/proc/self/stat has another form")
}

/// Ticks of ended children, user and system, from a line of the process table.
fn parse_children(stat: &str) -> Option<f64> {
    // The command name may hold spaces; fields are counted after its closing bracket.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (user, system): (f64, f64) = (fields.get(13)?.parse().ok()?, fields.get(14)?.parse().ok()?);
    Some(user + system)
}

/// Runs both sides in turns and writes the table.
///
/// # Errors
/// A side cannot be run or says something else than its line.
pub fn run(args: &Args) -> Result<()> {
    let own = std::env::current_exe().context("where is this program?")?;
    let wanted = |case: &&Case| args.cases.is_empty() || args.cases.iter().any(|name| name == case.name);
    let drawn = tempfile::tempdir()?;
    for case in CASES.iter().filter(wanted) {
        let (mut ours, mut theirs) = (Side::default(), Side::default());
        let mut arguments: Vec<String> = case.arguments.iter().map(|part| (*part).to_owned()).collect();
        let mut script = &args.script;
        if case.name == FILES {
            crate::speed::draw_files(drawn.path(), DRAWN_FILES)?;
            arguments.extend(["--images".to_owned(), drawn.path().to_string_lossy().into_owned()]);
            script = &args.files_script;
        }
        for round in 0..args.rounds.max(1) {
            tracing::info!("{}, round {}", case.name, round + 1);
            let script = script.to_string_lossy().into_owned();
            for (side, program, first) in [
                (&mut ours, own.as_path(), "speed"),
                (&mut theirs, args.python.as_path(), script.as_str()),
            ] {
                let measure = if args.threads > 1 { by_clock } else { by_processor };
                let (seconds, found) = measure(args, program, first, &arguments, case.steps)?;
                side.take(seconds, &found)?;
            }
        }
        println!(
            "{}",
            serde_json::json!({
                "case": case.name, "seconds": ours.seconds, "torch_seconds": theirs.seconds,
                "ratio": ours.seconds / theirs.seconds, "peak_mib": ours.peak_mib, "torch_peak_mib": theirs.peak_mib,
            })
        );
        // Row by row, so that a run that is stopped leaves what it measured.
        let before = match std::fs::read_to_string(&args.out) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| args.out.display().to_string())?,
        };
        let page = page(&before, case, args.threads, &row(args, case, ours, theirs));
        dataset::fs::write_atomic(&args.out, page.as_bytes())?;
    }
    Ok(())
}

/// Processor seconds a step of one side, and its JSON line.
fn by_processor(args: &Args, program: &Path, first: &str, arguments: &[String], steps: u32) -> Result<(f64, Value)> {
    // Two runs are subtracted, so what comes before the first step drops out by itself.
    let (short, _) = line(args, program, first, arguments, [1, 0])?;
    let (long, found) = line(args, program, first, arguments, [steps, 0])?;
    Ok(((long - short) / f64::from(steps - 1), found))
}

/// Seconds a step by the clock of one side, after one that is not measured, and its JSON line.
fn by_clock(args: &Args, program: &Path, first: &str, arguments: &[String], steps: u32) -> Result<(f64, Value)> {
    let (_, found) = line(args, program, first, arguments, [steps, 1])?;
    let seconds = found.get("seconds_per_step").and_then(Value::as_f64);
    let seconds = seconds.with_context(|| format!("seconds_per_step is missing in {found}"))?;
    Ok((seconds, found))
}

/// Runs one side of a case for so many steps after so many unmeasured ones; returns the processor time of the whole
/// run and its JSON line.
fn line(
    args: &Args,
    program: &Path,
    first: &str,
    arguments: &[String],
    [steps, warmup]: [u32; 2],
) -> Result<(f64, Value)> {
    let mut command = match args.core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
        None => Command::new(program),
    };
    let before = children_seconds()?;
    let output = command
        // Both read their number of threads from here.
        .env("RAYON_NUM_THREADS", args.threads.to_string())
        .env("OMP_NUM_THREADS", args.threads.to_string())
        .arg(first)
        .args(arguments)
        .args(["--steps", &steps.to_string(), "--warmup", &warmup.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "{} {} ended with {}",
            program.display(),
            arguments.join(" "),
            output.status
        );
    }
    let last = text.lines().last().unwrap_or_default();
    let found =
        serde_json::from_str(last).with_context(|| format!("{}: {last:?} is no JSON line", program.display()))?;
    Ok((children_seconds()? - before, found))
}

/// How the row of so many threads says that it was measured, without the rounds.
fn how(threads: u64) -> String {
    match threads {
        1 => "one thread, processor time".to_owned(),
        n => format!("{n} threads, by the clock"),
    }
}

/// A row of the table.
fn row(args: &Args, case: &Case, ours: Side, theirs: Side) -> String {
    let (ratio, rounds, how) = (ours.seconds / theirs.seconds, args.rounds.max(1), how(args.threads));
    format!(
        "| {} | {:.3} | {:.3} | {ratio:.2} | ≤ {:.1} | {:.0} | {:.0} | {how}, {rounds} round{} |",
        case.what,
        ours.seconds,
        theirs.seconds,
        case.goal,
        ours.peak_mib,
        theirs.peak_mib,
        if rounds == 1 { "" } else { "s" }
    )
}

const HEAD: &str = "\
# Performance beside PyTorch

Written by `trainer speed compare`; random weights and inputs, f32. Both sides run each case in turns. With one
thread the table holds processor seconds a step (a run of several steps less a run of one, the least of the rounds),
which other work on the machine disturbs little; with several it holds seconds a step by the clock of an idle machine
(the median of the steps after the first, the least of the rounds). Memory is each side's highest.

| case | this program, s | PyTorch, s | ratio | to reach | memory, MiB | PyTorch, MiB | measured with |
| --- | --- | --- | --- | --- | --- | --- | --- |
";

/// The page with `row` for `case` and these threads; other rows and what stands below the table are kept from `before`.
fn page(before: &str, case: &Case, threads: u64, row: &str) -> String {
    let mut text = HEAD.to_owned();
    let mark = format!("| {}, ", how(threads));
    for known in &CASES {
        let start = format!("| {} |", known.what);
        let mut rows: Vec<&str> = before.lines().filter(|line| line.starts_with(&start)).collect();
        if known.name == case.name {
            rows.retain(|line| !line.contains(&mark));
            rows.push(row);
        }
        // By what they were measured with, the last cell: few threads first.
        rows.sort_by_key(|line| line.contains("threads"));
        for line in rows {
            let _ = writeln!(text, "{line}");
        }
    }
    let below = before.lines().skip_while(|line| !line.starts_with('|'));
    for line in below.skip_while(|line| line.starts_with('|')) {
        let _ = writeln!(text, "{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn the_least_time_and_the_highest_memory_count() {
        let mut side = Side::default();
        for (seconds, peak) in [(2.0, 100), (1.5, 90), (1.75, 120)] {
            side.take(seconds, &json!({ "peak_rss_mib": peak })).unwrap();
        }
        assert_eq!((side.seconds, side.peak_mib), (1.5, 120.0));
        assert!(
            side.take(1.0, &json!({}))
                .unwrap_err()
                .to_string()
                .contains("peak_rss_mib")
        );
    }

    #[test]
    fn a_case_measured_again_with_as_many_threads_replaces_its_row_alone() {
        let row = |case: usize, value: u64, threads: u64| {
            format!("| {} | {value} | {}, 1 round |", CASES[case].what, how(threads))
        };
        let mut text = String::new();
        for (case, value, threads) in [(1, 10, 1), (1, 11, 2), (0, 12, 2), (1, 13, 2), (1, 14, 1)] {
            text = page(&text, &CASES[case], threads, &row(case, value, threads));
            if value == 10 {
                text.push_str("\nNotes below.\n");
            }
        }
        let table: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).skip(2).collect();
        assert_eq!(table, [row(0, 12, 2), row(1, 14, 1), row(1, 13, 2)]);
        assert!(text.starts_with(HEAD) && text.ends_with("\nNotes below.\n"), "{text}");
    }

    #[test]
    fn processor_time_of_ended_children() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194304 10 20 0 0 7 3 250 50 20 0 1 0";
        assert_eq!(parse_children(stat), Some(300.0));
        assert_eq!(parse_children("42 a"), None);
        assert!(children_seconds().unwrap() >= 0.0);
    }
}
