//! The bytes of the file of secrets: header, sealed secrets, checksum. No file is touched here.

use super::{Entries, Hidden, PassphraseError, SecretName};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const FORMAT: &str = "kith-secrets";
const VERSION: u32 = 1;
/// What making the key costs: memory in KiB, passes, lanes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;
/// What a file may demand at most, whoever wrote it: a gigabyte and a few seconds.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
const CHECKSUM_BYTES: usize = 32;
/// The first line is no longer than this, bytes.
const HEADER_MAX: usize = 1_024;

/// What is made of passphrase and salt, and seals the secrets.
pub(super) type Key = Hidden<[u8; 32]>;

/// The first line. It holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    format: String,
    version: u32,
    kdf: Kdf,
    pub(super) memory_kib: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
    salt: String,
    cipher: Cipher,
    nonce: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kdf {
    Argon2id,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Cipher {
    #[serde(rename = "xchacha20poly1305")]
    XChaCha20Poly1305,
}

/// What can be read of every version's first line.
#[derive(Deserialize)]
struct AnyHeader {
    format: String,
    version: u32,
}

/// A file's content, its checksum and header checked.
pub(super) struct Sealed {
    pub(super) header: Header,
    /// The first line as it stands in the file: it is authenticated.
    line: Vec<u8>,
    sealed: Vec<u8>,
}

impl Header {
    /// One for a new passphrase.
    pub(super) fn new() -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            kdf: Kdf::Argon2id,
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: BASE64.encode(rand::random::<[u8; SALT_BYTES]>()),
            cipher: Cipher::XChaCha20Poly1305,
            nonce: BASE64.encode(rand::random::<[u8; NONCE_BYTES]>()),
        }
    }

    /// The same for the next content: of a key no nonce is used twice.
    pub(super) fn with_new_nonce(&self) -> Self {
        Self { nonce: BASE64.encode(rand::random::<[u8; NONCE_BYTES]>()), ..self.clone() }
    }

    fn line(&self) -> Vec<u8> {
        // Plain strings and numbers: serialisation has no way to fail.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    fn is_bearable(&self) -> bool {
        self.memory_kib <= MEMORY_KIB_MAX && self.passes <= PASSES_MAX && self.lanes <= LANES_MAX
    }

    /// Makes the key. Takes as long as the header says.
    pub(super) fn key(&self, passphrase: &str) -> Result<Key, PassphraseError> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32));
        let params = params.map_err(|_| PassphraseError::Damaged)?;
        let salt = bytes_of::<SALT_BYTES>(&self.salt)?;
        let mut key = Key::default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &salt, key.as_mut_slice())
            .map_err(|_| PassphraseError::Damaged)?;
        Ok(key)
    }

    fn nonce(&self) -> Result<XNonce, PassphraseError> {
        Ok(XNonce::from(bytes_of::<NONCE_BYTES>(&self.nonce)?))
    }
}

fn bytes_of<const N: usize>(text: &str) -> Result<[u8; N], PassphraseError> {
    let bytes = BASE64.decode(text).ok().and_then(|bytes| <[u8; N]>::try_from(bytes).ok());
    bytes.ok_or(PassphraseError::Damaged)
}

impl Sealed {
    /// Reads a whole file's content.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PassphraseError> {
        let end = bytes.iter().take(HEADER_MAX).position(|byte| *byte == b'\n');
        let line = end.map(|end| &bytes[..=end]).ok_or(PassphraseError::Damaged)?;
        // First of all: what follows may be different in another version.
        match serde_json::from_slice::<AnyHeader>(line) {
            Ok(any) if any.format == FORMAT && any.version > VERSION => {
                return Err(PassphraseError::Newer { found: any.version });
            }
            _ => {}
        }
        let (content, checksum) =
            bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(PassphraseError::Damaged)?;
        let sealed = content.get(line.len()..).ok_or(PassphraseError::Damaged)?;
        let header: Header = serde_json::from_slice(line).map_err(|_| PassphraseError::Damaged)?;
        let is_whole = Sha256::digest(content).as_slice() == checksum;
        if !is_whole || header.format != FORMAT || !header.is_bearable() {
            return Err(PassphraseError::Damaged);
        }
        Ok(Self { header, line: line.to_vec(), sealed: sealed.to_vec() })
    }

    /// Opens the secrets with their key.
    pub(super) fn open(&self, key: &Key) -> Result<Entries, PassphraseError> {
        let payload = Payload { msg: &self.sealed, aad: &self.line };
        // The checksum has shown that this is what was written: another key made it.
        let plain =
            cipher(key).decrypt(&self.header.nonce()?, payload).map_err(|_| PassphraseError::Wrong)?;
        decode(&Hidden::new(plain)).ok_or(PassphraseError::Damaged)
    }
}

/// A whole file's content.
pub(super) fn seal(header: &Header, key: &Key, entries: &Entries) -> Result<Vec<u8>, PassphraseError> {
    let mut bytes = header.line();
    let plain = encode(entries);
    let payload = Payload { msg: &plain, aad: &bytes };
    // It fails only for contents of gigabytes.
    let sealed = cipher(key).encrypt(&header.nonce()?, payload).map_err(|_| PassphraseError::Damaged)?;
    bytes.extend(sealed);
    let checksum = Sha256::digest(&bytes);
    bytes.extend(checksum);
    Ok(bytes)
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&**key).into())
}

/// Service, user and secret of each entry, each with its length before it. Nothing is copied while it grows.
fn encode(entries: &Entries) -> Hidden<Vec<u8>> {
    let parts = || {
        entries
            .iter()
            .flat_map(|(name, secret)| [name.service.as_bytes(), name.user.as_bytes(), secret.as_slice()])
    };
    let size = parts().map(|part| 4 + part.len()).sum();
    let mut plain = Hidden::new(Vec::with_capacity(size));
    for part in parts() {
        plain.extend((part.len() as u32).to_le_bytes());
        plain.extend(part);
    }
    plain
}

fn decode(mut plain: &[u8]) -> Option<Entries> {
    let mut entries = Entries::new();
    while !plain.is_empty() {
        let service = String::from_utf8(take(&mut plain)?.to_vec()).ok()?;
        let user = String::from_utf8(take(&mut plain)?.to_vec()).ok()?;
        let secret = Hidden::new(take(&mut plain)?.to_vec());
        entries.insert(SecretName { service, user }, secret);
    }
    Some(entries)
}

fn take<'b>(plain: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, rest) = plain.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *plain = rest;
    Some(part)
}
