//! Members from heads, lists and events; announcements after the first sync.

use super::*;
use kith_protocol::{
    event::{MemberBody, MemberChange},
    frame::MemberItem,
};

fn member(user: UserId, role: Role) -> MemberItem {
    MemberItem { user, role }
}

#[tokio::test]
async fn s3_a_list_of_members_does_not_undo_what_the_log_says_above_it() {
    let mut fixture = Fixture::new().await;
    let (ada, bo, cy, conversation) = (fixture.ada, fixture.bo, UserId::mint(), fixture.conversation);
    let body = MemberBody { user: cy, change: MemberChange::Removed, role: None };
    fixture.says(bo, "1");
    fixture.number(bo, EventId::mint(), &EventContent::Member(body));
    fixture.apply(vec![fixture.append(1, 2)]).await;
    let items = vec![member(ada, Role::Member), member(bo, Role::Owner), member(cy, Role::Member)];
    let list =
        |as_of| StoreOp::Members { conversation, as_of, items: items.clone(), first: true, last: true };
    let known = async |fixture: &Fixture| {
        let all =
            fixture.read(move |db| crate::store::members::all(db, conversations::known(db, conversation)?));
        all.await.into_iter().map(|(user, _)| user).collect::<std::collections::BTreeSet<_>>()
    };
    fixture.apply(vec![list(Some(Seq(1)))]).await;
    assert_eq!(known(&fixture).await, [ada, bo].into(), "removed after the list was made");
    fixture.apply(vec![list(Some(Seq(2)))]).await;
    assert_eq!(known(&fixture).await, [ada, bo, cy].into(), "the newest word");
}

#[tokio::test]
async fn s3_the_members_of_a_group_that_somebody_else_has_begun_are_asked_for() {
    let fixture = Fixture::empty().await;
    let conversation = ConversationId::mint();
    let new = conversations::NewConversation {
        id: conversation,
        kind: ConversationKind::Group,
        title: None,
        members: vec![fixture.bo],
        context: None,
    };
    fixture.write(move |tx| conversations::create_local(tx, &new).map(drop)).await;
    let own = own_state(conversation, 1);
    let item = HeadsItem { own, kind: ConversationKind::Group, members: None, ..fixture.item() };
    let stored = fixture.apply(vec![heads_of(item.clone(), 1)]).await;
    assert_eq!(stored.members_wanted, [conversation], "as many as planned here, and others");
    let stored = fixture.apply(vec![heads_of(item, 1)]).await;
    assert!(stored.members_wanted.is_empty());
}

#[tokio::test]
async fn a_device_that_was_copied_before_its_first_sync_announces_nothing_of_it() {
    let mut fixture = Fixture::empty().await;
    let device = kith_protocol::DeviceId::mint();
    fixture.says(fixture.bo, "old");
    let heads = heads_of(fixture.item(), 1);
    fixture.apply(vec![StoreOp::Device { device }, heads]).await;
    let announces = |stored: Applied| {
        stored.notices.iter().any(|notice| matches!(notice, EngineEvent::MessageArrived { .. }))
    };
    assert!(!announces(fixture.apply(vec![fixture.append(1, 1)]).await));
    fixture.says(fixture.bo, "new");
    fixture.apply(vec![StoreOp::Device { device }]).await;
    assert!(announces(fixture.apply(vec![fixture.append(2, 2)]).await));
}
