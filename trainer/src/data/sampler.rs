//! Which samples make up the batch of a step.

use rand::RngExt;
use rand::seq::SliceRandom;

use super::seeds::{Purpose, generator};

/// One sample of a public batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Row, 0-based.
    pub index: usize,
    /// Place in the endless stream of draws; seeds the sample's own generators.
    pub position: u64,
}

/// Draws without replacement: the stream is one permutation of all rows an epoch, joined.
pub struct EpochSampler {
    count: usize,
    batch: usize,
    seed: u64,
    cached: Option<(u64, Vec<u32>)>,
}

impl EpochSampler {
    /// A sampler over `count` rows (at least 1) in batches of `batch` (at least 1).
    pub fn new(count: usize, batch: usize, seed: u64) -> Self {
        EpochSampler {
            count: count.max(1),
            batch: batch.max(1),
            seed,
            cached: None,
        }
    }

    /// Steps until every row was drawn once, rounded up.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.count as u64).div_ceil(self.batch as u64)
    }

    /// The samples of `step`, the same whenever it is asked.
    pub fn draw(&mut self, step: u64) -> Vec<Draw> {
        let start = step * self.batch as u64;
        (start..start + self.batch as u64)
            .map(|position| Draw {
                index: self.row(position),
                position,
            })
            .collect()
    }

    fn row(&mut self, position: u64) -> usize {
        let (epoch, place) = (position / self.count as u64, (position % self.count as u64) as usize);
        if self.cached.as_ref().is_none_or(|(cached, _)| *cached != epoch) {
            let mut order: Vec<u32> = (0..self.count as u32).collect();
            order.shuffle(&mut generator(self.seed, Purpose::Order, epoch));
            self.cached = Some((epoch, order));
        }
        self.cached.as_ref().map_or(0, |(_, order)| order[place] as usize)
    }
}

/// The MM-Retinal batch of `step`: `batch` uniform draws with replacement from `count` rows.
pub fn draw_with_replacement(count: usize, batch: usize, seed: u64, step: u64) -> Vec<usize> {
    let mut rng = generator(seed, Purpose::Pairs, step);
    (0..batch).map(|_| rng.random_range(0..count.max(1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_draws_every_row_once_in_another_order() {
        let mut sampler = EpochSampler::new(10, 4, 7);
        let rows: Vec<usize> = (0..5)
            .flat_map(|step| sampler.draw(step))
            .map(|draw| draw.index)
            .collect();
        for epoch in rows.chunks(10) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(rows[..10], rows[10..]);
        assert_eq!(sampler.steps_per_epoch(), 3);
    }

    #[test]
    fn a_step_is_the_same_in_any_order_of_asking() {
        let forward: Vec<_> = {
            let mut sampler = EpochSampler::new(7, 3, 1);
            (0..9).map(|step| sampler.draw(step)).collect()
        };
        let mut sampler = EpochSampler::new(7, 3, 1);
        for step in (0..9).rev() {
            assert_eq!(sampler.draw(step), forward[step as usize]);
        }
    }

    #[test]
    fn replacement_draws_cover_all_rows_evenly() {
        let mut counts = [0; 5];
        for step in 0..400 {
            for row in draw_with_replacement(5, 8, 3, step) {
                counts[row] += 1;
            }
        }
        assert!(counts.iter().all(|count| (540..740).contains(count)), "{counts:?}");
    }
}
