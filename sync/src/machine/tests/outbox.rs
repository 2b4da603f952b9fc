use super::*;
use kith_protocol::{
    ErrorCode, EventId,
    frame::{Ack, AckResult, AckStatus, ErrorFrame, Open},
};

fn result(status: AckStatus, seq: Option<u64>, code: Option<ErrorCode>) -> AckResult {
    AckResult {
        id: None,
        status,
        seq: seq.map(Seq),
        ts: None,
        countable: None,
        chain: None,
        code,
        retry_after_ms: None,
    }
}

fn bench() -> Bench {
    Bench::live(LocalState::default(), vec![item(conversation(1), &[], 1), item(conversation(2), &[], 1)]).0
}

/// Lets rows leave. Returns the number of the `send`.
fn send(bench: &mut Bench, items: &[i64], id: ConversationId) -> u64 {
    let actions = bench.stored(items.iter().map(|item| message(*item, id)).collect());
    sent(&actions)
        .iter()
        .find(|(frame, _)| matches!(frame, ClientFrame::Send(_)))
        .and_then(|(_, n)| *n)
        .unwrap()
}

fn ack(bench: &mut Bench, request: u64, results: Vec<AckResult>) -> Vec<Action> {
    bench.frame(ServerFrame::Ack(Ack { reply_to: Some(request), results }))
}

fn parked(actions: &[Action]) -> Vec<(Vec<i64>, ErrorCode)> {
    let parked = actions.iter().filter_map(|action| match action {
        Action::Store(StoreOp::Parked { items, code }) => Some((items.clone(), *code)),
        _ => None,
    });
    parked.collect()
}

#[test]
fn o4_one_send_is_in_flight_and_conversations_do_not_block_each_other() {
    let (mut bench, one, two) = (bench(), conversation(1), conversation(2));
    let first = bench.queue((1..=3).map(|n| entry(n, one, OutboxWhat::Message)).collect());
    assert_eq!(leaving(&first), [1, 2, 3], "all that waits goes together");
    let request = send(&mut bench, &[1, 2, 3], one);
    assert_eq!(leaving(&bench.queue(vec![entry(4, one, OutboxWhat::Message)])), [0_i64; 0]);
    assert_eq!(leaving(&bench.queue(vec![entry(5, two, OutboxWhat::Message)])), [5]);
    let results = (1..=3).map(|seq| result(AckStatus::Ok, Some(seq), None)).collect();
    assert_eq!(leaving(&ack(&mut bench, request, results)), [4]);
}

#[test]
fn s7_what_is_about_a_missing_target_waits_behind_what_was_refused_for_it() {
    let (mut bench, id) = (bench(), conversation(1));
    let (missing, there) = (Some(EventId::mint()), Some(EventId::mint()));
    let about = |item, target| OutboxEntry { message: target, ..entry(item, id, OutboxWhat::Relation) };
    assert_eq!(leaving(&bench.queue(vec![about(1, missing)])), [1]);
    let request = send(&mut bench, &[1], id);
    ack(&mut bench, request, vec![result(AckStatus::Error, None, Some(ErrorCode::TargetMissing))]);
    bench.stored(Vec::new());
    let message = entry(4, id, OutboxWhat::Message);
    let actions = bench.queue(vec![about(2, missing), about(3, there), message]);
    assert_eq!(leaving(&actions), [3, 4], "a second reaction would be undone by the first");
    let request = send(&mut bench, &[3, 4], id);
    let results = [1, 2].map(|seq| result(AckStatus::Ok, Some(seq), None)).to_vec();
    assert_eq!(leaving(&ack(&mut bench, request, results)), [0; 0]);
    assert_eq!(leaving(&bench.queue(vec![about(1, missing)])), [1, 2], "it has come");
}

#[test]
fn o5_nothing_overtakes_what_was_refused_before_the_store_has_taken_that() {
    let (mut bench, id) = (bench(), conversation(1));
    let own = Some(EventId::mint());
    let answer = OutboxEntry { message: own, ..entry(1, id, OutboxWhat::Message) };
    let reaction = OutboxEntry { message: own, ..entry(2, id, OutboxWhat::Relation) };
    let queued = bench.queue(vec![answer.clone(), reaction, entry(3, id, OutboxWhat::Message)]);
    assert_eq!(leaving(&queued), [1, 2, 3]);
    let request = send(&mut bench, &[1, 2, 3], id);
    let skipped = || result(AckStatus::Skipped, None, Some(ErrorCode::Skipped));
    let refused = result(AckStatus::Error, None, Some(ErrorCode::TargetMissing));
    assert_eq!(leaving(&ack(&mut bench, request, vec![refused.clone(), skipped(), skipped()])), [0; 0]);
    // It needs its target no more.
    let goes_on = Stored { queued: vec![answer], ..Stored::default() };
    assert_eq!(leaving(&bench.feed(Input::Stored(goes_on))), [1, 2, 3]);
    let request = send(&mut bench, &[1, 2, 3], id);
    ack(&mut bench, request, vec![refused, skipped(), skipped()]);
    assert_eq!(leaving(&bench.feed(Input::Stored(Stored::default()))), [3], "what is about it waits with it");
}

#[test]
fn o4_a_batch_has_at_most_256_events() {
    let mut bench = bench();
    let actions = bench.queue((1..=300).map(|n| entry(n, conversation(1), OutboxWhat::Message)).collect());
    assert_eq!(leaving(&actions).len(), 256);
}

#[test]
fn o3_an_open_goes_before_what_depends_on_it() {
    let (mut bench, id) = (bench(), conversation(9));
    let actions = bench.queue(vec![
        entry(1, id, OutboxWhat::Open),
        entry(2, id, OutboxWhat::Message),
        entry(3, id, OutboxWhat::State),
    ]);
    assert_eq!(leaving(&actions), [1]);
    let open = frame::Open {
        conversation: id,
        kind: ConversationKind::Group,
        members: Vec::new(),
        title: None,
        context: None,
        first: None,
    };
    let actions = bench.stored(vec![OutboxItem { item: 1, conversation: id, op: OutboxOp::Open(open) }]);
    let request = sent(&actions)[0].1;
    let answer = Heads { reply_to: request, full: false, ..heads(vec![item(id, &[], 1)]) };
    let actions = bench.frame(ServerFrame::Heads(answer));
    assert!(actions.contains(&Action::Store(StoreOp::Done { items: vec![1] })));
    assert_eq!(leaving(&actions), [2, 3]);
}

#[test]
fn o5_a_parked_message_holds_what_follows_until_the_user_decides() {
    let (mut bench, id) = (bench(), conversation(1));
    bench.queue((1..=3).map(|n| entry(n, id, OutboxWhat::Message)).collect());
    let request = send(&mut bench, &[1, 2, 3], id);
    let results = vec![
        result(AckStatus::Ok, Some(1), None),
        result(AckStatus::Error, None, Some(ErrorCode::TooLarge)),
        result(AckStatus::Skipped, None, None),
    ];
    let actions = ack(&mut bench, request, results);
    assert_eq!(parked(&actions), [(vec![2], ErrorCode::TooLarge)]);
    assert_eq!(leaving(&actions), [0_i64; 0], "held");
    let actions = bench.feed(Input::Outbox(OutboxUpdate { changed: Vec::new(), removed: vec![2] }));
    assert_eq!(leaving(&actions), [3]);
}

#[test]
fn o5_a_parked_edit_holds_nothing() {
    let (mut bench, id) = (bench(), conversation(1));
    bench.queue(vec![entry(1, id, OutboxWhat::Relation), entry(2, id, OutboxWhat::Message)]);
    let request = send(&mut bench, &[1, 2], id);
    let results = vec![
        result(AckStatus::Error, None, Some(ErrorCode::TargetMissing)),
        result(AckStatus::Skipped, None, None),
    ];
    ack(&mut bench, request, results);
    assert_eq!(leaving(&bench.stored(Vec::new())), [2]);
}

#[test]
fn o5_not_member_parks_the_conversations_items_but_not_its_state() {
    let (mut bench, id) = (bench(), conversation(1));
    bench.queue(vec![entry(1, id, OutboxWhat::Message), entry(2, id, OutboxWhat::Message)]);
    let request = send(&mut bench, &[1, 2], id);
    bench.queue(vec![entry(3, id, OutboxWhat::Message)]);
    let refused = ErrorFrame {
        reply_to: Some(request),
        code: ErrorCode::NotMember,
        message: String::new(),
        retry_after_ms: None,
        current: None,
    };
    let actions = bench.frame(ServerFrame::Error(refused));
    assert_eq!(parked(&actions), [(vec![1, 2, 3], ErrorCode::NotMember)]);
    assert_eq!(leaving(&bench.queue(vec![entry(4, id, OutboxWhat::State)])), [4]);
}

#[test]
fn r4_own_state_that_was_refused_for_a_time_is_not_overtaken_by_what_was_said_later() {
    let (mut bench, id) = (bench(), conversation(1));
    assert_eq!(leaving(&bench.queue(vec![entry(1, id, OutboxWhat::State)])), [1]);
    let change = frame::StateChange { pin: Some(true), ..frame::StateChange::of(id) };
    let actions = bench.stored(vec![OutboxItem { item: 1, conversation: id, op: OutboxOp::State(change) }]);
    let busy = ErrorFrame {
        reply_to: sent(&actions)[0].1,
        code: ErrorCode::Busy,
        message: String::new(),
        retry_after_ms: Some(5_000),
        current: None,
    };
    bench.frame(ServerFrame::Error(busy));
    assert_eq!(leaving(&bench.queue(vec![entry(2, id, OutboxWhat::State)])), [0_i64; 0]);
    assert_eq!(leaving(&bench.after(5_001)), [1, 2]);
}

#[test]
fn o3_an_opening_ends_where_somebody_else_has_begun_the_conversation() {
    let (mut bench, id) = (bench(), conversation(9));
    assert_eq!(leaving(&bench.queue(vec![entry(1, id, OutboxWhat::Open)])), [1]);
    let open = Open {
        conversation: id,
        kind: ConversationKind::Direct,
        members: Vec::new(),
        title: None,
        context: None,
        first: None,
    };
    let actions = bench.stored(vec![OutboxItem { item: 1, conversation: id, op: OutboxOp::Open(open) }]);
    let busy = ErrorFrame {
        reply_to: sent(&actions)[0].1,
        code: ErrorCode::Busy,
        message: String::new(),
        retry_after_ms: Some(60_000),
        current: None,
    };
    bench.frame(ServerFrame::Error(busy));
    assert_eq!(leaving(&bench.queue(vec![entry(2, id, OutboxWhat::Message)])), [0_i64; 0]);
    let actions = bench.frame(ServerFrame::Heads(heads(vec![item(id, &[], 1)])));
    assert!(actions.contains(&Action::Store(StoreOp::Done { items: vec![1] })));
}

#[test]
fn o6_retry_after_wins_and_a_reconnect_resets_it() {
    let (mut bench, id) = (bench(), conversation(1));
    bench.queue(vec![entry(1, id, OutboxWhat::Message)]);
    let request = send(&mut bench, &[1], id);
    let busy =
        AckResult { retry_after_ms: Some(9_000), ..result(AckStatus::Error, None, Some(ErrorCode::Busy)) };
    ack(&mut bench, request, vec![busy]);
    assert_eq!(leaving(&bench.after(8_999)), [0_i64; 0]);
    assert_eq!(leaving(&bench.after(1)), [1]);
    let request = send(&mut bench, &[1], id);
    ack(&mut bench, request, vec![result(AckStatus::Error, None, Some(ErrorCode::Unavailable))]);
    bench.feed(Input::Closed(None));
    bench.feed(Input::NetworkChanged);
    let actions = bench.handshake(heads(vec![item(id, &[], 1)]));
    assert_eq!(leaving(&actions), [1]);
}

#[test]
fn a08_o2_what_was_on_its_way_is_queued_again_when_the_link_breaks() {
    let (mut bench, id) = (bench(), conversation(1));
    bench.queue(vec![entry(1, id, OutboxWhat::Message)]);
    send(&mut bench, &[1], id);
    let actions = bench.feed(Input::Closed(None));
    assert!(actions.contains(&Action::Store(StoreOp::Queued { items: vec![1] })));
}

#[test]
fn o2_an_acknowledged_event_that_does_not_come_is_pulled() {
    let (mut bench, id) = (bench(), conversation(1));
    bench.queue(vec![entry(1, id, OutboxWhat::Message)]);
    let request = send(&mut bench, &[1], id);
    let actions = ack(&mut bench, request, vec![result(AckStatus::Duplicate, Some(1), None)]);
    assert!(actions.iter().any(|action| matches!(action, Action::Store(StoreOp::Acked { item: 1, .. }))));
    assert_eq!(pulls(&bench.after(300)).len(), 1);
}

#[test]
fn o7_a_row_that_was_taken_back_does_not_leave() {
    let (mut bench, id) = (bench(), conversation(1));
    bench.queue(vec![entry(1, id, OutboxWhat::Message), entry(2, id, OutboxWhat::Message)]);
    let actions = bench.stored(vec![message(2, id)]);
    let sent = sent(&actions);
    let events = sent.iter().find_map(|(frame, _)| {
        if let ClientFrame::Send(send) = frame { Some(send.events.len()) } else { None }
    });
    assert_eq!(events, Some(1));
}

#[test]
fn r2_markers_leave_together_and_at_most_every_500_ms() {
    let (mut bench, id) = (bench(), conversation(1));
    let state = |item, read| {
        let change = frame::StateChange { read: Some(Seq(read)), ..frame::StateChange::of(id) };
        OutboxItem { item, conversation: id, op: OutboxOp::State(change) }
    };
    let actions = bench.queue(vec![entry(1, id, OutboxWhat::State), entry(2, id, OutboxWhat::State)]);
    assert_eq!(leaving(&actions), [1, 2]);
    let actions = bench.stored(vec![state(1, 5), state(2, 4)]);
    let sent = sent(&actions);
    let ClientFrame::State(change) = sent[0].0 else { panic!("{sent:?}") };
    assert_eq!((sent.len(), change.read), (1, Some(Seq(5))));
    let request = sent[0].1.unwrap();
    ack(&mut bench, request, Vec::new());
    assert_eq!(leaving(&bench.queue(vec![entry(3, id, OutboxWhat::State)])), [0_i64; 0]);
    assert_eq!(leaving(&bench.after(500)), [3]);
}

#[test]
fn o4_changes_of_own_state_leave_in_their_order_also_beside_a_draft() {
    let (mut bench, id) = (bench(), conversation(1));
    let state = |item, draft: Option<&str>, archive| {
        let draft = draft.map(|text| frame::DraftChange { text: text.to_owned(), base: 1 });
        let change = frame::StateChange { draft, archive: Some(archive), ..frame::StateChange::of(id) };
        OutboxItem { item, conversation: id, op: OutboxOp::State(change) }
    };
    bench.queue(vec![entry(1, id, OutboxWhat::State), entry(2, id, OutboxWhat::State)]);
    let actions = bench.stored(vec![state(1, Some("mine"), true), state(2, None, false)]);
    let sent = sent(&actions);
    let ClientFrame::State(change) = sent[0].0 else { panic!("{sent:?}") };
    assert_eq!((sent.len(), change.archive, change.draft.is_some()), (1, Some(false), true));
}

#[test]
fn r4_a_refused_draft_keeps_both_texts() {
    let (mut bench, id) = (bench(), conversation(1));
    bench.queue(vec![entry(1, id, OutboxWhat::State)]);
    let draft = Some(frame::DraftChange { text: "mine".to_owned(), base: 1 });
    let change = frame::StateChange { draft, ..frame::StateChange::of(id) };
    let actions = bench.stored(vec![OutboxItem { item: 1, conversation: id, op: OutboxOp::State(change) }]);
    let request = sent(&actions)[0].1;
    let current = Box::new(own(id, 7));
    let refused = ErrorFrame {
        reply_to: request,
        code: ErrorCode::StateConflict,
        message: String::new(),
        retry_after_ms: None,
        current: Some(current.clone()),
    };
    let actions = bench.frame(ServerFrame::Error(refused));
    assert!(actions.contains(&Action::Store(StoreOp::DraftConflict { items: vec![1], current })));
}
