//! Engines and a server without sockets: everything goes over `POST /v1/exchange` (S12).

use anyhow::Result;
use kith_client::view::{LinkView, SendState};
use kith_server::config::Config;
use kith_tests::{Client, TestServer, until};

fn without_sockets() -> Config {
    Config { sockets: false, ..Config::for_tests() }
}

async fn until_polling(client: &Client, polling: bool) {
    let what = format!("{} is connected, polling: {polling}", client.name());
    until(&what, || client.status(), |status| status.link == LinkView::Connected { polling }).await;
}

/// S12, 002-04: a new conversation, messages, an edit, a reaction, read ticks and a long history, all by asking.
#[tokio::test]
async fn s12_a_whole_talk_without_sockets() -> Result<()> {
    let server = TestServer::start_with(without_sockets()).await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "by post").await?;
    bob.until_texts(talk, &["by post"]).await;
    for client in [&alice, &bob] {
        until_polling(client, true).await;
    }
    let first = bob.messages(talk).await[0].clone();
    alice.engine().set_focus(vec![talk]).await?;
    bob.engine().mark_read(talk, first.seq.expect("numbered")).await?;
    bob.engine().react(talk, first.id, "🎉".to_owned(), true).await?;
    let read = |m: &Vec<kith_client::view::MessageView>| {
        matches!(m[0].send_state, Some(SendState::Read)) && m[0].reactions.len() == 1
    };
    alice.until_messages(talk, "read and reaction come", read).await;
    alice.engine().edit_message(talk, first.id, "by post, mended".to_owned()).await?;
    bob.until_texts(talk, &["by post, mended"]).await;
    for number in 0..120 {
        alice.send(talk, &format!("{number}")).await?;
    }
    alice.sent().await;
    // A device that begins with nothing reads the history in pages, and has the same log.
    let bob2 = server.device_of(&bob).await?;
    let wanted =
        alice.until_messages(talk, "all numbered", |m| m.iter().all(|m| m.seq.is_some())).await.len();
    assert_eq!(wanted, 121);
    for client in [&bob, &bob2] {
        client.until_messages(talk, "the whole history", |m| m.len() == wanted).await;
        assert_eq!(client.log(talk).await, alice.log(talk).await);
    }
    assert_eq!(server.log(talk).await?.iter().filter(|row| row.kind == "message").count(), wanted);
    Ok(())
}

/// S12, 002-05: the server comes back without sockets, and with them again; engines follow by themselves, and what is
/// written meanwhile arrives once.
#[tokio::test]
async fn s12_engines_follow_a_server_that_turns_sockets_off_and_on() -> Result<()> {
    let mut server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "by socket").await?;
    bob.until_texts(talk, &["by socket"]).await;
    server.restart_with(without_sockets()).await?;
    alice.send(talk, "by post").await?;
    for client in [&alice, &bob] {
        until_polling(client, true).await;
        client.until_texts(talk, &["by socket", "by post"]).await;
    }
    server.stop().await?;
    bob.send(talk, "by socket again").await?;
    for client in [&alice, &bob] {
        let gone =
            |link: &LinkView| !matches!(link, LinkView::Connected { .. } | LinkView::CatchingUp { .. });
        until("the server is missed", || client.status(), |status| gone(&status.link)).await;
    }
    server.restart_with(Config::for_tests()).await?;
    for client in [&alice, &bob] {
        until_polling(client, false).await;
        client.until_texts(talk, &["by socket", "by post", "by socket again"]).await;
        client.sent().await;
    }
    assert_eq!(server.log(talk).await?.len(), 3);
    Ok(())
}
