//! `kith-server healthcheck`: asks the server of this machine whether it is ready, as a container's engine does.

use crate::settings::Settings;
use anyhow::{Context, bail};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// The first line of an answer is no longer than this.
const ANSWER_BYTES: u64 = 512;

pub(super) async fn run(settings: &Settings) -> anyhow::Result<()> {
    run_quietly(settings).await?;
    say!("ready");
    Ok(())
}

/// As [`run`], and says nothing.
pub(super) async fn run_quietly(settings: &Settings) -> anyhow::Result<()> {
    timeout(ANSWER_WITHIN, ask(settings)).await.context("the server does not answer")?
}

async fn ask(settings: &Settings) -> anyhow::Result<()> {
    let address = near(settings.listen());
    let stream = TcpStream::connect(address).await.with_context(|| format!("nobody listens on {address}"))?;
    match &settings.tls_cert {
        Some(_) => {
            let connector = TlsConnector::from(Arc::new(trusting()?));
            let name = ServerName::IpAddress(address.ip().into());
            ready(connector.connect(name, stream).await.context("TLS with the server")?).await
        }
        None => ready(stream).await,
    }
}

/// Where the server of this machine is reached that listens there.
fn near(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn ready(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> anyhow::Result<()> {
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        bail!("the server is not ready (it answers {status:?})");
    }
    Ok(())
}

/// Believes whatever certificate is shown: this asks the machine itself, tells it nothing, and takes nothing from it but
/// a status. Going by the file would fail for as long as a renewed one is not served yet.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

fn trusting() -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth())
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
