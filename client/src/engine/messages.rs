//! Messages: reading, writing, changing. A message is named by its conversation and its id: ids are unique in a
//! conversation only, and other people choose them.

use super::Engine;
use crate::{
    ClientError,
    driver::HistoryRequest,
    store::{conversations, drafts, members, timeline, unsent},
    view::{Anchor, LinkView, TimelineView},
};
use kith_protocol::{
    ConversationId, ErrorCode, EventId,
    event::{check_emoji, check_text},
};

/// Entries of one part of a timeline.
const ENTRIES_MAX: u32 = 500;

impl Engine {
    /// A part of a timeline, from the database alone. What is missing around it is asked for, and
    /// [`TimelineChanged`](crate::EngineEvent::TimelineChanged) follows when it came.
    ///
    /// `limit` is clamped to 1–500.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] for an unknown conversation or message.
    pub async fn timeline(
        &self,
        conversation: ConversationId,
        anchor: Anchor,
        limit: u32,
    ) -> Result<TimelineView, ClientError> {
        let session = self.session()?;
        let limit = limit.clamp(1, ENTRIES_MAX) as usize;
        let mut part = session.store.read(move |db| timeline::read(db, conversation, &anchor, limit)).await?;
        if let Some(before) = part.older_than {
            session.driver.request_history(HistoryRequest::Older { conversation, before });
        }
        for (from, to) in part.gaps {
            session.driver.request_history(HistoryRequest::Gap { conversation, from, to });
        }
        if part.is_empty_here {
            session.driver.request_history(HistoryRequest::Conversation { conversation });
        }
        part.view.loading &=
            matches!(session.live.link(), LinkView::Connected { .. } | LinkView::CatchingUp { .. });
        Ok(part.view)
    }

    /// Writes a message: it is in the database before this returns, is shown at once, and leaves when it can. Clears
    /// the draft.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `invalid` for an empty text, `too_large` above 16,000 characters, `not_member`
    /// after having left; [`ClientError::NotFound`]; [`ClientError::DiskFull`], then nothing was written.
    pub async fn send_message(
        &self,
        conversation: ConversationId,
        text: String,
        reply_to: Option<EventId>,
    ) -> Result<EventId, ClientError> {
        check_text(&text).map_err(ClientError::Refused)?;
        let id = EventId::mint();
        let write = self.write(move |tx| {
            let cid = conversations::known(tx, conversation)?;
            if members::own_role(tx, cid)?.is_none() {
                return Err(ClientError::Refused(ErrorCode::NotMember));
            }
            unsent::write_message(tx, cid, id, &text, reply_to)?;
            drafts::set(tx, cid, "")?;
            Ok(id)
        });
        let id = write.await?;
        self.session()?.driver.typing(conversation, false);
        Ok(id)
    }

    /// Changes the text of an own message, sent or not.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `invalid`, `too_large`, or `not_allowed` for somebody else's;
    /// [`ClientError::NotFound`].
    pub async fn edit_message(
        &self,
        conversation: ConversationId,
        id: EventId,
        text: String,
    ) -> Result<(), ClientError> {
        check_text(&text).map_err(ClientError::Refused)?;
        self.write(move |tx| unsent::edit(tx, conversations::known(tx, conversation)?, id, &text)).await
    }

    /// Deletes an own message, sent or not; owners and admins of a group may delete others'.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `not_allowed`; [`ClientError::NotFound`].
    pub async fn delete_message(&self, conversation: ConversationId, id: EventId) -> Result<(), ClientError> {
        self.write(move |tx| unsent::delete(tx, conversations::known(tx, conversation)?, id)).await
    }

    /// Puts an emoji on a message, or takes it back.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `invalid` or `too_large`; [`ClientError::NotFound`].
    pub async fn react(
        &self,
        conversation: ConversationId,
        id: EventId,
        emoji: String,
        on: bool,
    ) -> Result<(), ClientError> {
        check_emoji(&emoji).map_err(ClientError::Refused)?;
        self.write(move |tx| unsent::react(tx, conversations::known(tx, conversation)?, id, &emoji, on)).await
    }

    /// Pins a message for everybody, or takes it down.
    ///
    /// # Errors
    /// [`ClientError::NotFound`].
    pub async fn pin_message(
        &self,
        conversation: ConversationId,
        id: EventId,
        on: bool,
    ) -> Result<(), ClientError> {
        self.write(move |tx| unsent::pin(tx, conversations::known(tx, conversation)?, id, on)).await
    }
}
