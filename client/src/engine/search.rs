//! Searching what is stored here.

use super::Engine;
use crate::{ClientError, view::SearchView};
use kith_protocol::ConversationId;

/// Hits of one search.
const HITS_MAX: u32 = 200;

impl Engine {
    /// Searches messages, newest first: each word is found by its beginning, without case and accents; scripts
    /// without spaces by any run of characters, symbols by themselves. No input is an error. `limit` is clamped to
    /// 1–200. A search ends when the next one begins.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] for an unknown conversation, [`ClientError::Superseded`] by a newer search.
    pub async fn search(
        &self,
        query: String,
        conversation: Option<ConversationId>,
        limit: u32,
    ) -> Result<SearchView, ClientError> {
        let limit = limit.clamp(1, HITS_MAX) as usize;
        self.session()?.store.search(query, conversation, limit).await
    }
}
