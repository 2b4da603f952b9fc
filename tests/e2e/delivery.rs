//! Messages arrive: once, in order, for everybody.

use anyhow::{Context as _, Result};
use kith_client::view::SendState;
use kith_protocol::frame::Context;
use kith_tests::TestServer;
use serde_json::Value;

/// Seed rows 000-02, 000-07, 000-11, 001-05, 004-03: a first message makes the conversation, both see both.
#[tokio::test]
async fn two_people_talk_both_ways() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "hello bob").await?;
    bob.until_texts(talk, &["hello bob"]).await;
    bob.send(talk, "hello alice").await?;
    alice.until_texts(talk, &["hello bob", "hello alice"]).await;
    let log: Vec<String> = server.log(talk).await?.into_iter().map(|row| row.text).collect();
    assert_eq!(log, ["hello bob", "hello alice"]);
    Ok(())
}

/// Seed row 000-02: starting the same chat from the other side finds the same conversation.
#[tokio::test]
async fn both_sides_start_the_same_conversation() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let one = alice.write(&bob, "from alice").await?;
    alice.sent().await;
    let other = bob.write(&alice, "from bob").await?;
    assert_eq!(one, other);
    bob.until_texts(one, &["from alice", "from bob"]).await;
    alice.until_texts(one, &["from alice", "from bob"]).await;
    Ok(())
}

/// What a link names reaches the server and the other side. That the shell reads these links so is a test of its own
/// (`src-tauri/src/link.rs`).
#[tokio::test]
async fn a_conversation_is_about_what_a_link_names_on_both_sides() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob, cyd, dee] = server.people(["alice", "bob", "cyd", "dee"]).await?;
    let links: Vec<Value> = serde_json::from_str(include_str!("../fixtures/links.json"))?;
    for (link, other) in links.iter().zip([&bob, &cyd, &dee]) {
        assert_eq!(link["value"]["with"], other.name());
        let context: Context = serde_json::from_value(link["value"]["context"].clone())?;
        let text = format!("about {}", context.id);
        let me = other.me().await;
        let talk = alice.engine().start_direct_about(me, context.clone(), text.clone()).await?;
        other.until_texts(talk, &[&text]).await;
        other
            .until_conversation(talk, "it is about that", |seen| {
                seen.conversation.context.as_ref() == Some(&context)
            })
            .await;
        let stored = server.context_of(talk).await?.context("the server stores none")?;
        assert_eq!(serde_json::from_value::<Context>(stored)?, context);
    }
    assert_eq!(links.len(), 3);
    Ok(())
}

/// C5: an own message is one row for life, from local echo to the last tick.
#[tokio::test]
async fn c5_an_own_message_stays_one_row() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "first").await?;
    let id = alice.send(talk, "second").await?;
    let messages =
        alice.until_messages(talk, "both are numbered", |m| m.iter().all(|m| m.seq.is_some())).await;
    assert_eq!(messages.iter().filter(|message| message.id == id).count(), 1);
    assert_eq!(messages.len(), 2);
    Ok(())
}

/// Edits, deletions and reactions reach the other side.
#[tokio::test]
async fn what_is_changed_here_changes_there() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "helo").await?;
    let first = bob.until_messages(talk, "the message arrives", |m| m.len() == 1).await[0].id;
    alice.until_messages(talk, "it is numbered", |m| m[0].seq.is_some()).await;
    alice.engine().edit_message(talk, first, "hello".to_owned()).await?;
    bob.until_messages(talk, "the edit arrives", |m| m[0].text == "hello" && m[0].edited).await;
    bob.engine().react(talk, first, "👍".to_owned(), true).await?;
    alice.until_messages(talk, "the reaction arrives", |m| m[0].reactions.len() == 1).await;
    alice.engine().delete_message(talk, first).await?;
    bob.until_messages(talk, "the deletion arrives", |m| m[0].deleted && m[0].text.is_empty()).await;
    Ok(())
}

/// I1–I3, I5 with four devices of three people, each writing at once into one group.
#[tokio::test]
async fn i5_four_devices_see_one_order() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob, cleo] = server.people(["alice", "bob", "cleo"]).await?;
    let bob2 = server.device_of(&bob).await?;
    let members = vec![bob.me().await, cleo.me().await];
    let group = alice.engine().create_group("Everybody".to_owned(), members).await?;
    let all = [&alice, &bob, &bob2, &cleo];
    for client in all {
        client.until_conversation(group, "the group is there", |_| true).await;
    }
    for round in 0..25 {
        for (number, client) in all.iter().enumerate() {
            client.send(group, &format!("{number}: {round}")).await?;
        }
    }
    for client in all {
        client.sent().await;
        client
            .until_messages(group, "all are here", |m| m.len() == 100 && m.iter().all(|m| m.seq.is_some()))
            .await;
    }
    let log: Vec<_> = server.log(group).await?.into_iter().filter(|row| row.kind == "message").collect();
    for client in all {
        assert_eq!(client.log(group).await, log, "{}", client.name());
    }
    for number in 0..4 {
        let rounds: Vec<_> = log.iter().filter(|row| row.text.starts_with(&format!("{number}: "))).collect();
        let expected: Vec<_> = (0..25).map(|round| format!("{number}: {round}")).collect();
        assert_eq!(rounds.iter().map(|row| row.text.clone()).collect::<Vec<_>>(), expected);
    }
    Ok(())
}

/// Ticks turn: sent, delivered, read (001-06, R1).
#[tokio::test]
async fn r1_ticks_turn() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "hello").await?;
    alice.until_messages(talk, "it is delivered", |m| m[0].send_state == Some(SendState::Delivered)).await;
    let seq = bob.until_messages(talk, "it is here", |m| m.len() == 1).await[0].seq.expect("numbered");
    bob.engine().mark_read(talk, seq).await?;
    alice.until_messages(talk, "it is read", |m| m[0].send_state == Some(SendState::Read)).await;
    Ok(())
}
