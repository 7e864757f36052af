//! Encryption: which servers are believed to be who they say.

use std::sync::Arc;

use evenkeel_model::{Error, Result, SqlState};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::address::{Address, Security};
use super::line::Stream;

/// Encrypts a connection.
///
/// # Errors
/// 08001 when the server is not who it should be, or the two have no encryption in common; 58P01 and 22023 for the file of
/// certificates.
pub async fn encrypt(stream: Box<dyn Stream>, address: &Address) -> Result<Box<dyn Stream>> {
    let connector = TlsConnector::from(Arc::new(config(&address.security)?));
    let name = ServerName::try_from(address.host.clone()).map_err(|_| {
        Error::new(SqlState::InvalidParameterValue, format!("\"{}\" is no name that a certificate has", address.host))
    })?;
    match connector.connect(name, stream).await {
        Ok(encrypted) => Ok(Box::new(encrypted)),
        Err(error) => {
            let reason = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            Err(reason.map_or_else(|| refused(address, error.to_string()), |reason| distrusted(address, reason)))
        }
    }
}

fn refused(address: &Address, reason: String) -> Error {
    Error::new(SqlState::CannotConnect, format!("the connection to {address} cannot be encrypted: {reason}"))
}

/// Why a server is not believed.
fn distrusted(address: &Address, reason: &rustls::Error) -> Error {
    let rustls::Error::InvalidCertificate(fault) = reason else { return refused(address, reason.to_string()) };
    let (message, hint) = match fault {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let message = format!("the certificate of {address} is not for {}", address.host);
            (message, "connect by a name that is in the certificate")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            format!("nobody who is trusted vouches for the certificate of {address}"),
            "sslrootcert names the certificates that do; sslmode=require encrypts without asking who it is",
        ),
        other => (
            format!("the certificate of {address} is not to be trusted: {other}"),
            "sslmode=require encrypts without asking who it is",
        ),
    };
    Error::new(SqlState::CannotConnect, message).with_hint(hint)
}

fn config(security: &Security) -> Result<ClientConfig> {
    let provider = Arc::new(default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok(match security {
        Security::VerifyFull { root } => builder.with_root_certificates(roots(root)?).with_no_client_auth(),
        Security::Disable | Security::Prefer | Security::Require => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(algorithms))).with_no_client_auth()
        }
    })
}

/// The certificates of a file.
fn roots(path: &std::path::Path) -> Result<RootCertStore> {
    let bytes = std::fs::read(path).map_err(|error| {
        Error::new(SqlState::UndefinedFile, format!("sslrootcert \"{}\" cannot be read: {error}", path.display()))
    })?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&bytes).flatten());
    if added == 0 {
        let message = format!("sslrootcert \"{}\" holds no certificate in PEM", path.display());
        return Err(Error::new(SqlState::InvalidParameterValue, message));
    }
    Ok(roots)
}

/// Believes every server, as `sslmode=require` does: who listens on the way learns nothing, who stands in between does.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
