//! Who keeps a table from changing, and who waits for whom.
//!
//! A statement that writes a table holds it *shared*, a transaction until its end: its schema stays. A load or a schema change
//! holds it *exclusive*: nobody else writes it. Waiting is first come, first served; what is held and waited for is written
//! down as it is taken and given back, so that SYSTEM.LOCKS asks nobody.

use crate::oracle::now_ms;
use evenkeel_catalog::snapshot as state;
use evenkeel_model::{Error, Result, SqlState};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// How a table is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Shared,
    Exclusive,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Exclusive => "exclusive",
        }
    }

    fn conflicts(self, other: Self) -> bool {
        self == Self::Exclusive || other == Self::Exclusive
    }
}

/// What a session holds or waits for.
#[derive(Clone, Debug)]
struct Entry {
    session: u64,
    table: String,
    mode: Mode,
    granted: bool,
    since_ms: i64,
}

/// The entries in the order in which they came.
#[derive(Debug, Default)]
struct Book {
    entries: BTreeMap<u64, Entry>,
    next: u64,
}

/// The locks of all tables.
#[derive(Debug, Default)]
pub(crate) struct TableLocks {
    locks: Mutex<HashMap<String, Arc<RwLock<()>>>>,
    book: Arc<Mutex<Book>>,
}

/// A table that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct TableLock {
    _guard: Guard,
    _written: Written,
}

#[derive(Debug)]
enum Guard {
    Shared { _held: OwnedRwLockReadGuard<()> },
    Exclusive { _held: OwnedRwLockWriteGuard<()> },
}

/// An entry, taken out when this is dropped.
#[derive(Debug)]
struct Written {
    book: Arc<Mutex<Book>>,
    number: u64,
}

impl Drop for Written {
    fn drop(&mut self) {
        self.book.lock().entries.remove(&self.number);
    }
}

impl TableLocks {
    /// Keeps a table's schema from changing while a session writes it.
    ///
    /// # Errors
    /// 55P03 when that takes longer than the timeout.
    pub(crate) async fn shared(&self, session: u64, table: &str, timeout: Duration) -> Result<TableLock> {
        self.lock(session, table, Mode::Shared, timeout).await
    }

    /// Keeps every other writer off a table.
    ///
    /// # Errors
    /// 55P03 when that takes longer than the timeout.
    pub(crate) async fn exclusive(&self, session: u64, table: &str, timeout: Duration) -> Result<TableLock> {
        self.lock(session, table, Mode::Exclusive, timeout).await
    }

    async fn lock(&self, session: u64, table: &str, mode: Mode, timeout: Duration) -> Result<TableLock> {
        let lock = Arc::clone(self.locks.lock().entry(table.to_string()).or_default());
        let written =
            self.write_down(Entry { session, table: table.to_string(), mode, granted: false, since_ms: now_ms() });
        let wait = async {
            match mode {
                Mode::Shared => Guard::Shared { _held: lock.read_owned().await },
                Mode::Exclusive => Guard::Exclusive { _held: lock.write_owned().await },
            }
        };
        let guard = tokio::time::timeout(timeout, wait).await.map_err(|_| self.waited(table, session))?;
        if let Some(entry) = self.book.lock().entries.get_mut(&written.number) {
            (entry.granted, entry.since_ms) = (true, now_ms());
        }
        Ok(TableLock { _guard: guard, _written: written })
    }

    fn write_down(&self, entry: Entry) -> Written {
        let mut book = self.book.lock();
        let number = book.next;
        book.next += 1;
        book.entries.insert(number, entry);
        Written { book: Arc::clone(&self.book), number }
    }

    /// What is held and waited for, in the order in which it was asked for.
    pub(crate) fn states(&self) -> Vec<state::Lock> {
        let book = self.book.lock();
        let state = |(number, entry): (&u64, &Entry)| state::Lock {
            session: entry.session,
            table: entry.table.clone(),
            mode: entry.mode.name(),
            granted: entry.granted,
            waits_for: if entry.granted { Vec::new() } else { book.in_the_way(*number, entry) },
            since_ms: entry.since_ms,
        };
        book.entries.iter().map(state).collect()
    }

    fn waited(&self, table: &str, session: u64) -> Error {
        let held = self.book.lock();
        let holders: Vec<_> = held
            .entries
            .values()
            .filter(|entry| entry.granted && entry.table == table && entry.session != session)
            .map(|entry| entry.session.to_string())
            .collect();
        let detail = match holders.as_slice() {
            [] => "whoever held it has just let go".to_string(),
            [one] => format!("session {one} holds it: an open transaction that wrote it, a load or a schema change"),
            more => format!("sessions {} hold it: open transactions that wrote it", more.join(", ")),
        };
        Error::new(SqlState::LockNotAvailable, format!("gave up waiting for table \"{table}\""))
            .with_detail(detail)
            .with_hint("QUERY SYSTEM.LOCKS shows who waits for whom; shard_lock_timeout says how long to wait")
    }
}

impl Book {
    /// Sessions that hold what an entry waits for, or have waited for it longer.
    fn in_the_way(&self, number: u64, entry: &Entry) -> Vec<u64> {
        let is_in_the_way = |(other, held): &(&u64, &Entry)| {
            held.table == entry.table && held.mode.conflicts(entry.mode) && (held.granted || **other < number)
        };
        let mut sessions: Vec<_> = self.entries.iter().filter(is_in_the_way).map(|(_, held)| held.session).collect();
        sessions.retain(|session| *session != entry.session);
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn seen(locks: &TableLocks) -> Vec<(u64, &'static str, bool, Vec<u64>)> {
        let row = |lock: state::Lock| (lock.session, lock.mode, lock.granted, lock.waits_for);
        locks.states().into_iter().map(row).collect()
    }

    #[tokio::test]
    async fn who_waits_for_whom_is_written_down_and_struck_out() {
        let locks = TableLocks::default();
        let first = locks.shared(1, "t", LONG).await.unwrap();
        let second = locks.shared(2, "t", LONG).await.unwrap();
        let _elsewhere = locks.exclusive(9, "other", LONG).await.unwrap();
        let change = locks.exclusive(3, "t", LONG);
        tokio::pin!(change);
        assert!(futures::poll!(&mut change).is_pending());
        let late = locks.shared(4, "t", LONG);
        tokio::pin!(late);
        assert!(futures::poll!(&mut late).is_pending(), "it came after the change");
        let held = [(1, "shared", true, vec![]), (2, "shared", true, vec![]), (9, "exclusive", true, vec![])];
        let waiting = [(3, "exclusive", false, vec![1, 2]), (4, "shared", false, vec![3])];
        assert_eq!(seen(&locks), [held.to_vec(), waiting.to_vec()].concat());
        drop((first, second));
        let change = change.await.unwrap();
        assert_eq!(seen(&locks)[1], (3, "exclusive", true, vec![]));
        drop(change);
        drop(late.await.unwrap());
        assert_eq!(seen(&locks), [(9, "exclusive", true, vec![])]);
    }

    #[tokio::test]
    async fn who_gives_up_is_told_who_holds_it_and_leaves_nothing_behind() {
        let locks = TableLocks::default();
        let held = locks.exclusive(7, "t", LONG).await.unwrap();
        let error = locks.shared(8, "t", Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(error.state, SqlState::LockNotAvailable);
        assert!(error.detail.is_some_and(|detail| detail.contains("session 7")));
        assert_eq!(seen(&locks), [(7, "exclusive", true, vec![])]);
        drop(held);
        assert!(locks.states().is_empty());
    }
}
