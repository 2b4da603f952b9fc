//! Unread, read, typing, presence, drafts, own state on several devices.

use anyhow::Result;
use kith_protocol::ephemeral::PresenceState;
use kith_tests::{TestServer, until};

/// A17, W7, 004-06: read on one device, the count falls on the other.
#[tokio::test]
async fn a17_reading_here_clears_the_count_there() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let bob2 = server.device_of(&bob).await?;
    let talk = alice.write(&bob, "one").await?;
    alice.send(talk, "two").await?;
    for client in [&bob, &bob2] {
        until("two are unread", || client.status(), |status| status.unread == 2).await;
    }
    let last = bob.until_messages(talk, "both are here", |m| m.len() == 2).await[1].seq.expect("numbered");
    bob.engine().mark_read(talk, last).await?;
    for client in [&bob, &bob2] {
        until("none is unread", || client.status(), |status| status.unread == 0).await;
    }
    Ok(())
}

/// A16: all read stays all read after a restart; own messages are never unread.
#[tokio::test]
async fn a16_counts_are_zero_after_a_restart() -> Result<()> {
    let server = TestServer::start().await?;
    let [mut alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = bob.write(&alice, "read me").await?;
    let seq = alice.until_messages(talk, "it arrives", |m| m.len() == 1).await[0].seq.expect("numbered");
    alice.engine().mark_read(talk, seq).await?;
    alice.send(talk, "mine").await?;
    alice.sent().await;
    alice.restart().await?;
    alice.connected().await;
    assert_eq!(alice.status().await.unread, 0);
    Ok(())
}

/// R5, 001-01, 004-05: typing is seen and gone in time.
#[tokio::test]
async fn r5_typing_is_seen_and_goes() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "hello").await?;
    bob.until_texts(talk, &["hello"]).await;
    bob.engine().set_typing(talk, true).await?;
    alice.until_conversation(talk, "bob types", |d| d.conversation.typing.len() == 1).await;
    // No further key: it ends by itself.
    alice.until_conversation(talk, "bob has stopped", |d| d.conversation.typing.is_empty()).await;
    Ok(())
}

/// R5, 001-03: presence follows connections, not open windows.
#[tokio::test]
async fn r5_presence_follows_the_connection() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let bob_id = bob.me().await;
    alice.write(&bob, "hello").await?;
    alice.engine().watch_presence(vec![bob_id]).await?;
    let state =
        || async { alice.engine().presence(vec![bob_id]).await.ok().and_then(|p| p.into_iter().next()) };
    until("bob is online", state, |p| p.as_ref().is_some_and(|p| p.state == PresenceState::Online)).await;
    bob.go_offline().await;
    until("bob is gone, with last seen", state, |p| {
        p.as_ref().is_some_and(|p| p.state == PresenceState::Offline && p.last_seen.is_some())
    })
    .await;
    Ok(())
}

/// 001-14: a draft written here is there on the other device.
#[tokio::test]
async fn r4_a_draft_reaches_the_other_device() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let alice2 = server.device_of(&alice).await?;
    let talk = alice.write(&bob, "hello").await?;
    alice2.until_texts(talk, &["hello"]).await;
    alice.engine().set_draft(talk, "to be continued".to_owned()).await?;
    alice2
        .until_conversation(talk, "the draft is there", |detail| {
            detail.conversation.draft.as_deref() == Some("to be continued")
        })
        .await;
    Ok(())
}
