//! Commands that answer with a line per image: in parallel, in input order.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Outcome;
use crate::parallel::map_ordered;

/// Runs `work` on every image, each worker thread with a state of its own, and
/// writes the answers (one JSON object each) in input order. A bad image becomes
/// a message on stderr and the run goes on.
pub fn for_each_image<S>(
    images: &[PathBuf],
    jobs: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &Path) -> Result<String, String> + Sync,
) -> anyhow::Result<Outcome> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut rejected = 0;
    map_ordered(
        images,
        jobs,
        state,
        |own, path| work(own, path),
        |_, answer| match answer {
            Ok(line) => writeln!(out, "{line}").and_then(|()| out.flush()),
            Err(reason) => {
                rejected += 1;
                eprintln!("rejected: {reason}");
                Ok(())
            }
        },
    )?;
    Ok(Outcome::from_rejected(rejected))
}
