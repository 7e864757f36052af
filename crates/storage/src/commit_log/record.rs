//! What stands in the commit log: commits as bytes, records around them, and how they are found again.

use super::writer::path;
use super::{RecordNumber, SEGMENTS};
use crate::command::{Mutation, Operation};
use evenkeel_model::{Error, Result, ShardId, SqlState, Timestamp};
use std::io;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const MAGIC: u32 = 0x4B4C_5645;
const HEADER: usize = 32;
/// Stands where a commit to one shard has the shard's number. No shard has this one.
const SEVERAL: u32 = u32::MAX;

/// What a commit does to one of its shards.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub shard: ShardId,
    pub mutations: Vec<Mutation>,
}

/// A commit, as the log keeps it.
///
/// To one shard: `shard (4) · commit (8) · mutations`. To several: `2³² − 1 (4) · commit (8)`, then for each of them
/// `shard (4) · length of its mutations (4) · mutations`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedCommit {
    pub commit: Timestamp,
    pub parts: Vec<Part>,
}

impl LoggedCommit {
    /// How many bytes a payload has with these parts.
    pub fn bytes<'m>(parts: impl IntoIterator<Item = &'m [Mutation]>) -> usize {
        12 + parts.into_iter().map(|mutations| encoded_bytes(mutations) + 8).sum::<usize>()
    }

    /// The bytes of a record's payload.
    pub fn encode<'m>(commit: Timestamp, parts: impl IntoIterator<Item = (ShardId, &'m [Mutation])>) -> Vec<u8> {
        let parts: Vec<_> = parts.into_iter().collect();
        let mut bytes = Vec::with_capacity(Self::bytes(parts.iter().map(|(_, mutations)| *mutations)));
        if let [(shard, mutations)] = parts[..] {
            bytes.extend_from_slice(&shard.0.to_le_bytes());
            bytes.extend_from_slice(&commit.0.to_le_bytes());
            encode(mutations, &mut bytes);
            return bytes;
        }
        bytes.extend_from_slice(&SEVERAL.to_le_bytes());
        bytes.extend_from_slice(&commit.0.to_le_bytes());
        for (shard, mutations) in parts {
            bytes.extend_from_slice(&shard.0.to_le_bytes());
            bytes.extend_from_slice(&(encoded_bytes(mutations) as u32).to_le_bytes());
            encode(mutations, &mut bytes);
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (shard, rest) = split_word(bytes)?;
        let (commit, mut rest) = rest.split_first_chunk::<8>()?;
        let commit = Timestamp(u64::from_le_bytes(*commit));
        if shard != SEVERAL {
            return Some(Self { commit, parts: vec![Part { shard: ShardId(shard), mutations: decode(rest)? }] });
        }
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let (shard, tail) = split_word(rest)?;
            let (length, tail) = split_word(tail)?;
            let (mutations, tail) = tail.split_at_checked(length as usize)?;
            parts.push(Part { shard: ShardId(shard), mutations: decode(mutations)? });
            rest = tail;
        }
        Some(Self { commit, parts })
    }
}

fn split_word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk::<4>().map(|(word, rest)| (u32::from_le_bytes(*word), rest))
}

fn encoded_bytes(mutations: &[Mutation]) -> usize {
    let size = |mutation: &Mutation| match &mutation.operation {
        Operation::Put(row) => mutation.key.len() + row.len() + 8,
        Operation::Delete => mutation.key.len() + 8,
    };
    mutations.iter().map(size).sum()
}

fn encode(mutations: &[Mutation], bytes: &mut Vec<u8>) {
    for Mutation { key, operation } in mutations {
        bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        match operation {
            // A length of zero is a deletion.
            Operation::Put(row) => bytes.extend_from_slice(&(row.len() as u32 + 1).to_le_bytes()),
            Operation::Delete => bytes.extend_from_slice(&0_u32.to_le_bytes()),
        }
        bytes.extend_from_slice(key);
        if let Operation::Put(row) = operation {
            bytes.extend_from_slice(row);
        }
    }
}

fn decode(mut rest: &[u8]) -> Option<Vec<Mutation>> {
    let mut mutations = Vec::new();
    while !rest.is_empty() {
        let (key_len, tail) = split_word(rest)?;
        let (row_len, tail) = split_word(tail)?;
        let (key, tail) = tail.split_at_checked(key_len as usize)?;
        let (operation, tail) = match row_len.checked_sub(1) {
            None => (Operation::Delete, tail),
            Some(len) => {
                let (row, tail) = tail.split_at_checked(len as usize)?;
                (Operation::Put(row.to_vec()), tail)
            }
        };
        mutations.push(Mutation { key: key.to_vec(), operation });
        rest = tail;
    }
    Some(mutations)
}

pub(super) fn record_bytes(payload: usize) -> usize {
    (HEADER + payload).next_multiple_of(8)
}

pub(super) fn append(buffer: &mut Vec<u8>, number: RecordNumber, group: RecordNumber, payload: &[u8]) {
    let end = buffer.len() + record_bytes(payload.len());
    buffer.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&MAGIC.to_le_bytes());
    buffer.extend_from_slice(&number.to_le_bytes());
    buffer.extend_from_slice(&group.to_le_bytes());
    buffer.extend_from_slice(&check(number, group, payload).to_le_bytes());
    buffer.extend_from_slice(payload);
    buffer.resize(end, 0);
}

fn check(number: RecordNumber, group: RecordNumber, payload: &[u8]) -> u64 {
    xxh3_64_with_seed(payload, number ^ group.rotate_left(32))
}

/// A record as it stands in a segment.
struct Record<'a> {
    number: RecordNumber,
    group: RecordNumber,
    payload: &'a [u8],
}

/// The record that starts at an offset, if a whole one does.
fn record_at(bytes: &[u8], at: usize) -> Option<Record<'_>> {
    let word =
        |from: usize| bytes.get(at + from..at + from + 8)?.first_chunk::<8>().map(|word| u64::from_le_bytes(*word));
    let first = word(0)?;
    if (first >> 32) as u32 != MAGIC {
        return None;
    }
    let len = (first & u64::from(u32::MAX)) as usize;
    let (number, group, sum) = (word(8)?, word(16)?, word(24)?);
    let payload = bytes.get(at + HEADER..at + HEADER + len)?;
    (check(number, group, payload) == sum).then_some(Record { number, group, payload })
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::new(SqlState::DataCorrupted, "the commit log is damaged")
        .with_detail(format!("{}: {what}", path.display()))
        .with_hint("restore the directory from a backup; nothing was changed")
}

/// Reads the commits behind the record `marked`, in order, and the number of the last record.
///
/// # Errors
/// XX001 for a log whose synced part can't be read.
pub fn read(directory: &Path, marked: RecordNumber) -> Result<(Vec<LoggedCommit>, RecordNumber)> {
    let mut chains = Vec::new();
    let mut unreadable = Vec::new();
    for at in 0..SEGMENTS {
        let path = path(directory, at);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(Error::new(SqlState::IoError, format!("cannot read {}: {error}", path.display())));
            }
        };
        match chain(&path, &bytes)? {
            Some(records) => chains.push(records),
            None => unreadable.push((path, bytes)),
        }
    }
    chains.sort_by_key(|records| records.first().map(|(number, _)| *number));
    let mut last = marked;
    let mut commits = Vec::new();
    for (number, payload) in chains.into_iter().flatten().filter(|(number, _)| *number > marked) {
        // Within a process numbers ascend by one; a start begins anew, and nothing before it is left to be marked.
        let follows = if number >> 32 == last >> 32 { number == last + 1 } else { is_first(number) };
        if !follows {
            return Err(damaged(directory, &format!("record {} is missing", last + 1)));
        }
        last = number;
        if !payload.is_empty() {
            let commit = LoggedCommit::decode(&payload);
            commits.push(commit.ok_or_else(|| damaged(directory, &format!("record {number} makes no sense")))?);
        }
    }
    for (path, bytes) in unreadable {
        // Whatever it held before is marked; its first write may have been torn.
        if let Some(number) = later_group(&bytes, 8, last + 1).filter(|group| !is_first(*group)) {
            return Err(damaged(&path, &format!("the records before {number} cannot be read")));
        }
    }
    Ok((commits, last))
}

/// Whether a record is the first of a process.
fn is_first(number: RecordNumber) -> bool {
    number & u64::from(u32::MAX) == 0
}

/// Records with their numbers, in order.
type Records = Vec<(RecordNumber, Vec<u8>)>;

/// The records of a segment up to the first that isn't there; `None` where not even the first is.
fn chain(path: &Path, bytes: &[u8]) -> Result<Option<Records>> {
    let Some(first) = record_at(bytes, 0) else { return Ok(None) };
    let (mut at, mut expected, mut records) = (0, first.number, Vec::new());
    while let Some(record) = record_at(bytes, at).filter(|record| record.number == expected) {
        records.push((record.number, record.payload.to_vec()));
        at += record_bytes(record.payload.len());
        expected += 1;
    }
    if let Some(group) = later_group(bytes, at + 8, expected) {
        return Err(damaged(path, &format!("the records before {group} cannot be read")));
    }
    Ok(Some(records))
}

/// The group of a record behind an unreadable one, `expected`, that was written after that had been synced.
fn later_group(bytes: &[u8], from: usize, expected: RecordNumber) -> Option<RecordNumber> {
    (from..bytes.len())
        .step_by(8)
        .filter(|at| bytes.get(at + 4..at + 8) == Some(&MAGIC.to_le_bytes()[..]))
        .filter_map(|at| record_at(bytes, at))
        .map(|record| record.group)
        .find(|group| *group > expected)
}
