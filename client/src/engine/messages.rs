//! Messages: reading, writing, changing.

use super::Engine;
use crate::ClientError;
use kith_protocol::{ConversationId, EventId};
use crate::view::{Anchor, TimelineView};

impl Engine {
    /// A part of a timeline.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn timeline(&self, conversation: ConversationId, anchor: Anchor, limit: u32) -> Result<TimelineView, ClientError> {
        let _ = (conversation, anchor, limit,);
        Err(ClientError::SignedOut)
    }

    /// Writes a message.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_message(&self, conversation: ConversationId, text: String, reply_to: Option<EventId>) -> Result<EventId, ClientError> {
        let _ = (conversation, text, reply_to,);
        Err(ClientError::SignedOut)
    }

    /// Changes the text of an own message.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn edit_message(&self, id: EventId, text: String) -> Result<(), ClientError> {
        let _ = (id, text,);
        Err(ClientError::SignedOut)
    }

    /// Deletes a message.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_message(&self, id: EventId) -> Result<(), ClientError> {
        let _ = (id,);
        Err(ClientError::SignedOut)
    }

    /// Puts an emoji on a message, or takes it back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn react(&self, id: EventId, emoji: String, on: bool) -> Result<(), ClientError> {
        let _ = (id, emoji, on,);
        Err(ClientError::SignedOut)
    }

    /// Pins a message for everybody.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pin_message(&self, id: EventId, on: bool) -> Result<(), ClientError> {
        let _ = (id, on,);
        Err(ClientError::SignedOut)
    }
}
