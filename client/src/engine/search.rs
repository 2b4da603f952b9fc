//! Search.

use super::Engine;
use crate::ClientError;
use kith_protocol::ConversationId;
use crate::view::SearchView;

impl Engine {
    /// Searches messages.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn search(&self, query: String, conversation: Option<ConversationId>, limit: u32) -> Result<SearchView, ClientError> {
        let _ = (query, conversation, limit,);
        Err(ClientError::SignedOut)
    }
}
