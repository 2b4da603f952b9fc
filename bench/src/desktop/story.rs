//! What somebody does in the window: opens, writes while messages arrive, searches. Times are of the page's own clock, up
//! to the end of the frame in which the thing was drawn.

use super::{
    history::{self, History},
    page::Page,
    tree::{self, Memory},
};
use crate::{load::Connection, server::Running};
use anyhow::{Context, Result, ensure};
use kith_protocol::{ClientFrame, frame::Send};
use serde::Serialize;
use serde_json::json;
use std::{path::Path, time::Duration};

/// Messages a second that arrive while somebody writes: half in the open conversation, half elsewhere.
const ARRIVING: u64 = 20;
/// What is written meanwhile.
const WRITTEN: &str =
    "While others write, somebody writes a longer text and sees each letter at once, as on paper.";
/// Between two keys of somebody who types fast.
const BETWEEN_KEYS: Duration = Duration::from_millis(80);
/// Memory is looked at when nothing moves any more.
const SETTLE: Duration = Duration::from_secs(5);

/// Milliseconds, but for the memory.
#[derive(Debug, Clone, Serialize)]
pub struct Story {
    pub opening: Vec<f64>,
    pub typing: Vec<f64>,
    pub search: Vec<f64>,
    pub memory: Vec<Memory>,
    pub arrived: u64,
}

/// Opens the next conversation of the list as the keyboard does, and waits until other messages are drawn.
const OPEN: &str = "\
  const shown = () => { const row = q('conversation-row', '[aria-current]'); const last = all('message').at(-1); \
    return `${row?.dataset.id ?? ''} ${last?.dataset.id ?? ''}`; }; \
  const times = []; \
  for (let at = 0; at < given; at += 1) { \
    const [row, last] = shown().split(' '); const began = performance.now(); \
    dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown', altKey: true, bubbles: true })); \
    await until(() => { const [nowRow, nowLast] = shown().split(' '); return nowRow !== row && nowLast && nowLast !== last; }); \
    await drawn(); times.push(performance.now() - began); \
  } return times;";

/// Searches for each word from an empty field, and waits until its hits are drawn.
const SEARCH: &str = "\
  const input = q('search-input'); const times = []; \
  const set = (value) => { input.value = value; input.dispatchEvent(new Event('input', { bubbles: true })); }; \
  for (const word of given) { \
    const began = performance.now(); set(word); \
    await until(() => q('search-hit')); await drawn(); times.push(performance.now() - began); \
    set(''); await until(() => !q('search-hit') && q('conversation-row')); await drawn(); \
  } return times;";

/// Goes to the newest message: a conversation opens at its first unread one, which may be far from it.
const TO_NEWEST: &str = "\
  await until(() => { q('jump-to-bottom')?.click(); return !q('jump-to-bottom'); }); \
  await drawn(); q('composer-input').focus();";

/// From here on each key's time until the end of the frame that it is drawn in is noted.
const WATCH_KEYS: &str = "\
  window.kithKeys = []; \
  addEventListener('keydown', (event) => { const began = event.timeStamp; \
    void drawn().then(() => window.kithKeys.push(performance.now() - began)); }, true);";

/// The whole story in one window.
pub async fn play(
    app: &Path,
    arguments: &[String],
    server: &Running,
    history: &History,
    opened: usize,
) -> Result<Story> {
    let page = Page::open(app, arguments).await?;
    let told = tell(&page, server, history, opened).await;
    page.close().await?;
    told
}

async fn tell(page: &Page, server: &Running, history: &History, opened: usize) -> Result<Story> {
    page.run("await until(() => q('conversation-row')); await until(() => q('link-state')?.dataset.state === 'connected');", json!(null)).await?;
    let mut opening = Vec::new();
    // In parts, so that no single question takes longer than a script may.
    for start in (0..opened).step_by(20) {
        opening.extend(page.times(OPEN, json!(opened.min(start + 20) - start)).await?);
    }
    tokio::time::sleep(SETTLE).await;
    let memory = tree::memory(page.app()?)?;
    let typing = write(page, server, history).await?;
    let words: Vec<String> = (0..12).map(|at| history::word(at * at * 7)).collect();
    let search = page.times(SEARCH, json!(words)).await?;
    let (typing, arrived) = typing;
    Ok(Story { opening, typing, search, memory, arrived })
}

/// The times of the keys, and how many messages came meanwhile.
async fn write(page: &Page, server: &Running, history: &History) -> Result<(Vec<f64>, u64)> {
    let open = page.run("return q('conversation-row', '[aria-current]').dataset.id", json!(null)).await?;
    let open = open.as_str().context("an open conversation")?.to_owned();
    let all = &history.conversations;
    let here = *all.iter().find(|(id, _)| id.to_string() == open).context("the open one is known")?;
    // A device has one connection: somebody else writes there.
    let elsewhere = *all.iter().find(|(_, writer)| *writer != here.1).context("one of somebody else")?;
    page.run(TO_NEWEST, json!(null)).await?;
    let before = text_of(page).await?;
    page.run(WATCH_KEYS, json!(null)).await?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut arriving = Vec::new();
    for (conversation, writer) in [here, elsewhere] {
        let mut connection = Connection::open(&server.url, &history.writers[writer]).await?;
        let stopped = stopped.clone();
        arriving.push(tokio::spawn(async move {
            let mut sent = 0;
            let mut every = tokio::time::interval(Duration::from_millis(2_000 / ARRIVING));
            while !*stopped.borrow() {
                every.tick().await;
                sent += 1;
                let events = vec![json!(crate::load::event(format!("arriving {sent}")))];
                connection.send(ClientFrame::Send(Send { conversation, events }), Some(sent + 10)).await?;
                history::answer(&mut connection, sent + 10).await?;
            }
            anyhow::Ok(sent)
        }));
    }
    let mut next = tokio::time::interval(BETWEEN_KEYS);
    for key in WRITTEN.chars() {
        next.tick().await;
        page.keys("composer-input", key.encode_utf8(&mut [0; 4])).await?;
    }
    stop.send_replace(true);
    let mut arrived = Vec::new();
    for one in arriving {
        arrived.push(one.await??);
    }
    // Nothing that was typed and nothing that came is missing.
    let last = format!("arriving {}", arrived[0]);
    page.run("await until(() => all('message-text').at(-1)?.textContent === given)", json!(last)).await?;
    let written = text_of(page).await?;
    ensure!(written == format!("{before}{WRITTEN}"), "the composer holds {written:?}");
    let times = page.times("return window.kithKeys", json!(null)).await?;
    ensure!(times.len() >= WRITTEN.len(), "{} keys of {} were drawn", times.len(), WRITTEN.len());
    Ok((times, arrived.iter().sum()))
}

async fn text_of(page: &Page) -> Result<String> {
    let text = page.run("return q('composer-input').value", json!(null)).await?;
    Ok(text.as_str().context("a text")?.to_owned())
}
