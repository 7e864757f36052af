//! Rows on their way into a table, in memory: gathered as they come, given out in the order of their keys.

use evenkeel_model::{Result, Token};
use std::path::PathBuf;

/// The buckets of a shard's buffer are told by this many bits of the token.
pub(super) const BUCKET_BITS: u32 = 8;

const CACHE_LINE_BYTES: usize = 64;

/// The rows of one shard: in buckets by the first bits of their token, each small enough to be sorted and written while
/// it is in the processor's cache.
pub(super) struct Buffer {
    pub(super) buckets: Vec<Bucket>,
    pub(super) runs: Vec<PathBuf>,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { buckets: (0..1 << BUCKET_BITS).map(|_| Bucket::default()).collect(), runs: Vec::new() }
    }
}

impl Buffer {
    /// The rows that are in memory, in order of key.
    pub(super) fn sorted(&mut self) -> impl Iterator<Item = (&Bucket, &Entry)> {
        self.buckets.iter_mut().flat_map(|bucket| {
            bucket.sort();
            let bucket = &*bucket;
            bucket.entries.iter().map(move |entry| (bucket, entry))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.entries.is_empty())
    }
}

/// Rows with neighbouring tokens, in pieces: what is there is never copied to make room for more.
#[derive(Default)]
pub(super) struct Bucket {
    pieces: Vec<Vec<u8>>,
    pub(super) entries: Vec<Entry>,
}

/// A row in a buffer: where its key and its row are, and which row of the input it was.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// The token: most comparisons need no look at the bytes.
    pub(super) token: u64,
    piece: u32,
    start: u32,
    key_len: u32,
    row_len: u32,
    pub(super) ordinal: u64,
}

/// The first piece of a bucket and the largest; each is twice as long as the one before.
const PIECE_BYTES: std::ops::RangeInclusive<usize> = 4 << 10..=64 << 10;

impl Bucket {
    pub(super) fn key(&self, entry: &Entry) -> &[u8] {
        key_in(&self.pieces, entry)
    }

    pub(super) fn row(&self, entry: &Entry) -> &[u8] {
        let start = entry.start as usize + entry.key_len as usize;
        &self.pieces[entry.piece as usize][start..start + entry.row_len as usize]
    }

    /// A piece, and its number, that a row fits in unless it is much longer than the last one.
    fn piece(&mut self) -> (&mut Vec<u8>, u32) {
        let expected = self.entries.last().map_or(0, |last| 2 * (last.key_len + last.row_len) as usize);
        let last = self.pieces.last().map(|piece| (piece.len(), piece.capacity()));
        if last.is_none_or(|(len, capacity)| len + expected > capacity.min(*PIECE_BYTES.end())) {
            let next = last.map_or(*PIECE_BYTES.start(), |(_, capacity)| (2 * capacity).min(*PIECE_BYTES.end()));
            self.pieces.push(Vec::with_capacity(next.max(expected)));
        }
        let number = self.pieces.len() - 1;
        (&mut self.pieces[number], number as u32)
    }

    /// Adds a row, which `row` appends to what it is given; returns how long it is with its key.
    pub(super) fn add(
        &mut self,
        token: Token,
        ordinal: u64,
        key: &[u8],
        row: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<usize> {
        let (bytes, piece) = self.piece();
        let start = bytes.len();
        bytes.extend_from_slice(key);
        row(bytes)?;
        let length = bytes.len() - start;
        let (key_len, row_len) = (key.len() as u32, (length - key.len()) as u32);
        self.entries.push(Entry { token: token.0, piece, start: start as u32, key_len, row_len, ordinal });
        Ok(length)
    }

    /// Brings the rows into order. They are read in any order from here on: reading them once in the order in which they
    /// lie brings them into the processor's cache at the speed of its memory, and not row by row.
    fn sort(&mut self) {
        let pieces = &self.pieces;
        let lines = pieces.iter().flat_map(|piece| piece.iter().step_by(CACHE_LINE_BYTES));
        std::hint::black_box(lines.fold(0, |all, byte| all ^ byte));
        self.entries.sort_unstable_by(|a, b| {
            let keys = || key_in(pieces, a).cmp(key_in(pieces, b));
            a.token.cmp(&b.token).then_with(keys).then_with(|| a.ordinal.cmp(&b.ordinal))
        });
    }
}

fn key_in<'p>(pieces: &'p [Vec<u8>], entry: &Entry) -> &'p [u8] {
    let start = entry.start as usize;
    &pieces[entry.piece as usize][start..start + entry.key_len as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_in_order_whatever_their_length() {
        let lengths = [0, 1, 3_000, 70_000, 5, 200_000, 64 << 10, 4 << 10, 17, 2_000, 100, 65_000];
        let mut bucket = Bucket::default();
        let mut wanted = Vec::new();
        for ordinal in 0..1_000 {
            let token = ordinal * 7_919 % 501;
            let key = format!("{token} {}", ordinal % 3).into_bytes();
            let row = vec![ordinal as u8; lengths[ordinal as usize % lengths.len()]];
            let added = bucket.add(Token(token), ordinal, &key, |bytes| {
                bytes.extend_from_slice(&row);
                Ok(())
            });
            assert_eq!(added.unwrap(), key.len() + row.len());
            wanted.push((token, key, ordinal, row));
        }
        wanted.sort();
        bucket.sort();
        let found = bucket.entries.iter();
        let found = found.map(|e| (e.token, bucket.key(e).to_vec(), e.ordinal, bucket.row(e).to_vec()));
        assert_eq!(found.collect::<Vec<_>>(), wanted);
        // What a start is counted in has room for it, whatever comes.
        assert!(bucket.entries.iter().all(|entry| (entry.start as usize) < *PIECE_BYTES.end()));
    }
}
