//! Adds many members at a time and measures the delay of messages in other conversations.

use super::{Live, Member, group::at, idle::connect};
use crate::{
    load::{event, filler},
    server::Running,
};
use anyhow::{Result, bail};
use kith_protocol::{
    ClientFrame, ConversationId, EventId, NewEvent, ServerFrame, UserId,
    frame::{AckStatus, ConversationKind, Send},
};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep_until};

/// Members who are added with one frame.
pub const ADDED: usize = 256;
/// Groups that they are added to, one after the other.
const GROUPS: usize = 8;
/// Pairs who write meanwhile: enough that some share a lane with each group.
const PAIRS: usize = 32;
/// People whom this takes.
pub const PEOPLE: usize = PAIRS * 2 + 1 + ADDED;
/// Between two messages of a pair.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two groups.
const GROUP_PAUSE: Duration = Duration::from_millis(400);

/// p50, p99 and the longest time of an acknowledgement elsewhere, ms, while members are added; all of them connected.
pub async fn measure(running: &Running, people: &[Arc<Member>]) -> Result<[f64; 3]> {
    let address = running.address()?;
    let mut writers = Vec::new();
    for two in people[..PAIRS * 2].chunks_exact(2) {
        let mut writer = two[0].connect(address).await?;
        let conversation = ConversationId::direct(two[0].user, two[1].user);
        writer.open(conversation, ConversationKind::Direct, vec![two[1].user]).await?;
        writers.push((writer, conversation));
    }
    let mut founder = people[PAIRS * 2].connect(address).await?;
    let idle = connect(running, &people[PAIRS * 2 + 1..PEOPLE], 64).await?;
    let added: Vec<UserId> = people[PAIRS * 2 + 1..][..ADDED].iter().map(|one| one.user).collect();
    let began = Instant::now();
    let length = GROUP_PAUSE * (GROUPS as u32 + 1);
    let mut tasks = JoinSet::new();
    for (number, (live, conversation)) in writers.into_iter().enumerate() {
        let first = began + PAUSE * number as u32 / PAIRS as u32;
        tasks.spawn(write(live, conversation, first, began + length));
    }
    for number in 0..GROUPS {
        sleep_until((began + GROUP_PAUSE * (number as u32 + 1)).into()).await;
        add(&mut founder, &added).await?;
    }
    let mut waits = Vec::new();
    while let Some(some) = tasks.join_next().await {
        waits.extend(some??);
    }
    drop(idle);
    waits.sort_unstable();
    Ok([0.5, 0.99, 1.0].map(|share| at(&waits, share)))
}

/// A group, and everybody added to it at once.
async fn add(founder: &mut Live, users: &[UserId]) -> Result<()> {
    let conversation = ConversationId::mint();
    founder.open(conversation, ConversationKind::Group, Vec::new()).await?;
    let events = users.iter().map(|user| {
        json!(NewEvent {
            id: EventId::mint(),
            kind: "member".to_owned(),
            target: None,
            body: json!({"user": user, "change": "added"}),
            written_at: None,
            resubmitted: None,
        })
    });
    founder.send(ClientFrame::Send(Send { conversation, events: events.collect() }), Some(3)).await?;
    acknowledged(founder, 3).await
}

async fn acknowledged(live: &mut Live, request: u64) -> Result<()> {
    loop {
        match live.frame().await? {
            ServerFrame::Ack(ack) if ack.reply_to == Some(request) => {
                let is_ok = ack.results.iter().all(|result| result.status == AckStatus::Ok);
                anyhow::ensure!(is_ok, "refused: {:?}", ack.results);
                return Ok(());
            }
            ServerFrame::Error(error) => bail!("refused: {}", error.code),
            _ => {}
        }
    }
}

/// Writes a message every [`PAUSE`]. Returns how long each took from when it was due until its acknowledgement,
/// microseconds.
async fn write(
    mut live: Live,
    conversation: ConversationId,
    first: Instant,
    end: Instant,
) -> Result<Vec<u32>> {
    let (mut waits, mut number) = (Vec::new(), 0_u32);
    loop {
        let due = first + PAUSE * number;
        if due >= end {
            return Ok(waits);
        }
        sleep_until(due.into()).await;
        let events = vec![json!(event(filler(u64::from(number))))];
        let request = u64::from(number) + 10;
        live.send(ClientFrame::Send(Send { conversation, events }), Some(request)).await?;
        acknowledged(&mut live, request).await?;
        waits.push(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX));
        number += 1;
    }
}
