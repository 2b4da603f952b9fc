//! Secrets among the settings: never shown, never an example, never in a file that others can read.

use serde::{Deserialize, Serialize, Serializer};
use sqlx::postgres::PgConnectOptions;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};
use url::Url;

/// What documentation says instead of a secret; whoever copied one has not chosen any.
const EXAMPLES: [&str; 5] = ["changeme", "change-me", "change_me", "example", "your-password"];
/// What people take for a database of their own machine, and no further.
const WORDS: [&str; 4] = ["password", "secret", "postgres", "kith"];
/// What may be said of a database's address besides user, password, host and name, and is no secret.
const SHOWN: [&str; 9] =
    ["host", "hostaddr", "port", "dbname", "user", "sslmode", "ssl-mode", "application_name", "options"];
/// Where container engines put secrets: readable by all in there, which is the container alone.
#[cfg(unix)]
const CONTAINER_SECRETS: &str = "/run/secrets";
/// A secret's file is no longer than this.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The address of a database, with a password in it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DatabaseUrl(Url);

impl DatabaseUrl {
    /// The address to connect to, with the password in it. The certificate of a host elsewhere is verified unless the
    /// address says otherwise.
    pub fn reveal(&self) -> String {
        let mut url = self.0.clone();
        if self.tls() == DatabaseTls::Unsaid {
            url.query_pairs_mut().append_pair("sslmode", "verify-full");
        }
        url.to_string()
    }

    /// The address without the password, and without a user who stands alone: it may be a password in the wrong place.
    pub fn shown(&self) -> String {
        let mut url = self.0.clone();
        if url.password().is_some() {
            // Only addresses without a host cannot have a password, and this one has.
            let _ = url.set_password(Some("***"));
        } else if !url.username().is_empty() {
            let _ = url.set_username("***");
        }
        let hidden: Vec<(String, String)> = url
            .query_pairs()
            .map(|(key, value)| {
                let value = if SHOWN.contains(&&*key) { value } else { "***".into() };
                (key.into_owned(), value.into_owned())
            })
            .collect();
        if !hidden.is_empty() {
            url.query_pairs_mut().clear().extend_pairs(hidden);
        }
        url.to_string()
    }

    fn setting(&self, name: &str) -> Option<String> {
        self.0.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    #[cfg(test)]
    pub(crate) fn host_has(&self, text: &str) -> bool {
        self.0.host_str().is_some_and(|host| host.contains(text))
    }

    /// Whether PostgreSQL runs on this machine, as far as the address tells, and `PGHOST` where it names no host.
    pub fn is_local(&self) -> bool {
        // Read by whoever connects: two readings of one address could differ.
        self.0.as_str().parse::<PgConnectOptions>().is_ok_and(|options| {
            options.get_socket().is_some()
                || options.get_host().starts_with('/')
                || is_loopback(options.get_host())
        })
    }

    /// Whether what is said to the database can be read on the way: another host, and no demand for TLS.
    pub fn tls(&self) -> DatabaseTls {
        match (self.is_local(), self.setting("sslmode").or_else(|| self.setting("ssl-mode")).as_deref()) {
            (true, _) => DatabaseTls::Local,
            (false, Some("verify-full")) => DatabaseTls::Verified,
            (false, Some("require" | "verify-ca")) => DatabaseTls::Unverified,
            (false, Some("disable")) => DatabaseTls::Renounced,
            (false, Some("allow" | "prefer")) => DatabaseTls::Vague,
            (false, _) => DatabaseTls::Unsaid,
        }
    }
}

/// What an address says about TLS to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseTls {
    /// On this machine; it needs none.
    Local,
    /// Demanded, with a certificate that is made for the host.
    Verified,
    /// Demanded, but another host's certificate will do.
    Unverified,
    /// Said to be done without.
    Renounced,
    /// Said in a way that lets anybody in between do without it.
    Vague,
    /// Nothing said: as [`DatabaseTls::Verified`].
    Unsaid,
}

impl DatabaseTls {
    /// Whether nobody between here and the database can read or change what is said.
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Local | Self::Verified | Self::Unsaid)
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "a database's address is postgres://user:password@host/database";
        if text.contains('#') {
            return Err("a # ends an address: write %23 for one in a password".to_owned());
        }
        let url = Url::parse(text.trim()).map_err(|_| form.to_owned())?;
        if url.cannot_be_a_base() {
            return Err(form.to_owned());
        }
        let name = url.path().trim_start_matches('/');
        if !matches!(url.scheme(), "postgres" | "postgresql") || name.contains(['/', '@', ':']) {
            return Err(form.to_owned());
        }
        let mut said: Vec<String> =
            url.query_pairs().map(|(key, _)| key.replace("ssl-mode", "sslmode")).collect();
        said.sort_unstable();
        if said.windows(2).any(|pair| pair[0] == pair[1])
            || ["host", "hostaddr"].iter().all(|key| said.iter().any(|one| one == key))
        {
            return Err("a database's address says one thing twice".to_owned());
        }
        let url = Self(url);
        let password = url.0.password().map(str::to_owned).or_else(|| url.setting("password"));
        if password.is_some_and(|password| is_example(&password, url.is_local())) {
            return Err("the database's password is one of the examples: choose one".to_owned());
        }
        if url.tls() == DatabaseTls::Vague {
            return Err("sslmode=allow and prefer let anybody in between switch TLS off: say verify-full \
                        (or disable, with trusted_network = true)"
                .to_owned());
        }
        Ok(url)
    }
}

fn is_example(secret: &str, is_local: bool) -> bool {
    let secret = secret.to_lowercase();
    let is_word = || !is_local && WORDS.contains(&secret.as_str());
    EXAMPLES.contains(&secret.as_str())
        || secret.starts_with("%3c")
        || secret.starts_with('<')
        || secret.starts_with("${")
        || secret.starts_with("$%7b")
        || is_word()
}

impl TryFrom<String> for DatabaseUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// What the server's keys are derived from besides the database's.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(Vec<u8>);

impl SecretKey {
    /// The shortest, in bytes.
    pub const BYTES_MIN: usize = 32;

    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Reads the server's secret key from a file; white space around it does not count.
///
/// # Errors
/// [`SecretFileError`], also for one of fewer than [`SecretKey::BYTES_MIN`] bytes and for one of a single byte repeated.
pub(crate) fn secret_key_from(path: &Path) -> Result<SecretKey, SecretFileError> {
    let bytes = read_private(path)?.trim_ascii().to_vec();
    let is_same = bytes.windows(2).all(|pair| pair[0] == pair[1]);
    if bytes.len() < SecretKey::BYTES_MIN || is_same {
        let problem = "a secret key has at least 32 random bytes: openssl rand -hex 32".to_owned();
        return Err(SecretFileError::Bad { path: path.to_path_buf(), problem });
    }
    Ok(SecretKey(bytes))
}

/// Why a secret's file is not read.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It cannot be opened.
    #[error("cannot read {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Others can read it.
    #[error("{} can be read by everybody on this machine: chmod 600 it", path.display())]
    Open { path: PathBuf },
    /// It is longer than a secret.
    #[error("{} is too long to be a secret", path.display())]
    TooLong { path: PathBuf },
    /// What it holds is not one.
    #[error("{}: {problem}", path.display())]
    Bad {
        path: PathBuf,
        /// What is wrong with it, without what it holds.
        problem: String,
    },
}

/// Reads a file that only its owner (and perhaps a group) may read.
///
/// # Errors
/// [`SecretFileError`] for one that is away, that all may read, or that is too long.
pub fn read_private(path: &Path) -> Result<Vec<u8>, SecretFileError> {
    let unreadable = |source| SecretFileError::Unreadable { path: path.to_path_buf(), source };
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    if is_open(path, &meta) {
        return Err(SecretFileError::Open { path: path.to_path_buf() });
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(SecretFileError::TooLong { path: path.to_path_buf() });
    }
    std::fs::read(path).map_err(unreadable)
}

#[cfg(unix)]
fn is_open(path: &Path, meta: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    meta.permissions().mode() & 0o007 != 0 && !path.starts_with(CONTAINER_SECRETS)
}

#[cfg(not(unix))]
fn is_open(_: &Path, _: &std::fs::Metadata) -> bool {
    false // Windows' own lists of rights decide.
}

/// Reads a database's address from a file.
///
/// # Errors
/// [`SecretFileError`].
pub fn database_url_from(path: &Path) -> Result<DatabaseUrl, SecretFileError> {
    let bytes = read_private(path)?;
    let bad = |problem: String| SecretFileError::Bad { path: path.to_path_buf(), problem };
    let text = std::str::from_utf8(&bytes).map_err(|_| bad("not text".to_owned()))?;
    text.parse().map_err(bad)
}
