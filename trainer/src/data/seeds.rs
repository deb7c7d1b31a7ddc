//! Generators for one purpose at one position.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// What a generator is for; each purpose has its own stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Order of the public images within an epoch.
    Order,
    /// Category, attribute and definition of a drawn image.
    Caption,
    /// Augmentation of a drawn image.
    Augment,
    /// Draws of the MM-Retinal batch.
    Pairs,
    /// Masking of an utterance.
    Mask,
    /// Choice of held-out groups.
    Heldout,
}

/// The generator of `purpose` at `position` (an epoch, a step or a sample's place) under `seed`.
pub fn generator(seed: u64, purpose: Purpose, position: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ ((purpose as u64 + 1) << 56));
    rng.set_stream(position);
    rng
}

/// A number that depends on `seed` and `text` alone; orders groups independently of their place.
pub fn hash_order(seed: u64, text: &str) -> u64 {
    let digest = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(text.as_bytes())
        .finalize();
    let mut first = [0u8; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn streams_differ_by_seed_purpose_and_position() {
        let draw = |seed, purpose, position| generator(seed, purpose, position).random::<u64>();
        let base = draw(1, Purpose::Order, 0);
        assert_eq!(base, draw(1, Purpose::Order, 0));
        for other in [
            draw(2, Purpose::Order, 0),
            draw(1, Purpose::Mask, 0),
            draw(1, Purpose::Order, 1),
        ] {
            assert_ne!(base, other);
        }
        assert_ne!(hash_order(1, "a"), hash_order(2, "a"));
        assert_ne!(hash_order(1, "a"), hash_order(1, "b"));
    }
}
