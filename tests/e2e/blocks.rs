//! Blocking between engines: what the other one's outbox says, and that nothing is half done without a network.

use anyhow::Result;
use kith_client::{
    ClientError,
    view::{OutboxItemView, OutboxState, PresenceView},
};
use kith_protocol::{ErrorCode, ephemeral::PresenceState};
use kith_tests::{Client, TestServer, until};

/// Waits until an item waits for its author, and answers it.
async fn parked(client: &Client) -> OutboxItemView {
    let items = async || client.engine().outbox().await.unwrap_or_default();
    let is_parked = |item: &OutboxItemView| matches!(item.state, OutboxState::Parked { .. });
    let found = until("an item is parked", items, |items| items.iter().any(is_parked)).await;
    found.into_iter().find(is_parked).expect("it was there")
}

fn code(item: &OutboxItemView) -> ErrorCode {
    let OutboxState::Parked { code } = item.state else { panic!("{item:?}") };
    code
}

#[tokio::test]
async fn sec_048_leaving_and_blocking_is_one_step_that_needs_a_connection() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob, cleo] = server.people(["alice", "bob", "cleo"]).await?;
    let (alice_id, bob_id, cleo_id) = (alice.me().await, bob.me().await, cleo.me().await);
    let group = alice.engine().create_group("Unwanted".to_owned(), vec![cleo_id]).await?;
    alice.send(group, "hello").await?;
    alice.engine().add_members(group, vec![bob_id]).await?;
    bob.until_conversation(group, "who added one is known", |detail| detail.added_by == Some(alice_id)).await;
    cleo.until_conversation(group, "the owner began with one", |detail| detail.added_by == Some(alice_id))
        .await;
    assert_eq!(alice.engine().conversation(group).await?.added_by, None, "one's own group");

    bob.go_offline().await;
    let refused = bob.engine().leave_and_block(group, alice_id).await;
    assert!(matches!(refused, Err(ClientError::Offline)), "{refused:?}");
    assert!(bob.engine().conversation(group).await?.conversation.my_role.is_some(), "nothing is half done");
    assert!(bob.engine().outbox().await?.is_empty());
    bob.go_online().await?;
    assert!(bob.engine().blocked_people().await?.is_empty());

    bob.engine().leave_and_block(group, alice_id).await?;
    let blocked = bob.engine().blocked_people().await?;
    assert_eq!(blocked.iter().map(|person| person.id).collect::<Vec<_>>(), [alice_id]);
    alice.until_conversation(group, "bob has left", |detail| detail.members.len() == 2).await;
    let again = bob.engine().leave_and_block(group, alice_id).await;
    assert!(matches!(again, Err(ClientError::Refused(ErrorCode::NotMember))), "{again:?}");

    alice.engine().add_members(group, vec![bob_id]).await?;
    let item = parked(&alice).await;
    assert_eq!(code(&item), ErrorCode::TargetMissing);
    alice.engine().cancel(item.item).await?;
    alice.engine().start_direct(bob_id, "why did you leave?".to_owned()).await?;
    let item = parked(&alice).await;
    assert_eq!(code(&item), ErrorCode::TargetMissing, "as for somebody unknown");

    bob.engine().unblock(alice_id).await?;
    assert!(bob.engine().blocked_people().await?.is_empty());
    alice.engine().retry(item.item).await?;
    let direct = alice.engine().find_direct(bob_id).await?.expect("it was begun here");
    bob.until_texts(direct, &["why did you leave?"]).await;
    Ok(())
}

#[tokio::test]
async fn sec_048_what_a_blocked_person_writes_waits_with_them_until_the_block_ends() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let (alice_id, bob_id) = (alice.me().await, bob.me().await);
    let direct = alice.engine().start_direct(bob_id, "one".to_owned()).await?;
    bob.until_texts(direct, &["one"]).await;
    bob.engine().watch_presence(vec![alice_id]).await?;
    let presence =
        || async { bob.engine().presence(vec![alice_id]).await.ok().and_then(|p| p.into_iter().next()) };
    let is_online = |p: &Option<PresenceView>| p.as_ref().is_some_and(|p| p.state == PresenceState::Online);
    until("alice is online", presence, is_online).await;
    bob.engine().block(alice_id).await?;
    bob.engine().block(alice_id).await?;
    until("presence ends with the block", presence, |p| !is_online(p)).await;
    alice.send(direct, "two").await?;
    let item = parked(&alice).await;
    assert_eq!(code(&item), ErrorCode::NotAllowed);
    assert_eq!(bob.texts(direct).await, ["one"]);
    bob.engine().unblock(alice_id).await?;
    // The window asks once more for those that it shows.
    bob.engine().watch_presence(vec![alice_id]).await?;
    until("alice is online again", presence, is_online).await;
    alice.engine().retry(item.item).await?;
    bob.until_texts(direct, &["one", "two"]).await;
    Ok(())
}
