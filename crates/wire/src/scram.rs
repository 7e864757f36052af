use crate::error::Fault;
use crate::server::Shared;
use crate::stream::{End, Stream};
use evenkeel_engine::Session;
use std::net::SocketAddr;
pub(crate) async fn authenticate(_: &Shared, _: &mut Stream, _: &str, _: &str, _: SocketAddr) -> Result<Session, End> {
    Err(Fault::protocol("later").into())
}
