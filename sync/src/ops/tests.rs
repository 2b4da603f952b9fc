//! Which ops survive a power cut.

use super::*;

fn own_state() -> OwnState {
    OwnState {
        conversation: ConversationId::mint(),
        unread: 0,
        read: Seq(0),
        delivered: Seq(0),
        unread_flag: false,
        mute: TimestampMs::from_i64(0),
        pin: false,
        archive: false,
        hidden: false,
        draft: None,
        version: 1,
    }
}

#[test]
fn s8_o1_o7_what_the_server_does_not_send_again_survives_a_power_cut() {
    let (conversation, items) = (ConversationId::mint(), vec![1]);
    let durable = [
        StoreOp::Welcome { generation: 2, epoch: "an epoch".to_owned(), terms: Terms::default() },
        StoreOp::Device { device: DeviceId::mint() },
        StoreOp::Rewind { conversation, chains: Vec::new() },
        StoreOp::Lost { conversations: vec![conversation] },
        StoreOp::Sending { items: items.clone() },
        StoreOp::Parked { items: items.clone(), code: ErrorCode::TargetMissing },
        StoreOp::Done { items: items.clone() },
        StoreOp::DraftConflict { items, current: Box::new(own_state()) },
    ];
    for op in durable {
        assert!(op.is_durable(), "a power cut may take back {op:?}");
    }
}

/// The server repeats what these ops store, or the row is sent again with its id: a sync for each of them would only
/// wear the disk.
#[test]
fn what_comes_again_by_itself_is_not_synced() {
    let (items, ts) = (vec![1], TimestampMs::from_i64(1));
    let repeated = [
        StoreOp::Queued { items: items.clone() },
        StoreOp::Retry { items, at: ts, code: ErrorCode::TargetMissing },
        StoreOp::Acked { item: 1, id: EventId::mint(), seq: Seq(1), ts },
        StoreOp::OwnState { user_seq: Some(1), items: vec![own_state()] },
        StoreOp::Markers { conversation: ConversationId::mint(), markers: Vec::new() },
        StoreOp::Profiles(Vec::new()),
        StoreOp::Notifications(Vec::new()),
    ];
    for op in repeated {
        assert!(!op.is_durable(), "{op:?} is synced for nothing");
    }
}
