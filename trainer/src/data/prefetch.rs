//! Worker threads that prepare the batches of coming steps, in order and with bounded memory.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

struct State<T> {
    ready: BTreeMap<u64, Result<T>>,
    /// The next step a worker takes.
    next: u64,
    /// The next step that is handed out.
    wanted: u64,
    end: u64,
    stopped: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    depth: u64,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands out `make(step)` for consecutive steps; at most `depth` of them exist ahead of time.
pub struct Prefetcher<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    workers: Vec<JoinHandle<()>>,
    waited: Duration,
}

impl<T: Send + 'static> Prefetcher<T> {
    /// Starts `workers` threads on the steps `first..end`.
    pub fn start(
        first: u64,
        end: u64,
        workers: usize,
        depth: usize,
        make: impl Fn(u64) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                ready: BTreeMap::new(),
                next: first,
                wanted: first,
                end,
                stopped: false,
            }),
            changed: Condvar::new(),
            depth: depth.max(1) as u64,
        });
        let make = Arc::new(make);
        let workers = (0..workers.max(1))
            .map(|_| {
                let (shared, make) = (Arc::clone(&shared), Arc::clone(&make));
                std::thread::spawn(move || work(&shared, &*make))
            })
            .collect();
        Prefetcher {
            shared,
            workers,
            waited: Duration::ZERO,
        }
    }

    /// The next step's batch; waits until it is ready.
    ///
    /// # Errors
    /// Preparing it failed, or there are no more steps.
    pub fn next_batch(&mut self) -> Result<T> {
        let asked = Instant::now();
        let mut state = self.shared.lock();
        let step = state.wanted;
        if step >= state.end {
            bail!("no batches after step {}", state.end);
        }
        let batch = loop {
            if let Some(batch) = state.ready.remove(&step) {
                break batch;
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.wanted += 1;
        drop(state);
        self.shared.changed.notify_all();
        self.waited += asked.elapsed();
        batch
    }

    /// Time spent waiting in [`Prefetcher::next_batch`] since the last call of this function.
    pub fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }
}

fn work<T>(shared: &Shared<T>, make: &dyn Fn(u64) -> Result<T>) {
    loop {
        let step = {
            let mut state = shared.lock();
            while !state.stopped && state.next < state.end && state.next >= state.wanted + shared.depth {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stopped || state.next >= state.end {
                return;
            }
            state.next += 1;
            state.next - 1
        };
        let batch = catch_unwind(AssertUnwindSafe(|| make(step)))
            .unwrap_or_else(|_| Err(anyhow!("preparing the batch of step {step} failed in its thread")));
        shared.lock().ready.insert(step, batch);
        shared.changed.notify_all();
    }
}

impl<T: Send + 'static> Drop for Prefetcher<T> {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            // A worker never panics past `catch_unwind`; there is nothing to report.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn batches_come_in_order_whatever_the_threads() {
        for workers in [1, 2, 5] {
            let mut prefetcher = Prefetcher::start(3, 60, workers, 4, |step| {
                if step % 3 == 0 {
                    std::thread::yield_now();
                }
                Ok(step * 2)
            });
            for step in 3..60 {
                assert_eq!(prefetcher.next_batch().unwrap(), step * 2);
            }
            assert!(prefetcher.next_batch().is_err());
        }
    }

    #[test]
    fn no_more_than_the_depth_is_prepared_ahead() {
        let made = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&made);
        let mut prefetcher = Prefetcher::start(0, 1000, 3, 5, move |step| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(step)
        });
        for step in 0..20u64 {
            prefetcher.next_batch().unwrap();
            assert!(made.load(Ordering::SeqCst) <= step + 1 + 5, "depth exceeded at {step}");
        }
    }

    #[test]
    fn errors_and_panics_reach_the_caller_at_their_step() {
        let mut prefetcher = Prefetcher::start(0, 4, 2, 2, |step| match step {
            1 => bail!("broken row"),
            2 => panic!("a bug"),
            _ => Ok(step),
        });
        assert_eq!(prefetcher.next_batch().unwrap(), 0);
        assert_eq!(prefetcher.next_batch().unwrap_err().to_string(), "broken row");
        assert!(prefetcher.next_batch().unwrap_err().to_string().contains("step 2"));
        assert_eq!(prefetcher.next_batch().unwrap(), 3);
    }
}
