//! Without a network everything works, and everything arrives afterwards.

use anyhow::Result;
use kith_client::view::{LinkView, SendState};
use kith_server::config::Config;
use kith_tests::{TestServer, until};

/// O3, C5: written offline, queued, arrives once and in order.
#[tokio::test]
async fn message_written_offline_arrives_once() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "before").await?;
    bob.until_texts(talk, &["before"]).await;
    alice.go_offline().await;
    alice.send(talk, "one").await?;
    alice.send(talk, "two").await?;
    let queued = alice.messages(talk).await;
    assert!(queued[1..].iter().all(|m| matches!(m.send_state, Some(SendState::Queued))), "{queued:#?}");
    assert_eq!(alice.status().await.unsent, 2);
    alice.go_online().await?;
    bob.until_texts(talk, &["before", "one", "two"]).await;
    alice.sent().await;
    assert_eq!(server.log(talk).await?.len(), 3);
    Ok(())
}

/// 000-02 offline: a new conversation that is begun without a network is created when it returns; both begin at once.
#[tokio::test]
async fn a_conversation_begun_offline_by_both_is_one() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    alice.engine().find_people("bob".to_owned()).await?;
    bob.engine().find_people("alice".to_owned()).await?;
    alice.go_offline().await;
    bob.go_offline().await;
    let one = alice.write(&bob, "from alice").await?;
    let other = bob.write(&alice, "from bob").await?;
    assert_eq!(one, other);
    alice.go_online().await?;
    bob.go_online().await?;
    alice.until_messages(one, "both are here", |m| m.len() == 2 && m.iter().all(|m| m.seq.is_some())).await;
    bob.until_messages(one, "both are here", |m| m.len() == 2 && m.iter().all(|m| m.seq.is_some())).await;
    assert_eq!(alice.log(one).await, bob.log(one).await);
    Ok(())
}

/// A01, A03: quit and started again without a network, everything is readable and still queued; it goes out once.
#[tokio::test]
async fn a01_a03_restart_offline_keeps_history_and_queue() -> Result<()> {
    let server = TestServer::start().await?;
    let [mut alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "history").await?;
    bob.until_texts(talk, &["history"]).await;
    alice.sent().await;
    alice.go_offline().await;
    alice.send(talk, "queued").await?;
    alice.engine().set_draft(talk, "half a thought".to_owned()).await?;
    alice.restart().await?;
    assert_eq!(alice.texts(talk).await, ["history", "queued"]);
    let list = alice.engine().conversations().await?;
    assert_eq!(list[0].draft.as_deref(), Some("half a thought"));
    assert!(alice.status().await.unsent >= 1);
    alice.go_online().await?;
    bob.until_texts(talk, &["history", "queued"]).await;
    alice.sent().await;
    assert_eq!(server.log(talk).await?.len(), 2);
    Ok(())
}

/// Product promise 3: started without network and with an expired token, everything works; a sign-in is not asked
/// for while the refresh token is good, and nothing queued is lost.
#[tokio::test]
async fn expired_token_offline_full_work() -> Result<()> {
    let config = Config { access_token: std::time::Duration::from_secs(1), ..Config::for_tests() };
    let server = TestServer::start_with(config).await?;
    let [mut alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "a word to find").await?;
    bob.until_texts(talk, &["a word to find"]).await;
    alice.sent().await;
    let first = alice.messages(talk).await[0].id;
    alice.go_offline().await;
    alice.restart().await?;
    let found = alice.engine().search("word".to_owned(), None, 10).await?;
    assert_eq!(found.hits.len(), 1);
    alice.send(talk, "written offline").await?;
    alice.engine().edit_message(talk, first, "a word to be found".to_owned()).await?;
    alice.engine().react(talk, first, "🎉".to_owned(), true).await?;
    let seen = alice.messages(talk).await;
    assert_eq!(seen[0].text, "a word to be found");
    assert_eq!(seen[0].reactions.len(), 1);
    assert!(!matches!(alice.status().await.link, LinkView::SignInNeeded));
    alice.go_online().await?;
    bob.until_messages(talk, "edit, reaction and message arrive", |m| {
        m.len() == 2 && m[0].text == "a word to be found" && m[0].reactions.len() == 1
    })
    .await;
    alice.sent().await;
    Ok(())
}

/// A sign-in is asked for only when the server is reached and refuses; signing in again sends what was queued.
#[tokio::test]
async fn revoked_while_offline_keeps_the_queue_until_the_next_sign_in() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let alice2 = server.device_of(&alice).await?;
    let talk = alice.write(&bob, "before").await?;
    alice.sent().await;
    alice.go_offline().await;
    alice.send(talk, "queued").await?;
    let sessions = alice2.engine().sessions().await?;
    let other = sessions.iter().find(|session| !session.current).expect("two devices").device;
    alice2.engine().revoke_session(other, kith_tests::client::PASSWORD.to_owned()).await?;
    alice.proxy().up();
    alice.engine().network_changed().await?;
    until("a sign-in is asked for", || alice.status(), |status| status.link == LinkView::SignInNeeded).await;
    assert_eq!(alice.texts(talk).await, ["before", "queued"]);
    alice.sign_in().await?;
    bob.until_texts(talk, &["before", "queued"]).await;
    Ok(())
}
