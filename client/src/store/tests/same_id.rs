//! Ids are unique in a conversation only, and their authors choose them. Whoever reuses an id that they have seen must
//! not steer what Ada does there, or what she does elsewhere.

use super::*;
use crate::{store::outbox, view::OutboxKind};
use kith_protocol::ErrorCode;

/// Two ids in two conversations: `first` is Ada's in the direct conversation and Bo's in the group, `second` the other
/// way round. Ada owns the group, so she may delete what Bo wrote there.
struct Scene {
    fixture: Fixture,
    group: ConversationId,
    first: EventId,
    second: EventId,
}

impl Scene {
    async fn new() -> Self {
        let mut fixture = Fixture::new().await;
        let (ada, bo) = (fixture.ada, fixture.bo);
        let (direct, group) = (fixture.conversation, ConversationId::mint());
        let (first, second) = (EventId::mint(), EventId::mint());
        fixture.number(ada, first, &message("direct, Ada"));
        fixture.number(bo, second, &message("direct, Bo"));
        fixture.apply(vec![fixture.heads(false), fixture.append(1, 2)]).await;
        (fixture.conversation, fixture.log) = (group, Vec::new());
        fixture.number(bo, first, &message("group, Bo"));
        fixture.number(ada, second, &message("group, Ada"));
        let member = |user, role| HeadsMember { user, role, profile_version: 1 };
        let item = HeadsItem {
            kind: ConversationKind::Group,
            title: Some("Panel".to_owned()),
            members: Some(vec![member(ada, Role::Owner), member(bo, Role::Member)]),
            ..fixture.item()
        };
        fixture.apply(vec![heads_of(item, 2), fixture.append(1, 2)]).await;
        fixture.conversation = direct;
        Self { fixture, group, first, second }
    }

    fn direct(&self) -> ConversationId {
        self.fixture.conversation
    }

    /// What Ada does in a conversation.
    async fn does(
        &self,
        conversation: ConversationId,
        work: impl FnOnce(&mut Tx<'_>, i64) -> Result<(), ClientError> + Send + 'static,
    ) -> Result<Vec<EngineEvent>, ClientError> {
        let write =
            self.fixture.store.write(move |tx| work(tx, conversations::known(tx, conversation)?)).await?;
        let (_, mut changes) = write;
        Ok(changes.take_notices())
    }

    async fn shown(&self, conversation: ConversationId, id: EventId) -> MessageView {
        let read = move |db: &Db<'_>| super::super::timeline::read(db, conversation, &Anchor::Newest, 10);
        let items = self.fixture.read(read).await.view.items;
        let found = items.into_iter().find_map(|item| match item {
            TimelineItem::Message(message) if message.id == id => Some(message),
            _ => None,
        });
        found.expect("it is shown")
    }

    /// What waits, and where.
    async fn waiting(&self) -> Vec<(OutboxKind, Option<ConversationId>)> {
        let items = self.fixture.read(doing::list).await;
        items.into_iter().map(|item| (item.what, item.conversation)).collect()
    }
}

fn timelines(notices: &[EngineEvent]) -> Vec<ConversationId> {
    let timeline = |notice: &EngineEvent| match notice {
        EngineEvent::TimelineChanged { conversation } => Some(*conversation),
        _ => None,
    };
    notices.iter().filter_map(timeline).collect()
}

#[tokio::test]
async fn w3_a_deletion_stays_in_its_conversation_though_the_id_is_used_in_two() {
    let scene = Scene::new().await;
    let (direct, group, first) = (scene.direct(), scene.group, scene.first);
    let notices = scene.does(group, move |tx, cid| doing::delete(tx, cid, first)).await.unwrap();
    assert_eq!(timelines(&notices), [group]);
    assert_eq!(scene.waiting().await, [(OutboxKind::Delete, Some(group))]);
    assert!(scene.shown(group, first).await.deleted);
    let mine = scene.shown(direct, first).await;
    assert_eq!((mine.text.as_str(), mine.deleted, mine.pending_change), ("direct, Ada", false, false));
    // And the other way round: nobody may delete what Bo wrote in a direct conversation.
    let second = scene.second;
    let refused = scene.does(direct, move |tx, cid| doing::delete(tx, cid, second)).await;
    assert!(matches!(refused, Err(ClientError::Refused(ErrorCode::NotAllowed))));
    assert!(!scene.shown(group, second).await.deleted);
}

#[tokio::test]
async fn w3_an_edit_stays_in_its_conversation_though_the_id_is_used_in_two() {
    let scene = Scene::new().await;
    let (direct, group, second) = (scene.direct(), scene.group, scene.second);
    let refused = scene.does(direct, move |tx, cid| doing::edit(tx, cid, second, "x")).await;
    assert!(matches!(refused, Err(ClientError::Refused(ErrorCode::NotAllowed))), "Bo wrote it");
    let notices = scene.does(group, move |tx, cid| doing::edit(tx, cid, second, "better")).await.unwrap();
    assert_eq!(timelines(&notices), [group]);
    assert_eq!(scene.waiting().await, [(OutboxKind::Edit, Some(group))]);
    assert_eq!(scene.shown(group, second).await.text, "better");
    assert_eq!(scene.shown(direct, second).await.text, "direct, Bo");
}

#[tokio::test]
async fn w3_reactions_and_pins_stay_in_their_conversation_though_the_id_is_used_in_two() {
    let scene = Scene::new().await;
    for id in [scene.first, scene.second] {
        for (here, there) in [(scene.direct(), scene.group), (scene.group, scene.direct())] {
            scene.does(here, move |tx, cid| doing::react(tx, cid, id, "👍", true)).await.unwrap();
            let notices = scene.does(here, move |tx, cid| doing::pin(tx, cid, id, true)).await.unwrap();
            assert_eq!(timelines(&notices), [here]);
            let waiting = [(OutboxKind::Reaction, Some(here)), (OutboxKind::Pin, Some(here))];
            assert_eq!(scene.waiting().await, waiting);
            let (seen, other) = (scene.shown(here, id).await, scene.shown(there, id).await);
            assert_eq!((seen.pinned, seen.reactions.len()), (true, 1));
            assert_eq!((other.pinned, other.reactions.len(), other.pending_change), (false, 0, false));
            // Taken back before it left: nothing waits, and nothing of the other conversation was touched.
            scene.does(here, move |tx, cid| doing::react(tx, cid, id, "👍", false)).await.unwrap();
            scene.does(here, move |tx, cid| doing::pin(tx, cid, id, false)).await.unwrap();
            assert_eq!(scene.waiting().await, []);
        }
    }
}

/// What has not left yet is changed in place: also there the conversation says which message is meant.
#[tokio::test]
async fn o7_w3_an_unsent_message_is_changed_and_dropped_in_its_conversation_only() {
    let mut fixture = Fixture::new().await;
    let (bo, direct) = (fixture.bo, fixture.conversation);
    let (id, item) = fixture.send("not sent yet").await;
    let group = ConversationId::mint();
    (fixture.conversation, fixture.log) = (group, Vec::new());
    fixture.number(bo, id, &message("theirs"));
    let item_of_group = HeadsItem { kind: ConversationKind::Group, ..fixture.item() };
    fixture.apply(vec![heads_of(item_of_group, 2), fixture.append(1, 1)]).await;
    fixture.conversation = direct;
    let in_direct = fixture.read(move |db| conversations::known(db, direct)).await;
    let in_group = fixture.read(move |db| conversations::known(db, group)).await;
    assert_eq!(fixture.read(outbox::all).await[0].item, item, "the event of the group ended no row");
    let refused = fixture.store.write(move |tx| doing::delete(tx, in_group, id)).await;
    assert!(matches!(refused, Err(ClientError::Refused(ErrorCode::NotAllowed))));
    assert_eq!(fixture.texts().await, ["not sent yet"]);
    fixture.write(move |tx| doing::edit(tx, in_direct, id, "changed in place")).await;
    assert_eq!(fixture.texts().await, ["changed in place"]);
    fixture.write(move |tx| doing::delete(tx, in_direct, id)).await;
    assert!(fixture.texts().await.is_empty() && fixture.read(outbox::all).await.is_empty());
    fixture.conversation = group;
    assert_eq!(fixture.texts().await, ["theirs"]);
}

#[tokio::test]
async fn a_message_is_not_found_in_a_conversation_that_does_not_hold_it() {
    let scene = Scene::new().await;
    let unknown = EventId::mint();
    let missing = scene.does(scene.group, move |tx, cid| doing::delete(tx, cid, unknown)).await;
    assert!(matches!(missing, Err(ClientError::NotFound)));
}
