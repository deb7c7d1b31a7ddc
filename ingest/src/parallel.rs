//! Work on many items with a state for each thread, results in input order,
//! memory bounded whatever the number of items.

use std::sync::mpsc::sync_channel;
use std::sync::{Condvar, Mutex, PoisonError};

/// Results that may wait for a slower one before them, per worker.
const AHEAD_PER_JOB: usize = 4;

/// Number of worker threads: 0 stands for one per core.
pub fn resolve_jobs(jobs: usize) -> usize {
    if jobs == 0 {
        std::thread::available_parallelism().map_or(1, usize::from)
    } else {
        jobs
    }
}

struct Progress {
    next: usize,
    consumed: usize,
    stop: bool,
}

/// Runs `work` on every item with `jobs` threads; each thread makes one `state`.
/// `consume` gets the results in input order on the calling thread; its first
/// error stops the run and is returned.
pub fn map_ordered<I: Sync, S, T: Send, E>(
    items: &[I],
    jobs: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &I) -> T + Sync,
    mut consume: impl FnMut(usize, T) -> Result<(), E>,
) -> Result<(), E> {
    let jobs = resolve_jobs(jobs).min(items.len().max(1));
    let ahead = AHEAD_PER_JOB * jobs;
    let progress = Mutex::new(Progress {
        next: 0,
        consumed: 0,
        stop: false,
    });
    let moved = Condvar::new();
    let lock = || progress.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel::<(usize, T)>(ahead);
        for _ in 0..jobs {
            let sender = sender.clone();
            let (lock, moved, state, work) = (&lock, &moved, &state, &work);
            scope.spawn(move || {
                let mut own = None;
                loop {
                    let index = {
                        let mut p = lock();
                        while !p.stop && p.next < items.len() && p.next >= p.consumed + ahead {
                            p = moved.wait(p).unwrap_or_else(PoisonError::into_inner);
                        }
                        if p.stop || p.next >= items.len() {
                            return;
                        }
                        p.next += 1;
                        p.next - 1
                    };
                    let result = work(own.get_or_insert_with(state), &items[index]);
                    if sender.send((index, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting: std::collections::BTreeMap<usize, T> = std::collections::BTreeMap::new();
        let mut due = 0;
        let mut outcome = Ok(());
        'all: while let Ok((index, result)) = receiver.recv() {
            waiting.insert(index, result);
            while let Some(result) = waiting.remove(&due) {
                if let Err(error) = consume(due, result) {
                    outcome = Err(error);
                    break 'all;
                }
                due += 1;
                lock().consumed = due;
                moved.notify_all();
            }
        }
        lock().stop = true;
        moved.notify_all();
        drop(receiver);
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn order_is_kept_and_few_results_wait() {
        let items: Vec<usize> = (0..500).collect();
        for jobs in [1, 2, 7] {
            let begun = AtomicUsize::new(0);
            let mut seen = Vec::new();
            let result: Result<(), ()> = map_ordered(
                &items,
                jobs,
                || 0usize,
                |calls, &item| {
                    *calls += 1;
                    begun.fetch_add(1, Ordering::SeqCst);
                    item * 2
                },
                |index, value| {
                    assert!(begun.load(Ordering::SeqCst) <= index + 1 + AHEAD_PER_JOB * jobs);
                    seen.push(value);
                    Ok(())
                },
            );
            assert_eq!(result, Ok(()));
            assert_eq!(seen, items.iter().map(|i| i * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_stops_the_run() {
        let items: Vec<usize> = (0..100).collect();
        let result = map_ordered(
            &items,
            3,
            || (),
            |(), &i| i,
            |_, value| {
                if value == 10 { Err("enough") } else { Ok(()) }
            },
        );
        assert_eq!(result, Err("enough"));
    }
}
