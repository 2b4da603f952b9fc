//! Read markers, drafts, typing, presence, focus.

use super::Engine;
use crate::ClientError;
use kith_protocol::{ConversationId, Seq, UserId, ephemeral::PresenceState};
use crate::view::PresenceView;

impl Engine {
    /// Marks as read.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn mark_read(&self, conversation: ConversationId, up_to: Seq) -> Result<(), ClientError> {
        let _ = (conversation, up_to,);
        Err(ClientError::SignedOut)
    }

    /// Keeps unsent text.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_draft(&self, conversation: ConversationId, text: String) -> Result<(), ClientError> {
        let _ = (conversation, text,);
        Err(ClientError::SignedOut)
    }

    /// Ends a draft's conflict.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn keep_draft(&self, conversation: ConversationId, text: String) -> Result<(), ClientError> {
        let _ = (conversation, text,);
        Err(ClientError::SignedOut)
    }

    /// Tells of typing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_typing(&self, conversation: ConversationId, on: bool) -> Result<(), ClientError> {
        let _ = (conversation, on,);
        Err(ClientError::SignedOut)
    }

    /// Tells what is on screen.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_focus(&self, conversations: Vec<ConversationId>) -> Result<(), ClientError> {
        let _ = (conversations,);
        Err(ClientError::SignedOut)
    }

    /// Tells whose presence is shown.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn watch_presence(&self, users: Vec<UserId>) -> Result<(), ClientError> {
        let _ = (users,);
        Err(ClientError::SignedOut)
    }

    /// Sets one's own presence.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_presence(&self, state: PresenceState) -> Result<(), ClientError> {
        let _ = (state,);
        Err(ClientError::SignedOut)
    }

    /// Presence as far as known.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn presence(&self, users: Vec<UserId>) -> Result<Vec<PresenceView>, ClientError> {
        let _ = (users,);
        Err(ClientError::SignedOut)
    }

    /// Reconnects at once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn network_changed(&self) -> Result<(), ClientError> {
        
        Err(ClientError::SignedOut)
    }
}
