//! Both stores give the same answers: what simulated runs wrote is played into SQLite and into its twin in memory.

use super::{Key, Store};
use crate::{
    driver::{SyncStore, nothing_earlier},
    sim::runs::recorded,
};
use kith_sync::{
    memory::MemoryStore,
    ops::{LocalState, OutboxEntry, StoreOp},
};

/// Runs of each of the parts below.
const PART: u64 = 250;

/// What does not rest on rows that the user wrote.
fn is_played(op: &StoreOp) -> bool {
    match op {
        StoreOp::Welcome { .. }
        | StoreOp::Device { .. }
        | StoreOp::Heads { .. }
        | StoreOp::Append { .. }
        | StoreOp::Page(_)
        | StoreOp::Rewind { .. }
        | StoreOp::OwnState { .. }
        | StoreOp::Count { .. }
        | StoreOp::Verify { .. } => true,
        StoreOp::Sending { .. }
        | StoreOp::Queued { .. }
        | StoreOp::Retry { .. }
        | StoreOp::Parked { .. }
        | StoreOp::Acked { .. }
        | StoreOp::Done { .. }
        | StoreOp::DraftConflict { .. }
        | StoreOp::Markers { .. }
        | StoreOp::Profiles(_)
        | StoreOp::Members { .. }
        | StoreOp::Lost { .. }
        | StoreOp::Notifications(_) => false,
    }
}

/// Without what only one of them keeps: sizes, the time of writing, the intervals that follow from events.
fn comparable(mut state: LocalState) -> LocalState {
    state.conversations.sort_by_key(|one| one.conversation);
    for one in &mut state.conversations {
        one.visible.clear();
    }
    state.outbox = entries(state.outbox);
    state
}

fn entries(mut entries: Vec<OutboxEntry>) -> Vec<OutboxEntry> {
    for entry in &mut entries {
        (entry.bytes, entry.written_at) = (0, kith_protocol::TimestampMs(0));
    }
    entries
}

/// Without the archive: the return from there on news is the store's own doing, and puts a row into the outbox.
fn without_archive(mut op: StoreOp) -> StoreOp {
    match &mut op {
        StoreOp::Heads { items, .. } => items.iter_mut().for_each(|item| item.own.archive = false),
        StoreOp::OwnState { items, .. } => items.iter_mut().for_each(|own| own.archive = false),
        _ => {}
    }
    op
}

async fn play(seed: u64) {
    let (me, transactions) = recorded(seed);
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Store::open(&folder.path().join("kith.db"), &Key::new([7; 32]), me).await.unwrap();
    let mut memory = MemoryStore { me: Some(me), ..MemoryStore::default() };
    for ops in transactions {
        let ops: Vec<_> = ops.into_iter().filter(is_played).map(without_archive).collect();
        if ops.is_empty() {
            continue;
        }
        let expected = memory.apply(ops.clone());
        let stored = sqlite.apply(ops, nothing_earlier()).await.unwrap().stored;
        assert_eq!(entries(stored.queued), entries(expected.queued), "seed {seed}: queued");
        assert_eq!(stored.ended, expected.ended, "seed {seed}: ended");
        let ranges = |all: Vec<kith_sync::ops::LocalConversation>| {
            all.into_iter().map(|one| (one.conversation, one.ranges)).collect::<Vec<_>>()
        };
        assert_eq!(stored.repaired, [], "seed {seed}: nothing was damaged");
        assert_eq!(ranges(stored.rewound), ranges(expected.rewound), "seed {seed}: rewound");
    }
    let state = sqlite.load_sync_state(nothing_earlier()).await.unwrap();
    assert_eq!(comparable(state), comparable(memory.load()), "seed {seed}");
    sqlite.close().await;
}

async fn part(number: u64) {
    for seed in number * PART..(number + 1) * PART {
        play(seed).await;
    }
}

#[tokio::test]
async fn both_stores_answer_alike_1() {
    part(0).await;
}

#[tokio::test]
async fn both_stores_answer_alike_2() {
    part(1).await;
}

#[tokio::test]
async fn both_stores_answer_alike_3() {
    part(2).await;
}

#[tokio::test]
async fn both_stores_answer_alike_4() {
    part(3).await;
}
