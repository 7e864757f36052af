//! Reading rows as they were at a timestamp.
//!
//! The newest version of every row stands in `data`, so a scan is one pass over one sorted run of keys; only for a row
//! that changed after the reader's timestamp is `history` asked. A scan keeps nothing open between batches: it seeks
//! again behind the last key, and versions see to it that it sees one moment all the same.

use crate::codec::key::slot_of;
use crate::failure::storage_error;
use crate::shard::Shard;
use crate::store::{DATA_HEADER, KIND_PUT, timestamp_of};
use evenkeel_model::{Error, Result, ShardId, Slot, SlotBits, SlotMap, SqlState, Timestamp};
use rocksdb::ReadOptions;
use std::ops::Range;
use std::time::{Duration, Instant};

/// What is read ahead of somebody who reads everything.
const READAHEAD_BYTES: usize = 1 << 20;

/// What a reader sees.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Versions that committed at or below this.
    pub read: Timestamp,
    /// Bulk loads whose rows carry a timestamp at or below `read`, but which committed above it or not at all yet.
    pub hidden: &'a [Timestamp],
    /// How long to wait for a commit that is becoming visible.
    pub lock_timeout: Duration,
    /// Which shard answers for which slot: rows of slots that are others' are passed over. Without one, all are given.
    pub map: Option<&'a SlotMap>,
}

impl View<'_> {
    #[inline]
    fn sees(&self, version: Timestamp) -> bool {
        version <= self.read && (self.hidden.is_empty() || !self.hidden.contains(&version))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.lock_timeout
    }
}

/// How far a scan has come.
#[derive(Clone, Debug)]
pub struct Cursor {
    next: Vec<u8>,
    end: Vec<u8>,
    waited: bool,
    done: bool,
    passing: bool,
}

impl Cursor {
    /// Before the first key of a range of row keys, end exclusive.
    pub fn new(range: Range<Vec<u8>>) -> Self {
        Self { done: range.start >= range.end, next: range.start, end: range.end, waited: false, passing: false }
    }

    /// The same for somebody who reads everything once and is no user: what users read stays in the cache, and nothing
    /// is counted as activity, which the balancer would take for load.
    pub(crate) fn passing(range: Range<Vec<u8>>) -> Self {
        Self { passing: true, ..Self::new(range) }
    }

    /// Whether the range is exhausted.
    pub fn is_done(&self) -> bool {
        self.done
    }
}

/// The next slot of a shard.
fn next_slot(map: &SlotMap, shard: ShardId, after: Slot) -> Option<Slot> {
    (after.0 + 1..map.bits().slots() as u32).map(Slot).find(|slot| map.owner(*slot) == shard)
}

/// The first key that a slot can have in the table of another key.
fn first_key(key: &[u8], slot: Slot, bits: SlotBits) -> Vec<u8> {
    let mut first = key[..4].to_vec();
    first.extend_from_slice(&bits.first_token(slot).0.to_be_bytes());
    first
}

/// Reads that leave the block cache as it is.
pub(crate) fn pass_by(options: &mut ReadOptions) {
    options.fill_cache(false);
    options.set_readahead_size(READAHEAD_BYTES);
}

fn damaged_version() -> Error {
    Error::new(SqlState::DataCorrupted, "a stored version is damaged")
}

impl Shard {
    /// Calls `each` with key and row of up to `limit` visible rows, in ascending order of key, and moves the cursor
    /// behind them.
    ///
    /// # Errors
    /// 55P03 when a commit below the reader's timestamp does not become visible in time, or what the disk or `each` says.
    pub fn scan(
        &self,
        cursor: &mut Cursor,
        view: &View<'_>,
        limit: usize,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        if cursor.done {
            return Ok(());
        }
        if !cursor.waited {
            // Commits that register later take a timestamp above ours: once is enough.
            self.locks().wait_for_all(view.read, || view.deadline())?;
            cursor.waited = true;
        }
        let since = Instant::now();
        let outcome = self.scan_visible(cursor, view, limit, &mut each);
        if !cursor.passing {
            self.activity().busy(since);
            self.activity().used(since.elapsed());
        }
        outcome
    }

    fn scan_visible(
        &self,
        cursor: &mut Cursor,
        view: &View<'_>,
        limit: usize,
        each: &mut impl FnMut(&[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(cursor.end.clone());
        if cursor.passing {
            pass_by(&mut options);
        }
        let mut iterator = self.db().raw_iterator_cf_opt(&self.data(), options);
        iterator.seek(&cursor.next);
        let mut activity = if cursor.passing { None } else { Some(self.activity().reader()) };
        let mut note = |key: &[u8]| activity.iter_mut().for_each(|activity| activity.read(key));
        let mut seen = 0;
        // Rows come slot by slot: what holds for one holds for the next of its slot.
        let mut slot = None;
        // Asked after the iterator was made: a row that it has was received before, and then the part is known by now.
        let moving = self.is_moving();
        while let Some((key, value)) = iterator.item() {
            if view.map.is_some() || moving {
                let here = slot_of(key, self.slot_bits());
                if slot != Some(here) {
                    if let Some(map) = view.map.filter(|map| map.owner(here) != self.id()) {
                        match next_slot(map, self.id(), here) {
                            Some(next) => iterator.seek(first_key(key, next, self.slot_bits())),
                            None => iterator.seek(&cursor.end),
                        }
                        continue;
                    }
                    if moving {
                        self.check_read(here, view.read)?;
                    }
                    slot = Some(here);
                }
            }
            if seen == limit {
                cursor.next.clear();
                cursor.next.extend_from_slice(key);
                return Ok(());
            }
            let timestamp = Timestamp(timestamp_of(value).ok_or_else(damaged_version)?);
            if view.sees(timestamp) {
                if value.get(8) == Some(&KIND_PUT) {
                    each(key, &value[DATA_HEADER..])?;
                    note(key);
                    seen += 1;
                }
            } else if self.history_row(key, view, |row| each(key, row))?.transpose()?.is_some() {
                note(key);
                seen += 1;
            }
            iterator.next();
        }
        iterator.status().map_err(|error| storage_error(&error))?;
        cursor.done = true;
        Ok(())
    }

    /// Calls `found` with the row of a key, if there is one.
    ///
    /// # Errors
    /// As [`Shard::scan`], and 40001 or 55P03 when the key's slot is moving and this is not where to look.
    #[inline]
    pub fn get<T>(&self, key: &[u8], view: &View<'_>, found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        let began = Instant::now();
        let outcome = self.look_up(key, view, found);
        self.served(began.elapsed());
        outcome
    }

    fn look_up<T>(&self, key: &[u8], view: &View<'_>, found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        self.locks().wait_for_key(key, view.read, || view.deadline())?;
        self.activity().read(key);
        let value = self.db().get_pinned_cf(&self.data(), key).map_err(|error| storage_error(&error))?;
        if self.is_moving() {
            self.check_read(slot_of(key, self.slot_bits()), view.read)?;
        }
        let Some(value) = value else { return Ok(None) };
        let timestamp = Timestamp(timestamp_of(&value).ok_or_else(damaged_version)?);
        if view.sees(timestamp) {
            return Ok((value.get(8) == Some(&KIND_PUT)).then(|| found(&value[DATA_HEADER..])));
        }
        self.history_row(key, view, found)
    }

    /// Whether a view sees of a key what was to be seen at `since`, and nothing newer is there.
    ///
    /// # Errors
    /// As [`Shard::get`].
    pub fn is_unchanged(&self, key: &[u8], since: Timestamp, view: &View<'_>) -> Result<bool> {
        self.locks().wait_for_key(key, view.read, || view.deadline())?;
        let version = self.version(key)?;
        if self.is_moving() {
            self.check_read(slot_of(key, self.slot_bits()), view.read)?;
        }
        Ok(version.is_none_or(|version| version <= since))
    }

    /// The version before the newest ones, where it is visible.
    fn history_row<T>(&self, key: &[u8], view: &View<'_>, found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        let mut options = ReadOptions::default();
        let mut end = key.to_vec();
        end.extend_from_slice(&[0xFF; 9]);
        options.set_iterate_upper_bound(end);
        let mut iterator = self.db().raw_iterator_cf_opt(&self.history(), options);
        let mut seek = key.to_vec();
        seek.extend_from_slice(&(!view.read.0).to_be_bytes());
        iterator.seek(&seek);
        while let Some((version, value)) = iterator.item() {
            let Some(inverted) = version.strip_prefix(key).and_then(|tail| <[u8; 8]>::try_from(tail).ok()) else {
                // No key is a prefix of another, so this is another row's version that happens to sort here.
                break;
            };
            let timestamp = Timestamp(!u64::from_be_bytes(inverted));
            if view.sees(timestamp) {
                let replaced = Timestamp(timestamp_of(value).ok_or_else(damaged_version)?);
                // Replaced by a version that is visible too: a deletion, since anything else would stand here itself.
                return Ok((!view.sees(replaced)).then(|| found(&value[8..])));
            }
            iterator.next();
        }
        iterator.status().map_err(|error| storage_error(&error))?;
        Ok(None)
    }
}
