//! Conversations: the list, members, own settings.

use super::Engine;
use crate::{
    ClientError,
    session::Session,
    store::{Tx, conversations, conversations::NewConversation, list, members, outbox, own_state, unsent},
    view::{ConversationDetail, ConversationView},
};
use kith_protocol::{
    ConversationId, ErrorCode, EventContent, EventId, TimestampMs, UserId,
    event::{MemberBody, MemberChange, Role, TitleBody, check_text},
    frame::{Context, ConversationKind, StateChange},
    limits,
    text::check_title,
};

impl Engine {
    /// The list: pinned ones first, then by last activity. Archived ones are in it, hidden ones are not.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`], [`ClientError::Store`].
    pub async fn conversations(&self) -> Result<Vec<ConversationView>, ClientError> {
        let session = self.session()?;
        let mut views = session.store.read(list::conversations).await?;
        for view in &mut views {
            enliven(&session, view).await?;
        }
        Ok(views)
    }

    /// One conversation with its members.
    ///
    /// # Errors
    /// [`ClientError::NotFound`].
    pub async fn conversation(&self, id: ConversationId) -> Result<ConversationDetail, ClientError> {
        let session = self.session()?;
        let mut detail = session.store.read(move |db| list::detail(db, id)).await?;
        enliven(&session, &mut detail.conversation).await?;
        Ok(detail)
    }

    /// The direct conversation with somebody, if there is one.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`], [`ClientError::Store`].
    pub async fn find_direct(&self, user: UserId) -> Result<Option<ConversationId>, ClientError> {
        let store = &self.session()?.store;
        let id = ConversationId::direct(store.me(), user);
        let found = store.read(move |db| conversations::cid(db, id)).await?;
        Ok(found.map(|_| id))
    }

    /// Creates or finds the direct conversation and sends a message, offline too: two people who do so at the same
    /// time meet in one conversation.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `invalid` for an empty text or oneself, `too_large`.
    pub async fn start_direct(&self, user: UserId, text: String) -> Result<ConversationId, ClientError> {
        check_text(&text).map_err(ClientError::Refused)?;
        self.write(move |tx| {
            let (id, cid) = direct(tx, user)?;
            unsent::write_message(tx, cid, EventId::mint(), &text, None)?;
            Ok(id)
        })
        .await
    }

    /// The same, about something on the platform. A conversation that somebody else may know of stays about what it is
    /// about.
    ///
    /// # Errors
    /// As [`Engine::start_direct`]; `invalid` for a context that is not valid too.
    pub async fn start_direct_about(
        &self,
        user: UserId,
        context: Context,
        text: String,
    ) -> Result<ConversationId, ClientError> {
        check_text(&text).map_err(ClientError::Refused)?;
        context.check().map_err(ClientError::Refused)?;
        self.write(move |tx| {
            let (id, cid) = direct(tx, user)?;
            conversations::begin_about(tx, cid, &context)?;
            unsent::write_message(tx, cid, EventId::mint(), &text, None)?;
            Ok(id)
        })
        .await
    }

    /// Creates or finds the direct conversation. The server learns of it with the first message.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `invalid` for oneself.
    pub async fn open_direct(&self, user: UserId) -> Result<ConversationId, ClientError> {
        self.write(move |tx| direct(tx, user).map(|(id, _)| id)).await
    }

    /// Creates a group of oneself and others.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `invalid` or `too_large` for the title or the number of members.
    pub async fn create_group(
        &self,
        title: String,
        members: Vec<UserId>,
    ) -> Result<ConversationId, ClientError> {
        let title = title.trim().to_owned();
        check_title(&title).map_err(ClientError::Refused)?;
        if members.len() >= limits::GROUP_MEMBERS_MAX {
            return Err(ClientError::Refused(ErrorCode::TooLarge));
        }
        self.write(move |tx| {
            let mut members = members;
            let me = tx.me;
            members.retain(|user| *user != me);
            members.sort_unstable();
            members.dedup();
            let title = Some(title).filter(|title| !title.is_empty());
            let (id, kind) = (ConversationId::mint(), ConversationKind::Group);
            let new = NewConversation { id, kind, title, context: None, members };
            let cid = conversations::create_local(tx, &new)?;
            outbox::open_if_local(tx, cid)?;
            Ok(new.id)
        })
        .await
    }

    /// Adds people to a group.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `not_allowed` unless owner or admin; [`ClientError::NotFound`].
    pub async fn add_members(
        &self,
        conversation: ConversationId,
        members: Vec<UserId>,
    ) -> Result<(), ClientError> {
        self.write(move |tx| {
            let cid = managed(tx, conversation)?;
            let present = members::all(tx, cid)?;
            for user in members {
                if !present.iter().any(|(known, _)| *known == user) {
                    push_member(tx, cid, user, MemberChange::Added, None)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Removes somebody from a group.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `not_allowed` unless owner or admin; [`ClientError::NotFound`].
    pub async fn remove_member(&self, conversation: ConversationId, user: UserId) -> Result<(), ClientError> {
        self.write(move |tx| {
            let cid = managed(tx, conversation)?;
            push_member(tx, cid, user, MemberChange::Removed, None)
        })
        .await
    }

    /// Gives somebody in a group a role.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `not_allowed` unless owner or admin; [`ClientError::NotFound`].
    pub async fn set_role(
        &self,
        conversation: ConversationId,
        user: UserId,
        role: Role,
    ) -> Result<(), ClientError> {
        self.write(move |tx| {
            let cid = managed(tx, conversation)?;
            push_member(tx, cid, user, MemberChange::Role, Some(role))
        })
        .await
    }

    /// Leaves a group; its history stays readable.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `not_member` if one is not in it; [`ClientError::NotFound`].
    pub async fn leave(&self, conversation: ConversationId) -> Result<(), ClientError> {
        self.write(move |tx| {
            let cid = conversations::known(tx, conversation)?;
            if members::own_role(tx, cid)?.is_none() {
                return Err(ClientError::Refused(ErrorCode::NotMember));
            }
            let me = tx.me;
            push_member(tx, cid, me, MemberChange::Left, None)
        })
        .await
    }

    /// Names a group.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `invalid`, `too_large`, or `not_allowed` unless owner or admin.
    pub async fn set_title(&self, conversation: ConversationId, title: String) -> Result<(), ClientError> {
        check_title(&title).map_err(ClientError::Refused)?;
        self.write(move |tx| {
            let cid = managed(tx, conversation)?;
            outbox::push_event(tx, cid, EventId::mint(), &EventContent::Title(TitleBody { text: title }))?;
            Ok(())
        })
        .await
    }

    /// Mutes until a time; 0 ends it, 2^53−1 is for ever.
    ///
    /// # Errors
    /// [`ClientError::NotFound`].
    pub async fn set_mute(
        &self,
        conversation: ConversationId,
        until: TimestampMs,
    ) -> Result<(), ClientError> {
        self.change_own(StateChange { mute: Some(until), ..StateChange::of(conversation) }).await
    }

    /// Pins a conversation in the list.
    ///
    /// # Errors
    /// [`ClientError::NotFound`].
    pub async fn set_pin(&self, conversation: ConversationId, on: bool) -> Result<(), ClientError> {
        self.change_own(StateChange { pin: Some(on), ..StateChange::of(conversation) }).await
    }

    /// Archives a conversation.
    ///
    /// # Errors
    /// [`ClientError::NotFound`].
    pub async fn set_archive(&self, conversation: ConversationId, on: bool) -> Result<(), ClientError> {
        self.change_own(StateChange { archive: Some(on), ..StateChange::of(conversation) }).await
    }

    /// Marks a conversation as unread; reading ends it.
    ///
    /// # Errors
    /// [`ClientError::NotFound`].
    pub async fn set_unread(&self, conversation: ConversationId, on: bool) -> Result<(), ClientError> {
        self.change_own(StateChange { unread_flag: Some(on), ..StateChange::of(conversation) }).await
    }

    /// Hides a conversation until something happens in it.
    ///
    /// # Errors
    /// [`ClientError::NotFound`].
    pub async fn hide(&self, conversation: ConversationId) -> Result<(), ClientError> {
        self.change_own(StateChange { hidden: Some(true), ..StateChange::of(conversation) }).await
    }

    pub(super) async fn change_own(&self, change: StateChange) -> Result<(), ClientError> {
        self.write(move |tx| {
            let cid = conversations::known(tx, change.conversation)?;
            own_state::change(tx, cid, change)
        })
        .await
    }
}

/// Adds who types and who is there.
async fn enliven(session: &Session, view: &mut ConversationView) -> Result<(), ClientError> {
    view.presence = view.peer.as_ref().and_then(|peer| session.live.presence_of(peer.id));
    let typing = session.live.typing_in(view.id);
    if !typing.is_empty() {
        view.typing = session.store.people(typing).await?;
    }
    Ok(())
}

fn direct(tx: &mut Tx<'_>, user: UserId) -> Result<(ConversationId, i64), ClientError> {
    if user == tx.me {
        return Err(ClientError::Refused(ErrorCode::Invalid));
    }
    let id = ConversationId::direct(tx.me, user);
    if let Some(cid) = conversations::cid(tx, id)? {
        own_state::change(tx, cid, StateChange { hidden: Some(false), ..StateChange::of(id) })?;
        return Ok((id, cid));
    }
    let (kind, members) = (ConversationKind::Direct, vec![user]);
    let new = NewConversation { id, kind, title: None, context: None, members };
    Ok((id, conversations::create_local(tx, &new)?))
}

/// A group that one may manage.
fn managed(tx: &Tx<'_>, conversation: ConversationId) -> Result<i64, ClientError> {
    let cid = conversations::known(tx, conversation)?;
    match members::own_role(tx, cid)? {
        Some(role) if role.may_manage() => Ok(cid),
        Some(_) => Err(ClientError::Refused(ErrorCode::NotAllowed)),
        None => Err(ClientError::Refused(ErrorCode::NotMember)),
    }
}

fn push_member(
    tx: &mut Tx<'_>,
    cid: i64,
    user: UserId,
    change: MemberChange,
    role: Option<Role>,
) -> Result<(), ClientError> {
    let body = MemberBody { user, change, role };
    outbox::push_event(tx, cid, EventId::mint(), &EventContent::Member(body))?;
    Ok(())
}
