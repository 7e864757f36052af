//! Who is committing which keys right now.
//!
//! A commit first registers its keys here and only then takes its timestamp. A reader that took its own timestamp R
//! before therefore knows: a key that is not registered, or whose commit has no timestamp yet, will commit above R; one
//! whose timestamp is at or below R is about to become visible, and the reader waits for it. That is the whole argument
//! for `no-stale-read` inside a process. The registry doubles as the latch that keeps two commits off one key.
//!
//! Keys are taken in ascending order of shard and key, so that commits wait for each other in no circle.

use crate::codec::key::slot_of;
use evenkeel_model::{Error, SlotBits, SlotSet, SqlState, Timestamp};
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

const PARTS: usize = 64;

/// A commit on its way.
#[derive(Debug, Default)]
pub struct InFlight {
    state: Mutex<CommitState>,
    finished: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum CommitState {
    /// Keys are being registered: the timestamp will be above that of every reader so far.
    #[default]
    Pending,
    /// The commit has a timestamp and may or may not be visible yet.
    Committing(Timestamp),
    /// Visible, or given up.
    Finished,
}

impl InFlight {
    /// A commit that has no timestamp yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Takes the commit timestamp. No reader looks at this commit between the taking and the noting of it.
    ///
    /// # Errors
    /// What `next` says.
    pub fn take_timestamp<E>(&self, next: impl FnOnce() -> Result<Timestamp, E>) -> Result<Timestamp, E> {
        let mut state = self.state.lock();
        let timestamp = next()?;
        *state = CommitState::Committing(timestamp);
        Ok(timestamp)
    }

    /// Wakes everybody who waits for this commit.
    pub fn finish(&self) {
        *self.state.lock() = CommitState::Finished;
        self.finished.notify_all();
    }

    fn concerns(&self, read: Timestamp) -> bool {
        matches!(*self.state.lock(), CommitState::Committing(commit) if commit <= read)
    }

    /// Waits until the commit is visible or given up.
    ///
    /// # Errors
    /// 55P03 at the deadline.
    pub fn wait(&self, deadline: Instant) -> Result<(), Error> {
        let mut state = self.state.lock();
        while *state != CommitState::Finished {
            if self.finished.wait_until(&mut state, deadline).timed_out() && *state != CommitState::Finished {
                return Err(Error::new(
                    SqlState::LockNotAvailable,
                    "gave up waiting for a row that is being committed",
                )
                .with_hint("raise shard_lock_timeout, or look at SYSTEM.TRANSACTIONS for who holds it"));
            }
        }
        Ok(())
    }
}

/// The keys of one shard that are being committed.
#[derive(Debug)]
pub struct KeyLocks {
    hasher: RandomState,
    parts: Vec<Mutex<HashMap<Vec<u8>, Arc<InFlight>>>>,
    commits: Mutex<Vec<Arc<InFlight>>>,
    /// How many commits are registered: readers of a quiet shard look no further.
    count: AtomicUsize,
    /// Waits of commits for others, and how long they took.
    waits: AtomicU64,
    waited_ns: AtomicU64,
}

impl Default for KeyLocks {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            commits: Mutex::default(),
            count: AtomicUsize::new(0),
            waits: AtomicU64::new(0),
            waited_ns: AtomicU64::new(0),
        }
    }
}

impl KeyLocks {
    /// Registers a commit's keys, in ascending order, waiting for commits that hold one of them.
    ///
    /// # Errors
    /// 55P03 at the deadline; nothing is registered then.
    pub fn acquire(&self, keys: &[&[u8]], commit: &Arc<InFlight>, deadline: Instant) -> Result<(), Error> {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.commits.lock().push(Arc::clone(commit));
        for (taken, key) in keys.iter().enumerate() {
            loop {
                let holder = {
                    let mut part = self.part(key).lock();
                    match part.get(*key) {
                        Some(holder) if !Arc::ptr_eq(holder, commit) => Arc::clone(holder),
                        _ => {
                            part.insert(key.to_vec(), Arc::clone(commit));
                            break;
                        }
                    }
                };
                let since = Instant::now();
                let waited = holder.wait(deadline);
                self.waits.fetch_add(1, Ordering::Relaxed);
                self.waited_ns.fetch_add(since.elapsed().as_nanos() as u64, Ordering::Relaxed);
                if let Err(error) = waited {
                    self.release(&keys[..taken], commit);
                    return Err(error);
                }
                // The holder removes its keys right after it has finished.
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    /// Takes a commit's keys out again.
    pub fn release(&self, keys: &[&[u8]], commit: &Arc<InFlight>) {
        for key in keys {
            let mut part = self.part(key).lock();
            if part.get(*key).is_some_and(|holder| Arc::ptr_eq(holder, commit)) {
                part.remove(*key);
            }
        }
        self.commits.lock().retain(|other| !Arc::ptr_eq(other, commit));
        self.count.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits until every commit of this key at or below `read` is visible.
    ///
    /// # Errors
    /// 55P03 at the deadline.
    #[inline]
    pub fn wait_for_key(&self, key: &[u8], read: Timestamp, deadline: impl Fn() -> Instant) -> Result<(), Error> {
        if self.count.load(Ordering::SeqCst) == 0 {
            return Ok(());
        }
        let holder = self.part(key).lock().get(key).cloned();
        match holder {
            Some(holder) if holder.concerns(read) => holder.wait(deadline()),
            _ => Ok(()),
        }
    }

    /// Waits until the commit that has registered this key, whatever its timestamp will be, is over.
    ///
    /// # Errors
    /// 55P03 at the deadline.
    pub fn wait_for_writer(&self, key: &[u8], deadline: impl Fn() -> Instant) -> Result<(), Error> {
        if self.count.load(Ordering::SeqCst) == 0 {
            return Ok(());
        }
        let holder = self.part(key).lock().get(key).cloned();
        holder.map_or(Ok(()), |holder| holder.wait(deadline()))
    }

    /// Waits until every commit at or below `read` is visible.
    ///
    /// # Errors
    /// 55P03 at the deadline.
    pub fn wait_for_all(&self, read: Timestamp, deadline: impl Fn() -> Instant) -> Result<(), Error> {
        if self.count.load(Ordering::SeqCst) == 0 {
            return Ok(());
        }
        let commits: Vec<_> = self.commits.lock().iter().filter(|commit| commit.concerns(read)).cloned().collect();
        commits.iter().try_for_each(|commit| commit.wait(deadline()))
    }

    /// Waits until every commit that has registered keys is over.
    ///
    /// # Errors
    /// 55P03 at the deadline.
    pub fn wait_for_commits(&self, deadline: Instant) -> Result<(), Error> {
        let commits: Vec<_> = self.commits.lock().clone();
        commits.iter().try_for_each(|commit| commit.wait(deadline))
    }

    /// Waits until every commit that holds a key of these slots has finished; `false` at the deadline. Commits that come
    /// meanwhile are the caller's to keep off.
    pub fn wait_for_slots(&self, slots: &SlotSet, bits: SlotBits, deadline: Instant) -> bool {
        for part in &self.parts {
            let holders: Vec<_> = {
                let part = part.lock();
                let concerned = part.iter().filter(|(key, _)| slots.contains(slot_of(key, bits)));
                concerned.map(|(_, holder)| Arc::clone(holder)).collect()
            };
            if holders.iter().any(|holder| holder.wait(deadline).is_err()) {
                return false;
            }
        }
        true
    }

    /// How often a commit has waited for a key that another held, and how many nanoseconds in all.
    pub fn waited(&self) -> (u64, u64) {
        (self.waits.load(Ordering::Relaxed), self.waited_ns.load(Ordering::Relaxed))
    }

    fn part(&self, key: &[u8]) -> &Mutex<HashMap<Vec<u8>, Arc<InFlight>>> {
        &self.parts[self.hasher.hash_one(key) as usize % PARTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[test]
    fn readers_wait_only_for_commits_at_or_below_their_timestamp() {
        let locks = KeyLocks::default();
        let commit = InFlight::new();
        locks.acquire(&[b"a"], &commit, soon()).unwrap();
        locks.wait_for_key(b"a", Timestamp(100), soon).expect("no timestamp yet: it will be above the reader's");
        assert!(locks.wait_for_writer(b"a", soon).is_err(), "somebody writes it, whenever that will be");
        commit.take_timestamp(|| Ok::<_, Error>(Timestamp(50))).unwrap();
        locks.wait_for_key(b"a", Timestamp(49), soon).expect("commits above the reader");
        locks.wait_for_key(b"b", Timestamp(99), soon).expect("another key");
        let late = locks.wait_for_key(b"a", Timestamp(50), soon).unwrap_err();
        assert_eq!(late.state, SqlState::LockNotAvailable);
        assert!(locks.wait_for_all(Timestamp(50), soon).is_err());
        locks.wait_for_writer(b"b", soon).expect("nobody writes it");
        commit.finish();
        locks.release(&[b"a"], &commit);
        locks.wait_for_all(Timestamp(99), soon).unwrap();
    }

    #[test]
    fn two_commits_never_hold_one_key() {
        let locks = KeyLocks::default();
        let (first, second) = (InFlight::new(), InFlight::new());
        locks.acquire(&[b"a", b"b"], &first, soon()).unwrap();
        assert!(locks.acquire(&[b"b"], &second, soon()).is_err());
        assert!(matches!(locks.waited(), (1, 20_000_000..)));
        first.finish();
        locks.release(&[b"a", b"b"], &first);
        locks.acquire(&[b"b"], &second, soon()).expect("free again");
    }
}
