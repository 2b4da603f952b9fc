//! A place of updates: HTTPS under an authority of the tests' own, a manifest, packages, and keys to sign them.

use crate::certificates::Authority;
use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kith_server::tls::Tls;
use minisign::KeyPair;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::Cursor,
    net::TcpListener as StdListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    task::JoinHandle,
};

/// Where the manifest is.
const MANIFEST: &str = "/latest.json";

/// What is answered at a path.
#[derive(Debug, Clone)]
pub enum Answer {
    Body(Vec<u8>),
    /// To this address instead.
    Elsewhere(String),
    Broken,
}

type Answers = Arc<Mutex<BTreeMap<String, Answer>>>;

/// Serves until it is dropped.
pub struct Releases {
    authority: Authority,
    folder: PathBuf,
    port: u16,
    answers: Answers,
    keys: KeyPair,
    serving: JoinHandle<()>,
}

impl Drop for Releases {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Releases {
    /// Opens it; what is kept of it lies in the folder.
    pub fn open(folder: &Path) -> Result<Self> {
        let authority = Authority::new(folder)?;
        authority.certify("localhost", 2_099)?;
        let (certificate, key) = authority.server_files();
        let tls = Arc::new(Tls::load(&certificate, &key)?);
        let listener = StdListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let (port, listener) = (listener.local_addr()?.port(), TcpListener::from_std(listener)?);
        let answers = Answers::default();
        let served = answers.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, answers) = (tls.clone(), served.clone());
                // One that hangs up, or does not believe the certificate, is no fault of this side.
                tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        let _ = answer(BufReader::new(stream), &answers).await;
                    }
                });
            }
        });
        let keys = stranger()?;
        let releases = Self { authority, folder: folder.to_owned(), port, answers, keys, serving };
        fs::write(releases.key_file(), STANDARD.encode(releases.keys.pk.to_box()?.to_string()))?;
        Ok(releases)
    }

    /// The address of the manifest.
    pub fn url(&self) -> String {
        self.at("https", MANIFEST)
    }

    pub fn at(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://localhost:{}{path}", self.port)
    }

    /// For those who believe the authority.
    pub fn ca_file(&self) -> PathBuf {
        self.authority.file()
    }

    /// The public key, in the form of the app's configuration.
    pub fn key_file(&self) -> PathBuf {
        self.folder.join("updates.pub")
    }

    /// What is answered at a path from here on.
    pub fn put(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), answer);
    }

    /// The manifest from here on.
    pub fn announce(&self, manifest: &Value) {
        self.put(MANIFEST, Answer::Body(manifest.to_string().into_bytes()));
    }

    /// The manifest from here on, as raw as it is.
    pub fn announce_raw(&self, answer: Answer) {
        self.put(MANIFEST, answer);
    }

    /// Puts a package there, and answers a manifest that announces it: `version`, signed by `keys` (or the right ones) for
    /// `signed_version` under `name`.
    pub fn offer(
        &self,
        package: &[u8],
        version: &str,
        (keys, signed_version, name): (Option<&KeyPair>, &str, &str),
    ) -> Result<Value> {
        let path = format!("/{name}");
        self.put(&path, Answer::Body(package.to_vec()));
        let keys = keys.unwrap_or(&self.keys);
        let comment = format!("timestamp:1700000000\tfile:{name}\tversion:{signed_version}");
        let signed = minisign::sign(Some(&keys.pk), &keys.sk, Cursor::new(package), Some(&comment), None)?;
        let signature = STANDARD.encode(signed.to_string());
        let package = json!({ "url": self.at("https", &path), "signature": signature });
        let platform = format!("linux-{}-appimage", std::env::consts::ARCH);
        Ok(
            json!({ "version": version, "notes": "Faster.\n<b>Bolder.</b>", "platforms": { platform: package } }),
        )
    }
}

/// Keys that nobody believes.
pub fn stranger() -> Result<KeyPair> {
    Ok(KeyPair::generate_unencrypted_keypair()?)
}

async fn answer<S>(mut stream: BufReader<S>, answers: &Answers) -> Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let path = line.split(' ').nth(1).context("no path")?.to_owned();
    while line.trim() != "" {
        line.clear();
        stream.read_line(&mut line).await?;
    }
    let found = answers.lock().unwrap_or_else(PoisonError::into_inner).get(&path).cloned();
    let (head, body) = match found {
        Some(Answer::Body(body)) => (format!("200 OK\r\nContent-Length: {}", body.len()), body),
        Some(Answer::Elsewhere(url)) => {
            (format!("302 Found\r\nContent-Length: 0\r\nLocation: {url}"), Vec::new())
        }
        Some(Answer::Broken) => ("500 Broken\r\nContent-Length: 0".to_owned(), Vec::new()),
        None => ("404 Not Found\r\nContent-Length: 0".to_owned(), Vec::new()),
    };
    stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    stream.write_all(&body).await?;
    Ok(stream.shutdown().await?)
}
