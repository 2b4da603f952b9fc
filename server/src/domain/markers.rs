//! Members' markers, typing and the list of members (R1, R2, R5).

use super::{
    fetch,
    receipts::{BATCH_MAX, Outcome, Receipt},
};
use crate::{
    db,
    error::ApiError,
    hub::{Hub, Latest, Topic},
    state::AppState,
};
use kith_protocol::{
    ConversationId, Seq, ServerFrame, UserId,
    ephemeral::Typing,
    event::Role,
    frame::{ConversationKind, Ephemeral, Markers, MemberItem, Members},
    limits,
};
use sqlx::PgConnection;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Markers of one `delivered` frame.
const DELIVERED_MAX: usize = 1_000;

/// Tells of a marker (R2): the other person of a direct conversation; of a small group those who look at it.
pub async fn tell(
    hub: &Hub,
    conn: &mut PgConnection,
    conversation: ConversationId,
    marker: (UserId, Seq, Seq),
) -> Result<(), sqlx::Error> {
    if conversation.is_group() && !hub.may_be_focused(conversation) {
        return Ok(());
    }
    let most = limits::MARKERS_PUSH_MEMBERS_MAX;
    let limit = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
    let peers = db::members::peers(conn, conversation, marker.0, limit).await?;
    if peers.len() <= most {
        let others = peers.into_iter().map(UserId::from_uuid).filter(|user| *user != marker.0);
        push(hub, conversation, marker, others.collect());
    }
    Ok(())
}

/// Sends a marker to these users' connections, on all instances; one in a group to those that look at it.
pub fn push(hub: &Hub, conversation: ConversationId, marker: (UserId, Seq, Seq), others: Vec<UserId>) {
    let frame = ServerFrame::Markers(Markers { reply_to: None, conversation, markers: vec![marker] });
    let (of, delivered, read) = marker;
    let topic = Topic::Markers(conversation, of);
    let fact = Latest { topic, version: (delivered.0, read.0), json: frame.encode().into() };
    for user in &others {
        hub.send_latest(*user, &fact);
    }
    hub.tell_others(Some(topic), || others, &fact.json);
}

/// Raises what this user's devices have stored.
///
/// # Errors
/// [`ApiError::NotMember`] if any of the conversations is a foreign one; the others count all the same.
pub async fn delivered(
    state: &AppState,
    user: UserId,
    markers: &[(ConversationId, Seq)],
) -> Result<(), ApiError> {
    if markers.len() > DELIVERED_MAX {
        return Err(ApiError::invalid("too many markers"));
    }
    if markers.is_empty() {
        return Ok(());
    }
    let mut asked: BTreeMap<ConversationId, Seq> = BTreeMap::new();
    for (conversation, seq) in markers {
        let most = asked.entry(*conversation).or_insert(*seq);
        *most = (*most).max(*seq);
    }
    let receipts = asked.into_iter().map(|(conversation, delivered)| Receipt {
        conversation,
        delivered,
        read: Seq::ZERO,
    });
    let receipts: Vec<Receipt> = receipts.collect();
    let (mut locked, mut is_foreign) = (Vec::new(), false);
    for part in receipts.chunks(BATCH_MAX) {
        let outcomes = state.receipts.raise(user, None, part.to_vec()).await?;
        for (receipt, outcome) in part.iter().zip(outcomes) {
            is_foreign |= matches!(outcome, Outcome::NotMember);
            if matches!(outcome, Outcome::Locked) {
                locked.push(*receipt);
            }
        }
    }
    if !locked.is_empty() {
        raise_locked(state, user, &locked).await?;
    }
    if is_foreign { Err(ApiError::NotMember) } else { Ok(()) }
}

/// Waits for the rows of markers that somebody has locked.
async fn raise_locked(state: &AppState, user: UserId, locked: &[Receipt]) -> Result<(), ApiError> {
    let ids: Vec<Uuid> = locked.iter().map(|receipt| receipt.conversation.as_uuid()).collect();
    let seqs: Vec<i64> = locked.iter().map(|receipt| receipt.delivered.as_i64()).collect();
    let mut conn = state.pool.acquire().await?;
    for row in db::members::raise_delivered(&mut conn, user, &ids, &seqs).await? {
        let marker = (user, Seq::from_i64(row.delivered_seq), Seq::from_i64(row.read_seq));
        tell(&state.hub, &mut conn, ConversationId::from_uuid(row.conversation_id), marker).await?;
    }
    Ok(())
}

/// All members' markers, on demand. In a direct conversation with a block, only the user's own.
///
/// # Errors
/// [`ApiError::NotMember`].
pub async fn of(
    conn: &mut PgConnection,
    user: UserId,
    conversation: ConversationId,
) -> Result<Markers, ApiError> {
    let row = fetch::of_member(conn, user, conversation).await?;
    let limit = i64::try_from(limits::GROUP_MEMBERS_MAX).unwrap_or(i64::MAX);
    let mut rows = db::members::markers(conn, row.key, limit).await?;
    if row.kind == ConversationKind::Direct.as_str() {
        let others: Vec<Uuid> =
            rows.iter().map(|row| row.user_id).filter(|other| *other != user.as_uuid()).collect();
        let blocked = db::blocks::around(conn, user, &others).await?;
        rows.retain(|row| !blocked.contains(&row.user_id));
    }
    let markers = rows.into_iter().map(|row| {
        (UserId::from_uuid(row.user_id), Seq::from_i64(row.delivered_seq), Seq::from_i64(row.read_seq))
    });
    Ok(Markers { reply_to: None, conversation, markers: markers.collect() })
}

/// Relays that somebody types, to everybody's connections but the typist's own (R5).
///
/// # Errors
/// [`ApiError::NotMember`].
pub async fn typing(
    state: &AppState,
    user: UserId,
    conversation: ConversationId,
    on: bool,
) -> Result<(), ApiError> {
    let limit = i64::try_from(limits::GROUP_MEMBERS_MAX).unwrap_or(i64::MAX);
    let mut conn = state.pool.acquire().await?;
    let peers = db::members::peers(&mut conn, conversation, user, limit).await?;
    if peers.is_empty() {
        return Err(ApiError::NotMember);
    }
    let others: Vec<UserId> =
        peers.into_iter().map(UserId::from_uuid).filter(|other| *other != user).collect();
    let frame = ServerFrame::Ephemeral(Ephemeral {
        typing: vec![Typing(conversation, user, on)],
        ..Default::default()
    });
    let frame = frame.encode().into();
    state.hub.send_ephemeral(&others, &frame);
    state.hub.tell_others(None, || others, &frame);
    Ok(())
}

/// A part of the members' list, by user id.
///
/// # Errors
/// [`ApiError::NotMember`]; `invalid` for `max` 0.
pub async fn members(
    conn: &mut PgConnection,
    user: UserId,
    conversation: ConversationId,
    after: Option<UserId>,
    max: u32,
) -> Result<Members, ApiError> {
    if max == 0 {
        return Err(ApiError::invalid("max is at least 1"));
    }
    let row = fetch::of_member(conn, user, conversation).await?;
    // Read before the list, so the list includes at least the events up to it.
    let as_of = Some(Seq::from_i64(db::heads::head(conn, conversation).await?));
    let limit = max.min(limits::LIST_ITEMS_MAX) as usize;
    let after = after.map_or(Uuid::nil(), |user| user.as_uuid());
    let mut rows = db::members::list(conn, row.key, after, limit as i64 + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| UserId::from_uuid(row.user_id));
    let items = rows.into_iter().map(|row| MemberItem {
        user: UserId::from_uuid(row.user_id),
        role: Role::parse(&row.role).unwrap_or(Role::Member),
    });
    Ok(Members { reply_to: None, conversation, as_of, items: items.collect(), next })
}
