//! What may never happen, by name, and how a state is checked for it.
//!
//! There are two rows. Timestamps are even for writes and odd for cutovers; a set of versions is a set of bits:
//!
//! | bit | timestamp | version |
//! |---|---|---|
//! | 0 | 0 | the first row is put, before everything |
//! | 1 | 2 | the second row is put |
//! | 2 | 4 | the first row is deleted |
//! | 3 | 6 | the first row is put again |

use crate::cluster::Cluster;
use crate::letters::{SOURCE, TARGET};
use crate::mistakes::Mistake;
use crate::state::State;
use evenkeel_model::Timestamp;
use evenkeel_rebalancer::migration::{Phase, Tally};

/// The writes that clients may make.
pub const WRITES: u8 = 3;
/// The version that is there from the beginning.
pub const FIRST: u8 = 0b0001;
/// The version that deletes it.
pub const DELETION: u8 = 0b0100;
/// When it is deleted.
pub const DELETED_AT: Timestamp = Timestamp(4);
/// All versions of the first row.
pub const FIRST_ROW: u8 = 0b1101;

/// The names of `docs/architecture.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invariant {
    AckedIsDurable,
    OneOwner,
    NoStaleRead,
    ExactlyOnceVisible,
    NoResurrection,
    Terminal,
    VerifiedBeforeDrop,
    StaleEpochRefused,
}

/// The versions at or below timestamp 2n.
fn until(n: u8) -> u8 {
    ((2u16 << n) - 1) as u8
}

/// Which of the two rows a reader of these versions sees.
fn live(versions: u8) -> [bool; 2] {
    let newest = versions & FIRST_ROW;
    [newest & 0b1000 != 0 || newest & 0b0101 == FIRST, versions & 0b0010 != 0]
}

fn visible_at(versions: u8, at: Timestamp) -> u8 {
    versions & until(u8::try_from(at.0 / 2).expect("few writes").min(WRITES))
}

/// What a shard counts at a timestamp.
pub fn tally(versions: u8, at: Timestamp) -> Tally {
    let rows = live(visible_at(versions, at));
    let digest = u64::from(rows[0]) + 2 * u64::from(rows[1]);
    Tally { rows: rows.iter().filter(|row| **row).count() as u64, bytes: 0, digest }
}

/// What it breaks that a shard shows `got` where `due` ought to be seen: `missing`, if a row is missing.
fn compare(due: [bool; 2], got: [bool; 2], missing: Invariant) -> Option<Invariant> {
    let is_extra = (0..2).any(|row| got[row] && !due[row]);
    let is_missing = (0..2).any(|row| due[row] && !got[row]);
    if is_extra { Some(Invariant::NoResurrection) } else { is_missing.then_some(missing) }
}

/// How two copies differ at a timestamp.
pub fn differ(source: u8, target: u8, at: Timestamp, missing: Invariant) -> Option<Invariant> {
    compare(live(visible_at(source, at)), live(visible_at(target, at)), missing)
}

/// The invariant that a state breaks.
pub fn broken(cluster: &Cluster, state: &State) -> Option<Invariant> {
    state
        .broken
        .or_else(|| one_owner(cluster, state))
        .or_else(|| acked_is_durable(cluster, state))
        .or_else(|| (0..=state.issued).find_map(|n| reads(cluster, state, n)))
        .or_else(|| over(cluster, state))
}

/// Whoever takes writes is whom the slot map names; so there are never two.
fn one_owner(cluster: &Cluster, state: &State) -> Option<Invariant> {
    let holder = cluster.holder(state);
    let stranger = [SOURCE, TARGET].into_iter().find(|at| *at != holder && cluster.view(&state.shards[*at]).may_write);
    stranger.map(|_| Invariant::OneOwner)
}

/// Whom the slot map names has every acknowledged write, whether it serves already or not.
fn acked_is_durable(cluster: &Cluster, state: &State) -> Option<Invariant> {
    let holder = &state.shards[cluster.holder(state)];
    compare(live(state.acked), live(holder.rows), Invariant::AckedIsDurable)
}

/// Every shard that would answer a read at timestamp 2n, whoever asks it, answers what was committed by then; and a
/// scan that follows a slot map gets every row once.
fn reads(cluster: &Cluster, state: &State, n: u8) -> Option<Invariant> {
    if state.collected && u64::from(n) * 2 < DELETED_AT.0 {
        return None; // below what is kept
    }
    let answers = |at: usize| {
        let shard = &state.shards[at];
        let waits = shard.pending != 0 && shard.pending <= n;
        (cluster.view(shard).may_read[n as usize] && !waits).then_some(live(shard.rows & until(n)))
    };
    let due = live(state.acked & until(n));
    let in_flight = state.shards.iter().any(|shard| shard.pending != 0 && shard.pending <= n);
    for answer in [SOURCE, TARGET].into_iter().filter_map(answers) {
        if in_flight {
            return Some(Invariant::NoStaleRead); // the write may still commit below a read that was answered
        }
        if let Some(broken) = compare(due, answer, Invariant::NoStaleRead) {
            return Some(broken);
        }
    }
    let scans = if cluster.mistake == Mistake::ScanWithoutSlots {
        vec![vec![SOURCE, TARGET]]
    } else {
        vec![vec![SOURCE], vec![TARGET]]
    };
    for scan in scans {
        let times = |row: usize| scan.iter().filter(|at| answers(**at).is_some_and(|rows| rows[row])).count();
        if (0..2).any(|row| times(row) > 1) {
            return Some(Invariant::ExactlyOnceVisible);
        }
    }
    None
}

/// What is over leaves one shard that serves, and nothing on the other.
fn over(cluster: &Cluster, state: &State) -> Option<Invariant> {
    let (serves, other) = match cluster.phase(state) {
        Phase::Done => (TARGET, SOURCE),
        Phase::Undone => (SOURCE, TARGET),
        Phase::VerificationFailed => return Some(Invariant::AckedIsDurable), // nothing damages rows here
        _ => return None,
    };
    let (serves, other) = (&state.shards[serves], &state.shards[other]);
    let (active, idle) = (cluster.view(serves), cluster.view(other));
    let is_tidy =
        other.rows == 0 && other.outbox == 0 && serves.outbox == 0 && idle.part.is_none() && active.part.is_none();
    if !active.may_write { Some(Invariant::OneOwner) } else { (!is_tidy).then_some(Invariant::Terminal) }
}
