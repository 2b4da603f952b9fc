//! Hostile texts from another engine in the real window: whatever they are, the window shows text.

use anyhow::{Context, Result};
use kith_client::ClientError;
use kith_protocol::{ConversationId, UserId};
use kith_tests::{
    Client, hostile, until,
    window::{Notification, Stage, Window},
};
use serde_json::{Value, json};

/// So many strings in a conversation: all of them are on one page.
const TOGETHER: usize = 15;

/// A conversation full of them.
struct Haunted {
    id: ConversationId,
    messages: usize,
}

/// Whether the engine took it; what it refuses, it refuses as not valid.
fn taken<T>(result: Result<T, ClientError>) -> Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.code(), "invalid" | "too_large") => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn haunt(eve: &Client, victim: UserId, texts: &[String]) -> Result<Haunted> {
    let id = eve.engine().create_group("<b>haunted</b>".to_owned(), vec![victim]).await?;
    let mut messages = 0;
    for text in texts {
        messages += usize::from(taken(eve.engine().send_message(id, text.clone(), None).await)?);
        taken(eve.engine().set_title(id, text.clone()).await)?;
    }
    let quoted = eve.messages(id).await.first().context("a message to answer to")?.id;
    taken(eve.engine().send_message(id, texts[0].clone(), Some(quoted)).await)?;
    Ok(Haunted { id, messages: messages + 1 })
}

/// Opens it, and waits until every message of it is drawn.
async fn open(window: &Window, haunted: &Haunted) -> Result<()> {
    window.find(&format!("conversation-row[data-id=\"{}\"]", haunted.id)).await?;
    let script = format!(
        "document.querySelector('[data-testid=conversation-row][data-id=\"{}\"]').click()",
        haunted.id
    );
    window.run(&script).await?;
    let look = || async {
        let script = "const box = document.querySelector('[data-testid=timeline]'); if (!box) return 0; \
                      box.scrollTop = box.scrollTop < 1 ? box.scrollHeight : 0; \
                      return box.querySelectorAll('[data-testid=message]').length";
        window.run(script).await.ok()
    };
    until("every message", look, |count| *count == Some(json!(haunted.messages))).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_062_hostile_texts_names_and_titles_are_nothing_but_text() -> Result<()> {
    let stage = Stage::set().await?;
    let ada = stage.window("ada").await?;
    stage.sign_up(&ada, "ada", "Ada Lindqvist").await?;
    ada.watch_policy().await?;
    let eve = stage.engine("eve").await?;
    eve.engine().set_display_name("<img src=x onerror=alert(1)>".to_owned()).await?;
    let found = eve.engine().find_people("ada".to_owned()).await?;
    let victim = found.first().context("ada is found")?.id;

    let corpus = hostile::corpus();
    assert!(corpus.len() >= 150);
    let mut all = Vec::new();
    for texts in corpus.chunks(TOGETHER) {
        all.push(haunt(&eve, victim, texts).await?);
    }
    let sent: usize = all.iter().map(|haunted| haunted.messages).sum();
    assert!(sent >= 150, "{sent} of {} were sent", corpus.len());
    eve.sent().await;

    for haunted in &all {
        open(&ada, haunted).await?;
        assert_eq!(ada.judged().await?, Vec::<String>::new());
        assert_eq!(ada.strayed().await?, Vec::<String>::new());
    }
    ada.picture("hostile").await?;
    for word in ["alert", "evil", "script"] {
        ada.fill("search-input", word).await?;
        ada.find("search-hit").await?;
        assert_eq!(ada.judged().await?, Vec::<String>::new());
    }
    assert_eq!(ada.strayed().await?, Vec::<String>::new());
    assert_eq!(ada.run("return window.injected ?? null").await?, Value::Null);

    // The judge and the watch see what there is to see.
    let script = "const image = document.createElement('img'); image.src = 'https://evil.example/pixel.png'; \
                  document.body.append(image)";
    ada.run(script).await?;
    assert_eq!(ada.judged().await?.len(), 2);
    let look = || async { ada.strayed().await.unwrap_or_default() };
    until("the policy's refusal", look, |seen| seen.iter().any(|text| text.starts_with("img-src"))).await;
    ada.quit().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_068_a_hostile_message_is_announced_as_plain_text_and_not_at_all_when_private() -> Result<()> {
    const TEXT: &str =
        "<b>bold</b> & <img src=\"https://evil.example/x\"> \u{202e}<a href=\"javascript:alert(1)\">x</a>";
    let stage = Stage::set().await?;
    let (ada, eve) = (stage.window("ada").await?, stage.engine("eve").await?);
    stage.sign_up(&ada, "ada", "Ada Lindqvist").await?;
    eve.engine().set_display_name("<i>Eve</i> &amp;".to_owned()).await?;
    let victim = eve.engine().find_people("ada".to_owned()).await?.first().context("ada is found")?.id;
    Notification::clear().await?;
    // The daemon keeps a certain number: the newest is compared, not how many there are.
    let before = format!("{:?}", Notification::history().await?.first());
    let talk = eve.engine().start_direct(victim, TEXT.to_owned()).await?;
    Notification::until_displayed(1).await;
    let history = Notification::history().await?;
    let shown = history.first().context("the daemon has shown something")?;
    assert_ne!(format!("{:?}", history.first()), before);
    // What the daemon holds is either the escaped text or what it made of it: no element of any kind.
    for tag in ["<b>", "<img", "<a ", "<i>"] {
        assert!(!shown.body.contains(tag), "{shown:?}");
    }
    assert!(shown.body.contains("bold") && !shown.body.contains('\u{202e}'), "{shown:?}");

    let answer = ada.invoke("set_notifications", json!({ "mode": "private" })).await?;
    assert_eq!(answer["error"], Value::Null);
    eve.send(talk, "the offer is 71,500").await?;
    Notification::until_displayed(1).await;
    let history = Notification::history().await?;
    let shown = history.first().context("the daemon has shown something")?;
    assert!(!shown.body.contains("71,500") && !shown.body.contains("Eve"), "{shown:?}");
    assert_eq!(shown.summary, "Kith");
    ada.quit().await
}
