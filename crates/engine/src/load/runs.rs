//! Sorted runs on disk: what is more than a load may have of the memory.

use super::buffer::{Bucket, Buffer, Entry};
use crate::database::io_error;
use evenkeel_model::{Error, Result, SqlState};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

/// What is read ahead of each sorted run.
pub(super) const RUN_BUFFER_BYTES: usize = 256 << 10;

pub(super) fn write_run(buffer: &mut Buffer, path: &Path) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for (bucket, entry) in buffer.sorted() {
        write_row(&mut file, entry.ordinal, bucket.key(entry), bucket.row(entry))?;
    }
    file.flush()
}

/// length of the key (4) · of the row (4) · ordinal (8) · key · row
pub(super) fn write_row(file: &mut impl Write, ordinal: u64, key: &[u8], row: &[u8]) -> std::io::Result<()> {
    file.write_all(&(key.len() as u32).to_le_bytes())?;
    file.write_all(&(row.len() as u32).to_le_bytes())?;
    file.write_all(&ordinal.to_le_bytes())?;
    file.write_all(key)?;
    file.write_all(row)
}

pub(super) fn open_run(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).map_err(|error| io_error("cannot read", path, &error))?;
    Ok(BufReader::with_capacity(RUN_BUFFER_BYTES, file))
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MergedRow {
    pub(super) key: Vec<u8>,
    pub(super) ordinal: u64,
    pub(super) row: Vec<u8>,
}

/// Runs and the buffer, as one ascending sequence.
pub(super) struct Merge<'b> {
    runs: Vec<BufReader<File>>,
    memory: Box<dyn Iterator<Item = (&'b Bucket, &'b Entry)> + 'b>,
    heap: BinaryHeap<Reverse<(MergedRow, usize)>>,
}

impl<'b> Merge<'b> {
    pub(super) fn new(buffer: &'b mut Buffer) -> Result<Self> {
        let runs = buffer.runs.iter().map(|path| open_run(path)).collect::<Result<Vec<_>>>()?;
        let mut merge = Self { runs, memory: Box::new(buffer.sorted()), heap: BinaryHeap::new() };
        for source in 0..=merge.runs.len() {
            merge.pull(source)?;
        }
        Ok(merge)
    }

    fn pull(&mut self, source: usize) -> Result<()> {
        let row = match self.runs.get_mut(source) {
            Some(run) => read_row(run)
                .map_err(|error| Error::new(SqlState::IoError, format!("cannot read a sorted run: {error}")))?,
            None => self.memory.next().map(|(bucket, entry)| {
                let (key, row) = (bucket.key(entry).to_vec(), bucket.row(entry).to_vec());
                MergedRow { key, ordinal: entry.ordinal, row }
            }),
        };
        if let Some(row) = row {
            self.heap.push(Reverse((row, source)));
        }
        Ok(())
    }

    pub(super) fn next(&mut self) -> Result<Option<MergedRow>> {
        let Some(Reverse((row, source))) = self.heap.pop() else { return Ok(None) };
        self.pull(source)?;
        Ok(Some(row))
    }
}

pub(super) fn read_row(run: &mut BufReader<File>) -> std::io::Result<Option<MergedRow>> {
    let mut head = [0; 16];
    match run.read_exact(&mut head[..1]) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    run.read_exact(&mut head[1..])?;
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (key_len, row_len) = (number(0) as usize, number(4) as usize);
    let ordinal = u64::from(number(8)) | u64::from(number(12)) << 32;
    let mut row = MergedRow { key: vec![0; key_len], ordinal, row: vec![0; row_len] };
    run.read_exact(&mut row.key)?;
    run.read_exact(&mut row.row)?;
    Ok(Some(row))
}
