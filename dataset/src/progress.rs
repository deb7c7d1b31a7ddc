//! Progress on stderr: a bar with rate and time left when a person watches, a
//! plain line now and then when nobody does.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A running count of work done. Shared between threads by reference.
pub struct Progress {
    bar: ProgressBar,
    what: String,
    total: Option<u64>,
    done: AtomicU64,
    started: Instant,
    /// `None` on a terminal, else when the last plain line was printed.
    last_line: Option<Mutex<Instant>>,
    message: Mutex<String>,
}

/// Starts a progress display of `what`, for `len` items when the number is known.
#[must_use]
pub fn bar(len: Option<u64>, what: &str) -> Progress {
    let terminal = std::io::stderr().is_terminal();
    let bar = match len {
        Some(len) => ProgressBar::new(len),
        None => ProgressBar::new_spinner(),
    };
    if terminal {
        let template = if len.is_some() {
            "{prefix} [{bar:30}] {human_pos}/{human_len} {per_sec} {eta} left {wide_msg}"
        } else {
            "{prefix} {spinner} {human_pos} {per_sec} {elapsed} {wide_msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
    } else {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.set_prefix(what.to_owned());
    Progress {
        bar,
        what: what.to_owned(),
        total: len,
        done: AtomicU64::new(0),
        started: Instant::now(),
        last_line: (!terminal).then(|| Mutex::new(Instant::now())),
        message: Mutex::new(String::new()),
    }
}

impl Progress {
    /// Counts `count` more items as done.
    pub fn inc(&self, count: u64) {
        self.done.fetch_add(count, Ordering::Relaxed);
        self.bar.inc(count);
        let Some(last) = &self.last_line else { return };
        let Ok(mut last) = last.try_lock() else { return };
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            eprintln!("{}", self.line());
        }
    }

    /// A short remark shown behind the numbers, such as the current file or loss.
    pub fn message(&self, text: impl Into<String>) {
        let text = text.into();
        self.bar.set_message(text.clone());
        if let Ok(mut message) = self.message.lock() {
            *message = text;
        }
    }

    /// Prints a line above the bar without disturbing it.
    pub fn println(&self, line: impl AsRef<str>) {
        if self.last_line.is_some() {
            eprintln!("{}", line.as_ref());
        } else {
            self.bar.println(line);
        }
    }

    /// Ends the display; prints the final count when nobody watches and the
    /// work was long enough to be worth a line.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
        if self.last_line.is_some() && self.started.elapsed() >= LINE_EVERY {
            eprintln!("{}", self.line());
        }
    }

    fn line(&self) -> String {
        let done = self.done.load(Ordering::Relaxed);
        let message = self.message.lock().map(|m| m.clone()).unwrap_or_default();
        plain_line(&self.what, done, self.total, self.started.elapsed(), &message)
    }
}

/// `reading pages: 50 of 200, 5.0/s, 30 s left, page7.png`
fn plain_line(what: &str, done: u64, total: Option<u64>, elapsed: Duration, message: &str) -> String {
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-9);
    let mut line = match total {
        Some(total) => format!("{what}: {done} of {total}"),
        None => format!("{what}: {done}"),
    };
    line += &format!(", {rate:.1}/s");
    if let Some(total) = total
        && done > 0
        && done < total
    {
        line += &format!(", {:.0} s left", (total - done) as f64 / rate);
    }
    if !message.is_empty() {
        line += &format!(", {message}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rate_and_time_left() {
        let line = plain_line("reading", 50, Some(200), Duration::from_secs(10), "p7.png");
        assert_eq!(line, "reading: 50 of 200, 5.0/s, 30 s left, p7.png");
        let line = plain_line("reading", 50, None, Duration::from_secs(100), "");
        assert_eq!(line, "reading: 50, 0.5/s");
    }
}
