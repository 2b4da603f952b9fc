//! The form of refresh tokens: whose, of which device, the how many'th, and the server's own mark on it.
//!
//! The database holds hashes alone and decides what a token is worth. The mark lets a server whose database was set
//! back to a backup know tokens that it gave out after that (S11); it makes no token good by itself.

use super::{Succession, Tokens};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use kith_protocol::{DeviceId, UserId};
use rand::RngExt;
use sha2::Sha256;
use uuid::Uuid;

/// What nobody can guess: random, or derived from the token before.
const NONCE_BYTES: usize = 32;
/// User, device, number, nonce: what is marked.
const MARKED_BYTES: usize = 16 + 16 + 8 + NONCE_BYTES;
const TOKEN_BYTES: usize = MARKED_BYTES + 16;

/// What a refresh token of this server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub user: UserId,
    pub device: DeviceId,
    /// Rises with every token of the device.
    pub number: i64,
}

impl Tokens {
    /// A fresh refresh token.
    pub(crate) fn first_refresh(&self, told: Told) -> String {
        self.marked(told, rand::rng().random())
    }

    /// Derives the refresh token that follows `token`: the same one however often it is asked (S11).
    pub(crate) fn successor(&self, token: &str, told: Told) -> String {
        let digest = self.digest(Succession::SameDevice.word(), token.as_bytes());
        self.marked(told, digest)
    }

    /// Derives the device that parts from a copied profile with `token` (S8), and its first refresh token: the same
    /// ones however often they are asked.
    pub(crate) fn fork(&self, token: &str, user: UserId, number: i64) -> (DeviceId, String) {
        let digest = self.digest(Succession::NewDevice.word(), token.as_bytes());
        let nonce = self.digest(NONCE, token.as_bytes());
        let device = DeviceId::from_uuid(uuid::Builder::from_random_bytes(first_half(digest)).into_uuid());
        (device, self.marked(Told { user, device, number }, nonce))
    }

    /// Reads a token that bears this server's mark.
    pub(crate) fn read_refresh(&self, token: &str) -> Option<Told> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() == TOKEN_BYTES)?;
        let (marked, mark) = bytes.split_at(MARKED_BYTES);
        self.mac(MARK, marked).verify_truncated_left(mark).ok()?;
        let id = |at: usize| Uuid::from_slice(&marked[at..at + 16]).ok();
        let number = i64::from_be_bytes(marked[32..40].try_into().ok()?);
        Some(Told { user: UserId::from_uuid(id(0)?), device: DeviceId::from_uuid(id(16)?), number })
    }

    fn marked(&self, told: Told, nonce: [u8; NONCE_BYTES]) -> String {
        let mut bytes = Vec::with_capacity(TOKEN_BYTES);
        bytes.extend_from_slice(told.user.as_uuid().as_bytes());
        bytes.extend_from_slice(told.device.as_uuid().as_bytes());
        bytes.extend_from_slice(&told.number.to_be_bytes());
        bytes.extend_from_slice(&nonce);
        let mark = first_half(self.digest(MARK, &bytes));
        bytes.extend_from_slice(&mark);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(super) fn mac(&self, purpose: &[u8], bytes: &[u8]) -> Hmac<Sha256> {
        let keys = self.keys();
        let mut mac = Hmac::<Sha256>::new_from_slice(&keys.refresh)
            .unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"));
        mac.update(purpose);
        mac.update(bytes);
        mac
    }

    fn digest(&self, purpose: &[u8], bytes: &[u8]) -> [u8; 32] {
        self.mac(purpose, bytes).finalize().into_bytes().into()
    }
}

const MARK: &[u8] = b"kith token   ";
const NONCE: &[u8] = b"kith nonce   ";

fn first_half(digest: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}
