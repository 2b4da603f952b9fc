//! For measurements only (feature `measure`): an account without a server, and what a server would have sent, written
//! to its store by the same calls that the driver makes.

use crate::{
    ClientError, Engine,
    driver::{SyncStore as _, nothing_earlier},
};
use kith_protocol::{DeviceId, api};
pub use kith_sync::ops::StoreOp;

impl Engine {
    /// Signs somebody in whom no server has let in: the database is the same, and the connection fails for ever.
    ///
    /// # Errors
    /// [`ClientError::Store`] and what else keeps a database closed.
    pub async fn begin_unasked(&self, server: &str, me: api::Profile) -> Result<(), ClientError> {
        let device = api::DeviceRef { id: DeviceId::mint(), name: "measured".to_owned() };
        let answer = api::Session {
            access_token: String::new(),
            access_expires_in_s: 0,
            refresh_token: String::new(),
            user: me,
            device,
        };
        self.inner.profile.begin_unasked(server, answer).await
    }

    /// Carries out what the sync machine would have written, in one transaction, and tells listeners.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`], [`ClientError::Store`].
    pub async fn store(&self, ops: Vec<StoreOp>) -> Result<(), ClientError> {
        let session = self.session()?;
        let applied = session.store.apply(ops, nothing_earlier()).await?;
        session.live.changed(applied.notices);
        Ok(())
    }

    /// Marks what is made from events as another version's: the next opening begins to make it again.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`], [`ClientError::Store`].
    pub async fn outdate(&self) -> Result<(), ClientError> {
        self.session()?.store.outdate().await
    }
}
