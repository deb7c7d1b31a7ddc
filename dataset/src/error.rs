//! One error type for the dataset folder. Every message names the file, what
//! was being done, and what to do next.

use std::path::{Path, PathBuf};

/// What can go wrong with a dataset folder.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file or folder could not be read or written.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done, as a verb phrase ("read", "create the folder").
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The disk is full. The folder is as it was before.
    #[error(
        "{}: no space left on this disk; this step needs about {} free. \
         Free some space and run the same command again: what was there before is unharmed",
        path.display(), human_bytes(*needed)
    )]
    DiskFull {
        /// The file being written.
        path: PathBuf,
        /// Bytes that the whole step is expected to need.
        needed: u64,
    },
    /// Another process writes to the folder.
    #[error(
        "{}: another process is writing to this dataset folder ({holder}). \
         Wait until it has ended, or stop it, and run again",
        folder.display()
    )]
    Locked {
        /// The dataset folder.
        folder: PathBuf,
        /// Process id and program name of the writer, as far as known.
        holder: String,
    },
    /// A Parquet file is damaged, truncated or not Parquet at all.
    #[error("{}: not a readable Parquet file: {message}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the reader found.
        message: String,
    },
    /// A Parquet file has columns of another shape than the dataset's schema.
    #[error("{}: column `{column}`: {message}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The column, with a row where one is known.
        column: String,
        /// What was found and what was expected.
        message: String,
    },
    /// A value handed in, or found in a file, is not allowed.
    #[error("{place}: {message}")]
    Invalid {
        /// File, row, argument or field.
        place: String,
        /// Value found and what is allowed.
        message: String,
    },
}

/// Result with [`DatasetError`].
pub type Result<T, E = DatasetError> = std::result::Result<T, E>;

impl DatasetError {
    /// Wraps an I/O error; a full disk becomes [`DatasetError::DiskFull`].
    pub fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::StorageFull {
            return Self::DiskFull {
                path: path.to_path_buf(),
                needed: 0,
            };
        }
        Self::Io {
            path: path.to_path_buf(),
            action,
            source,
        }
    }

    /// Wraps an error of the Parquet library, looking for a full disk inside.
    pub fn parquet(path: &Path, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(inner) = cause {
            if let Some(io) = inner.downcast_ref::<std::io::Error>()
                && io.kind() == std::io::ErrorKind::StorageFull
            {
                return Self::DiskFull {
                    path: path.to_path_buf(),
                    needed: 0,
                };
            }
            cause = inner.source();
        }
        Self::Parquet {
            path: path.to_path_buf(),
            message: error.to_string(),
        }
    }

    /// A value that is not allowed, at `place`.
    pub fn invalid(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid {
            place: place.into(),
            message: message.into(),
        }
    }

    /// Fills in how much space a step needs, if this is a full disk.
    #[must_use]
    pub(crate) fn with_needed(self, bytes: u64) -> Self {
        match self {
            Self::DiskFull { path, needed } => Self::DiskFull {
                path,
                needed: needed.max(bytes),
            },
            other => other,
        }
    }
}

/// `1536` as `1.5 KiB`; for messages only.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}
