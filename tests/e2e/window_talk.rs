//! Two people in two real windows: online, offline, killed, restarted, and in line again.

use anyhow::{Context, Result};
use fantoccini::key::Key;
use kith_tests::{
    until,
    window::{Logged, Shown, Stage, Window},
};
use std::collections::BTreeSet;

fn texts(shown: &[Shown]) -> Vec<&str> {
    shown.iter().map(|message| message.text.as_str()).collect()
}

fn has(text: &'static str) -> impl Fn(&[Shown]) -> bool {
    move |shown| shown.iter().any(|message| message.text == text)
}

fn is(text: &'static str, state: &'static str) -> impl Fn(&[Shown]) -> bool {
    move |shown| shown.iter().any(|message| message.text == text && message.state.as_deref() == Some(state))
}

/// Starts a chat by the person's name; it is open afterwards.
async fn start_chat(window: &Window, query: &str, username: &str, text: &str) -> Result<()> {
    window.click("new-chat-button").await?;
    window.fill("new-chat-query", query).await?;
    window.click(&format!("person-row[data-username=\"{username}\"]")).await?;
    window.fill("first-message", text).await?;
    window.click("first-message-send").await?;
    window.find("composer-input").await.map(drop)
}

async fn open_row(window: &Window, title: &str) -> Result<()> {
    window.sees("conversation-title", title).await?;
    let script = format!(
        "[...document.querySelectorAll('[data-testid=conversation-row]')]\
         .find((row) => row.querySelector('[data-testid=conversation-title]').textContent.includes({title:?})).click()"
    );
    window.run(&script).await?;
    window.find("composer-input").await.map(drop)
}

/// Waits until PostgreSQL has so many messages, and returns them.
async fn logged(stage: &Stage, count: usize) -> Vec<Logged> {
    until(
        "messages in PostgreSQL",
        || async { stage.log().await.unwrap_or_default() },
        |log| log.len() >= count,
    )
    .await
}

/// The whole main job, as the first issue tells it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn two_people_talk_online_and_offline_and_nothing_is_lost_or_double() -> Result<()> {
    let mut stage = Stage::set().await?;
    stage.account("cyd", "Cyd Okafor").await?;
    let (ada, bob) = tokio::try_join!(stage.window("ada"), stage.window("bob"))?;
    stage.sign_up(&ada, "ada", "Ada Lindqvist").await?;
    stage.sign_up(&bob, "bob", "Bob Tran").await?;

    talk_online(&ada, &bob).await?;
    // A chat with a third person, so that somebody is known when there is no server to ask.
    start_chat(&bob, "cyd", "cyd", "Hello Cyd").await?;
    bob.shows("the third person's chat", is("Hello Cyd", "sent")).await?;
    open_row(&bob, "Ada Lindqvist").await?;
    // Ada only looks for them.
    ada.click("new-chat-button").await?;
    ada.fill("new-chat-query", "cyd").await?;
    ada.find("person-row[data-username=\"cyd\"]").await?;
    ada.find("new-chat-query").await?.send_keys(&Key::Escape.to_string()).await?;
    ada.sees_no("new-chat-query").await?;

    stage.kill_server().await?;
    ada.link_is("offline").await?;
    bob.link_is("offline").await?;
    write_offline(&ada, &bob).await?;

    ada.quit().await?;
    bob.quit().await?;
    let (ada, bob) = tokio::try_join!(stage.window("ada"), stage.window("bob"))?;
    read_offline(&ada, &bob).await?;

    stage.start_server().await?;
    ada.link_is("connected").await?;
    bob.link_is("connected").await?;
    all_in_line(&stage, &ada, &bob).await?;
    ada.quit().await?;
    bob.quit().await
}

async fn talk_online(ada: &Window, bob: &Window) -> Result<()> {
    ada.focus().await?;
    start_chat(ada, "bob", "bob", "Hello Bob").await?;
    ada.shows("the first message", has("Hello Bob")).await?;

    open_row(bob, "Ada Lindqvist").await?;
    bob.focus().await?;
    bob.shows("the first message", has("Hello Bob")).await?;
    ada.shows("a read tick", is("Hello Bob", "read")).await?;

    bob.find("composer-input").await?.send_keys("Hello A").await?;
    ada.sees("typing", "Bob").await?;
    bob.say("da").await?;
    ada.shows("the answer", has("Hello Ada")).await?;
    ada.sees_no("typing").await?;
    ada.focus().await?;
    bob.shows("a read tick", is("Hello Ada", "read")).await?;

    for number in 1..=5 {
        ada.say(&format!("ada {number}")).await?;
        bob.say(&format!("bob {number}")).await?;
    }
    let whole =
        |shown: &[Shown]| shown.len() == 12 && shown.iter().all(|m| m.state.as_deref() != Some("sending"));
    let (at_ada, at_bob) = (ada.shows("all twelve", whole).await?, bob.shows("all twelve", whole).await?);
    let by_id = |shown: &[Shown]| shown.iter().map(|m| m.id.clone()).collect::<BTreeSet<_>>();
    assert_eq!(by_id(&at_ada), by_id(&at_bob));
    ada.picture("talk-online").await
}

async fn write_offline(ada: &Window, bob: &Window) -> Result<()> {
    ada.say("ada offline 1").await?;
    ada.say("ada offline 2").await?;
    bob.say("bob offline 1").await?;
    ada.shows("a queued message", is("ada offline 2", "queued")).await?;
    bob.shows("a queued message", is("bob offline 1", "queued")).await?;
    open_row(bob, "Cyd Okafor").await?;
    bob.say("bob to cyd offline").await?;
    bob.shows("a queued message", is("bob to cyd offline", "queued")).await?;
    // A conversation that the server has never heard of.
    start_chat(ada, "cyd", "cyd", "ada to cyd offline").await?;
    ada.shows("a queued first message", is("ada to cyd offline", "queued")).await?;
    ada.picture("talk-offline").await
}

async fn read_offline(ada: &Window, bob: &Window) -> Result<()> {
    open_row(ada, "Cyd Okafor").await?;
    ada.shows("the new conversation", is("ada to cyd offline", "queued")).await?;
    for (window, peer) in [(ada, "Bob Tran"), (bob, "Ada Lindqvist")] {
        open_row(window, peer).await?;
        window.shows("the history", has("bob 5")).await?;
        window.find("unsent-button").await?;
    }
    ada.shows("still queued", is("ada offline 1", "queued")).await?;
    bob.shows("still queued", is("bob offline 1", "queued")).await?;
    bob.picture("restarted-offline").await
}

async fn all_in_line(stage: &Stage, ada: &Window, bob: &Window) -> Result<()> {
    let log = logged(stage, 18).await;
    assert_eq!(log.len(), 18, "{log:#?}");
    let sets: BTreeSet<_> = log.iter().map(|message| &message.id).collect();
    assert_eq!(sets.len(), log.len(), "an id stands twice in PostgreSQL");
    let talk =
        &log.iter().find(|message| message.text == "Hello Bob").context("the first message")?.conversation;
    let in_order: Vec<_> = log.iter().filter(|m| m.conversation == *talk).map(|m| m.text.as_str()).collect();
    assert_eq!(in_order.len(), 15, "{in_order:#?}");
    for window in [ada, bob] {
        let shown = window
            .shows("the server's order", |shown| {
                texts(shown) == in_order
                    && shown.iter().all(|m| !matches!(m.state.as_deref(), Some("queued" | "sending")))
            })
            .await?;
        assert_eq!(shown.len(), 15);
        window.sees_no("unsent-button").await?;
    }
    ada.picture("in-line-again").await
}
