//! Every kind of statement, for every kind of user, on every way in: one table says who may.
//!
//! ```text
//! table    statements, and who may carry them out; calls of the REST interface that are the same statement
//! kinds    what kinds of statement there are: one that the table lacks does not compile, or fails a test
//! world    a database with every kind of user, and servers in front of it
//! ways     a session in the process, both protocols of the wire, and HTTP
//! matrix   the test
//! explain  what EXPLAIN says of views
//! ```
//!
//! WHAT MAY NEVER HAPPEN: a way in lets somebody do what another refuses; a statement that is refused has done something.

#[path = "authorization/explain.rs"]
mod explain;
#[path = "authorization/kinds.rs"]
mod kinds;
#[path = "authorization/matrix.rs"]
mod matrix;
#[path = "authorization/table.rs"]
mod table;
#[path = "authorization/ways.rs"]
mod ways;
#[path = "authorization/world.rs"]
mod world;
