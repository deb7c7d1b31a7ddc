//! Files read at a place, without a shared cursor: many threads can read one
//! open file, and pieces that are needed together come in one call.

use bytes::{Buf, Bytes};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// An open file.
#[derive(Debug, Clone)]
pub(crate) struct FileAt {
    file: Arc<File>,
    length: u64,
}

impl FileAt {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(file),
            length,
        })
    }

    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&*self.file, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&*self.file, buffer, offset)
    }

    /// Exactly `length` bytes from `start`.
    fn bytes_at(&self, start: u64, length: usize) -> Result<Bytes> {
        self.check(start, length)?;
        let mut buffer = vec![0; length];
        self.read_exact_at(&mut buffer, start)?;
        Ok(buffer.into())
    }

    /// Whether the file has so many bytes there: before memory is taken for them.
    ///
    /// # Errors
    /// It has not.
    pub fn check(&self, start: u64, length: usize) -> Result<()> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} are beyond the end of the file"
            )));
        }
        Ok(())
    }

    /// Fills `buffer` with the bytes from `start` on.
    ///
    /// # Errors
    /// The file has fewer, or cannot be read.
    pub fn read_exact_at(&self, buffer: &mut [u8], start: u64) -> Result<()> {
        let length = buffer.len();
        self.check(start, length)?;
        let mut read = 0;
        while read < length {
            let count = match self.read_at(&mut buffer[read..], start + read as u64) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            };
            if count == 0 {
                return Err(ParquetError::EOF(format!(
                    "wanted {length} bytes at {start}, the file gave {read}"
                )));
            }
            read += count;
        }
        Ok(())
    }
}

/// A cursor of its own.
pub(crate) struct Cursor {
    file: FileAt,
    offset: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl Length for FileAt {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for FileAt {
    type T = BufReader<Cursor>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(BufReader::new(Cursor {
            file: self.clone(),
            offset: start,
        }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.bytes_at(start, length)
    }
}

/// A file some pieces of which are already in memory.
pub(crate) struct Windowed {
    file: FileAt,
    windows: Vec<(u64, Bytes)>,
}

impl Windowed {
    /// Reads the ranges `(start, end)` now; the rest of the file stays reachable.
    pub fn new(file: &FileAt, ranges: &[(u64, u64)]) -> Result<Self> {
        let windows = ranges
            .iter()
            .map(|&(start, end)| {
                let length = usize::try_from(end - start).map_err(|e| ParquetError::General(e.to_string()))?;
                Ok((start, file.bytes_at(start, length)?))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            file: file.clone(),
            windows,
        })
    }

    /// What is in memory from `start` on.
    fn held_from(&self, start: u64) -> Option<Bytes> {
        self.windows.iter().find_map(|(first, bytes)| {
            let skip = usize::try_from(start.checked_sub(*first)?).ok()?;
            (skip < bytes.len()).then(|| bytes.slice(skip..))
        })
    }
}

impl Length for Windowed {
    fn len(&self) -> u64 {
        self.file.length
    }
}

impl ChunkReader for Windowed {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        match self.held_from(start) {
            // Headers that go on behind the window are read from the file.
            Some(bytes) => {
                let rest = start + bytes.len() as u64;
                Ok(Box::new(bytes.reader().chain(self.file.get_read(rest)?)))
            }
            None => Ok(Box::new(self.file.get_read(start)?)),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match self.held_from(start) {
            Some(bytes) if bytes.len() >= length => Ok(bytes.slice(..length)),
            _ => self.file.bytes_at(start, length),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn windows_and_file_give_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..=255).collect();
        std::fs::write(&path, &content).unwrap();
        let file = FileAt::open(&path).unwrap();
        let windowed = Windowed::new(&file, &[(10, 20), (200, 256)]).unwrap();
        for (start, length) in [(0, 256), (10, 10), (12, 3), (15, 30), (199, 2), (250, 6), (20, 0)] {
            let expected = &content[start..start + length];
            assert_eq!(file.get_bytes(start as u64, length).unwrap(), expected);
            assert_eq!(windowed.get_bytes(start as u64, length).unwrap(), expected);
            let mut read = vec![0; length];
            windowed.get_read(start as u64).unwrap().read_exact(&mut read).unwrap();
            assert_eq!(read, expected);
        }
        assert!(windowed.get_bytes(250, 7).is_err());
        assert!(file.get_bytes(u64::MAX, 7).is_err());
        assert!(Windowed::new(&file, &[(250, 300)]).is_err());
    }
}
