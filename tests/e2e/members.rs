//! Groups: who comes, who goes, and what they see.

use anyhow::Result;
use kith_protocol::{ConversationId, event::Role};
use kith_tests::{Client, TestServer, until};

async fn until_group(client: &Client, group: ConversationId, members: usize) {
    client.until_conversation(group, "the members change", |detail| detail.members.len() == members).await;
}

/// Section 10: create, add, remove, leave, roles, title go through server and engines.
#[tokio::test]
async fn groups_come_and_go() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob, cleo] = server.people(["alice", "bob", "cleo"]).await?;
    let (bob_id, cleo_id) = (bob.me().await, cleo.me().await);
    let group = alice.engine().create_group("Plans".to_owned(), vec![bob_id]).await?;
    alice.send(group, "before cleo").await?;
    bob.until_texts(group, &["before cleo"]).await;
    alice.engine().add_members(group, vec![cleo_id]).await?;
    until_group(&bob, group, 3).await;
    alice.send(group, "with cleo").await?;
    cleo.until_texts(group, &["with cleo"]).await; // R6: nothing from before
    alice.engine().set_title(group, "Better plans".to_owned()).await?;
    cleo.until_conversation(group, "the title changes", |detail| detail.conversation.title == "Better plans")
        .await;
    alice.engine().set_role(group, bob_id, Role::Admin).await?;
    bob.until_conversation(group, "bob is admin", |detail| detail.conversation.my_role == Some(Role::Admin))
        .await;
    bob.engine().remove_member(group, cleo_id).await?;
    cleo.until_conversation(group, "cleo is out", |detail| detail.conversation.my_role.is_none()).await;
    alice.send(group, "without cleo").await?;
    bob.until_texts(group, &["before cleo", "with cleo", "without cleo"]).await;
    assert_eq!(cleo.texts(group).await, ["with cleo"]);
    bob.engine().leave(group).await?;
    until_group(&alice, group, 1).await;
    Ok(())
}

/// R6, O5: removed while offline, what was queued is parked and stays readable.
#[tokio::test]
async fn r6_removed_while_offline() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let bob_id = bob.me().await;
    let group = alice.engine().create_group("Plans".to_owned(), vec![bob_id]).await?;
    alice.send(group, "hello").await?;
    bob.until_texts(group, &["hello"]).await;
    bob.go_offline().await;
    bob.send(group, "too late").await?;
    alice.engine().remove_member(group, bob_id).await?;
    alice.sent().await;
    bob.proxy().up();
    bob.engine().network_changed().await?;
    until("the item is parked", || bob.status(), |status| status.parked == 1).await;
    assert_eq!(bob.texts(group).await, ["hello", "too late"]);
    assert_eq!(server.log(group).await?.iter().filter(|row| row.kind == "message").count(), 1);
    Ok(())
}
