//! The outbox as a place: everything that is unsent, and why.

use super::Engine;
use crate::{ClientError, store::unsent, view::OutboxItemView};

impl Engine {
    /// Everything that has not reached the server, in the order of writing.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`], [`ClientError::Store`].
    pub async fn outbox(&self) -> Result<Vec<OutboxItemView>, ClientError> {
        self.session()?.store.read(unsent::list).await
    }

    /// Tries an item again, with what waits in its conversation for the same reason. Its id stays.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if it has reached the server meanwhile.
    pub async fn retry(&self, item: f64) -> Result<(), ClientError> {
        self.write(move |tx| unsent::retry(tx, item)).await
    }

    /// Drops an item. A message that was tried may be with the server already: it is deleted there.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if it has reached the server meanwhile.
    pub async fn cancel(&self, item: f64) -> Result<(), ClientError> {
        self.write(move |tx| unsent::cancel(tx, item)).await
    }

    /// Drops a message or an edit and answers its text, for the composer.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if it has reached the server meanwhile, or has no text.
    pub async fn take_back(&self, item: f64) -> Result<String, ClientError> {
        self.write(move |tx| unsent::take_back(tx, item)).await
    }

    /// Tries everything at once that waits for a time, and reconnects. What was refused stays.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`], [`ClientError::Store`].
    pub async fn send_all_now(&self) -> Result<(), ClientError> {
        self.write(unsent::send_all).await?;
        self.session()?.driver.send_now();
        Ok(())
    }
}
