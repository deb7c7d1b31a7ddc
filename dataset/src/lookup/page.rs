//! Parquet pages in memory: their headers (Thrift compact protocol), levels and
//! dictionary codes (the RLE and bit-packing hybrid), and byte-array values.
//! <https://parquet.apache.org/docs/file-format/>
//!
//! `None` means "out of the ordinary": the caller then leaves the row group to
//! the parquet crate, which reads everything and has the error messages.

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    /// Values that the codes of later pages point at.
    Dictionary,
    /// Levels and values of rows, version 1 of the layout.
    Data {
        /// Encoding number of the values.
        encoding: i64,
        /// Encoding number of the definition levels.
        definition_levels: i64,
        /// Encoding number of the repetition levels.
        repetition_levels: i64,
    },
}

/// A page header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageHeader {
    pub kind: PageKind,
    /// Values (for data pages: with nulls).
    pub values: usize,
    /// Bytes behind the header, as stored and as decompressed.
    pub stored: usize,
    pub plain: usize,
}

/// `Encoding.PLAIN`, `PLAIN_DICTIONARY`, `RLE` and `RLE_DICTIONARY` of parquet.thrift.
pub(super) const PLAIN: i64 = 0;
const PLAIN_DICTIONARY: i64 = 2;
const RLE: i64 = 3;
const RLE_DICTIONARY: i64 = 8;

impl PageKind {
    /// Whether the values are codes of a dictionary.
    pub fn has_codes(self) -> bool {
        matches!(self, Self::Data { encoding, .. } if encoding == PLAIN_DICTIONARY || encoding == RLE_DICTIONARY)
    }

    /// Whether values and levels are stored in a way that this module reads.
    pub fn is_known(self) -> bool {
        match self {
            Self::Dictionary => true,
            Self::Data {
                encoding,
                definition_levels,
                repetition_levels,
            } => (encoding == PLAIN || self.has_codes()) && definition_levels == RLE && repetition_levels == RLE,
        }
    }
}

/// A cursor over bytes.
pub(super) struct Bytes<'a> {
    all: &'a [u8],
    pub at: usize,
}

impl<'a> Bytes<'a> {
    pub fn new(all: &'a [u8]) -> Self {
        Self { all, at: 0 }
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.all.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.all.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// A number of four bytes, the lowest first.
    pub fn length(&mut self) -> Option<usize> {
        let bytes: [u8; 4] = self.take(4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    }

    /// Unsigned LEB128.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// The next field of a Thrift struct: id and type; `None` inside at its end.
    fn field(&mut self, last: &mut i64) -> Option<Option<(i64, u8)>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Some(None);
        }
        let step = i64::from(byte >> 4);
        *last = if step == 0 {
            self.zigzag()?
        } else {
            last.checked_add(step)?
        };
        Some(Some((*last, byte & 0x0F)))
    }

    /// Steps over a value of a Thrift type. Page headers nest two deep.
    fn skip(&mut self, kind: u8, depth: u8) -> Option<()> {
        match kind {
            1 | 2 => Some(()),
            3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.take(8).map(drop),
            8 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.take(length).map(drop)
            }
            12 if depth > 0 => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth - 1)?;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// The integer fields 1 to 4 of a Thrift struct; all others are skipped.
    fn integers(&mut self) -> Option<[Option<i64>; 5]> {
        let mut found = [None; 5];
        let mut last = 0;
        while let Some((id, kind)) = self.field(&mut last)? {
            match usize::try_from(id).ok().and_then(|id| found.get_mut(id)) {
                Some(slot) if (4..=6).contains(&kind) => *slot = Some(self.zigzag()?),
                _ => self.skip(kind, 2)?,
            }
        }
        Some(found)
    }

    /// A page header; the cursor then stands at the page's bytes.
    pub fn page_header(&mut self) -> Option<PageHeader> {
        let (mut kind, mut plain, mut stored) = (None, None, None);
        let (mut data, mut dictionary) = (None, None);
        let mut last = 0;
        while let Some((id, field)) = self.field(&mut last)? {
            match (id, field) {
                (1, 4..=6) => kind = Some(self.zigzag()?),
                (2, 4..=6) => plain = Some(self.zigzag()?),
                (3, 4..=6) => stored = Some(self.zigzag()?),
                (5, 12) => data = Some(self.integers()?),
                (7, 12) => dictionary = Some(self.integers()?),
                _ => self.skip(field, 3)?,
            }
        }
        let (kind, values) = match (kind?, data, dictionary) {
            (0, Some([_, values, encoding, definition, repetition]), _) => (
                PageKind::Data {
                    encoding: encoding?,
                    definition_levels: definition?,
                    repetition_levels: repetition?,
                },
                values?,
            ),
            (2, _, Some([_, values, encoding, ..])) if matches!(encoding?, PLAIN | PLAIN_DICTIONARY) => {
                (PageKind::Dictionary, values?)
            }
            _ => return None,
        };
        Some(PageHeader {
            kind,
            values: usize::try_from(values).ok()?,
            stored: usize::try_from(stored?).ok()?,
            plain: usize::try_from(plain?).ok()?,
        })
    }

    /// `count` numbers of the hybrid encoding, `width` bits each, up to `limit`,
    /// in place of what `numbers` held.
    fn hybrid(&mut self, width: u8, count: usize, limit: u32, numbers: &mut Vec<u32>) -> Option<()> {
        if width > 24 {
            return None;
        }
        numbers.clear();
        while numbers.len() < count {
            let header = self.varint()?;
            let left = count - numbers.len();
            let run = usize::try_from(header >> 1).ok()?;
            if header & 1 == 0 {
                let bytes = self.take(usize::from(width).div_ceil(8))?;
                let value = bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte));
                numbers.resize(numbers.len() + run.min(left), value);
            } else {
                // Groups of eight numbers, the lowest bits first; the last group may be cut.
                let wanted = run.checked_mul(8)?.min(left);
                let whole = run.checked_mul(usize::from(width))?.min(self.all.len() - self.at);
                unpack(self.take(whole)?, width, wanted, numbers)?;
            }
        }
        numbers.iter().all(|&number| number <= limit).then_some(())
    }

    /// Levels of a version 1 data page: their length, then the hybrid encoding.
    pub fn levels(&mut self, highest: u32, count: usize, levels: &mut Vec<u32>) -> Option<()> {
        let length = self.length()?;
        let width = u8::try_from(32 - highest.leading_zeros()).ok()?;
        Bytes::new(self.take(length)?).hybrid(width, count, highest, levels)
    }

    /// Codes of a dictionary of `entries`.
    pub fn codes(&mut self, count: usize, entries: usize, codes: &mut Vec<u32>) -> Option<()> {
        if count == 0 {
            codes.clear();
            return Some(());
        }
        let width = self.byte()?;
        self.hybrid(width, count, u32::try_from(entries.checked_sub(1)?).ok()?, codes)
    }

    /// Where the next value of `width` bytes lies, or of its own length if that is `None`.
    pub fn value(&mut self, width: Option<usize>) -> Option<Span> {
        let length = match width {
            Some(width) => width,
            None => self.length()?,
        };
        let start = u32::try_from(self.at).ok()?;
        self.take(length)?;
        Some(Span {
            start,
            length: u32::try_from(length).ok()?,
        })
    }
}

/// A piece of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub start: u32,
    pub length: u32,
}

impl Span {
    pub fn of(self, bytes: &[u8]) -> Option<&[u8]> {
        let start = usize::try_from(self.start).ok()?;
        bytes.get(start..start.checked_add(usize::try_from(self.length).ok()?)?)
    }
}

/// Bit-packed numbers of up to 24 bits.
fn unpack(bytes: &[u8], width: u8, count: usize, numbers: &mut Vec<u32>) -> Option<()> {
    let width = usize::from(width);
    if count.checked_mul(width)?.div_ceil(8) > bytes.len() {
        return None;
    }
    let mask = (1_u32 << width) - 1;
    for number in 0..count {
        let bit = number * width;
        let from = bit / 8;
        // 24 bits at an offset of up to 7 lie within four bytes.
        let four = match bytes.get(from..from + 4) {
            Some(four) => u32::from_le_bytes(four.try_into().ok()?),
            None => bytes[from.min(bytes.len())..]
                .iter()
                .rev()
                .fold(0, |sum, &byte| sum << 8 | u32::from(byte)),
        };
        numbers.push(four >> (bit % 8) & mask);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hybrid_runs_and_packed_groups() {
        fn hybrid(bytes: &[u8], width: u8, count: usize, limit: u32) -> Option<Vec<u32>> {
            let mut numbers = vec![9];
            let outcome = Bytes::new(bytes).hybrid(width, count, limit, &mut numbers);
            outcome.map(|()| numbers)
        }
        // The example of the format's description: 0 to 7 in three bits.
        let packed = [0b0000_0011, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        assert_eq!(hybrid(&packed, 3, 8, 7).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(hybrid(&packed, 3, 5, 7).unwrap(), [0, 1, 2, 3, 4]);
        assert!(hybrid(&packed, 3, 8, 6).is_none(), "a code too high");
        // Four times 5, then one group.
        let mixed = [8, 5, 0b0000_0011, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        assert_eq!(hybrid(&mixed, 3, 6, 7).unwrap(), [5, 5, 5, 5, 0, 1]);
        // Width 0: nothing but the run.
        assert_eq!(hybrid(&[6], 0, 3, 0).unwrap(), [0, 0, 0]);
        assert!(hybrid(&packed[..2], 3, 8, 7).is_none(), "cut off");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, width in 0_u8..32, count in 0_usize..300) {
            let mut cursor = Bytes::new(&bytes);
            if let Some(header) = cursor.page_header() {
                prop_assert!(cursor.at <= bytes.len());
                let _ = header.kind.is_known();
            }
            let _ = Bytes::new(&bytes).hybrid(width, count, u32::MAX, &mut Vec::new());
            let _ = Bytes::new(&bytes).levels(3, count, &mut Vec::new());
            let _ = Bytes::new(&bytes).codes(count, 100, &mut Vec::new());
            if let Some(span) = Bytes::new(&bytes).value(None) {
                prop_assert!(span.of(&bytes).is_some());
            }
        }
    }
}
