//! The edges: somebody is away, the network is slow, texts are long, lists are long, two ways in at once.

use anyhow::Result;
use kith_client::view::SendState;
use kith_protocol::{api, limits::MESSAGE_TEXT_CHARS_MAX};
use kith_tests::{TestServer, client::PASSWORD, until};

/// 004-13, 001-15: who is away gets it on return; the tick says so.
#[tokio::test]
async fn the_recipient_is_offline() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "are you there?").await?;
    bob.until_texts(talk, &["are you there?"]).await;
    bob.go_offline().await;
    alice.send(talk, "for later").await?;
    alice.sent().await;
    assert_eq!(alice.messages(talk).await[1].send_state, Some(SendState::Sent));
    assert_eq!(bob.texts(talk).await, ["are you there?"]);
    bob.go_online().await?;
    bob.until_texts(talk, &["are you there?", "for later"]).await;
    let delivered = |m: &Vec<kith_client::view::MessageView>| m[1].send_state == Some(SendState::Delivered);
    alice.until_messages(talk, "it is delivered", delivered).await;
    Ok(())
}

/// 004-13, 000-24: started again in the middle of a conversation, nothing is missing and nothing is there twice.
#[tokio::test]
async fn a_restart_in_the_middle_of_a_conversation() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, mut bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "0").await?;
    bob.until_texts(talk, &["0"]).await;
    for number in 1..=30 {
        alice.send(talk, &number.to_string()).await?;
        if number % 10 == 0 {
            bob.restart().await?;
        }
    }
    let expected: Vec<String> = (0..=30).map(|number| number.to_string()).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    bob.until_texts(talk, &expected).await;
    Ok(())
}

/// 004-13: a slow network delays and loses nothing; what is done is shown at once.
#[tokio::test]
async fn a_throttled_network() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "fast").await?;
    bob.until_texts(talk, &["fast"]).await;
    alice.proxy().slow(4_000);
    let mut expected = vec!["fast".to_owned()];
    for number in 0..20 {
        let text = format!("{number} {}", "slow ".repeat(50));
        alice.send(talk, &text).await?;
        expected.push(text);
    }
    assert_eq!(alice.texts(talk).await, expected);
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    bob.until_texts(talk, &expected).await;
    alice.sent().await;
    Ok(())
}

/// 004-13, 000-14: the longest text passes unchanged; a longer one and an empty one are refused before they are
/// queued.
#[tokio::test]
async fn very_long_messages() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let longest = "\u{1F468}".repeat(MESSAGE_TEXT_CHARS_MAX - 1) + "\n";
    let talk = alice.write(&bob, &longest).await?;
    bob.until_messages(talk, "the longest text arrives", |m| m.len() == 1 && m[0].text == longest).await;
    for (text, code) in [(longest + "x", "too_large"), (String::new(), "invalid")] {
        let refused = alice.engine().send_message(talk, text, None).await.expect_err("refused");
        assert_eq!(refused.code(), code);
    }
    alice.sent().await;
    assert_eq!(server.log(talk).await?.len(), 1);
    Ok(())
}

/// 004-13, S3: a new device of somebody with many conversations gets them all, each with its last line.
#[tokio::test]
async fn many_conversations() -> Result<()> {
    const COUNT: usize = 120;
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let bob_id = bob.me().await;
    for number in 0..COUNT {
        let group = alice.engine().create_group(format!("Group {number}"), vec![bob_id]).await?;
        alice.send(group, &format!("hello {number}")).await?;
    }
    alice.sent().await;
    let bob2 = server.device_of(&bob).await?;
    for client in [&bob, &bob2] {
        let list = || async { client.engine().conversations().await.unwrap_or_default() };
        let list = until("all are listed, each with its last line", list, |list| {
            list.len() == COUNT && list.iter().all(|row| row.preview.is_some() && row.unread == 1)
        })
        .await;
        assert!(list.is_sorted_by(|one, other| one.last_activity >= other.last_activity));
        assert_eq!(client.status().await.unread as usize, COUNT);
    }
    Ok(())
}

/// 001-13: many keys and messages at once, with the connection cut in between; typing ends, nothing is lost.
#[tokio::test]
async fn rapid_typing_and_loss_while_sending() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "begin").await?;
    bob.until_texts(talk, &["begin"]).await;
    let mut expected = vec!["begin".to_owned()];
    for number in 0..20 {
        for _ in 0..20 {
            alice.engine().set_typing(talk, true).await?;
        }
        let text = format!("{number}");
        alice.send(talk, &text).await?;
        expected.push(text);
        alice.proxy().cut();
    }
    alice.engine().network_changed().await?;
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    bob.until_texts(talk, &expected).await;
    bob.until_conversation(talk, "nobody types", |detail| detail.conversation.typing.is_empty()).await;
    alice.sent().await;
    assert_eq!(server.log(talk).await?.len(), expected.len());
    Ok(())
}

/// 001-13, 004-01, W3: the same message by HTTP and by the socket is one message.
#[tokio::test]
async fn w3_http_and_socket_race_for_one_message() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "before").await?;
    bob.until_texts(talk, &["before"]).await;
    let http = reqwest::Client::new();
    let device = api::DeviceRequest { id: None, name: "script".to_owned() };
    let body = api::SignIn { username: "alice".to_owned(), password: PASSWORD.to_owned(), device };
    let session = http.post(format!("{}/v1/sessions", server.url())).json(&body).send().await?;
    let session: api::Session = session.error_for_status()?.json().await?;
    alice.go_offline().await;
    for number in 0..10 {
        let text = format!("twice {number}");
        let id = alice.send(talk, &text).await?;
        if number % 2 == 0 {
            let address = format!("{}/v1/conversations/{talk}/messages", server.url());
            let body = api::PostMessage { id: Some(id), text };
            let posted = http.post(address).bearer_auth(&session.access_token).json(&body).send().await?;
            assert_eq!(posted.status(), 201);
        }
    }
    alice.go_online().await?;
    alice.sent().await;
    let rows = server.log(talk).await?;
    assert_eq!(rows.len(), 11);
    for client in [&alice, &bob] {
        client
            .until_messages(talk, "all are here", |m| m.len() == 11 && m.iter().all(|m| m.seq.is_some()))
            .await;
        assert_eq!(client.log(talk).await, rows);
    }
    Ok(())
}
