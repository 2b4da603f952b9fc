//! TLS that the server ends itself: 1.2 and 1.3 by rustls, a certificate that is read again when its file changes.

use crate::config::{SecretFileError, read_private};
use chrono::{DateTime, Utc};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Key(#[from] SecretFileError),
    #[error("cannot read {}", path.display())]
    Certificate {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// No PEM, or nothing of the kind in it.
    #[error("{} holds no {what} in PEM form", path.display())]
    Form { path: PathBuf, what: &'static str },
    /// It would serve nobody.
    #[error("{} ended at {ended}", path.display())]
    Ended { path: PathBuf, ended: DateTime<Utc> },
    /// rustls refuses them; also a key that is another certificate's.
    #[error("certificate and key do not serve")]
    Refused(#[from] rustls::Error),
}

/// Ends TLS for accepted connections.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    /// When the server's own certificate ends.
    ends: DateTime<Utc>,
    /// When both files were changed last.
    changed: [Option<SystemTime>; 2],
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// [`TlsError`] with the file and what is wrong with it; never what it holds.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let changed = [changed_at(certificate), changed_at(key)];
        let (config, ends) = read(certificate, key)?;
        let state = Mutex::new(State { config, ends, changed });
        Ok(Self { certificate: certificate.to_path_buf(), key: key.to_path_buf(), state })
    }

    /// Reads the files again if they changed. Connections that are open keep what they have.
    ///
    /// # Errors
    /// [`TlsError`], also for a certificate that has ended in the place of one that has not; the earlier one goes on
    /// serving.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let changed = [changed_at(&self.certificate), changed_at(&self.key)];
        if self.state.lock().unwrap_or_else(PoisonError::into_inner).changed == changed {
            return Ok(false);
        }
        let (config, ends) = read(&self.certificate, &self.key)?;
        let now = Utc::now();
        if ends <= now && now < self.ends() {
            return Err(TlsError::Ended { path: self.certificate.clone(), ended: ends });
        }
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State { config, ends, changed };
        Ok(true)
    }

    /// When the certificate that serves ends.
    pub fn ends(&self) -> DateTime<Utc> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ends
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// When the client does not speak TLS, or not one that counts as safe.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.state.lock().unwrap_or_else(PoisonError::into_inner).config);
        TlsAcceptor::from(config).accept(stream).await
    }
}

/// The certificates of a PEM file, the server's own first.
///
/// # Errors
/// [`TlsError`] for a file that is away or holds none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem =
        std::fs::read(path).map_err(|source| TlsError::Certificate { path: path.to_path_buf(), source })?;
    let form = || TlsError::Form { path: path.to_path_buf(), what: "certificate" };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| form())?;
    if chain.is_empty() { Err(form()) } else { Ok(chain) }
}

fn read(certificate: &Path, key: &Path) -> Result<(Arc<ServerConfig>, DateTime<Utc>), TlsError> {
    let chain = certificates(certificate)?;
    let form = || TlsError::Form { path: certificate.to_path_buf(), what: "certificate" };
    let ends = chain.first().and_then(ends).ok_or_else(form)?;
    let pem = read_private(key)?;
    let secret = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| TlsError::Form { path: key.to_path_buf(), what: "key" })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, secret)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), ends))
}

fn ends(certificate: &CertificateDer<'_>) -> Option<DateTime<Utc>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    DateTime::from_timestamp(parsed.validity().not_after.timestamp(), 0)
}

fn changed_at(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}
