//! Who it is: SCRAM-SHA-256 (RFC 5802, RFC 7677), without the password ever being here.
//!
//! Unknown users go the same way to the same end: nobody learns who is known.

use crate::error::Fault;
use crate::server::Shared;
use crate::startup::address;
use crate::stream::{End, Stream};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BufMut;
use evenkeel_engine::{Session, SessionOptions, Verifier};
use evenkeel_model::SqlState;
use hmac::{Hmac, KeyInit, Mac};
use pgwire::messages::PgWireFrontendMessage as Message;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use subtle::ConstantTimeEq;

const MECHANISM: &str = "SCRAM-SHA-256";
/// What AuthenticationSASL, …Continue, …Final and …Ok begin with.
const SASL: i32 = 10;
const CONTINUE: i32 = 11;
const FINAL: i32 = 12;
/// Random bytes of the server's part of the nonce.
const NONCE_BYTES: usize = 18;

/// Lets a client prove that it knows a user's password; the session acts for that user.
pub(crate) async fn authenticate(
    shared: &Shared,
    stream: &mut Stream,
    user: &str,
    application: &str,
    peer: Option<SocketAddr>,
) -> Result<Session, End> {
    let known = shared.database.scram_verifier(user);
    let verifier = known.clone().unwrap_or_else(|| shared.database.scram_verifier_of_nobody(user));
    put_mechanisms(stream);
    let first = match response(stream).await? {
        Message::PasswordMessageFamily(message) => {
            let first = message.into_sasl_initial_response().map_err(|error| Fault::protocol(error.to_string()))?;
            if first.auth_method != MECHANISM {
                let message = format!("mechanism {} is not spoken here", first.auth_method);
                return Err(Fault::protocol(message).with_hint(format!("{MECHANISM} is")).into());
            }
            utf8(first.data.as_deref().unwrap_or_default())?.to_string()
        }
        _ => return Err(Fault::protocol("a password was expected").into()),
    };
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let exchange = Exchange::begin(&first, &STANDARD.encode(nonce), &verifier)?;
    put(stream, CONTINUE, exchange.challenge.as_bytes());
    let last = match response(stream).await? {
        Message::PasswordMessageFamily(message) => {
            let last = message.into_sasl_response().map_err(|error| Fault::protocol(error.to_string()))?;
            utf8(&last.data)?.to_string()
        }
        _ => return Err(Fault::protocol("a password was expected").into()),
    };
    let proof = exchange.end(&last, &verifier)?;
    let (Some(proof), true) = (proof, known.is_some()) else {
        let message = format!("password authentication failed for user \"{user}\"");
        return Err(Fault::fatal(SqlState::InvalidPassword, message).into());
    };
    put(stream, FINAL, proof.as_bytes());
    let options =
        SessionOptions { user: user.to_string(), application: application.to_string(), client: address(peer) };
    Ok(Session::of_user(&shared.database, &options).map_err(|error| Fault { error, fatal: true })?)
}

async fn response(stream: &mut Stream) -> Result<Message, End> {
    stream.message().await
}

fn put_mechanisms(stream: &mut Stream) {
    let mut body = MECHANISM.as_bytes().to_vec();
    body.extend([0, 0]);
    put(stream, SASL, &body);
}

fn put(stream: &mut Stream, kind: i32, body: &[u8]) {
    let out = &mut stream.output;
    out.put_u8(b'R');
    out.put_i32(body.len() as i32 + 8);
    out.put_i32(kind);
    out.put_slice(body);
}

fn utf8(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|_| Fault::protocol("a SCRAM message is not UTF-8"))
}

/// One exchange, from the client's first message.
struct Exchange {
    /// What the server answers to it.
    challenge: String,
    header: String,
    nonce: String,
    /// What both sides sign, but for the client's last message.
    signed: String,
}

impl Exchange {
    /// # Errors
    /// 08P01 for a message that RFC 5802 does not have.
    fn begin(first: &str, server_nonce: &str, verifier: &Verifier) -> Result<Self, Fault> {
        let malformed = || Fault::protocol("this is no first message of SCRAM");
        // n,, or y,, and a name that the start-up message has given already.
        let (flag, rest) = first.split_once(',').ok_or_else(malformed)?;
        let (identity, bare) = rest.split_once(',').ok_or_else(malformed)?;
        if !matches!(flag, "n" | "y") {
            return Err(Fault::protocol("channel binding is not spoken here").with_hint("channel_binding=disable"));
        }
        if !identity.is_empty() {
            return Err(Fault::protocol("acting for somebody else is not spoken here"));
        }
        let attribute = |name: char| bare.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let client_nonce = attribute('r').filter(|nonce| !nonce.is_empty()).ok_or_else(malformed)?;
        if attribute('m').is_some() {
            return Err(Fault::protocol("an extension of SCRAM that is not spoken here"));
        }
        let nonce = format!("{client_nonce}{server_nonce}");
        let challenge = format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        let signed = format!("{bare},{challenge}");
        Ok(Self { challenge, header: format!("{flag},,"), nonce, signed })
    }

    /// What proves to the client that the server knows it, if the client has proved that it knows the password.
    ///
    /// # Errors
    /// 08P01 for a message that RFC 5802 does not have.
    fn end(&self, last: &str, verifier: &Verifier) -> Result<Option<String>, Fault> {
        let malformed = || Fault::protocol("this is no last message of SCRAM");
        let (without_proof, proof) = last.rsplit_once(",p=").ok_or_else(malformed)?;
        let mut parts = without_proof.split(',');
        let binding = parts.next().and_then(|part| part.strip_prefix("c=")).ok_or_else(malformed)?;
        let nonce = parts.next().and_then(|part| part.strip_prefix("r=")).ok_or_else(malformed)?;
        if STANDARD.decode(binding).ok().as_deref() != Some(self.header.as_bytes()) || nonce != self.nonce {
            return Err(malformed());
        }
        let proof: [u8; 32] =
            STANDARD.decode(proof).ok().and_then(|proof| proof.try_into().ok()).ok_or_else(malformed)?;
        let signed = format!("{},{without_proof}", self.signed);
        let signature = hmac(&verifier.stored_key, signed.as_bytes());
        let mut client_key = [0; 32];
        for (at, byte) in client_key.iter_mut().enumerate() {
            *byte = proof[at] ^ signature[at];
        }
        if !bool::from(Sha256::digest(client_key).ct_eq(&verifier.stored_key)) {
            return Ok(None);
        }
        Ok(Some(format!("v={}", STANDARD.encode(hmac(&verifier.server_key, signed.as_bytes())))))
    }
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn the_example_of_the_rfc() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let salted = salted(b"pencil", &salt, 4_096);
        let client_key = hmac(&salted, b"Client Key");
        let verifier = Verifier {
            iterations: 4_096,
            salt,
            stored_key: Sha256::digest(client_key).into(),
            server_key: hmac(&salted, b"Server Key"),
        };
        let server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let exchange = Exchange::begin("n,,n=user,r=rOprNGfwEbeRWgbNEkqO", server_nonce, &verifier).expect("first");
        assert_eq!(
            exchange.challenge,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let proof = exchange.end(last, &verifier).expect("last");
        assert_eq!(proof.as_deref(), Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        let wrong = last.replace("p=dH", "p=aH");
        assert_eq!(exchange.end(&wrong, &verifier).expect("well-formed"), None);
        assert!(exchange.end(&last.replace("rOpr", "sOpr"), &verifier).is_err());
    }

    fn salted(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
        let mut block = hmac(password, &[salt, &[0, 0, 0, 1]].concat());
        let mut sum = block;
        for _ in 1..iterations {
            block = hmac(password, &block);
            sum.iter_mut().zip(block).for_each(|(sum, byte)| *sum ^= byte);
        }
        sum
    }

    #[test]
    fn what_is_not_scram_is_refused() {
        let verifier = Verifier { iterations: 1, salt: vec![], stored_key: [0; 32], server_key: [0; 32] };
        for first in ["", "n", "n,,", "n,,n=user", "p=tls-server-end-point,,n=,r=a", "n,a=b,n=,r=a", "n,,m=x,n=,r=a"] {
            assert!(Exchange::begin(first, "s", &verifier).is_err(), "{first:?}");
        }
    }
}
