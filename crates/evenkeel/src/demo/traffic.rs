//! Sessions that read, change and make bookings, mostly those of busy customers, each on a thread of its own.

use anyhow::Context;
use evenkeel_benches::rebalance::{Record, Window, thousands};
use evenkeel_engine::{Database, Prepared, PreparedUpdate, ScalarValue, Session};
use futures::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::runtime::Handle;

const SESSIONS: i64 = 4;
/// Of a hundred requests: reads, updates; the others are inserts.
const READS: u64 = 80;
const UPDATES: u64 = 15;
/// Of a hundred requests, those for busy customers.
const BUSY: u64 = 80;
/// Every customer has this many bookings at least.
const BOOKINGS: u64 = 40;
/// Numbers of new bookings start here, far apart for each session.
const NEW: i64 = 1_000_000;

/// The header of what [`felt`] makes.
pub const FELT_TABLE_HEADER: &str = "            requests/s    p50 µs    p99 µs    longest write ms\n\
                                     -----------------------------------------------------------";

/// One line: how a stretch of time felt.
pub fn felt(name: &str, window: &Window) -> String {
    let (rate, p99) = (thousands(window.rate()), thousands(window.p99_us));
    let (p50, longest) = (window.p50_us, window.longest_write_us / 1e3);
    format!("{name:<10}  {rate:>10}  {p50:>8.1}  {p99:>8}  {longest:>18.1}")
}

/// Sessions at work. They stop when it is dropped.
pub struct Traffic {
    since: Instant,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<anyhow::Result<Done>>>,
}

/// What they did.
#[derive(Default)]
pub struct Done {
    pub record: Record,
    /// Bookings that were made.
    pub made: i64,
}

impl Traffic {
    /// Starts them.
    ///
    /// # Errors
    /// When a statement can't be prepared or a thread not be started.
    pub fn start(database: &Arc<Database>, busy: &[i64], customers: i64) -> anyhow::Result<Self> {
        let busy: Arc<[i64]> = busy.into();
        let mut traffic = Self { since: Instant::now(), stop: Arc::default(), threads: Vec::new() };
        for number in 0..SESSIONS {
            let session = Session::new(database, "bookings");
            let client = Client {
                read: session.prepare("SELECT fare FROM bookings WHERE customer = $1 AND id = $2")?,
                update: session
                    .prepare_update("UPDATE bookings SET fare = fare + 1 WHERE customer = $1 AND id = $2")?,
                session,
                busy: Arc::clone(&busy),
                customers: customers as u64,
                state: (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15),
                next: NEW * (number + 1),
                done: Done::default(),
            };
            let (since, stop, runtime) = (traffic.since, Arc::clone(&traffic.stop), Handle::current());
            let work = move || runtime.block_on(client.run(since, &stop));
            let thread = std::thread::Builder::new().name(format!("bookings-{number}")).spawn(work);
            traffic.threads.push(thread.context("cannot start a session's thread")?);
        }
        Ok(traffic)
    }

    /// Seconds since the start.
    pub fn now(&self) -> f64 {
        self.since.elapsed().as_secs_f64()
    }

    /// Stops them and says what they did.
    ///
    /// # Errors
    /// When one could not go on.
    pub fn stop(mut self) -> anyhow::Result<Done> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Done::default();
        for thread in self.threads.drain(..) {
            let done = thread.join().ok().context("a session's thread panicked")??;
            all.record.add(done.record);
            all.made += done.made;
        }
        Ok(all)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Whoever removes the directory next must find nobody writing there.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

struct Client {
    session: Session,
    read: Prepared,
    update: PreparedUpdate,
    busy: Arc<[i64]>,
    customers: u64,
    /// Of the random numbers.
    state: u64,
    /// The number of the next booking.
    next: i64,
    done: Done,
}

impl Client {
    async fn run(mut self, since: Instant, stop: &AtomicBool) -> anyhow::Result<Done> {
        while !stop.load(Ordering::Relaxed) {
            let customer = self.customer();
            let booking = 1 + self.below(BOOKINGS) as i64;
            let key = [customer, booking].map(|number| ScalarValue::Int64(Some(number)));
            let request = self.below(100);
            let (is_read, began) = (request < READS, Instant::now());
            let found = match request {
                ..READS => self.read.get(&key, |_, _| {}),
                READS.. if request < READS + UPDATES => self.update.execute(&key).await.map(|rows| rows == 1),
                _ => self.book(customer).await.map(|()| true),
            };
            let took_us = began.elapsed().as_secs_f32() * 1e6;
            let found = match found {
                Ok(true) => Ok(()),
                Ok(false) => Err(format!("booking {booking} of customer {customer} was not there")),
                Err(error) => Err(error.to_string()),
            };
            self.done.record.note(is_read, since, took_us, found);
        }
        Ok(self.done)
    }

    async fn book(&mut self, customer: i64) -> evenkeel_model::Result<()> {
        self.next += 1;
        let statement = format!("INSERT INTO bookings VALUES ({customer}, {}, 100)", self.next);
        let mut answer = self.session.execute(&statement, &[]);
        while let Some(event) = answer.next().await {
            event?;
        }
        self.done.made += 1;
        Ok(())
    }

    fn customer(&mut self) -> i64 {
        if self.below(100) < BUSY {
            let at = self.below(self.busy.len() as u64);
            self.busy[at as usize]
        } else {
            1 + self.below(self.customers) as i64
        }
    }

    /// A number below `limit` that looks random (xorshift64, Marsaglia 2003).
    fn below(&mut self, limit: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % limit
    }
}
