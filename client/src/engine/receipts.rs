//! Read markers, drafts, typing, presence, focus.

use super::Engine;
use crate::{
    ClientError,
    store::{conversations, drafts, receipts},
    view::PresenceView,
};
use kith_protocol::{ConversationId, ErrorCode, Seq, UserId, ephemeral::PresenceState, limits};

impl Engine {
    /// Marks as read up to a seq (R3: visible, in a focused window, unlocked). The numbers here change at once; the
    /// marker never falls.
    ///
    /// # Errors
    /// [`ClientError::NotFound`].
    pub async fn mark_read(&self, conversation: ConversationId, up_to: Seq) -> Result<(), ClientError> {
        let store = &self.session()?.store;
        // Nothing is written where nothing changes: this is called at every scroll.
        match store.read(move |db| receipts::advance(db, conversation, up_to)).await? {
            Some(change) => self.change_own(change).await,
            None => Ok(()),
        }
    }

    /// Keeps what was written and not sent; empty removes it. The other devices get it too.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `too_large`; [`ClientError::NotFound`].
    pub async fn set_draft(&self, conversation: ConversationId, text: String) -> Result<(), ClientError> {
        check_draft(&text)?;
        self.write(move |tx| {
            let cid = conversations::known(tx, conversation)?;
            drafts::set(tx, cid, &text)
        })
        .await
    }

    /// Ends a draft's conflict with the text that the user chose.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `too_large`; [`ClientError::NotFound`].
    pub async fn keep_draft(&self, conversation: ConversationId, text: String) -> Result<(), ClientError> {
        check_draft(&text)?;
        self.write(move |tx| {
            let cid = conversations::known(tx, conversation)?;
            drafts::keep(tx, cid, &text)
        })
        .await
    }

    /// Tells of typing, at each key; it ends by itself a second after the last one (R5).
    ///
    /// # Errors
    /// [`ClientError::SignedOut`].
    pub async fn set_typing(&self, conversation: ConversationId, on: bool) -> Result<(), ClientError> {
        self.session()?.driver.typing(conversation, on);
        Ok(())
    }

    /// Tells which conversations are on screen: they are fetched first.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`].
    pub async fn set_focus(&self, conversations: Vec<ConversationId>) -> Result<(), ClientError> {
        self.session()?.driver.focus(conversations);
        Ok(())
    }

    /// Tells whose presence is shown, at most 200; replaces what was watched before, and what is known of others is
    /// forgotten. The server is asked also where these were watched before: after a block ends it has news of them.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`].
    pub async fn watch_presence(&self, mut users: Vec<UserId>) -> Result<(), ClientError> {
        users.truncate(limits::USERS_PER_FRAME_MAX);
        let session = self.session()?;
        session.live.watch(&users);
        session.driver.watch(users);
        Ok(())
    }

    /// Sets one's own presence.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`].
    pub async fn set_presence(&self, state: PresenceState) -> Result<(), ClientError> {
        self.session()?.driver.set_presence(state);
        Ok(())
    }

    /// How present people are, as far as known; who is unknown is left out.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`].
    pub async fn presence(&self, users: Vec<UserId>) -> Result<Vec<PresenceView>, ClientError> {
        let session = self.session()?;
        Ok(users.into_iter().filter_map(|user| session.live.presence_of(user)).collect())
    }

    /// Reconnects at once: the computer woke up, or its network changed.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`].
    pub async fn network_changed(&self) -> Result<(), ClientError> {
        self.session()?.driver.network_changed();
        Ok(())
    }
}

fn check_draft(text: &str) -> Result<(), ClientError> {
    if text.chars().nth(limits::DRAFT_CHARS_MAX).is_some() {
        return Err(ClientError::Refused(ErrorCode::TooLarge));
    }
    if text.contains('\0') { Err(ClientError::Refused(ErrorCode::Invalid)) } else { Ok(()) }
}
