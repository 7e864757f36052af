//! `evenkeel health`: whether a server answers, for containers that have nothing else to ask with.

use crate::configuration::{Given, load};
use anyhow::{Context, bail};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server that answers at all answers within this.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// "Do you encrypt?", which a server of PostgreSQL's protocol answers with one letter before anybody has said who they are.
const DO_YOU_ENCRYPT: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Asks the server that this configuration would start. 0 when it answers.
///
/// # Errors
/// When it doesn't, and why.
pub async fn check(given: &Given) -> anyhow::Result<i32> {
    let listen = load(given)?.resolved.text("listen").unwrap_or_default();
    let address = reached_at(listen.parse().context("the address")?);
    if address.port() == 0 {
        bail!("nobody knows which port a server with listen = \"{listen}\" has taken");
    }
    tokio::time::timeout(ANSWER_MAX, ask(address))
        .await
        .unwrap_or_else(|_| bail!("{address} does not answer"))
        .with_context(|| format!("{address} is not well"))?;
    Ok(0)
}

async fn ask(address: SocketAddr) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(&DO_YOU_ENCRYPT).await?;
    match socket.read_u8().await? {
        b'S' | b'N' => Ok(()),
        _ => bail!("it speaks something else"),
    }
}

/// Where to reach a server on this machine that listens there.
fn reached_at(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
