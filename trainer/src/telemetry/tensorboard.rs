//! TensorBoard event files: TFRecords of `Event` messages with scalar summaries.
//!
//! Written by hand because the format is three small messages: `Event { wall_time = 1 (double),
//! step = 2 (int64), file_version = 3 (string), summary = 5 }`, `Summary { value = 1 }`, `Value
//! { tag = 1 (string), simple_value = 2 (float) }`. A record is its length (8 bytes), the masked
//! CRC-32C of the length, the data, and the masked CRC-32C of the data, all little-endian.
//!
//! The wall time is the step number, so that the file depends on nothing but the run.

use std::io::{self, Write};

/// Offset of TensorFlow's masked CRC.
const MASK_DELTA: u32 = 0xa282_ead8;

fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(MASK_DELTA)
}

/// Writes one TFRecord.
///
/// # Errors
/// The sink fails.
pub fn write_record(sink: &mut impl Write, data: &[u8]) -> io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    sink.write_all(&length)?;
    sink.write_all(&masked_crc(&length).to_le_bytes())?;
    sink.write_all(data)?;
    sink.write_all(&masked_crc(data).to_le_bytes())
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Field with length-delimited content (wire type 2).
fn bytes_field(field: u64, content: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn event_head(step: u64, out: &mut Vec<u8>) {
    out.push(1 << 3 | 1);
    out.extend_from_slice(&(step as f64).to_le_bytes());
    out.push(2 << 3);
    varint(step, out);
}

/// The first event of every file.
pub fn version_event() -> Vec<u8> {
    let mut event = Vec::new();
    event_head(0, &mut event);
    bytes_field(3, b"brain.Event:2", &mut event);
    event
}

/// An event with scalar values of one step.
pub fn scalars_event<'a>(step: u64, values: impl Iterator<Item = (&'a str, f64)>) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in values {
        let mut message = Vec::new();
        bytes_field(1, tag.as_bytes(), &mut message);
        message.push(2 << 3 | 5);
        message.extend_from_slice(&(value as f32).to_le_bytes());
        bytes_field(1, &message, &mut summary);
    }
    let mut event = Vec::new();
    event_head(step, &mut event);
    bytes_field(5, &summary, &mut event);
    event
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read_varint(data: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = data[0];
            *data = &data[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
            shift += 7;
        }
    }

    /// An independent reader of the wire format: (field, payload) pairs.
    fn fields(mut data: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut found = Vec::new();
        while !data.is_empty() {
            let key = read_varint(&mut data);
            let payload = match key & 7 {
                0 => read_varint(&mut data).to_le_bytes().to_vec(),
                1 => data[..8].to_vec(),
                2 => {
                    let length = read_varint(&mut data) as usize;
                    data[..length].to_vec()
                }
                5 => data[..4].to_vec(),
                other => panic!("wire type {other}"),
            };
            if key & 7 != 0 {
                data = &data[payload.len()..];
            }
            found.push((key >> 3, payload));
        }
        found
    }

    fn records(mut file: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while !file.is_empty() {
            let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            assert_eq!(
                u32::from_le_bytes(file[8..12].try_into().unwrap()),
                masked_crc(&file[..8])
            );
            let data = file[12..12 + length].to_vec();
            assert_eq!(
                u32::from_le_bytes(file[12 + length..16 + length].try_into().unwrap()),
                masked_crc(&data)
            );
            found.push(data);
            file = &file[16 + length..];
        }
        found
    }

    #[test]
    fn a_reader_gets_back_what_was_written() {
        let mut file = Vec::new();
        write_record(&mut file, &version_event()).unwrap();
        let values = [("loss/total", 3.25), ("lr", 1e-4)];
        write_record(&mut file, &scalars_event(300, values.into_iter())).unwrap();
        let records = records(&file);
        assert_eq!(records.len(), 2);
        assert!(fields(&records[0]).contains(&(3, b"brain.Event:2".to_vec())));
        let event = fields(&records[1]);
        assert_eq!(event[1], (2, 300u64.to_le_bytes().to_vec()));
        assert_eq!(event[2].0, 5);
        let read: Vec<(String, f32)> = fields(&event[2].1)
            .into_iter()
            .map(|(_, value)| {
                let parts = fields(&value);
                let tag = String::from_utf8(parts[0].1.clone()).unwrap();
                (tag, f32::from_le_bytes(parts[1].1.clone().try_into().unwrap()))
            })
            .collect();
        assert_eq!(read, [("loss/total".to_owned(), 3.25), ("lr".to_owned(), 1e-4)]);
    }

    #[test]
    fn the_crc_is_castagnoli_masked() {
        // Known value: CRC-32C of "123456789" is 0xe3069283.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(
            masked_crc(b"123456789"),
            0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8)
        );
    }
}
