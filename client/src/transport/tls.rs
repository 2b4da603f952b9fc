//! Whom to believe: the system's certificates, and those of a file for a server with an authority of its own.
//!
//! A certificate that does not fit is the end: there is no way to go on all the same. Nothing is pinned, so that an
//! operator can renew what serves.

use crate::ClientError;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use std::{
    error::Error,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// An API request whose connection does not come about within this is given up.
const API_CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The same for an exchange, which has as long as a socket has.
const EXCHANGE_CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// An answer, its body included, that is not here within this is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Checks the certificates of servers, and holds the HTTP clients that do: there is no other way to get one. Cheap to
/// clone.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
    api: reqwest::Client,
    exchange: reqwest::Client,
}

impl Trust {
    /// The system's certificates, and those of `file`.
    ///
    /// # Errors
    /// [`ClientError::BadCaFile`] for a file that cannot be read or holds none, [`ClientError::NoTls`].
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, ClientError> {
        let config = config(file)?;
        let client =
            |connect_within| built(http(&config).connect_timeout(connect_within).timeout(ANSWER_WITHIN));
        let (api, exchange) = (client(API_CONNECT_WITHIN)?, client(EXCHANGE_CONNECT_WITHIN)?);
        Ok(Self { config, api, exchange })
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The client for accounts and people.
    pub(crate) fn api_client(&self) -> reqwest::Client {
        self.api.clone()
    }

    /// The client for exchanges.
    pub(crate) fn exchange_client(&self) -> reqwest::Client {
        self.exchange.clone()
    }
}

fn config(file: Option<&Path>) -> Result<Arc<ClientConfig>, ClientError> {
    let Some(file) = file else { return Ok(Arc::clone(system())) };
    let pem = std::fs::read(file).map_err(|_| ClientError::BadCaFile)?;
    let mut roots = of_the_system();
    let mut added = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| ClientError::BadCaFile)?;
        roots.add(certificate).map_err(|_| ClientError::BadCaFile)?;
        added += 1;
    }
    if added == 0 { Err(ClientError::BadCaFile) } else { Ok(Arc::new(with(roots))) }
}

/// A client for HTTP that believes these certificates, and follows no redirection.
fn http(config: &ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(config.clone())
        .redirect(reqwest::redirect::Policy::none())
}

/// Fails closed: a client with other settings than these would believe, follow and wait for anybody.
fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, ClientError> {
    builder.build().map_err(|error| {
        tracing::error!(%error, "no HTTP client could be built");
        ClientError::NoTls
    })
}

/// For what an app fetches by itself, outside of the protocol: a client that speaks HTTPS only and believes the same
/// certificates as the engine. It follows up to five redirections.
///
/// # Errors
/// [`ClientError::BadCaFile`] for a file that cannot be read or holds no certificate.
pub fn https_client(ca_file: Option<&Path>) -> Result<reqwest::ClientBuilder, ClientError> {
    let redirections = reqwest::redirect::Policy::limited(5);
    Ok(http(&*config(ca_file)?).redirect(redirections).https_only(true))
}

/// Read once: it is some hundred certificates.
fn system() -> &'static Arc<ClientConfig> {
    static SYSTEM: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    SYSTEM.get_or_init(|| Arc::new(with(of_the_system())))
}

fn of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the system's certificates cannot be read");
    }
    // Some systems keep odd ones among them, which serve nobody.
    roots.add_parsable_certificates(found.certs);
    roots
}

fn with(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    #[expect(clippy::expect_used, reason = "the provider serves both versions")]
    let builder = versions.expect("TLS 1.2 and 1.3");
    builder.with_root_certificates(roots).with_no_client_auth()
}

/// Whether a failure is that of a certificate.
pub fn is_about_certificate(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return matches!(error, rustls::Error::InvalidCertificate(_));
        }
        // An I/O error keeps what it was made of out of the chain.
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_091_a_file_without_a_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        assert!(matches!(Trust::load(Some(&path)), Err(ClientError::BadCaFile)), "not there");
        for text in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(Trust::load(Some(&path)), Err(ClientError::BadCaFile)), "{text:?}");
        }
    }

    #[test]
    fn sec_091_no_client_takes_the_place_of_one_that_cannot_be_built() {
        let config = config(None).unwrap();
        // Header values hold no line break: an example of settings that no client can have.
        let failed = built(http(&config).user_agent("a\nb"));
        assert!(matches!(failed, Err(ClientError::NoTls)));
        assert!(built(http(&config)).is_ok());
    }

    #[tokio::test]
    async fn sec_091_no_client_follows_a_redirection() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let trust = Trust::load(None).unwrap();
        for client in [trust.api_client(), trust.exchange_client()] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(async move {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let _request = tcp.read(&mut [0; 4096]).await.unwrap();
                let head = "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
                tcp.write_all(head.as_bytes()).await.unwrap();
            });
            let answer = client.get(format!("http://{address}/")).send().await.unwrap();
            assert_eq!(answer.status(), 302);
            server.await.unwrap();
        }
    }

    #[test]
    fn sec_091_a_bad_certificate_is_told_from_a_network_that_is_away() {
        let bad = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let wrapped = std::io::Error::other(std::io::Error::other(bad));
        assert!(is_about_certificate(&wrapped));
        assert!(!is_about_certificate(&std::io::Error::other("away")));
        assert!(!is_about_certificate(&std::io::Error::other(rustls::Error::HandshakeNotComplete)));
    }
}
