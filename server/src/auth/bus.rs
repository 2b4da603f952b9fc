//! The mark on what instances of one database tell each other (L4): whoever can write to the bus, but does not know this
//! database's keys, is not heard.

use super::Tokens;
use hmac::Mac;

/// The bytes of a mark.
pub(crate) const SEAL_BYTES: usize = 16;

const BUS: &[u8] = b"kith bus     ";

impl Tokens {
    /// The mark of a message.
    pub(crate) fn seal(&self, message: &[u8]) -> [u8; SEAL_BYTES] {
        let whole = self.mac(BUS, message).finalize().into_bytes();
        std::array::from_fn(|at| whole[at])
    }

    /// Whether an instance of this database marked the message so.
    pub(crate) fn is_sealed(&self, message: &[u8], seal: &[u8]) -> bool {
        seal.len() == SEAL_BYTES && self.mac(BUS, message).verify_truncated_left(seal).is_ok()
    }
}
