//! Conversations: the list, members, own settings.

use super::Engine;
use crate::ClientError;
use kith_protocol::{ConversationId, TimestampMs, UserId, event::Role};
use crate::view::{ConversationDetail, ConversationView};

impl Engine {
    /// The list.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn conversations(&self) -> Result<Vec<ConversationView>, ClientError> {
        
        Err(ClientError::SignedOut)
    }

    /// One conversation.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn conversation(&self, id: ConversationId) -> Result<ConversationDetail, ClientError> {
        let _ = (id,);
        Err(ClientError::SignedOut)
    }

    /// The direct conversation with somebody.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn find_direct(&self, user: UserId) -> Result<Option<ConversationId>, ClientError> {
        let _ = (user,);
        Err(ClientError::SignedOut)
    }

    /// Creates or finds the direct conversation and sends a message.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start_direct(&self, user: UserId, text: String) -> Result<ConversationId, ClientError> {
        let _ = (user, text,);
        Err(ClientError::SignedOut)
    }

    /// Creates or finds the direct conversation.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn open_direct(&self, user: UserId) -> Result<ConversationId, ClientError> {
        let _ = (user,);
        Err(ClientError::SignedOut)
    }

    /// Creates a group.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_group(&self, title: String, members: Vec<UserId>) -> Result<ConversationId, ClientError> {
        let _ = (title, members,);
        Err(ClientError::SignedOut)
    }

    /// Adds people.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn add_members(&self, conversation: ConversationId, members: Vec<UserId>) -> Result<(), ClientError> {
        let _ = (conversation, members,);
        Err(ClientError::SignedOut)
    }

    /// Removes somebody.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_member(&self, conversation: ConversationId, user: UserId) -> Result<(), ClientError> {
        let _ = (conversation, user,);
        Err(ClientError::SignedOut)
    }

    /// Gives a role.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_role(&self, conversation: ConversationId, user: UserId, role: Role) -> Result<(), ClientError> {
        let _ = (conversation, user, role,);
        Err(ClientError::SignedOut)
    }

    /// Leaves.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn leave(&self, conversation: ConversationId) -> Result<(), ClientError> {
        let _ = (conversation,);
        Err(ClientError::SignedOut)
    }

    /// Names the group.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_title(&self, conversation: ConversationId, title: String) -> Result<(), ClientError> {
        let _ = (conversation, title,);
        Err(ClientError::SignedOut)
    }

    /// Mutes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_mute(&self, conversation: ConversationId, until: TimestampMs) -> Result<(), ClientError> {
        let _ = (conversation, until,);
        Err(ClientError::SignedOut)
    }

    /// Pins.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_pin(&self, conversation: ConversationId, on: bool) -> Result<(), ClientError> {
        let _ = (conversation, on,);
        Err(ClientError::SignedOut)
    }

    /// Archives.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_archive(&self, conversation: ConversationId, on: bool) -> Result<(), ClientError> {
        let _ = (conversation, on,);
        Err(ClientError::SignedOut)
    }

    /// Marks as unread.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_unread(&self, conversation: ConversationId, on: bool) -> Result<(), ClientError> {
        let _ = (conversation, on,);
        Err(ClientError::SignedOut)
    }

    /// Hides until the next event.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn hide(&self, conversation: ConversationId) -> Result<(), ClientError> {
        let _ = (conversation,);
        Err(ClientError::SignedOut)
    }
}
