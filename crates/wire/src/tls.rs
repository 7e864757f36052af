//! Encryption: a certificate from files, or one made for trying things out.

use crate::stream::Socket;
use evenkeel_model::{Error, Result, SqlState};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

/// With what connections are encrypted.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// A certificate (with those it rests on) and its key, as PEM files.
    ///
    /// # Errors
    /// 58P01 or 58030 for files that can't be read; 22023 for what is in them.
    pub fn files(certificate: &Path, key: &Path) -> Result<Self> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| {
                let state = match error.kind() {
                    io::ErrorKind::NotFound => SqlState::UndefinedFile,
                    _ => SqlState::IoError,
                };
                Error::new(state, format!("cannot read \"{}\": {error}", path.display()))
            })
        };
        let bad = |path: &Path, what: &str| {
            Error::new(SqlState::InvalidParameterValue, format!("\"{}\" holds no {what} in PEM", path.display()))
        };
        let chain = CertificateDer::pem_slice_iter(&read(certificate)?).collect::<std::result::Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| bad(certificate, "certificate"))?;
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| bad(key, "private key"))?;
        Self::new(chain, secret)
    }

    /// A certificate that nobody vouches for, made now: for trying things out.
    ///
    /// # Errors
    /// XX000 when none can be made.
    pub fn self_signed() -> Result<Self> {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_string);
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| Error::internal(error.to_string()))?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Self::new(vec![made.cert.der().clone()], key.into())
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self> {
        let unfit = |error: tokio_rustls::rustls::Error| {
            Error::new(SqlState::InvalidParameterValue, format!("the certificate can't be used: {error}"))
        };
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unfit)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(crate) async fn accept(&self, socket: Box<dyn Socket>) -> io::Result<TlsStream<Box<dyn Socket>>> {
        self.0.accept(socket).await
    }
}
