//! Heads: where every conversation of a user stands, read in one snapshot (S2, S3).

use super::cursor::Cursor;
use crate::db::{self, items::ItemRow};
use kith_protocol::{
    Chain, ConversationId, Seq, ServerFrame, TimestampMs, UserId,
    event::Role,
    frame::{ConversationKind, Draft, Heads, HeadsItem, HeadsMember, OwnState},
    limits,
};
use sqlx::{PgConnection, PgPool};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use uuid::Uuid;

/// The intervals of a membership, both ends inclusive; `None` while it lasts.
type Visible = Vec<(Seq, Option<Seq>)>;

/// A page key: the newest event's time and the conversation of the last item.
pub type PageKey = (i64, Uuid);

/// A user's own state as it goes out.
pub fn own_state(row: &ItemRow, unread: u64) -> OwnState {
    OwnState {
        conversation: ConversationId::from_uuid(row.id),
        unread,
        read: Seq::from_i64(row.read_seq),
        delivered: Seq::from_i64(row.delivered_seq),
        unread_flag: row.unread_flag,
        mute: TimestampMs::from_i64(row.mute_until),
        pin: row.pin,
        archive: row.archive,
        hidden: row.is_hidden(),
        draft: row.draft.clone().map(|text| Draft { text, version: row.draft_version.unsigned_abs() }),
        version: row.version.unsigned_abs(),
    }
}

/// Unread messages by conversation key (W7).
pub async fn unread(
    conn: &mut PgConnection,
    user: UserId,
    rows: &[ItemRow],
) -> Result<HashMap<i64, u64>, sqlx::Error> {
    let asked: Vec<_> = rows
        .iter()
        .filter(|row| row.last_unread.is_none() && row.read_seq < row.head)
        .map(|row| (row.key, row.read_seq, row.head))
        .collect();
    let mut counted = db::unread::count(conn, user, &asked).await?;
    counted.extend(rows.iter().filter_map(|row| Some((row.key, row.last_unread?))));
    Ok(counted.into_iter().map(|(key, unread)| (key, unread.max(0).unsigned_abs())).collect())
}

/// Completes rows to heads items, with a fixed number of queries for all of them.
pub async fn complete(
    conn: &mut PgConnection,
    user: UserId,
    rows: Vec<ItemRow>,
) -> Result<Vec<HeadsItem>, sqlx::Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<i64> = rows.iter().map(|row| row.key).collect();
    let unread = unread(conn, user, &rows).await?;
    let mut visible: HashMap<i64, Vec<(Seq, Option<Seq>)>> = HashMap::new();
    for row in db::members::intervals_of(conn, user, &keys).await? {
        let interval = (Seq::from_i64(row.from_seq), row.to_seq.map(Seq::from_i64));
        visible.entry(row.conversation_key).or_default().push(interval);
    }
    // A former member is told nothing of the members there are at present.
    let active: Vec<i64> = rows.iter().filter(|row| row.is_active).map(|row| row.key).collect();
    let people = People::read(conn, &active).await?;
    let item = |row: ItemRow| {
        let visible = visible.remove(&row.key).unwrap_or_default();
        let unread = unread.get(&row.key).copied().unwrap_or_default();
        people.item(row, unread, visible)
    };
    Ok(rows.into_iter().map(item).collect())
}

/// The active members of conversations, as far as heads items name them.
struct People {
    counts: HashMap<i64, i64>,
    /// Of small conversations alone.
    members: HashMap<i64, Vec<HeadsMember>>,
}

impl People {
    async fn read(conn: &mut PgConnection, keys: &[i64]) -> Result<Self, sqlx::Error> {
        let counts: HashMap<i64, i64> = db::items::member_counts(conn, keys).await?.into_iter().collect();
        let limit = i64::try_from(limits::HEADS_MEMBERS_MAX).unwrap_or(i64::MAX);
        let small: Vec<i64> =
            counts.iter().filter(|(_, count)| **count <= limit).map(|(key, _)| *key).collect();
        let mut members: HashMap<i64, Vec<HeadsMember>> = HashMap::new();
        for row in db::items::members(conn, &small).await? {
            members.entry(row.conversation_key).or_default().push(HeadsMember {
                user: UserId::from_uuid(row.user_id),
                role: Role::parse(&row.role).unwrap_or(Role::Member),
                profile_version: row.profile_version.unsigned_abs(),
            });
        }
        Ok(Self { counts, members })
    }

    /// A heads item; a former member's names nobody.
    fn item(&self, row: ItemRow, unread: u64, visible: Visible) -> HeadsItem {
        let id = ConversationId::from_uuid(row.id);
        let count = self.counts.get(&row.key).filter(|_| row.is_active);
        HeadsItem {
            own: own_state(&row, unread),
            kind: ConversationKind::parse(&row.kind).unwrap_or(ConversationKind::Group),
            head: Seq::from_i64(row.head),
            chain: Chain::from_slice(&row.chain).unwrap_or_else(|| Chain::empty(id)),
            countable: row.countable.unsigned_abs(),
            last_ts: TimestampMs::from_i64(row.last_ts),
            floor: visible.first().map_or(Seq(1), |(from, _)| *from),
            visible,
            members: self.members.get(&row.key).filter(|_| row.is_active).cloned(),
            member_count: count.and_then(|count| u32::try_from(*count).ok()).unwrap_or_default(),
            title: row.title,
            context: row.context.and_then(|context| serde_json::from_value(context).ok()),
        }
    }
}

/// The items of these conversations, for a user who is or was a member.
pub async fn items_of(
    conn: &mut PgConnection,
    user: UserId,
    ids: &[Uuid],
) -> Result<Vec<HeadsItem>, sqlx::Error> {
    let rows = db::items::of(conn, user, ids).await?;
    complete(conn, user, rows).await
}

/// The user's conversations, the one with the newest event first; with `since`, those that changed since then (S5).
async fn rows(
    conn: &mut PgConnection,
    user: UserId,
    since: Option<&Cursor>,
    after: Option<PageKey>,
    limit: i64,
) -> Result<Vec<ItemRow>, sqlx::Error> {
    match since {
        Some(since) => db::items::changed(conn, user, (since.xmin, since.user_seq), after, limit).await,
        None => db::items::page(conn, user, after, limit).await,
    }
}

/// One page of the user's items, and the key of the next one.
pub async fn page(
    conn: &mut PgConnection,
    user: UserId,
    after: Option<PageKey>,
    limit: usize,
) -> Result<(Vec<HeadsItem>, Option<PageKey>), sqlx::Error> {
    let wanted = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut rows = rows(conn, user, None, after, wanted).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| (row.last_ts, row.id));
    Ok((complete(conn, user, rows).await?, next))
}

/// Pairs of person and conversation that [`announcements`] reads together.
pub const ANNOUNCED_TOGETHER_MAX: usize = 1_000;

/// `heads {full: false}` for each of these people: conversations that started for them, or that they are in again. At
/// most [`ANNOUNCED_TOGETHER_MAX`] pairs, with a fixed number of statements.
pub async fn announcements(
    conn: &mut PgConnection,
    pairs: &[(UserId, ConversationId)],
) -> Result<Vec<(UserId, ServerFrame)>, sqlx::Error> {
    let (users, ids): (Vec<Uuid>, Vec<Uuid>) =
        pairs.iter().map(|(user, id)| (user.as_uuid(), id.as_uuid())).unzip();
    let rows = db::announced::items(conn, &users, &ids).await?;
    let (users, keys): (Vec<Uuid>, Vec<i64>) = rows.iter().map(|row| (row.user_id, row.item.key)).unzip();
    let mut visible: HashMap<(Uuid, i64), Visible> = HashMap::new();
    for row in db::announced::intervals(conn, &users, &keys).await? {
        let interval = (Seq::from_i64(row.from_seq), row.to_seq.map(Seq::from_i64));
        visible.entry((row.user_id, row.conversation_key)).or_default().push(interval);
    }
    let active: BTreeSet<i64> =
        rows.iter().filter(|row| row.item.is_active).map(|row| row.item.key).collect();
    let people = People::read(conn, &active.into_iter().collect::<Vec<_>>()).await?;
    let mut frames: BTreeMap<Uuid, Heads> = BTreeMap::new();
    // Where no message lies behind the marker, none is unread.
    let asked: Vec<_> = rows
        .iter()
        .filter(|row| row.item.last_unread.is_none() && row.item.read_seq < row.item.head)
        .filter(|row| row.item.countable > row.read_countable)
        .map(|row| (row.user_id, row.item.key, row.item.read_seq, row.item.head))
        .collect();
    let counted = db::unread::count_each(conn, &asked).await?;
    for row in rows {
        let key = row.item.key;
        let unread = row.item.last_unread.or_else(|| counted.get(&(row.user_id, key)).copied());
        let unread = unread.unwrap_or_default().max(0).unsigned_abs();
        let visible = visible.remove(&(row.user_id, key)).unwrap_or_default();
        let heads = frames.entry(row.user_id).or_insert_with(|| Heads {
            reply_to: None,
            full: false,
            more: false,
            user_seq: row.user_seq.unsigned_abs(),
            cursor: None,
            items: Vec::new(),
            gone: Vec::new(),
        });
        heads.items.push(people.item(row.item, unread, visible));
    }
    let frames = frames.into_iter().flat_map(|(user, heads)| {
        in_parts(heads)
            .into_iter()
            .map(move |part| (UserId::from_uuid(user), ServerFrame::Heads(Heads { more: false, ..part })))
    });
    Ok(frames.collect())
}

/// About how many bytes of items are in one frame; drafts make them long.
const PART_BYTES: usize = 128 * 1024;
/// About how long an item is without its draft and context.
const ITEM_BYTES: usize = 1_024;

/// Divides a frame that is too long for one.
fn in_parts(mut heads: Heads) -> Vec<Heads> {
    let mut parts = Vec::new();
    let (mut bytes, mut items) = (0, Vec::new());
    for item in std::mem::take(&mut heads.items) {
        let draft = item.own.draft.as_ref().map_or(0, |draft| draft.text.len());
        if !items.is_empty() && bytes + draft + ITEM_BYTES > PART_BYTES {
            let items = std::mem::take(&mut items);
            parts.push(Heads { items, more: true, cursor: None, gone: Vec::new(), ..heads.clone() });
            bytes = 0;
        }
        bytes += draft + ITEM_BYTES;
        items.push(item);
    }
    parts.push(Heads { items, ..heads });
    parts
}

/// Heads of a user, in one snapshot.
pub struct Snapshot {
    /// In parts of at most [`limits::HEADS_ITEMS_MAX`] items; the last one has `more: false`.
    pub parts: Vec<Heads>,
    /// Up to where the snapshot includes each log.
    pub floors: HashMap<ConversationId, Seq>,
}

/// Reads heads of a user in one snapshot (S2): what changed since `cursor`, or all if it is none to go by (S5).
pub async fn snapshot(pool: &PgPool, user: UserId, cursor: Option<&str>) -> Result<Snapshot, sqlx::Error> {
    let mut tx = db::begin_snapshot(pool).await?;
    let snapshot = snapshot_in(&mut tx, user, cursor).await?;
    tx.commit().await?;
    Ok(snapshot)
}

/// The same in a transaction whose reads all see the same moment.
pub async fn snapshot_in(
    tx: &mut PgConnection,
    user: UserId,
    cursor: Option<&str>,
) -> Result<Snapshot, sqlx::Error> {
    let moment = db::cursor::moment(tx, user).await?;
    let user_seq = moment.user_seq;
    let since = cursor.and_then(|text| Cursor::read(text, &moment, user, user_seq));
    let next_cursor = Cursor::new(&moment, user, user_seq).to_string();
    let mut parts = Vec::new();
    let mut floors = HashMap::new();
    // One statement for all: a page of its own for each part would sort all conversations for each.
    let mut rows = rows(tx, user, since.as_ref(), None, i64::MAX).await?.into_iter();
    loop {
        let part: Vec<ItemRow> = rows.by_ref().take(limits::HEADS_ITEMS_MAX).collect();
        let more = rows.len() > 0;
        let items = complete(tx, user, part).await?;
        floors.extend(items.iter().map(|item| (item.own.conversation, item.head)));
        let (hidden, items): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| item.own.hidden);
        let whole = Heads {
            reply_to: None,
            full: since.is_none(),
            more,
            user_seq: user_seq.unsigned_abs(),
            cursor: (!more).then(|| next_cursor.clone()),
            items,
            gone: hidden.into_iter().map(|item| item.own.conversation).collect(),
        };
        parts.extend(in_parts(whole));
        if !more {
            return Ok(Snapshot { parts, floors });
        }
    }
}
