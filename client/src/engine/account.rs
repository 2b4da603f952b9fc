//! Signing in and out, devices, people.

use super::Engine;
use crate::ClientError;
use kith_protocol::{DeviceId, UserId, api::SessionItem};
use crate::view::{PersonView, SignOutPreview};

impl Engine {
    /// Creates an account and signs in.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sign_up(&self, server: String, username: String, password: String, display_name: String, invite: Option<String>) -> Result<(), ClientError> {
        let _ = (server, username, password, display_name, invite,);
        Err(ClientError::SignedOut)
    }

    /// Signs in; the same user gets the same history and outbox again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sign_in(&self, server: String, username: String, password: String) -> Result<(), ClientError> {
        let _ = (server, username, password,);
        Err(ClientError::SignedOut)
    }

    /// What signing out would lose.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sign_out_preview(&self) -> Result<SignOutPreview, ClientError> {
        
        Err(ClientError::SignedOut)
    }

    /// Signs out; with `wipe`, key and database go too.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sign_out(&self, wipe: bool) -> Result<(), ClientError> {
        let _ = (wipe,);
        Err(ClientError::SignedOut)
    }

    /// The account's devices.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sessions(&self) -> Result<Vec<SessionItem>, ClientError> {
        
        Err(ClientError::SignedOut)
    }

    /// Signs another device out.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_session(&self, device: DeviceId, password: String) -> Result<(), ClientError> {
        let _ = (device, password,);
        Err(ClientError::SignedOut)
    }

    /// Sets another password.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn change_password(&self, current: String, new: String) -> Result<(), ClientError> {
        let _ = (current, new,);
        Err(ClientError::SignedOut)
    }

    /// Sets one's own name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_display_name(&self, name: String) -> Result<(), ClientError> {
        let _ = (name,);
        Err(ClientError::SignedOut)
    }

    /// People by name: those that are known here, then the server's; never oneself.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn find_people(&self, query: String) -> Result<Vec<PersonView>, ClientError> {
        let _ = (query,);
        Err(ClientError::SignedOut)
    }

    /// One person.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn person(&self, user: UserId) -> Result<PersonView, ClientError> {
        let _ = (user,);
        Err(ClientError::SignedOut)
    }
}
