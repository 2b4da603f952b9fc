//! The engine: what a start costs when the history is long.

use crate::{load, people, server::Running};
use anyhow::{Context, Result};
use kith_client::{Engine, EngineOptions, secrets::MemorySecrets, view::Anchor};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// What a cold open measured, in milliseconds.
pub struct Opened {
    pub messages: u32,
    pub import_s: f64,
    pub list_ms: f64,
    pub page_ms: f64,
    pub search_ms: f64,
}

const CONVERSATIONS: usize = 20;

/// Fills a server with a history, lets an engine fetch all of it, closes it, and opens it again.
pub async fn cold_open(binary: &Path, messages: usize) -> Result<Opened> {
    let running = Running::start(binary).await?;
    let crowd = people::sign_up(&running.url, CONVERSATIONS + 1).await?;
    let reader = crowd.last().context("somebody reads")?;
    load::fill(&running.url, &crowd[..CONVERSATIONS], reader, messages).await?;
    let folder = tempfile::tempdir()?;
    let secrets = Arc::new(MemorySecrets::default());
    let options = EngineOptions {
        profile: "bench".to_owned(),
        data_dir: folder.path().to_owned(),
        app: "bench/1".to_owned(),
        device_name: "bench".to_owned(),
        ca_file: None,
        secrets,
    };
    let engine = Engine::open(options.clone()).await?;
    let started = Instant::now();
    engine.sign_in(running.url.clone(), reader.username.clone(), people::PASSWORD.to_owned()).await?;
    let stored = import(&engine, messages as u32).await?;
    let import_s = started.elapsed().as_secs_f64();
    engine.shutdown().await;
    drop(engine);
    running.stop().await?; // the cold open has no network

    let started = Instant::now();
    let engine = Engine::open(options).await?;
    let list = engine.conversations().await?;
    let list_ms = milliseconds(started);
    let newest = list.first().context("a conversation")?.id;
    let started = Instant::now();
    engine.timeline(newest, Anchor::Newest, 50).await?;
    let page_ms = milliseconds(started);
    let started = Instant::now();
    engine.search("ordinary".to_owned(), None, 50).await?;
    let search_ms = milliseconds(started);
    engine.shutdown().await;
    Ok(Opened { messages: stored, import_s, list_ms, page_ms, search_ms })
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Waits until the history is here; the engine fetches it in the background. Returns how much is here.
async fn import(engine: &Engine, messages: u32) -> Result<u32> {
    let until = Instant::now() + Duration::from_secs(300);
    loop {
        let searched = engine.search("ordinary".to_owned(), None, 1).await?.searched;
        if searched >= messages || Instant::now() > until {
            return Ok(searched);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
