//! The foreground: sessions that read and update rows one after another, each as fast as it is answered.
//!
//! Every request is kept with when it ended and how long it took, so that any stretch of time can be looked at afterwards.
//! Each session has a thread of its own: what waits is the session, not the runtime that others need.

use super::keys::{Distribution, Picker, tenant};
use crate::evenkeel::Evenkeel;
use crate::random::Random;
use anyhow::Context;
use evenkeel_engine::{Prepared, PreparedUpdate, ScalarValue};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::runtime::Handle;

const READ: &str = "SELECT n, payload FROM items WHERE tenant = $1 AND id = $2";
const WRITE: &str = "UPDATE items SET n = n + 1 WHERE tenant = $1 AND id = $2";

/// What the foreground does.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    pub keys: Distribution,
    /// Reads among a hundred requests; the others are durable updates.
    pub reads: u8,
    pub sessions: usize,
}

impl Traffic {
    /// For people.
    pub fn text(&self) -> String {
        let Self { keys, reads, sessions } = self;
        let writes = 100 - reads;
        format!("{sessions} sessions, {reads} % reads and {writes} % durable updates, {} keys", keys.name())
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
struct Request {
    ended_us: u32,
    took_us: f32,
}

/// Sessions at work. They stop when it is dropped.
pub struct Load {
    since: Instant,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Record>>,
}

impl Load {
    /// Starts the sessions over rows 0 to `rows` of `items`.
    ///
    /// # Errors
    /// When a statement can't be prepared or a thread not be started.
    pub fn start(evenkeel: &Evenkeel, traffic: Traffic, rows: usize) -> anyhow::Result<Self> {
        let picker = Arc::new(Picker::new(traffic.keys, rows));
        let mut load = Self { since: Instant::now(), stop: Arc::default(), threads: Vec::new() };
        for number in 0..traffic.sessions {
            let session = evenkeel.another_session();
            let client = Client {
                read: session.prepare(READ)?,
                write: session.prepare_update(WRITE)?,
                picker: Arc::clone(&picker),
                random: Random::of(1 + number as u64),
                reads: usize::from(traffic.reads),
                record: Record::default(),
            };
            let (since, stop, runtime) = (load.since, Arc::clone(&load.stop), Handle::current());
            let work = move || runtime.block_on(client.run(since, &stop));
            let thread = std::thread::Builder::new().name(format!("session-{number}")).spawn(work);
            load.threads.push(thread.context("cannot start a session's thread")?);
        }
        Ok(load)
    }

    /// Seconds since it began: the time that windows are given in.
    pub fn now(&self) -> f64 {
        self.since.elapsed().as_secs_f64()
    }

    /// Stops the sessions and gathers what they saw.
    ///
    /// # Errors
    /// When a session's thread has panicked.
    pub fn stop(mut self) -> anyhow::Result<Record> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Record::default();
        for thread in self.threads.drain(..) {
            all.add(thread.join().ok().context("a session's thread panicked")?);
        }
        Ok(all)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Whoever removes the directory next must find nobody writing there.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

struct Client {
    read: Prepared,
    write: PreparedUpdate,
    picker: Arc<Picker>,
    random: Random,
    reads: usize,
    record: Record,
}

impl Client {
    async fn run(mut self, since: Instant, stop: &AtomicBool) -> Record {
        while !stop.load(Ordering::Relaxed) {
            let row = self.picker.row(&mut self.random);
            let number = |value: usize| ScalarValue::Int64(Some(value as i64));
            let key = [number(tenant(row)), number(row)];
            let is_read = self.random.below(100) < self.reads;
            let began = Instant::now();
            let found = match is_read {
                true => self.read.get(&key, |_, _| {}),
                false => self.write.execute(&key).await.map(|rows| rows == 1),
            };
            let took_us = began.elapsed().as_secs_f32() * 1e6;
            let found = match found {
                Ok(true) => Ok(()),
                Ok(false) => Err(format!("row {row} was not there")),
                Err(error) => Err(error.to_string()),
            };
            self.record.note(is_read, since, took_us, found);
        }
        self.record
    }
}

/// What sessions saw.
#[derive(Clone, Debug, Default)]
pub struct Record {
    reads: Vec<Request>,
    writes: Vec<Request>,
    /// What went wrong, and how often.
    errors: BTreeMap<String, u64>,
}

impl Record {
    /// Notes a request that has just ended, of a load that began at `since`.
    pub fn note(&mut self, is_read: bool, since: Instant, took_us: f32, outcome: Result<(), String>) {
        let request = Request { ended_us: since.elapsed().as_micros() as u32, took_us };
        match outcome {
            Ok(()) if is_read => self.reads.push(request),
            Ok(()) => self.writes.push(request),
            Err(error) => *self.errors.entry(error).or_default() += 1,
        }
    }

    /// Adds what another session saw.
    pub fn add(&mut self, other: Self) {
        self.reads.extend(other.reads);
        self.writes.extend(other.writes);
        for (error, times) in other.errors {
            *self.errors.entry(error).or_default() += times;
        }
    }

    /// Updates that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.writes.len()
    }

    /// What went wrong, and how often.
    pub fn errors(&self) -> &BTreeMap<String, u64> {
        &self.errors
    }

    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// The requests that ended within stretches of time, in seconds since the load began.
    pub fn window(&self, stretches: &[(f64, f64)]) -> Window {
        let within: Vec<_> = stretches.iter().map(|(from, to)| (from * 1e6) as u32..(to * 1e6) as u32).collect();
        let took = |requests: &[Request]| -> Vec<f32> {
            let within = |request: &&Request| within.iter().any(|within| within.contains(&request.ended_us));
            requests.iter().filter(within).map(|request| request.took_us).collect()
        };
        let (mut all, writes) = (took(&self.reads), took(&self.writes));
        let longest = |of: &[f32]| of.iter().copied().fold(0.0, f32::max);
        let longest_write_us = f64::from(longest(&writes));
        all.extend(&writes);
        all.sort_by(f32::total_cmp);
        Window {
            seconds: stretches.iter().map(|(from, to)| to - from).sum(),
            requests: all.len(),
            p50_us: quantile(&all, 0.5),
            p99_us: quantile(&all, 0.99),
            p999_us: quantile(&all, 0.999),
            longest_write_us,
        }
    }

    /// Requests a second and the p99 in µs, slice after slice: end of the slice, rate, p99.
    pub fn timeline(&self, slice: f64, until: f64) -> Vec<(f64, f64, f64)> {
        let slices = (until / slice) as usize;
        let mut took = vec![Vec::new(); slices];
        for request in self.reads.iter().chain(&self.writes) {
            if let Some(took) = took.get_mut((f64::from(request.ended_us) / 1e6 / slice) as usize) {
                took.push(request.took_us);
            }
        }
        let point = |(at, mut took): (usize, Vec<f32>)| {
            took.sort_by(f32::total_cmp);
            ((at + 1) as f64 * slice, took.len() as f64 / slice, quantile(&took, 0.99))
        };
        took.into_iter().enumerate().map(point).collect()
    }
}

/// The smallest value that is not below this part of all; 0 where there is none.
fn quantile(sorted: &[f32], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().map_or(0.0, f64::from)
}

/// Stretches of time as the sessions felt them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub seconds: f64,
    pub requests: usize,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub longest_write_us: f64,
}

impl Window {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds.max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_what_ended_in_it() {
        let request = |at: u32| Request { ended_us: at * 10_000, took_us: at as f32 };
        let record = Record {
            reads: (0..50).map(request).collect(),
            writes: (50..=100).map(request).collect(),
            ..Record::default()
        };
        let window = record.window(&[(0.01, 1.01)]);
        assert_eq!((window.requests, window.rate()), (100, 100.0));
        assert_eq!((window.p50_us, window.p99_us, window.p999_us), (50.0, 99.0, 100.0));
        assert_eq!((window.longest_write_us, record.window(&[(0.0, 0.5)]).longest_write_us), (100.0, 0.0));
        assert_eq!(record.window(&[(5.0, 6.0)]).p99_us, 0.0);
        let apart = record.window(&[(0.0, 0.1), (0.9, 1.0)]);
        assert_eq!((apart.requests, apart.rate().round(), apart.p50_us), (20, 100.0, 9.0));
        assert_eq!(record.timeline(0.5, 1.0), [(0.5, 100.0, 49.0), (1.0, 100.0, 99.0)]);
    }
}
