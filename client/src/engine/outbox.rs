//! The outbox as a place.

use super::Engine;
use crate::ClientError;
use crate::view::OutboxItemView;

impl Engine {
    /// What is unsent.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn outbox(&self) -> Result<Vec<OutboxItemView>, ClientError> {
        
        Err(ClientError::SignedOut)
    }

    /// Tries again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn retry(&self, item: f64) -> Result<(), ClientError> {
        let _ = (item,);
        Err(ClientError::SignedOut)
    }

    /// Drops an item.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel(&self, item: f64) -> Result<(), ClientError> {
        let _ = (item,);
        Err(ClientError::SignedOut)
    }

    /// Takes a message back into the composer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn take_back(&self, item: f64) -> Result<String, ClientError> {
        let _ = (item,);
        Err(ClientError::SignedOut)
    }

    /// Tries everything at once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_all_now(&self) -> Result<(), ClientError> {
        
        Err(ClientError::SignedOut)
    }
}
