//! A profile with a long history: a server that holds it, and a device that has fetched all of it.

use crate::{
    load::{Connection, event},
    people::{self, Person},
    server::Running,
};
use anyhow::{Context, Result, bail};
use kith_client::{Engine, EngineOptions, secrets::KeyringSecrets};
use kith_protocol::{
    ClientFrame, ConversationId, NewEvent, ServerFrame,
    frame::{AckStatus, ConversationKind, Open, Send},
};
use serde_json::json;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Those who write it; each opens its share of the conversations, at most so many as a device may at once.
const WRITERS: usize = 20;
/// Events of one frame.
const EVENTS: usize = 200;
/// Different words that the texts are made of.
const WORDS: u64 = 20_000;
/// Nothing has come for so long: it will not come any more.
const STALLED: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(500);

/// The profile that is measured.
pub const PROFILE: &str = "bench";

pub struct History {
    pub writers: Vec<Person>,
    pub messages: u32,
    /// Each with the number of who writes it.
    pub conversations: Vec<(ConversationId, usize)>,
}

/// A number that looks like chance and is the same in every run.
fn chance(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A word: the smaller its number, the more often it is used.
pub fn word(number: u64) -> String {
    const PARTS: [&str; 16] =
        ["ba", "re", "mi", "to", "lu", "sa", "ne", "ki", "do", "fu", "ga", "pe", "li", "vo", "ma", "ther"];
    let part = |shift: u32| PARTS[(number >> shift & 15) as usize];
    format!("{}{}{}{}", part(0), part(4), part(8), part(12))
}

/// 80 to 200 bytes of words, few of them often and many of them seldom.
fn text(seed: u64) -> String {
    let mut text = String::new();
    for at in 0..10 + chance(seed) % 12 {
        let share = (chance(seed.wrapping_mul(64) + at) % 10_000) as f64 / 10_000.0;
        text.push_str(&word((share.powi(4) * WORDS as f64) as u64));
        text.push(' ');
    }
    text.truncate(text.trim_end().len());
    text
}

pub fn message(seed: u64) -> NewEvent {
    event(text(seed))
}

/// Fills the server, signs the profile in, and fetches everything onto this device.
pub async fn make(
    server: &Running,
    data_dir: &Path,
    messages: usize,
    conversations: usize,
) -> Result<History> {
    let mut writers = people::sign_up(&server.url, WRITERS + 1).await?;
    let reader = writers.pop().context("somebody reads")?;
    let each = conversations.div_ceil(WRITERS);
    let filled = writers.iter().enumerate().map(|(at, writer)| {
        let reader = &reader;
        async move {
            let mut connection = Connection::open(&server.url, writer).await?;
            let mut made = Vec::new();
            for number in (at * each)..((at + 1) * each).min(conversations) {
                let id = open(&mut connection, reader, number).await?;
                write(&mut connection, id, number, messages / conversations).await?;
                made.push((id, at));
            }
            anyhow::Ok(made)
        }
    });
    let conversations = futures_util::future::try_join_all(filled).await?.concat();
    let messages = fetch(&server.url, data_dir, &reader, messages as u32).await?;
    Ok(History { writers, messages, conversations })
}

async fn open(connection: &mut Connection, reader: &Person, number: usize) -> Result<ConversationId> {
    let conversation = ConversationId::mint();
    let open = Open {
        conversation,
        kind: ConversationKind::Group,
        members: vec![reader.user],
        title: Some(format!("Conversation {number}")),
        context: None,
        first: None,
    };
    loop {
        connection.send(ClientFrame::Open(open.clone()), Some(2)).await?;
        match answer(connection, 2).await? {
            None => return Ok(conversation),
            Some(wait) => tokio::time::sleep(wait).await,
        }
    }
}

async fn write(
    connection: &mut Connection,
    conversation: ConversationId,
    number: usize,
    count: usize,
) -> Result<()> {
    for start in (0..count).step_by(EVENTS) {
        let numbers = start..count.min(start + EVENTS);
        let events = numbers.map(|at| json!(message((number * count + at) as u64))).collect();
        let frame = ClientFrame::Send(Send { conversation, events });
        // What is refused for its rate is sent again as it is: the ids make that harmless.
        loop {
            connection.send(frame.clone(), Some(3)).await?;
            match answer(connection, 3).await? {
                None => break,
                Some(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
    Ok(())
}

/// The answer to a request: nothing more, or how long to wait before it is made again.
pub async fn answer(connection: &mut Connection, request: u64) -> Result<Option<Duration>> {
    loop {
        match connection.next().await? {
            ServerFrame::Error(error) if error.code.is_retryable() => {
                return Ok(Some(Duration::from_millis(error.retry_after_ms.unwrap_or(200))));
            }
            ServerFrame::Error(error) => bail!("refused: {}", error.code),
            ServerFrame::Ack(ack) if ack.reply_to == Some(request) => {
                let refused = ack
                    .results
                    .iter()
                    .find(|result| !matches!(result.status, AckStatus::Ok | AckStatus::Duplicate));
                return match refused {
                    Some(refused) => bail!("refused: {:?}", refused.code),
                    None => Ok(None),
                };
            }
            frame if frame.reply_to() == Some(request) => return Ok(None),
            _ => {}
        }
    }
}

/// Signs the profile in, with its key in the desk's keyring as the app keeps it, and waits until everything is here.
async fn fetch(server: &str, data_dir: &Path, reader: &Person, messages: u32) -> Result<u32> {
    let engine = Engine::open(EngineOptions {
        profile: PROFILE.to_owned(),
        data_dir: data_dir.to_owned(),
        app: "bench/1".to_owned(),
        device_name: "bench".to_owned(),
        ca_file: None,
        secrets: Arc::new(KeyringSecrets::default()),
    })
    .await?;
    engine.sign_in(server.to_owned(), reader.username.clone(), people::PASSWORD.to_owned()).await?;
    let (mut here, mut since) = (0, Instant::now());
    while here < messages {
        // A word that no text has: what is asked is how many there are.
        let now = engine.search("zzzz".to_owned(), None, 1).await?.searched;
        if now > here {
            (here, since) = (now, Instant::now());
        }
        anyhow::ensure!(since.elapsed() < STALLED, "only {here} of {messages} messages came");
        tokio::time::sleep(STEP).await;
    }
    engine.shutdown().await;
    Ok(here)
}
