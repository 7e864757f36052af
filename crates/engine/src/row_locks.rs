//! Rows that transaction blocks are changing or have chosen (`FOR UPDATE`), held until the blocks end.
//!
//! Without this, of two blocks that change one row the second would learn at COMMIT that it was for nothing. Here it waits
//! before it reads the row, and goes on from what the first has left. Nothing that must be true depends on it: a row that
//! somebody changes without holding it is found at COMMIT.
//!
//! WHAT MAY NEVER HAPPEN: two blocks hold one row; a block that has ended, or no longer waits, is in anybody's way; blocks
//! wait for each other in a circle.
//!
//! Waiting is first come, first served: a row goes straight from one block to the next. A block waits for one row at a
//! time, so a circle is found by following who waits for whom from the block that is about to close it.

use crate::oracle::now_ms;
use evenkeel_model::{Error, Result, SqlState};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Rows that are looked at before others get their turn.
const ROWS_AT_ONCE: usize = 1_024;

/// Whose block it is: a session has one at a time.
pub(crate) type SessionId = u64;

/// The rows of all blocks.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowLocks(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    book: Mutex<Book>,
    /// How many rows are held: where there are none, nobody looks further.
    held: AtomicUsize,
}

#[derive(Debug, Default)]
struct Book {
    rows: HashMap<Vec<u8>, Row>,
    /// The row that a session waits for.
    waits: HashMap<SessionId, Vec<u8>>,
}

#[derive(Debug)]
struct Row {
    holder: SessionId,
    since_ms: i64,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    session: SessionId,
    since_ms: i64,
    wake: oneshot::Sender<()>,
}

/// A row that is held or waited for, as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowState {
    pub(crate) key: Vec<u8>,
    pub(crate) session: SessionId,
    pub(crate) granted: bool,
    /// The sessions before it, the holder first.
    pub(crate) waits_for: Vec<SessionId>,
    pub(crate) since_ms: i64,
}

/// The rows of one block; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct HeldRows {
    locks: RowLocks,
    session: SessionId,
    keys: HashSet<Vec<u8>>,
}

/// Somebody who waits, until this is dropped.
struct Waiting<'l> {
    locks: &'l RowLocks,
    session: SessionId,
    key: &'l [u8],
    /// Whether the row is somebody's business now who gives it back.
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut book = self.locks.0.book.lock();
        book.waits.remove(&self.session);
        if self.is_over {
            return;
        }
        let Some(row) = book.rows.get_mut(self.key) else { return };
        if row.holder == self.session {
            // It was given the row in the moment in which it gave up.
            self.locks.pass_on(&mut book, self.key);
        } else {
            row.waiters.retain(|waiter| waiter.session != self.session);
        }
    }
}

impl Book {
    /// Whether a session that came to wait for `key` would wait for itself.
    fn closes_circle(&self, session: SessionId, key: &[u8]) -> bool {
        let mut next = self.rows.get(key);
        while let Some(row) = next {
            if row.holder == session {
                return true;
            }
            next = self.waits.get(&row.holder).and_then(|key| self.rows.get(key));
        }
        false
    }
}

impl RowLocks {
    /// What a block that begins holds: nothing yet.
    pub(crate) fn block(&self, session: SessionId) -> HeldRows {
        HeldRows { locks: self.clone(), session, keys: HashSet::new() }
    }

    /// Whether no block holds any row.
    pub(crate) fn is_quiet(&self) -> bool {
        self.0.held.load(Ordering::SeqCst) == 0
    }

    /// How many rows are held.
    pub(crate) fn count(&self) -> usize {
        self.0.held.load(Ordering::SeqCst)
    }

    /// Whether another session holds a row.
    pub(crate) fn is_anothers(&self, session: SessionId, key: &[u8]) -> bool {
        self.0.book.lock().rows.get(key).is_some_and(|row| row.holder != session)
    }

    /// Holds a row for a session where nobody holds it.
    fn try_hold(&self, session: SessionId, key: &[u8]) -> bool {
        let mut book = self.0.book.lock();
        if book.rows.contains_key(key) {
            return false;
        }
        self.enter(&mut book, session, key);
        true
    }

    fn enter(&self, book: &mut Book, session: SessionId, key: &[u8]) {
        let row = Row { holder: session, since_ms: now_ms(), waiters: VecDeque::new() };
        book.rows.insert(key.to_vec(), row);
        self.0.held.fetch_add(1, Ordering::SeqCst);
    }

    /// Holds a row for a session, or waits until it can.
    async fn hold(&self, session: SessionId, key: &[u8], timeout: Duration) -> Result<()> {
        let (wake, woken) = oneshot::channel();
        {
            let mut book = self.0.book.lock();
            if book.closes_circle(session, key) {
                return Err(deadlock());
            }
            let Some(row) = book.rows.get_mut(key) else {
                self.enter(&mut book, session, key);
                return Ok(());
            };
            row.waiters.push_back(Waiter { session, since_ms: now_ms(), wake });
            book.waits.insert(session, key.to_vec());
        }
        let mut waiting = Waiting { locks: self, session, key, is_over: false };
        let woken = tokio::time::timeout(timeout, woken).await;
        waiting.is_over = matches!(woken, Ok(Ok(())));
        if waiting.is_over { Ok(()) } else { Err(self.unavailable(key)) }
    }

    /// Gives a row to whoever has waited longest, or to nobody.
    fn pass_on(&self, book: &mut Book, key: &[u8]) {
        let Some(row) = book.rows.get_mut(key) else { return };
        while let Some(waiter) = row.waiters.pop_front() {
            (row.holder, row.since_ms) = (waiter.session, now_ms());
            if waiter.wake.send(()).is_ok() {
                // It runs again: who looks for a circle must not follow it to this row.
                book.waits.remove(&waiter.session);
                return;
            }
        }
        book.rows.remove(key);
        self.0.held.fetch_sub(1, Ordering::SeqCst);
    }

    /// Every row that is held, and who waits for it.
    pub(crate) fn states(&self) -> Vec<RowState> {
        let book = self.0.book.lock();
        let mut states = Vec::new();
        for (key, row) in &book.rows {
            let state = |session, granted, waits_for, since_ms| RowState {
                key: key.clone(),
                session,
                granted,
                waits_for,
                since_ms,
            };
            states.push(state(row.holder, true, Vec::new(), row.since_ms));
            let mut before = vec![row.holder];
            for waiter in &row.waiters {
                states.push(state(waiter.session, false, before.clone(), waiter.since_ms));
                before.push(waiter.session);
            }
        }
        states.sort_by_key(|state| state.since_ms);
        states
    }

    fn unavailable(&self, key: &[u8]) -> Error {
        let holder = self.0.book.lock().rows.get(key).map(|row| row.holder);
        let error = Error::new(SqlState::LockNotAvailable, "gave up waiting for a row that a transaction holds");
        let error = match holder {
            Some(holder) => error.with_detail(format!("session {holder} holds it")),
            None => error,
        };
        error.with_hint("raise shard_lock_timeout, or look at SYSTEM.LOCKS and SYSTEM.TRANSACTIONS")
    }
}

/// Lets others have their turn in a long list of rows.
async fn give_way(at: usize) {
    if at % ROWS_AT_ONCE == ROWS_AT_ONCE - 1 {
        tokio::task::yield_now().await;
    }
}

fn deadlock() -> Error {
    Error::new(SqlState::DeadlockDetected, "transactions wait for each other's rows")
        .with_detail("this one would have closed the circle, and ends it")
        .with_hint("roll back and try again; blocks that change rows in the same order never meet this")
}

impl HeldRows {
    /// Holds a row until the block ends; waits while another block has it.
    ///
    /// # Errors
    /// 40P01 when that one waits for this, 55P03 after `timeout`.
    pub(crate) async fn hold(&mut self, key: &[u8], timeout: Duration) -> Result<()> {
        if self.keys.contains(key) {
            return Ok(());
        }
        self.locks.hold(self.session, key, timeout).await?;
        self.keys.insert(key.to_vec());
        Ok(())
    }

    /// Whether this block has the row.
    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        self.keys.contains(key)
    }

    /// Gives one row back.
    pub(crate) fn let_go(&mut self, key: &[u8]) {
        if self.keys.remove(key) {
            self.locks.pass_on(&mut self.locks.0.book.lock(), key);
        }
    }

    /// Holds all of these rows.
    ///
    /// # Errors
    /// As [`Self::hold`].
    pub(crate) async fn hold_all<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k Vec<u8>>,
        timeout: Duration,
    ) -> Result<()> {
        for (at, key) in keys.enumerate() {
            give_way(at).await;
            self.hold(key, timeout).await?;
        }
        Ok(())
    }

    /// As [`Self::hold`], but `false` at once while another block has it.
    pub(crate) fn try_hold(&mut self, key: &[u8]) -> bool {
        if self.keys.contains(key) {
            return true;
        }
        let is_held = self.locks.try_hold(self.session, key);
        if is_held {
            self.keys.insert(key.to_vec());
        }
        is_held
    }

    /// Waits for every other block that holds one of these rows, and holds it then.
    ///
    /// # Errors
    /// As [`Self::hold`].
    pub(crate) async fn hold_after_others<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k Vec<u8>>,
        timeout: Duration,
    ) -> Result<()> {
        for (at, key) in keys.enumerate() {
            give_way(at).await;
            if !self.keys.contains(key) && self.locks.is_anothers(self.session, key) {
                self.hold(key, timeout).await?;
            }
        }
        Ok(())
    }

    /// Gives all rows back.
    pub(crate) fn give_back(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        let mut book = self.locks.0.book.lock();
        self.keys.drain().for_each(|key| self.locks.pass_on(&mut book, &key));
    }
}

impl Drop for HeldRows {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn settled() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn rows_go_from_block_to_block_in_order() {
        let locks = RowLocks::default();
        let mut first = locks.block(1);
        first.hold(b"a", LONG).await.unwrap();
        first.hold(b"a", LONG).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let wait = |session| {
            let (locks, order) = (locks.clone(), Arc::clone(&order));
            tokio::spawn(async move {
                let mut block = locks.block(session);
                block.hold(b"a", LONG).await.unwrap();
                order.lock().push(session);
            })
        };
        let second = wait(2);
        settled().await;
        let third = wait(3);
        settled().await;
        let seen: Vec<_> =
            locks.states().into_iter().map(|state| (state.session, state.granted, state.waits_for)).collect();
        assert!(seen.contains(&(1, true, vec![])) && seen.contains(&(3, false, vec![1, 2])), "{seen:?}");
        assert!(order.lock().is_empty());
        drop(first);
        second.await.unwrap();
        third.await.unwrap();
        assert_eq!(*order.lock(), [2, 3]);
        assert!(locks.is_quiet() && locks.states().is_empty());
    }

    #[tokio::test]
    async fn a_circle_is_refused_and_its_other_members_go_on() {
        let locks = RowLocks::default();
        let (mut first, mut second, mut third) = (locks.block(1), locks.block(2), locks.block(3));
        first.hold(b"a", LONG).await.unwrap();
        second.hold(b"b", LONG).await.unwrap();
        third.hold(b"c", LONG).await.unwrap();
        let first = tokio::spawn(async move { first.hold(b"b", LONG).await.map(|()| first) });
        settled().await;
        let second = tokio::spawn(async move { second.hold(b"c", LONG).await.map(|()| second) });
        settled().await;
        assert_eq!(third.hold(b"a", LONG).await.unwrap_err().state, SqlState::DeadlockDetected);
        drop(third);
        drop(second.await.unwrap().unwrap());
        drop(first.await.unwrap().unwrap());
        assert!(locks.is_quiet());
        assert!(locks.0.book.lock().waits.is_empty());
    }

    #[tokio::test]
    async fn who_was_given_a_row_waits_for_nobody() {
        let locks = RowLocks::default();
        let (mut first, mut second) = (locks.block(1), locks.block(2));
        first.hold(b"a", LONG).await.unwrap();
        second.hold(b"b", LONG).await.unwrap();
        let waiting = tokio::spawn(async move { second.hold(b"a", LONG).await.map(|()| second) });
        settled().await;
        drop(first);
        // Before the second has run again: it holds a and b, and waits for neither.
        let mut third = locks.block(3);
        let late = third.hold(b"b", Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(late.state, SqlState::LockNotAvailable);
        drop(waiting.await.unwrap().unwrap());
        third.hold(b"b", LONG).await.unwrap();
    }

    #[tokio::test]
    async fn who_gives_up_is_in_nobodys_way() {
        let locks = RowLocks::default();
        let mut first = locks.block(1);
        first.hold(b"a", LONG).await.unwrap();
        let error = locks.block(2).hold(b"a", Duration::from_millis(1)).await.unwrap_err();
        assert_eq!((error.state, error.detail.as_deref()), (SqlState::LockNotAvailable, Some("session 1 holds it")));
        // Cut off while it waits, and in the moment in which it is given the row.
        let cut_off = |session| {
            let locks = locks.clone();
            tokio::spawn(async move { locks.block(session).hold(b"a", LONG).await })
        };
        let (third, fourth) = (cut_off(3), cut_off(4));
        settled().await;
        third.abort();
        settled().await;
        drop(first);
        fourth.abort();
        let _ = (third.await, fourth.await);
        assert!(locks.is_quiet() && locks.states().is_empty());
        assert!(locks.0.book.lock().waits.is_empty());
    }
}
