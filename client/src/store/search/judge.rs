//! What has to hold of any text as a search, for the seeded cases and for the coverage-guided fuzz target
//! (`fuzz/targets/search.rs`).

use crate::{store::messages, view::SearchView};

pub(crate) const LIMIT: usize = 5;
/// What is in the store.
pub(crate) const LINES: [&str; 9] = [
    "Ask Marvell about the offer: 71,500 (gross), NOT net",
    "Žluťoučký kůň úpěl ďábelské ódy",
    "我们明天下午见面 東京タワーへ行きました 회의는내일입니다 ขอบคุณ",
    "مرحبا بالعالم שלום עולם \u{202e}abc\u{202c}",
    "C++ and \"quotes\" 👍🏽 👨\u{200d}👩\u{200d}👧 a\u{0}b \u{feff}x",
    "İstanbul ß ﬃ ǆ Ⅷ ½ e\u{301}\u{323}\u{308} \u{1d49c}",
    "<script>alert(1)</script> https://example.org/a_b?c=d",
    "NEAR AND OR NOT rowid text search * ^ - : + { } ( )",
    "x",
];

/// Checks what a search for `query` found among [`LINES`], of which at most [`LIMIT`] were asked for.
///
/// # Panics
/// When there is more than was asked for, or something is shown that no message says.
pub(crate) fn view(query: &str, view: &SearchView) {
    assert!(view.hits.len() <= LIMIT, "{query:?}");
    assert_eq!((view.searched, view.total), (LINES.len() as u32, LINES.len() as u32), "{query:?}");
    for hit in &view.hits {
        let shown: String = hit.snippet.iter().map(|part| part.text.as_str()).collect();
        let shown = shown.trim_matches('…');
        let is_there = LINES.iter().any(|line| messages::flat(line).contains(shown));
        assert!(is_there, "{query:?} shows {shown:?}");
    }
}

/// A store with [`LINES`], each a message.
#[cfg(feature = "fuzz")]
pub struct Searched {
    runtime: tokio::runtime::Runtime,
    store: crate::store::Store,
    conversation: kith_protocol::ConversationId,
}

#[cfg(feature = "fuzz")]
impl Searched {
    /// Makes the store in an empty folder.
    ///
    /// # Errors
    /// [`ClientError::Store`](crate::ClientError::Store) and what else keeps a database closed.
    pub fn open(folder: &std::path::Path) -> Result<Self, crate::ClientError> {
        use crate::{
            driver::{SyncStore as _, nothing_earlier},
            store::{Key, Store},
        };
        use kith_protocol::{
            Chain, ConversationId, Event, EventId, Seq, TimestampMs, UserId,
            event::Role,
            frame::{ConversationKind, HeadsItem, HeadsMember},
        };
        use kith_sync::ops::StoreOp;
        use serde_json::json;

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|_| crate::ClientError::Closed)?;
        let (me, other) = (UserId::mint(), UserId::mint());
        let conversation = ConversationId::direct(me, other);
        let (mut chain, mut events) = (Chain::empty(conversation), Vec::new());
        for (at, line) in (0_u64..).zip(LINES) {
            let id = EventId::mint();
            chain = chain.then(conversation, Seq(at), id);
            events.push(Event {
                seq: Seq(at + 1),
                id,
                kind: "message".to_owned(),
                sender: other,
                ts: TimestampMs(1_700_000_000_000 + at),
                written_at: None,
                countable: at + 1,
                chain,
                target: None,
                body: Some(json!({ "text": line })),
                redacted: false,
            });
        }
        let member = |user| HeadsMember { user, role: Role::Member, profile_version: 1 };
        let item = HeadsItem {
            own: own_state(conversation),
            kind: ConversationKind::Direct,
            head: Seq(0),
            chain: Chain::empty(conversation),
            countable: 0,
            last_ts: TimestampMs(0),
            floor: Seq(1),
            visible: vec![(Seq(1), None)],
            members: Some(vec![member(me), member(other)]),
            member_count: 2,
            title: None,
            context: None,
        };
        let profile = |id, name: &str| kith_protocol::api::Profile {
            id,
            username: name.to_owned(),
            display_name: name.to_owned(),
            role: None,
            avatar: None,
            email: None,
            show_presence: None,
            version: 1,
        };
        let ops = vec![
            StoreOp::Profiles(vec![profile(me, "ada"), profile(other, "bo")]),
            StoreOp::Heads {
                full: true,
                handshake: true,
                last: true,
                user_seq: 1,
                items: vec![item],
                gone: Vec::new(),
            },
            StoreOp::Append { conversation, chain_before: Chain::empty(conversation), events },
        ];
        let store = runtime.block_on(async {
            let store = Store::open(&folder.join("kith.db"), &Key::new([7; 32]), me).await?;
            store.apply(ops, nothing_earlier()).await?;
            Ok::<_, crate::ClientError>(store)
        })?;
        Ok(Self { runtime, store, conversation })
    }

    /// Searches everywhere and in one conversation. Returns how many messages were found.
    ///
    /// # Panics
    /// When a search fails or breaks one of its promises.
    pub fn find(&self, query: &str) -> usize {
        [None, Some(self.conversation)]
            .map(|within| {
                let found = self.runtime.block_on(self.store.search(query.to_owned(), within, LIMIT));
                let found = found.unwrap_or_else(|error| panic!("{query:?} failed: {error}"));
                view(query, &found);
                found.hits.len()
            })
            .into_iter()
            .sum()
    }
}

#[cfg(feature = "fuzz")]
fn own_state(conversation: kith_protocol::ConversationId) -> kith_protocol::frame::OwnState {
    use kith_protocol::{Seq, TimestampMs};
    kith_protocol::frame::OwnState {
        conversation,
        unread: 0,
        read: Seq(0),
        delivered: Seq(0),
        unread_flag: false,
        mute: TimestampMs(0),
        pin: false,
        archive: false,
        hidden: false,
        draft: None,
        version: 1,
    }
}
