//! What PQL means, end to end: sessions over a database in a temporary directory.
//!
//! ```text
//! scripts      tests/slt/*.slt: statements and the rows or the error that they must give
//! flights      real data: fifteen questions in SQL and again as pipelines, with known answers
//! choosing     rows that a block chooses with SELECT … FOR UPDATE
//! conflicts    sessions that get in each other's way, and what makes a statement stop
//! access       users, and what becomes of their rights
//! activity     what the SYSTEM tables say of sessions, statements and transactions
//! copying      files in and out
//! large        more than fits the memory given
//! past         tables as they were
//! ```
//!
//! Everything runs over one and over several shards: how rows are spread must not be seen in an answer.

#[path = "language/access.rs"]
mod access;
#[path = "language/activity.rs"]
mod activity;
#[path = "language/blocks.rs"]
mod blocks;
#[path = "language/choosing.rs"]
mod choosing;
#[path = "language/conflicts.rs"]
mod conflicts;
#[path = "language/connection.rs"]
mod connection;
#[path = "language/copying.rs"]
mod copying;
#[path = "language/flights.rs"]
mod flights;
#[path = "language/large.rs"]
mod large;
#[path = "language/past.rs"]
mod past;
#[path = "language/prepared.rs"]
mod prepared;
#[path = "language/questions.rs"]
mod questions;
#[path = "language/scripts.rs"]
mod scripts;
#[path = "language/single.rs"]
mod single;
