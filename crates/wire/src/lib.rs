//! The PostgreSQL protocol in front of sessions.
//!
//! ```text
//! server ─▶ startup (encryption, who it is) ─▶ connection ─▶ Session
//!                                                 │  ▲
//!                 stream: messages in, bytes out ◀┘  └ portal: answers under way; copying: COPY from and to the client
//! ```
//!
//! The simple and the extended query protocol (version 3.0), text and binary formats, portals with row limits, pipelines, COPY, cancel
//! requests. Messages are read by the `pgwire` crate; what is written are bytes, put together here: a row costs no
//! allocation.

mod connection;
mod copying;
mod cursor;
mod decode;
mod encode;
mod error;
mod numeric;
mod portal;
mod scram;
mod server;
mod startup;
mod stream;
mod tls;
mod types;

pub use server::{Authentication, InProcess, Options, Server, Stop, listen, may_listen};
pub use tls::{Certificate, Tls};
