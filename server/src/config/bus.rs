//! The address of the bus: a secret, like every address with a password in it.

use super::secret::{SecretFileError, read_private};
use serde::{Deserialize, Serialize, Serializer};
use std::{fmt, path::Path, str::FromStr};
use url::Url;

/// The port of NATS.
const PORT: u16 = 4222;
/// The longest prefix of subjects.
const PREFIX_CHARS_MAX: usize = 64;

/// Where NATS is, with user and password or a token in it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct BusUrl(Url);

/// How NATS is to know this server.
#[derive(PartialEq, Eq)]
pub enum BusCredentials {
    Nothing,
    Token(String),
    Password(String, String),
}

impl BusUrl {
    /// The address without credentials.
    pub fn address(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        format!("{}://{host}:{}", self.0.scheme(), self.0.port().unwrap_or(PORT))
    }

    /// What to say at the door.
    pub fn credentials(&self) -> BusCredentials {
        match (self.0.username(), self.0.password()) {
            ("", _) => BusCredentials::Nothing,
            (token, None) => BusCredentials::Token(plain(token)),
            (user, Some(password)) => BusCredentials::Password(plain(user), plain(password)),
        }
    }

    /// The address for people, without what is secret.
    pub fn shown(&self) -> String {
        let at = if self.credentials() == BusCredentials::Nothing { "" } else { "***@" };
        self.address().replacen("://", &format!("://{at}"), 1)
    }

    /// Whether what is said can be read on the way: another machine, and no TLS.
    pub fn is_plain(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let is_here = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        self.0.scheme() != "tls" && !is_here
    }
}

/// What stands encoded in an address.
fn plain(encoded: &str) -> String {
    let pair = format!("a={}", encoded.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

impl FromStr for BusUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "the bus's address is nats://user:password@host:4222, or tls://…";
        let url = Url::parse(text.trim()).map_err(|_| form.to_owned())?;
        let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "nats" | "tls") || url.host_str().is_none_or(str::is_empty) || !is_bare {
            return Err(form.to_owned());
        }
        Ok(Self(url))
    }
}

impl TryFrom<String> for BusUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Serialize for BusUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

impl fmt::Debug for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// Reads the bus's address from a file.
///
/// # Errors
/// [`SecretFileError`].
pub(crate) fn url_from(path: &Path) -> Result<BusUrl, SecretFileError> {
    let bytes = read_private(path)?;
    let bad = |problem: String| SecretFileError::Bad { path: path.to_path_buf(), problem };
    let text = std::str::from_utf8(&bytes).map_err(|_| bad("not text".to_owned()))?;
    text.parse().map_err(bad)
}

/// Whether subjects may begin with it: one or more words of letters, digits, `-` and `_`, with dots between.
pub(crate) fn is_prefix(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.len() <= PREFIX_CHARS_MAX && text.split('.').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_092_l4_the_buss_address_is_never_shown_with_what_is_secret() {
        for (text, shown) in [
            ("nats://ada:hunter2@bus.example:4223", "nats://***@bus.example:4223"),
            ("tls://hunter2@bus.example", "tls://***@bus.example:4222"),
            ("nats://127.0.0.1", "nats://127.0.0.1:4222"),
        ] {
            let url: BusUrl = text.parse().unwrap();
            assert_eq!((url.shown(), format!("{url:?}")), (shown.to_owned(), shown.to_owned()));
            assert!(!url.address().contains("hunter2"));
            assert_eq!(serde_json::to_value(&url).unwrap(), shown);
        }
        for bad in ["http://bus", "nats://", "bus.example", "nats://b/hunter2", "nats://b?hunter2"] {
            let problem = bad.parse::<BusUrl>().unwrap_err();
            assert!(problem.starts_with("the bus's address") && !problem.contains("hunter2"), "{bad}");
        }
    }

    #[test]
    fn l4_credentials_are_read_as_they_were_written() {
        let url: BusUrl = "nats://ada:a%40b+c&d%25@bus".parse().unwrap();
        assert!(url.credentials() == BusCredentials::Password("ada".to_owned(), "a@b+c&d%".to_owned()));
        let url: BusUrl = "nats://word@bus".parse().unwrap();
        assert!(url.credentials() == BusCredentials::Token("word".to_owned()));
        let plain = |text: &str| text.parse::<BusUrl>().unwrap().is_plain();
        assert!(plain("nats://bus") && !plain("tls://bus"));
        assert!(!plain("nats://localhost") && !plain("nats://[::1]"));
    }

    #[test]
    fn l4_a_prefix_is_words_without_wildcards() {
        for good in ["kith", "a.b-c.D_9"] {
            assert!(is_prefix(good), "{good}");
        }
        for bad in ["", ".", "a.", "*", "a.>", "a b", "č", "a\r\n", &"x".repeat(65)] {
            assert!(!is_prefix(bad), "{bad:?}");
        }
    }
}
