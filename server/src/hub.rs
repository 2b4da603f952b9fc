//! Live connections, keyed by user (L1). In memory only.

use kith_protocol::{DeviceId, UserId};

/// The live connections of this process; a handle that is cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Hub;

impl Hub {
    /// Closes a device's connection with `code`, after a `bye`.
    pub fn close_device(&self, device: DeviceId, code: u16) {
        let _ = (device, code);
    }

    /// Closes all connections of a user with `code`.
    pub fn close_user(&self, user: UserId, code: u16) {
        let _ = (user, code);
    }

    /// Closes every connection with `code` (shutdown).
    pub fn close_all(&self, code: u16) {
        let _ = code;
    }

    /// The devices that are connected, for the check of what was revoked elsewhere.
    pub fn connected_devices(&self) -> Vec<DeviceId> {
        Vec::new()
    }
}
