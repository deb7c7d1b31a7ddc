//! Errors of the evaluation: each names the file, the place in it and the remedy.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// What can stop an evaluation before or while it runs.
#[derive(Debug, Error)]
pub enum EvalError {
    /// A file could not be read or written.
    #[error("{} cannot be read or written", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the operating system answered.
        source: std::io::Error,
    },
    /// The content of an input file cannot be evaluated.
    #[error("{}: {problem}", path.display())]
    Input {
        /// The file concerned.
        path: PathBuf,
        /// Place, value and remedy in one sentence.
        problem: String,
    },
    /// The data do not fit the protocol that was asked for.
    #[error("{0}")]
    Protocol(String),
}

impl EvalError {
    /// An input error with its file.
    pub fn input(path: &Path, problem: impl Into<String>) -> Self {
        Self::Input {
            path: path.to_path_buf(),
            problem: problem.into(),
        }
    }

    /// An operating-system error with its file.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    /// A protocol error.
    pub fn protocol(problem: impl Into<String>) -> Self {
        Self::Protocol(problem.into())
    }
}

/// Result of the evaluation library.
pub type Result<T> = std::result::Result<T, EvalError>;
