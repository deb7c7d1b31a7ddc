//! Exact and near duplicates among utterances.
//!
//! Exact: equal letters and digits, case aside. Near: MinHash (Broder 1997) of
//! word trigrams in English and character quadrigrams in Chinese; candidates
//! share a band of the signature, and count as duplicates when the estimated
//! Jaccard similarity reaches [`NEAR`].

use std::collections::{HashMap, HashSet};

use dataset::hash::sha256_hex;

/// Hashes in a signature.
const HASHES: usize = 32;
/// Rows of a band; 8 bands of 4 find pairs of similarity 0.8 with probability 0.985.
const ROWS: usize = 4;
/// Estimated Jaccard similarity from which two utterances are one.
pub const NEAR: f64 = 0.8;

/// What an utterance is to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Not seen before.
    New,
    /// The same words came before.
    Exact,
    /// Nearly the same words came before.
    Near,
}

/// Utterances seen so far, in the order they came.
#[derive(Default)]
pub struct Dedup {
    exact: HashSet<u128>,
    signatures: Vec<[u32; HASHES]>,
    bands: HashMap<(u8, u64), Vec<u32>>,
}

impl Dedup {
    /// Looks an utterance up and remembers it when it is new.
    pub fn check(&mut self, text: &str) -> Seen {
        let plain = plain(text);
        if !self.exact.insert(hash128(&plain)) {
            return Seen::Exact;
        }
        let Some(signature) = signature(&plain) else {
            return Seen::New;
        };
        let keys: Vec<(u8, u64)> = signature
            .chunks(ROWS)
            .enumerate()
            .map(|(band, rows)| {
                (
                    band as u8,
                    rows.iter().fold(0xcbf2_9ce4_8422_2325, |h, &r| mix(h ^ u64::from(r))),
                )
            })
            .collect();
        for key in &keys {
            for &other in self.bands.get(key).into_iter().flatten() {
                let same = self.signatures[other as usize]
                    .iter()
                    .zip(&signature)
                    .filter(|(a, b)| a == b)
                    .count();
                if same as f64 >= NEAR * HASHES as f64 {
                    return Seen::Near;
                }
            }
        }
        let index = self.signatures.len() as u32;
        self.signatures.push(signature);
        for key in keys {
            self.bands.entry(key).or_default().push(index);
        }
        Seen::New
    }
}

/// Letters and digits in lower case; a blank between Latin words.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() {
            out.extend(c.to_lowercase());
        } else if !out.ends_with(' ') && !out.is_empty() {
            out.push(' ');
        }
    }
    let trimmed = out.trim_end().len();
    out.truncate(trimmed);
    out
}

fn hash128(text: &str) -> u128 {
    u128::from_str_radix(&sha256_hex(text.as_bytes())[..32], 16).unwrap_or(0)
}

/// The finaliser of SplitMix64: a fixed, well-mixed permutation of 64 bits.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn hash_shingle(parts: &[&str]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for b in part.bytes() {
            h = (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
        h = mix(h);
    }
    h
}

/// The MinHash signature, none for texts too short to have neighbours.
fn signature(plain: &str) -> Option<[u32; HASHES]> {
    let words: Vec<&str> = plain.split(' ').collect();
    let chinese = plain.chars().filter(|c| matches!(c, '\u{3400}'..='\u{9fff}')).count() * 5 >= plain.chars().count();
    let shingles: Vec<u64> = if chinese {
        let chars: Vec<String> = plain.chars().filter(|c| *c != ' ').map(String::from).collect();
        chars
            .windows(4)
            .map(|w| hash_shingle(&[&w[0], &w[1], &w[2], &w[3]]))
            .collect()
    } else {
        words.windows(3).map(hash_shingle).collect()
    };
    if shingles.len() < 3 {
        return None;
    }
    let mut out = [u32::MAX; HASHES];
    for shingle in shingles {
        for (k, slot) in out.iter_mut().enumerate() {
            let h = (mix(shingle ^ mix(k as u64 + 1)) >> 32) as u32;
            *slot = (*slot).min(h);
        }
    }
    Some(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn equal_and_nearly_equal_texts_are_found() {
        let mut dedup = Dedup::default();
        let long = "Age related macular degeneration is a disease that blurs the sharp central vision needed for activities such as reading and driving and it affects older people";
        assert_eq!(dedup.check(long), Seen::New);
        assert_eq!(dedup.check(&long.to_uppercase().replace(' ', "  ")), Seen::Exact);
        assert_eq!(dedup.check(&format!("{long} mostly")), Seen::Near);
        assert_eq!(
            dedup.check("Glaucoma is a group of diseases that damage the optic nerve of the eye"),
            Seen::New
        );
        assert_eq!(
            dedup.check("黄斑区可见类圆形裂孔，孔缘囊样水肿，视网膜浅脱离，玻璃体后脱离"),
            Seen::New
        );
        assert_eq!(
            dedup.check("黄斑区可见类圆形裂孔，孔缘囊样水肿，视网膜浅脱离，玻璃体后脱离等"),
            Seen::Near
        );
        assert_eq!(dedup.check("视盘边界清楚，颜色红润"), Seen::New);
    }
}
