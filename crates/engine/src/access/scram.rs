//! Passwords as SCRAM-SHA-256 keeps them (RFC 5802, RFC 7677): enough to check one, not enough to know it or to log in
//! with it.
//!
//! ```text
//! password ─ SASLprep ─ PBKDF2(salt, iterations) ─▶ salted ─ HMAC "Client Key" ─ SHA-256 ─▶ stored key
//!                                                       ╰─── HMAC "Server Key" ───────────▶ server key
//! ```
//!
//! WHAT MAY NEVER HAPPEN: a password, or a client key, is kept; how long an answer takes tells whether there is a user.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use evenkeel_model::{Error, Result, SqlState};
use hmac::{Hmac, KeyInit, Mac};
use rand::Rng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Rounds of PBKDF2 of a new password. What a client spends on a login, and whoever guesses on every guess.
const ITERATIONS: u32 = 16_384;
/// The fewest rounds that RFC 7677 lets a server ask for.
const ITERATIONS_MIN: u32 = 4_096;
/// More rounds than this would keep the server busy rather than whoever guesses.
const ITERATIONS_MAX: u32 = 10_000_000;
const SALT_BYTES: usize = 16;
/// A password is at most so long.
const PASSWORD_BYTES_MAX: usize = 1_024;
/// The name of the mechanism, in front of a verifier's text.
const MECHANISM: &str = "SCRAM-SHA-256";

/// A key of SHA-256's length.
pub(crate) type Key = [u8; 32];

/// What a server keeps of a password, and needs for a SCRAM-SHA-256 exchange.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub iterations: u32,
    pub salt: Vec<u8>,
    /// H(client key): a client proves that it knows the client key.
    pub stored_key: [u8; 32],
    /// With it the server proves that it knows the verifier.
    pub server_key: [u8; 32],
}

/// Keys are nobody's business, not even a log's.
impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl Verifier {
    /// That of a new password, with a random salt. A text that is a verifier itself (as clients send it that do not tell
    /// the server the password) is taken as it is.
    ///
    /// # Errors
    /// 22023 for an empty or overlong password.
    pub fn of(password: &str) -> Result<Self> {
        if let Some(verifier) = Self::parse(password) {
            return Ok(verifier);
        }
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            let message = format!("a password has 1 to {PASSWORD_BYTES_MAX} bytes");
            return Err(Error::new(SqlState::InvalidParameterValue, message));
        }
        let mut salt = vec![0; SALT_BYTES];
        rand::rng().fill_bytes(&mut salt);
        Ok(Self::with(password, salt, ITERATIONS))
    }

    fn with(password: &str, salt: Vec<u8>, iterations: u32) -> Self {
        // As RFC 7613 and PostgreSQL have it, a password that SASLprep does not take is used as it is.
        let prepared = stringprep::saslprep(password).unwrap_or(std::borrow::Cow::Borrowed(password));
        let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(prepared.as_bytes(), &salt, iterations);
        let stored_key = Sha256::digest(hmac(&salted, b"Client Key")).into();
        Self { iterations, salt, stored_key, server_key: hmac(&salted, b"Server Key") }
    }

    /// The one that is shown for a name that no user has: always the same, like a real one's, and of no password.
    pub(crate) fn of_nobody(name: &str, secret: &Key) -> Self {
        let part = |purpose: &str| hmac(secret, format!("{purpose}:{name}").as_bytes());
        let salt = part("salt")[..SALT_BYTES].to_vec();
        Self { iterations: ITERATIONS, salt, stored_key: part("stored key"), server_key: part("server key") }
    }

    /// Whether this is the password. Takes some milliseconds.
    pub fn verifies(&self, password: &str) -> bool {
        let given = Self::with(password, self.salt.clone(), self.iterations);
        (given.stored_key.ct_eq(&self.stored_key) & given.server_key.ct_eq(&self.server_key)).into()
    }

    /// As PostgreSQL writes it: `SCRAM-SHA-256$iterations:salt$stored key:server key`.
    pub(crate) fn text(&self) -> String {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| BASE64_STANDARD.encode(bytes));
        format!("{MECHANISM}${}:{salt}${stored}:{server}", self.iterations)
    }

    /// The other way round.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(MECHANISM)?.strip_prefix('$')?;
        let (head, keys) = rest.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let key = |text: &str| BASE64_STANDARD.decode(text).ok()?.try_into().ok();
        let iterations = iterations.parse().ok()?;
        (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations).then_some(())?;
        let salt = BASE64_STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?;
        Some(Self { iterations, salt, stored_key: key(stored)?, server_key: key(server)? })
    }
}

/// A password that nobody guesses: 24 letters and digits without those that look alike, 138 bits.
pub(crate) fn random_password() -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut random = rand::rng();
    (0..24).map(|_| char::from(LETTERS[rand::RngExt::random_range(&mut random, 0..LETTERS.len())])).collect()
}

/// Random bytes for [`Verifier::of_nobody`].
pub(crate) fn random_key() -> Key {
    let mut key = Key::default();
    rand::rng().fill_bytes(&mut key);
    key
}

fn hmac(key: &[u8], message: &[u8]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    #[test]
    fn an_exchange_as_the_standard_has_it() {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::with("pencil", salt, 4096);
        let messages = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
                        r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
                        c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = BASE64_STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let signature = hmac(&verifier.stored_key, messages.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(proof, signature)| proof ^ signature).collect();
        assert_eq!(Key::from(Sha256::digest(client_key)), verifier.stored_key);
        let server = BASE64_STANDARD.encode(hmac(&verifier.server_key, messages.as_bytes()));
        assert_eq!(server, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_verifier_knows_its_password_and_no_other() {
        let verifier = Verifier::of("long live the king").unwrap();
        assert!(verifier.verifies("long live the king"));
        assert!(!verifier.verifies("long live the queen") && !verifier.verifies(""));
        assert_eq!(Verifier::parse(&verifier.text()), Some(verifier.clone()));
        assert_eq!(Verifier::of(&verifier.text()).unwrap(), verifier);
        assert_ne!(Verifier::of("long live the king").unwrap(), verifier, "the salt is random");
        assert!(Verifier::of("").is_err() && Verifier::of(&"x".repeat(2_000)).is_err());
        assert!(!format!("{verifier:?}").contains(&BASE64_STANDARD.encode(verifier.stored_key)));
    }

    #[test]
    fn texts_that_are_nearly_verifiers_are_none() {
        let text = Verifier::with("x", vec![1; 16], 4096).text();
        assert!(Verifier::parse(&text).is_some());
        for wrong in [&text[1..], &text[..text.len() - 2], &text.replace("4096", "1"), &text.replace(':', ";"), ""] {
            assert!(Verifier::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn nobodys_verifier_is_always_the_same_and_looks_like_any() {
        let nobody = Verifier::of_nobody("ada", &[7; 32]);
        assert_eq!(nobody, Verifier::of_nobody("ada", &[7; 32]));
        assert_ne!(nobody.salt, Verifier::of_nobody("bob", &[7; 32]).salt);
        assert_ne!(nobody.salt, Verifier::of_nobody("ada", &[8; 32]).salt);
        let real = Verifier::of("x").unwrap();
        assert_eq!((nobody.salt.len(), nobody.iterations), (real.salt.len(), real.iterations));
    }
}
