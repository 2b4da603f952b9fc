//! Who may do what in a conversation, cached by `access_version`: a cached value counts only while it equals the
//! version that was read with the head's lock (W1).

use crate::db::{self, conversations::ConversationRow, heads::HeadRow};
use kith_protocol::{ConversationId, Seq, UserId, event::Role, frame::ConversationKind};
use quick_cache::{Weighter, unsync::Cache};
use sqlx::PgConnection;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};
use uuid::Uuid;

/// Both ends inclusive; `None` while it lasts.
type Intervals = Vec<(Seq, Option<Seq>)>;

/// Memory of one lane's cache, in bytes: room for about 30,000 direct conversations.
const CACHE_BYTES_MAX: u64 = 24 * 1024 * 1024;
/// Memory of an entry without its members, in bytes: access, head and the cache's own bookkeeping.
const ENTRY_BYTES: u64 = 512;
/// Memory of a member in an entry, in bytes: once in the tree and once in the audience.
const MEMBER_BYTES: u64 = 96;
/// Memory of an interval in an entry, in bytes.
const INTERVAL_BYTES: u64 = 128;

/// The members of a conversation and what they may see.
#[derive(Debug, Clone)]
pub struct Access {
    /// The version that this was read at.
    pub version: i64,
    pub kind: ConversationKind,
    pub tenant: Arc<str>,
    /// Whether it takes no more events.
    pub is_closed: bool,
    /// Whether it is direct, and one of the two has blocked the other.
    pub is_blocked: bool,
    pub members: BTreeMap<UserId, Role>,
    /// Their ids, shared with whatever is published to them.
    pub audience: Arc<[UserId]>,
    /// For those who do not see all of it: their intervals.
    pub partial: HashMap<UserId, Intervals>,
    /// Members who have hidden it; the next event shows it again.
    pub hidden: Vec<UserId>,
}

impl Access {
    /// Whether an active member sees the event at `seq`.
    pub fn sees(&self, user: UserId, seq: Seq) -> bool {
        self.partial
            .get(&user)
            .is_none_or(|all| all.iter().any(|(from, to)| *from <= seq && to.is_none_or(|to| seq <= to)))
    }

    /// Makes the audience fit the members.
    pub fn renew_audience(&mut self) {
        self.audience = self.members.keys().copied().collect();
    }

    fn bytes(&self) -> u64 {
        let intervals: usize = self.partial.values().map(|all| all.len() + 1).sum();
        ENTRY_BYTES + MEMBER_BYTES * self.members.len() as u64 + INTERVAL_BYTES * intervals as u64
    }
}

/// What a lane remembers of a conversation.
#[derive(Debug, Clone)]
struct Remembered {
    access: Arc<Access>,
    /// The head after the lane's last commit, if the lane knows it.
    head: Option<HeadRow>,
}

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<ConversationId, Remembered> for Bytes {
    fn weight(&self, _: &ConversationId, remembered: &Remembered) -> u64 {
        remembered.access.bytes()
    }
}

/// A lane's cache of accesses and heads. It may forget any entry with any call: a batch works from copies.
#[derive(Debug)]
pub struct AccessCache(Cache<ConversationId, Remembered, Bytes>);

impl Default for AccessCache {
    fn default() -> Self {
        Self::of_bytes(CACHE_BYTES_MAX)
    }
}

impl AccessCache {
    /// An empty cache with room for about so many bytes.
    pub(super) fn of_bytes(bytes: u64) -> Self {
        let estimated = usize::try_from(bytes / (ENTRY_BYTES + 2 * MEMBER_BYTES)).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(estimated, bytes, Bytes))
    }

    /// The access at this version, if it is remembered.
    pub fn get(&self, conversation: ConversationId, version: i64) -> Option<Arc<Access>> {
        let access = self.0.get(&conversation).map(|one| &one.access);
        access.filter(|access| access.version == version).cloned()
    }

    /// The head and the access of a log as far as the lane remembers both.
    pub fn head_snapshot(&self, conversation: ConversationId) -> Option<(&HeadRow, &Arc<Access>)> {
        let Remembered { access, head } = self.0.get(&conversation)?;
        Some((head.as_ref()?, access))
    }

    /// Remembers an access, and the head of the log after a commit if it belongs to the same version.
    pub fn remember(&mut self, conversation: ConversationId, access: Arc<Access>, head: Option<HeadRow>) {
        let head = head.filter(|head| head.access_version == access.version);
        self.0.insert(conversation, Remembered { access, head });
    }

    pub fn forget(&mut self, conversation: ConversationId) {
        self.0.remove(&conversation);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Reads the accesses of locked conversations, given as (key, id, version).
pub async fn load(
    conn: &mut PgConnection,
    wanted: &[(i64, ConversationId, i64)],
) -> Result<Vec<(ConversationId, Arc<Access>)>, sqlx::Error> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<i64> = wanted.iter().map(|(key, ..)| *key).collect();
    let mut rows: HashMap<i64, ConversationRow> =
        db::conversations::by_keys(conn, &keys).await?.into_iter().map(|row| (row.key, row)).collect();
    let mut members: HashMap<i64, BTreeMap<UserId, Role>> = HashMap::new();
    let mut hidden: HashMap<i64, Vec<UserId>> = HashMap::new();
    for row in db::members::active(conn, &keys).await? {
        let user = UserId::from_uuid(row.user_id);
        let role = Role::parse(&row.role).unwrap_or(Role::Member);
        members.entry(row.conversation_key).or_default().insert(user, role);
        if row.is_hidden {
            hidden.entry(row.conversation_key).or_default().push(user);
        }
    }
    let mut partial: HashMap<i64, HashMap<UserId, Intervals>> = HashMap::new();
    for row in db::members::partial_intervals(conn, &keys).await? {
        let interval = (Seq::from_i64(row.from_seq), row.to_seq.map(Seq::from_i64));
        let of_user = partial.entry(row.conversation_key).or_default();
        of_user.entry(UserId::from_uuid(row.user_id)).or_default().push(interval);
    }
    let blocked = blocked(conn, &rows, &members).await?;
    let mut loaded = Vec::with_capacity(wanted.len());
    for (key, id, version) in wanted {
        let Some(row) = rows.remove(key) else { continue };
        let members = members.remove(key).unwrap_or_default();
        let access = Access {
            version: *version,
            kind: ConversationKind::parse(&row.kind).unwrap_or(ConversationKind::Group),
            tenant: row.tenant.into(),
            is_closed: row.is_closed,
            is_blocked: blocked.contains(key),
            audience: members.keys().copied().collect(),
            members,
            partial: partial.remove(key).unwrap_or_default(),
            hidden: hidden.remove(key).unwrap_or_default(),
        };
        loaded.push((*id, Arc::new(access)));
    }
    Ok(loaded)
}

/// The direct ones of these conversations in which one has blocked the other.
async fn blocked(
    conn: &mut PgConnection,
    rows: &HashMap<i64, ConversationRow>,
    members: &HashMap<i64, BTreeMap<UserId, Role>>,
) -> Result<HashSet<i64>, sqlx::Error> {
    let is_direct =
        |key: &i64| rows.get(key).is_some_and(|row| row.kind == ConversationKind::Direct.as_str());
    let mut keys: HashMap<(Uuid, Uuid), i64> = HashMap::new();
    for (key, members) in members.iter().filter(|(key, _)| is_direct(key)) {
        let mut pair = members.keys().map(|user| user.as_uuid());
        if let (Some(one), Some(other)) = (pair.next(), pair.next()) {
            keys.insert((one, other), *key);
        }
    }
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let (ones, others): (Vec<Uuid>, Vec<Uuid>) = keys.keys().copied().unzip();
    let pairs = db::blocks::between(conn, &ones, &others).await?;
    Ok(pairs.iter().filter_map(|pair| keys.get(pair).copied()).collect())
}
