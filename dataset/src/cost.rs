//! What a piece of work cost: time, processor, memory, bytes read.

use serde::Serialize;
use std::time::Instant;

/// A running measurement.
pub struct Meter {
    started: Instant,
    cpu: Option<f64>,
    read: Option<u64>,
}

/// What was used between two moments. Fields are `None` where the system does
/// not tell (it does on Linux).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// Seconds on the clock.
    pub seconds: f64,
    /// Seconds of processor time of all threads.
    pub cpu_seconds: Option<f64>,
    /// Bytes asked of the system by reading calls. Files mapped into memory are
    /// not in here, but in `peak_memory_bytes`.
    pub read_bytes: Option<u64>,
    /// Largest memory of the process so far, mapped file pages included.
    pub peak_memory_bytes: Option<u64>,
}

impl Meter {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            cpu: cpu_seconds(),
            read: read_bytes(),
            started: Instant::now(),
        }
    }

    /// The cost since the start.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let seconds = self.started.elapsed().as_secs_f64();
        Cost {
            seconds,
            cpu_seconds: cpu_seconds().zip(self.cpu).map(|(now, then)| now - then),
            read_bytes: read_bytes().zip(self.read).map(|(now, then)| now.saturating_sub(then)),
            peak_memory_bytes: status("VmHWM:").map(|kib| kib * 1024),
        }
    }
}

/// User and system time of all threads. The process table counts every thread in
/// ticks of 10 ms, rounded down; the scheduler counts threads that still run in
/// nanoseconds. The larger one is nearer to the truth.
fn cpu_seconds() -> Option<f64> {
    let ticks = cpu_ticks()?;
    Some(scheduled_seconds().map_or(ticks, |seconds| seconds.max(ticks)))
}

/// proc(5), fields 14 and 15 of `stat`.
fn cpu_ticks() -> Option<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = text.rsplit(')').next()?.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// Nanoseconds on a processor, the first field of `schedstat`, of living threads.
fn scheduled_seconds() -> Option<f64> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 / 1e9)
}

fn read_bytes() -> Option<u64> {
    field("/proc/self/io", "rchar:")
}

fn status(name: &str) -> Option<u64> {
    field("/proc/self/status", name)
}

/// The number behind `name` in a file of `NAME NUMBER` lines.
fn field(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reading_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![1; 3_000_000]).unwrap();
        let meter = Meter::start();
        assert_eq!(std::fs::read(&path).unwrap().len(), 3_000_000);
        let cost = meter.cost();
        assert!(cost.read_bytes.unwrap() >= 3_000_000);
        assert!(cost.peak_memory_bytes.unwrap() > 3_000_000);
        assert!(cost.seconds > 0.0 && cost.cpu_seconds.unwrap() >= 0.0);
    }
}
