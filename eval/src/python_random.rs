//! `random.seed(int)` and `random.shuffle(list)` of CPython, bit for bit.
//!
//! The published folds come from this generator, so the same rows must come out here.

use rand_mt::Mt;

/// CPython's `random.Random`, as far as the evaluation protocol uses it.
pub struct PythonRandom {
    generator: Mt,
}

impl PythonRandom {
    /// `random.seed(seed)`: Mersenne Twister, `init_by_array` over the 32-bit digits of the seed, lowest first.
    pub fn new(seed: u64) -> Self {
        let low = (seed & 0xffff_ffff) as u32;
        let high = (seed >> 32) as u32;
        let key = if high == 0 { vec![low] } else { vec![low, high] };
        Self {
            generator: Mt::new_with_key(key),
        }
    }

    /// `random.getrandbits(bits)` for 1..=32 bits.
    fn bits(&mut self, bits: u32) -> u32 {
        self.generator.next_u32() >> (32 - bits)
    }

    /// `random._randbelow(n)`: uniform in 0..n by rejection, n from 1 to 2^32 - 1.
    fn below(&mut self, n: u32) -> u32 {
        let bits = 32 - n.leading_zeros();
        loop {
            let candidate = self.bits(bits);
            if candidate < n {
                return candidate;
            }
        }
    }

    /// `random.shuffle(items)`: Fisher-Yates from the end. At most 2^32 - 1 items.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i as u32 + 1) as usize;
            items.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffles_as_cpython_does() {
        let shuffled = |seed, n: u32| {
            let mut rows: Vec<u32> = (0..n).collect();
            PythonRandom::new(seed).shuffle(&mut rows);
            rows
        };
        assert_eq!(
            shuffled(0, 20),
            [10, 18, 16, 14, 0, 17, 11, 2, 3, 9, 5, 7, 4, 19, 6, 15, 8, 1, 13, 12]
        );
        assert_eq!(shuffled(1, 10), [6, 8, 9, 7, 5, 3, 0, 4, 1, 2]);
        // a seed of two 32-bit digits
        assert_eq!(shuffled(1 << 40, 10), [7, 8, 2, 4, 6, 0, 3, 9, 5, 1]);
        assert!(shuffled(3, 0).is_empty());
        assert_eq!(shuffled(3, 1), [0]);
    }
}
