//! A new device of somebody with a history, on a real server: when it can be used, when all of it is there, and what
//! the one who uses it meanwhile notices.

use super::machine::Watch;
use crate::{load, people, server::Running};
use anyhow::{Context as _, Result, ensure};
use kith_client::{
    Engine, EngineOptions,
    secrets::MemorySecrets,
    view::{Anchor, SendState, TimelineItem},
};
use serde::Serialize;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// Conversations of the history: each has as much as a device fetches without being asked.
const CONVERSATIONS: usize = 20;
/// So much that each conversation has a screen of it: less is never usable.
pub const HISTORY_MIN: usize = CONVERSATIONS * 50;
/// How often it is looked whether there is more.
const LOOK: Duration = Duration::from_millis(10);
/// How often its user writes something meanwhile.
const WRITES: Duration = Duration::from_millis(250);
const WITHIN: Duration = Duration::from_secs(600);

/// How it went.
#[derive(Debug, Serialize)]
pub struct Imported {
    pub messages: u32,
    /// Seconds until every conversation shows its last message and the newest page of the first one is there.
    pub usable_s: f64,
    /// Seconds until everything is there.
    pub complete_s: f64,
    /// Seconds of the engine's processor time, that of the measurement included.
    pub cpu_s: f64,
    /// What was written meanwhile: milliseconds until it was kept, each.
    pub writes_ms: Vec<f64>,
    /// The same, until the newest page was read again.
    pub pages_ms: Vec<f64>,
}

/// Fills a server, then lets a new device fetch everything.
pub async fn fetch(binary: &Path, messages: usize) -> Result<Imported> {
    let running = Running::start(binary).await?;
    let crowd = people::sign_up(&running.url, CONVERSATIONS + 1).await?;
    let reader = crowd.last().context("somebody reads")?;
    load::fill(&running.url, &crowd[..CONVERSATIONS], reader, messages).await?;
    let folder = tempfile::tempdir()?;
    let engine = Engine::open(EngineOptions {
        profile: "bench".to_owned(),
        data_dir: folder.path().to_owned(),
        app: "bench/1".to_owned(),
        device_name: "bench".to_owned(),
        ca_file: None,
        secrets: Arc::new(MemorySecrets::default()),
    })
    .await?;
    let whole = (messages / CONVERSATIONS * CONVERSATIONS) as u32;
    let imported = watch(&engine, &running, &reader.username, whole).await;
    engine.shutdown().await;
    running.stop().await?;
    imported
}

async fn watch(engine: &Engine, running: &Running, username: &str, whole: u32) -> Result<Imported> {
    let began = Watch::start();
    engine.sign_in(running.url.clone(), username.to_owned(), people::PASSWORD.to_owned()).await?;
    let until = Instant::now() + WITHIN;
    while !is_usable(engine).await? {
        ensure!(Instant::now() < until, "the new device shows nothing");
        sleep(LOOK).await;
    }
    let usable_s = began.spent().wall;
    let (mut writes_ms, mut pages_ms, mut next) = (Vec::new(), Vec::new(), Instant::now());
    loop {
        let here = engine.search(String::new(), None, 1).await?;
        // What is written meanwhile counts too, once it has come back.
        if here.searched >= whole + writes_ms.len() as u32 {
            break;
        }
        ensure!(Instant::now() < until, "only {} messages came", here.searched);
        if Instant::now() >= next {
            next += WRITES;
            let conversation = engine.conversations().await?.last().context("a conversation")?.id;
            let wrote = Watch::start();
            engine.send_message(conversation, format!("meanwhile {}", writes_ms.len()), None).await?;
            writes_ms.push(wrote.ms());
            let read = Watch::start();
            engine.timeline(conversation, Anchor::Newest, 50).await?;
            pages_ms.push(read.ms());
        }
        sleep(LOOK).await;
    }
    let spent = began.spent();
    check(engine, whole / CONVERSATIONS as u32).await?;
    Ok(Imported { messages: whole, usable_s, complete_s: spent.wall, cpu_s: spent.cpu, writes_ms, pages_ms })
}

async fn is_usable(engine: &Engine) -> Result<bool> {
    let list = engine.conversations().await?;
    if list.len() < CONVERSATIONS || list.iter().any(|row| row.preview.is_none()) {
        return Ok(false);
    }
    Ok(engine.timeline(list[0].id, Anchor::Newest, 50).await?.items.len() >= 50)
}

/// Every conversation is whole, without a gap, and nothing that was written is lost.
async fn check(engine: &Engine, each: u32) -> Result<()> {
    for row in engine.conversations().await? {
        let (mut anchor, mut seen) = (Anchor::Newest, 0);
        loop {
            let part = engine.timeline(row.id, anchor, 200).await?;
            let messages = part.items.iter().filter_map(|item| match item {
                TimelineItem::Message(message) => Some(message),
                TimelineItem::Notice(_) | TimelineItem::Gap(_) => None,
            });
            let ours = |state: &Option<SendState>| matches!(state, Some(SendState::Failed { .. }));
            ensure!(!messages.clone().any(|one| ours(&one.send_state)), "something was not sent");
            ensure!(!part.items.iter().any(|item| matches!(item, TimelineItem::Gap(_))), "a gap");
            seen += messages.count() as u32;
            let oldest = part.items.first().map(|item| match item {
                TimelineItem::Message(message) => message.order,
                TimelineItem::Notice(notice) => notice.order,
                TimelineItem::Gap(gap) => gap.order,
            });
            match oldest.filter(|_| !part.at_start) {
                Some(order) => anchor = Anchor::Before { order },
                None => break,
            }
        }
        ensure!(seen >= each, "{} of {each} messages in {}", seen, row.title);
    }
    Ok(())
}
