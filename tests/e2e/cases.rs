//! Acceptance cases that need a real server and a network that fails.

use anyhow::Result;
use kith_client::view::{LinkView, SendState};
use kith_tests::{TestServer, until};

/// A04: what waits in three conversations goes out when the network returns, without a click; "send all now" exists and
/// does no harm.
#[tokio::test]
async fn a04_what_waits_in_three_conversations_goes_out_by_itself() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob, cleo, dora] = server.people(["alice", "bob", "cleo", "dora"]).await?;
    let mut talks = Vec::new();
    for other in [&bob, &cleo, &dora] {
        talks.push(alice.write(other, "before").await?);
    }
    alice.sent().await;
    alice.go_offline().await;
    for talk in &talks {
        alice.send(*talk, "one").await?;
        alice.send(*talk, "two").await?;
    }
    alice.engine().send_all_now().await?;
    assert_eq!(alice.status().await.unsent, 6);
    alice.proxy().up();
    for (other, talk) in [&bob, &cleo, &dora].into_iter().zip(&talks) {
        other.until_texts(*talk, &["before", "one", "two"]).await;
        assert_eq!(server.log(*talk).await?.len(), 3);
    }
    alice.sent().await;
    Ok(())
}

/// A08: the connection goes deaf while a message is on its way: it shows as unconfirmed, and once the link is made anew
/// there is one copy on both sides.
#[tokio::test]
async fn a08_a14_a_message_into_a_dead_connection_is_unconfirmed_and_then_there_once() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "before").await?;
    bob.until_texts(talk, &["before"]).await;
    alice.sent().await;
    assert!(matches!(alice.status().await.link, LinkView::Connected { polling: false }), "no banner");
    alice.proxy().half_open();
    alice.send(talk, "into the void").await?;
    let unconfirmed = |m: &Vec<kith_client::view::MessageView>| {
        m.len() == 2 && matches!(m[1].send_state, Some(SendState::Queued | SendState::Sending))
    };
    alice.until_messages(talk, "it is not confirmed", unconfirmed).await;
    let dead = |link: &LinkView| !matches!(link, LinkView::Connected { .. });
    until("the dead connection is noticed", || alice.status(), |status| dead(&status.link)).await;
    bob.until_texts(talk, &["before", "into the void"]).await;
    alice.sent().await;
    alice.connected().await;
    assert_eq!(alice.texts(talk).await, ["before", "into the void"]);
    assert_eq!(server.log(talk).await?.len(), 2);
    Ok(())
}
