//! The command line: one subcommand per command of the ingest contract.
//!
//! Exit codes: 0 everything was processed, 1 the run finished and some inputs
//! were rejected (each with a reason), 2 the run could not start or go on.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

pub mod book;
pub mod den;
mod images;
pub mod labels;
pub mod modality;
pub mod ocr;
pub mod oct;
pub mod panels;
pub mod review;
pub mod split;
pub mod text;
pub mod translate;

/// How a command that ran to its end came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every input was processed.
    Complete,
    /// The run finished and some inputs were rejected, each with a reason.
    SomeRejected,
}

impl Outcome {
    /// [`Outcome::SomeRejected`] when `rejected` is not zero.
    pub fn from_rejected(rejected: usize) -> Self {
        if rejected == 0 {
            Self::Complete
        } else {
            Self::SomeRejected
        }
    }
}

/// Turns retinal diagram books, labelled sets and medical texts into the
/// dataset folder that the trainer reads.
#[derive(Debug, Parser)]
#[command(name = "ingest", version, propagate_version = true)]
#[command(after_help = "\
Results go to stdout as JSON, one object a line; logs and progress go to stderr.
Exit codes: 0 everything processed; 1 finished, some inputs rejected; 2 could not start or go on.

Examples:
  ingest book --input screenshots/ --source-id atlas1 --out DATASET
  ingest panels page.png | jq .panels
  ingest ocr caption.png
  ingest modality panels/*.png")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Split captions (JSON lines on stdin) into one text per panel
    Split(split::SplitArgs),
    /// Read medical texts, keep the ophthalmic ones, write utterances
    Text(text::TextArgs),
    /// Read a labelled set (FLAIR-style list or a folder per class)
    Labels(labels::LabelsArgs),
    /// Read a mixed set (DEN): drop collages and foreign modalities, tell CFP from FFA
    Den(den::DenArgs),
    /// Read hospital OCT that two assessors described
    Oct(oct::OctArgs),
    /// Read the text of page or caption images
    Ocr(ocr::OcrArgs),
    /// Find panels, their letters and the captions on whole screenshots
    Panels(panels::PanelsArgs),
    /// Tell CFP, FFA, OCT and OTHER apart on single panels
    Modality(modality::ModalityArgs),
    /// Learn the modality statistics from labelled folders
    ModalityFit(modality::ModalityFitArgs),
    /// Turn a folder of screenshots into image-text pairs
    Book(book::BookArgs),
    /// Hand doubtful pairs to a person and take the corrections back
    Review(review::ReviewArgs),
    /// Put captions into the other language: by people, by a command, with a glossary
    Translate(translate::TranslateArgs),
}

/// The program `ingest`: every command, without the OCR library.
///
/// Loading Tesseract and the fifty libraries behind it takes longer than splitting a thousand
/// captions, so the commands that read images go on in the program beside this one.
pub fn run() -> ExitCode {
    run_with(|command| match command {
        Command::Ocr(_) | Command::Panels(_) | Command::Book(_) => go_on_with_ocr(),
        other => dispatch(other),
    })
}

/// The program `ingest-ocr`: every command, with the OCR library.
pub fn run_with_ocr() -> ExitCode {
    run_with(|command| match command {
        Command::Ocr(arguments) => ocr::run(arguments),
        Command::Panels(arguments) => panels::run(arguments),
        Command::Book(arguments) => book::run(arguments),
        other => dispatch(other),
    })
}

/// Parses the command line, runs the command and maps its end to an exit code.
fn run_with(run: impl Fn(&Command) -> anyhow::Result<Outcome>) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // clap writes help and version to stdout, mistakes to stderr.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    start_log();
    match run(&arguments.command) {
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::SomeRejected) => ExitCode::from(1),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs a command that needs no OCR.
fn dispatch(command: &Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Ocr(_) | Command::Panels(_) | Command::Book(_) => go_on_with_ocr(),
        Command::Split(arguments) => split::run(arguments),
        Command::Text(arguments) => text::run(arguments),
        Command::Labels(arguments) => labels::run(arguments),
        Command::Den(arguments) => den::run(arguments),
        Command::Oct(arguments) => oct::run(arguments),
        Command::Modality(arguments) => modality::run(arguments),
        Command::ModalityFit(arguments) => modality::run_fit(arguments),
        Command::Review(arguments) => review::run(arguments),
        Command::Translate(arguments) => translate::run(arguments),
    }
}

/// Who decided: the name given, else the one logged in with (`USER`, `LOGNAME`), else `review`.
fn editor_name(given: Option<&str>) -> String {
    let logged_in = || ["USER", "LOGNAME"].iter().find_map(|v| std::env::var(v).ok());
    given
        .map(str::to_owned)
        .or_else(logged_in)
        .filter(|name| !name.trim().is_empty())
        .unwrap_or_else(|| "review".to_owned())
}

/// Tells each cell of a sheet that was not taken over.
fn tell_bad_cells(problems: &[crate::review::apply::BadCell]) {
    for bad in problems {
        let problem = crate::sheet::Problem {
            line: bad.line,
            column: bad.column.clone(),
            value: bad.value.clone(),
            remedy: bad.remedy.clone(),
        };
        eprintln!("{}: {problem}", bad.file);
    }
}

/// Logs go to stderr, warnings and worse unless `RUST_LOG` says otherwise.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .try_init();
}

/// A reader that closed our stdout (`| head`) has had enough; that is no error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// Tesseract's OpenMP runtime reads this when its library is loaded: one thread, as our own threads use the cores.
const OPENMP_THREADS: &str = "OMP_THREAD_LIMIT";

/// Goes on with the same arguments in `ingest-ocr`, the program beside this one that has the OCR library.
fn go_on_with_ocr() -> anyhow::Result<Outcome> {
    let this = std::env::current_exe().context("finding the program ingest-ocr")?;
    let program = this.with_file_name(format!("ingest-ocr{}", std::env::consts::EXE_SUFFIX));
    let error = start_again(&program);
    anyhow::bail!(
        "{}: {error}; this command reads images with the program ingest-ocr, which belongs beside ingest: \
         build both with `cargo build --release -p ingest`, or copy it there",
        program.display()
    )
}

/// Makes Tesseract work with one thread: the program starts itself once more where that is not settled.
fn single_threaded_openmp() {
    if std::env::var_os(OPENMP_THREADS).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    // Comes back only when it fails; then the work is done with more threads.
    let error = start_again(&program);
    tracing::warn!("could not start again with {OPENMP_THREADS}=1: {error}");
}

/// Lets `program` take over with the arguments of this one; comes back only when that fails.
fn start_again(program: &std::path::Path) -> std::io::Error {
    let mut command = std::process::Command::new(program);
    command.args(std::env::args_os().skip(1));
    if std::env::var_os(OPENMP_THREADS).is_none() {
        command.env(OPENMP_THREADS, "1");
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        command.exec()
    }
    #[cfg(not(unix))]
    {
        match command.status() {
            Ok(status) => std::process::exit(status.code().unwrap_or(2)),
            Err(error) => error,
        }
    }
}
