//! What the machine does when the store finds that two logs differ (S7).

use super::{offline::numbered, *};
use crate::ConnectError;

fn probes(actions: &[Action]) -> Vec<(frame::Probe, u64)> {
    let probes = sent(actions).into_iter().filter_map(|(frame, request)| match frame {
        ClientFrame::Probe(probe) => Some((probe.clone(), request.unwrap())),
        _ => None,
    });
    probes.collect()
}

fn rewinds(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Store(StoreOp::Rewind { .. }))).count()
}

#[test]
fn s7_what_the_store_refuses_is_asked_about_and_in_the_end_fetched_anew() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 9);
    let stored = LocalState { conversations: vec![kept(id, &events, 1, 9)], ..LocalState::default() };
    let (mut bench, _) = Bench::live(stored, vec![item(id, &events, 1)]);
    let contradicts =
        || Input::Stored(Stored { forked: vec![(kept(id, &events, 1, 9), Seq(4))], ..Stored::default() });
    for _ in 0..3 {
        let actions = bench.feed(contradicts());
        let (probe, number) = probes(&actions).remove(0);
        assert!(probe.seqs.contains(&Seq(4)), "{:?}", probe.seqs);
        let chains = frame::Chains {
            reply_to: Some(number),
            conversation: id,
            head: Seq(9),
            chains: vec![(Seq(9), events[8].chain)],
        };
        assert_eq!(rewinds(&bench.frame(ServerFrame::Chains(chains))), 1);
        let left = Stored { rewound: vec![kept(id, &events, 1, 9)], ..Stored::default() };
        bench.feed(Input::Stored(left));
    }
    let actions = bench.feed(contradicts());
    assert_eq!(probes(&actions).len(), 0, "asking has not helped");
    assert!(actions.contains(&Action::Store(StoreOp::Rewind { conversation: id, chains: Vec::new() })));
}

#[test]
fn s7_what_was_acknowledged_above_the_end_of_the_log_that_came_instead_leaves_again() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 9);
    let acked = OutboxEntry { state: EntryState::Acked(Seq(6)), ..entry(1, id, OutboxWhat::Message) };
    // It lies in a hole of what is stored; the log that came instead is shorter than both.
    let mut holed = kept(id, &events, 1, 5);
    holed.ranges.extend(kept(id, &events, 7, 9).ranges);
    let local = LocalState { conversations: vec![holed], outbox: vec![acked], ..LocalState::default() };
    let (mut bench, actions) = Bench::live(local, vec![item(id, &events[..3], 1)]);
    assert_eq!(leaving(&actions), [0; 0], "it may still be there");
    let number = probes(&actions)[0].1;
    let chains = frame::Chains { reply_to: Some(number), conversation: id, head: Seq(2), chains: Vec::new() };
    bench.frame(ServerFrame::Chains(chains));
    bench.feed(Input::Stored(Stored {
        rewound: vec![LocalConversation { ranges: Vec::new(), ..kept(id, &events, 1, 7) }],
        ..Stored::default()
    }));
    // What others wrote meanwhile does not come.
    assert_eq!(leaving(&bench.after(2_000)), [1]);
}

#[test]
fn s7_a_probes_answer_counts_once() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 3);
    let stored = LocalState { conversations: vec![kept(id, &events, 1, 3)], ..LocalState::default() };
    let (mut bench, actions) = Bench::live(stored, vec![item(id, &events[..1], 1)]);
    let number = probes(&actions)[0].1;
    let chains = ServerFrame::Chains(frame::Chains {
        reply_to: Some(number),
        conversation: id,
        head: Seq(1),
        chains: vec![(Seq(1), events[0].chain)],
    });
    assert_eq!(rewinds(&bench.frame(chains.clone())), 1);
    assert_eq!(rewinds(&bench.frame(chains)), 0);
}

#[test]
fn s7_of_a_conversation_that_the_server_has_lost_only_the_opening_leaves() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 3);
    let local = LocalState {
        conversations: vec![kept(id, &events, 1, 3)],
        outbox: vec![entry(1, id, OutboxWhat::Message)],
        ..LocalState::default()
    };
    let (mut bench, actions) = Bench::live(local, Vec::new());
    assert!(actions.contains(&Action::Store(StoreOp::Lost { conversations: vec![id] })));
    assert_eq!(leaving(&actions), [0; 0], "it would be refused for good");
    let actions = bench.queue(vec![entry(2, id, OutboxWhat::Open)]);
    assert_eq!(leaving(&actions), [2]);
    bench.feed(Input::Outbox(OutboxUpdate { changed: Vec::new(), removed: vec![2] }));
    let begun = Heads { full: false, ..heads(vec![item(id, &[], 1)]) };
    let actions = bench.frame(ServerFrame::Heads(begun));
    assert_eq!(leaving(&actions), [0; 0], "what is stored above the new log goes out before it");
    bench.frame(chains_of(id, probes(&actions)[0].1, 0, &[]));
    let left = LocalConversation { ranges: Vec::new(), ..kept(id, &events, 1, 3) };
    let again = entry(3, id, OutboxWhat::Message);
    let moved = entry(4, id, OutboxWhat::Message);
    let actions = bench.feed(Input::Stored(Stored {
        rewound: vec![left],
        ended: vec![1],
        queued: vec![again, moved],
        ..Stored::default()
    }));
    assert_eq!(leaving(&actions), [3, 4], "the server knows it again");
}

/// `chains`: the head, and the chain's values at these seqs of a log.
fn chains_of(id: ConversationId, number: u64, head: u64, events: &[Event]) -> ServerFrame {
    let chains = events.iter().map(|event| (event.seq, event.chain)).collect();
    ServerFrame::Chains(frame::Chains { reply_to: Some(number), conversation: id, head: Seq(head), chains })
}

/// A message, a relation and own state wait in a conversation whose first `high` events are stored.
fn with_outbox(id: ConversationId, events: &[Event], high: u64) -> LocalState {
    let whats = [OutboxWhat::Relation, OutboxWhat::Message, OutboxWhat::State];
    LocalState {
        conversations: vec![kept(id, events, 1, high)],
        outbox: (1..).zip(whats).map(|(item, what)| entry(item, id, what)).collect(),
        ..LocalState::default()
    }
}

#[test]
fn s7_nothing_leaves_while_another_lineage_is_probed() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 5);
    let (mut bench, actions) = Bench::live(with_outbox(id, &events, 5), vec![item(id, &events[..3], 1)]);
    let number = probes(&actions)[0].1;
    assert_eq!(leaving(&actions), [0; 0]);
    assert_eq!(leaving(&bench.after(10_000)), [0; 0], "the wait has no end but the probe's");
    assert_eq!(leaving(&bench.frame(chains_of(id, number, 3, &events[..3]))), [0; 0]);
    let left = Stored { rewound: vec![kept(id, &events, 1, 3)], ..Stored::default() };
    assert_eq!(leaving(&bench.feed(Input::Stored(left))), [1, 2, 3]);
}

#[test]
fn s7_nothing_leaves_before_the_log_is_known_to_continue_the_stored_one() {
    let id = conversation(1);
    // The server was set back, and others have gone on: its head says nothing.
    let (events, other) = (log(id, UserId::mint(), 40), log(conversation(2), UserId::mint(), 40));
    let (mut bench, actions) = Bench::live(with_outbox(id, &events, 3), vec![item(id, &events, 1)]);
    assert_eq!(leaving(&actions), [0; 0]);
    let number = probes(&actions)[0].1;
    assert_eq!(leaving(&bench.after(10_000)), [0; 0]);
    let actions = bench.frame(chains_of(id, number, 40, &other[2..3]));
    assert_eq!(leaving(&actions), [0; 0], "it does not");
    assert_eq!(probes(&actions).len(), 1, "where do they part?");
    // The same, and it does.
    let (mut bench, actions) = Bench::live(with_outbox(id, &events, 3), vec![item(id, &events, 1)]);
    let number = probes(&actions)[0].1;
    bench.after(2_000);
    assert_eq!(leaving(&bench.frame(chains_of(id, number, 40, &events[2..3]))), [1, 2, 3]);
}

#[test]
fn s7_where_the_server_refuses_the_probe_for_good_its_answer_to_what_waits_decides() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 5);
    let (mut bench, actions) = Bench::live(with_outbox(id, &events, 5), vec![item(id, &events[..3], 1)]);
    let refused = ServerFrame::Error(frame::ErrorFrame {
        reply_to: Some(probes(&actions)[0].1),
        code: kith_protocol::ErrorCode::NotMember,
        message: String::new(),
        retry_after_ms: None,
        current: None,
    });
    assert_eq!(leaving(&bench.frame(refused)), [1, 2, 3]);
}

#[test]
fn s3_events_wait_for_what_others_wrote_meanwhile_and_own_state_does_not() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 8);
    let (mut bench, actions) = Bench::live(with_outbox(id, &events, 3), vec![item(id, &events, 1)]);
    assert_eq!(leaving(&actions), [0; 0]);
    let asked = pulls(&actions)[0].1;
    let actions = bench.frame(page(id, &events, 4, 6, Some(asked)));
    assert_eq!(leaving(&actions), [3], "the log is the same, and goes on");
    assert_eq!(leaving(&bench.frame(page(id, &events, 7, 8, Some(pulls(&actions)[0].1)))), [1, 2]);
}

#[test]
fn s3_events_wait_two_seconds_at_most() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 8);
    let (mut bench, actions) = Bench::live(with_outbox(id, &events, 3), vec![item(id, &events, 1)]);
    let asked = pulls(&actions)[0].1;
    bench.after(500);
    assert_eq!(leaving(&bench.frame(page(id, &events, 4, 6, Some(asked)))), [3]);
    let at = bench.machine.deadline().expect("a time at which they leave");
    assert!(at <= 2_000, "{at}");
    assert_eq!(leaving(&bench.after(1_499)), [0; 0]);
    assert_eq!(leaving(&bench.after(1)), [1, 2]);
}

#[test]
fn s3_in_a_connection_that_lasts_a_message_waits_for_nothing() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 8);
    let local = LocalState { conversations: vec![kept(id, &events, 1, 3)], ..LocalState::default() };
    let (mut bench, _) = Bench::live(local, vec![item(id, &events[..3], 1)]);
    bench.after(2_000);
    bench.events(id, &events[5..6]);
    assert_eq!(leaving(&bench.queue(vec![entry(1, id, OutboxWhat::Message)])), [1], "a hole is open");
}

#[test]
fn s7_a_head_that_the_server_does_not_have_is_not_asked_for_without_end() {
    let id = conversation(7);
    let events = log(id, UserId::mint(), 10);
    let (mut bench, actions) = Bench::live(LocalState::default(), vec![item(id, &events, 5)]);
    let asked = pulls(&actions);
    assert_eq!(asked.len(), 1, "{actions:?}");
    let mut actions = bench.frame(page(id, &events[..4], 1, 4, Some(asked[0].1)));
    actions.extend(bench.after(20_000));
    assert!(pulls(&actions).is_empty(), "{actions:?}");
}

#[test]
fn s7_r1_what_comes_again_after_a_rewind_is_delivered_again() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 6);
    let stored = LocalState { conversations: vec![kept(id, &events, 1, 3)], ..LocalState::default() };
    let (mut bench, _) = Bench::live(stored, vec![item(id, &events[..3], 1)]);
    let delivered = |bench: &mut Bench, events: &[Event]| {
        bench.events(id, events);
        let mut actions = bench.feed(Input::Stored(Stored::default()));
        actions.extend(bench.after(600));
        actions.iter().any(|action| matches!(action, Action::Send(ClientFrame::Delivered(_), _)))
    };
    assert!(delivered(&mut bench, &events[3..]));
    // The log is another one from the fourth on, and heads say so.
    bench.feed(Input::Stored(Stored { rewound: vec![kept(id, &events, 1, 3)], ..Stored::default() }));
    let mut told = heads(vec![item(id, &events[..3], 1)]);
    told.full = false;
    bench.frame(ServerFrame::Heads(told));
    assert!(delivered(&mut bench, &events[3..5]));
}

/// An answer to a heads request that the server computed before the acknowledgement.
fn older_heads(bench: &mut Bench, number: u64, item: HeadsItem) -> Vec<Action> {
    bench.frame(ServerFrame::Heads(Heads { reply_to: Some(number), full: false, ..heads(vec![item]) }))
}

#[test]
fn s7_after_a_rewind_older_heads_of_the_same_log_rewind_nothing_more() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 3);
    let stored = LocalState { conversations: vec![kept(id, &events, 1, 3)], ..LocalState::default() };
    let (mut bench, actions) = Bench::live(stored, vec![item(id, &[], 1)]);
    let number = probes(&actions)[0].1;
    let chains = frame::Chains { reply_to: Some(number), conversation: id, head: Seq(0), chains: Vec::new() };
    bench.frame(ServerFrame::Chains(chains));
    let left = LocalConversation { ranges: Vec::new(), head: Seq(0), ..kept(id, &events, 1, 3) };
    let actions = bench.feed(Input::Stored(Stored { rewound: vec![left], ..Stored::default() }));
    let asked = sent(&actions).into_iter().find(|(frame, _)| matches!(frame, ClientFrame::Heads(_)));
    let number = asked.and_then(|(_, number)| number).expect("own state was cut: heads are asked for");
    bench.events(id, &log(id, bench.peer, 1));
    assert_eq!(rewinds(&older_heads(&mut bench, number, item(id, &[], 1))), 0);
}

#[test]
fn s7_what_was_about_to_leave_waits_when_its_log_is_cut_meanwhile() {
    let id = conversation(1);
    let (mut bench, _) = Bench::live(LocalState::default(), vec![item(id, &[], 1)]);
    assert_eq!(leaving(&bench.queue(vec![entry(1, id, OutboxWhat::Message)])), [1]);
    let left = LocalConversation { ranges: Vec::new(), head: Seq(0), ..kept(id, &[], 1, 0) };
    let rewound = Stored { rewound: vec![left], sending: vec![message(1, id)], ..Stored::default() };
    let actions = bench.feed(Input::Stored(rewound));
    assert!(!sent(&actions).iter().any(|(frame, _)| matches!(frame, ClientFrame::Send(_))), "{actions:?}");
    assert_eq!(leaving(&actions), [1], "its turn comes again");
}

#[test]
fn s7_a_relation_waits_after_a_broken_link_until_what_was_acknowledged_before_it_has_come() {
    let id = conversation(1);
    let (mut bench, _) = Bench::live(LocalState::default(), vec![item(id, &[], 1)]);
    bench.queue(vec![entry(1, id, OutboxWhat::Message)]);
    let actions = bench.stored(vec![message(1, id)]);
    let number = sent(&actions)[0].1;
    bench.frame(ServerFrame::Ack(frame::Ack { reply_to: number, results: vec![numbered(1)] }));
    bench.feed(Input::Closed(None));
    bench.queue(vec![entry(2, id, OutboxWhat::Relation)]);
    let actions = bench.after(5_000);
    assert!(actions.contains(&Action::Connect), "{actions:?}");
    let events = log(id, bench.me, 1);
    let mut actions = bench.handshake(heads(vec![item(id, &events, 1)]));
    actions.extend(bench.after(3_000));
    assert_eq!(leaving(&actions), [0; 0], "the server may have lost what it is about");
    assert_eq!(leaving(&bench.events(id, &events)), [0; 0]);
    let ended = Stored { ended: vec![1], ..Stored::default() };
    assert_eq!(leaving(&bench.feed(Input::Stored(ended))), [2]);
}

#[test]
fn s7_what_was_acknowledged_in_a_conversation_that_is_hidden_is_asked_for_and_not_sent_again() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 3);
    let acked = OutboxEntry { state: EntryState::Acked(Seq(4)), ..entry(1, id, OutboxWhat::Message) };
    let conversations = vec![kept(id, &events, 1, 3)];
    let mut bench = Bench::new(LocalState { conversations, outbox: vec![acked], ..LocalState::default() });
    let hidden = Heads { gone: vec![id], ..heads(Vec::new()) };
    let mut actions = bench.handshake(hidden);
    actions.extend(bench.after(3_000));
    assert!(!actions.iter().any(|one| matches!(one, Action::Store(StoreOp::Queued { .. }))), "{actions:?}");
    assert!(pulls(&actions).iter().any(|(pull, _)| pull.from == Some(Seq(4))), "{actions:?}");
}

#[test]
fn s7_nothing_leaves_of_a_conversation_that_full_heads_name_as_hidden_before_a_probe() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 3);
    let stored = LocalState { conversations: vec![kept(id, &events, 1, 3)], ..LocalState::default() };
    let (mut bench, _) = Bench::live(stored, vec![item(id, &events, 1)]);
    bench.feed(Input::Closed(None));
    bench.after(60_000);
    bench.handshake(Heads { gone: vec![id], ..heads(Vec::new()) });
    let actions = bench.queue(vec![entry(1, id, OutboxWhat::Relation)]);
    assert_eq!(leaving(&actions), [0; 0], "the server may have been set back while it was hidden");
    let number = probes(&actions)[0].1;
    assert_eq!(leaving(&bench.frame(chains_of(id, number, 3, &events))), [1]);
}

#[test]
fn s7_a_hidden_log_of_which_nothing_may_be_seen_any_more_is_another_one() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 3);
    let stored = LocalState { conversations: vec![kept(id, &events, 1, 3)], ..LocalState::default() };
    let mut bench = Bench::new(stored);
    bench.handshake(Heads { gone: vec![id], ..heads(Vec::new()) });
    let actions = bench.queue(vec![entry(1, id, OutboxWhat::Message)]);
    // In this log the user came later than all that is stored.
    let nothing = |number| {
        let (reply_to, head) = (Some(number), Seq(9));
        ServerFrame::Chains(frame::Chains { reply_to, conversation: id, head, chains: Vec::new() })
    };
    let actions = bench.frame(nothing(probes(&actions)[0].1));
    assert_eq!((leaving(&actions).len(), rewinds(&actions)), (0, 0));
    let actions = bench.frame(nothing(probes(&actions)[0].1));
    assert_eq!((leaving(&actions).len(), rewinds(&actions)), (0, 1));
}

#[test]
fn s7_an_event_that_takes_the_place_of_a_stored_one_of_a_hidden_conversation_is_asked_about() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 3);
    let stored = LocalState { conversations: vec![kept(id, &events, 1, 3)], ..LocalState::default() };
    let mut bench = Bench::new(stored);
    bench.handshake(Heads { gone: vec![id], ..heads(Vec::new()) });
    let other = log(id, bench.peer, 3);
    let actions = bench.events(id, &other[1..2]);
    let number = probes(&actions)[0].1;
    let actions = bench.frame(chains_of(id, number, 2, &other));
    assert!(actions.iter().any(|one| matches!(one, Action::Store(StoreOp::Rewind { .. }))), "{actions:?}");
}

#[test]
fn s7_after_a_rewind_of_a_hidden_conversation_the_event_that_shows_it_asks_for_heads() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 3);
    let stored = LocalState { conversations: vec![kept(id, &events, 1, 3)], ..LocalState::default() };
    let mut bench = Bench::new(stored);
    bench.handshake(Heads { gone: vec![id], ..heads(Vec::new()) });
    let left = LocalConversation { ranges: Vec::new(), head: Seq(0), ..kept(id, &events, 1, 3) };
    let actions = bench.feed(Input::Stored(Stored { rewound: vec![left], ..Stored::default() }));
    let asks = |actions: &[Action]| {
        let asked = sent(actions).into_iter().find(|(frame, _)| matches!(frame, ClientFrame::Heads(_)));
        asked.and_then(|(_, number)| number)
    };
    let number = asks(&actions).expect("own state was cut");
    let answer = Heads { reply_to: Some(number), full: false, gone: vec![id], ..heads(Vec::new()) };
    bench.frame(ServerFrame::Heads(answer));
    let fresh = log(id, bench.peer, 2);
    let number = asks(&bench.events(id, &fresh[..1])).expect("its title may be of what was cut");
    older_heads(&mut bench, number, item(id, &fresh[..1], 1));
    assert_eq!(asks(&bench.events(id, &fresh[1..])), None, "an item has come");
}

#[test]
fn i12_a_conversation_of_which_nothing_is_stored_is_lost_too_if_full_heads_do_not_name_it() {
    let id = conversation(1);
    let acked = OutboxEntry { state: EntryState::Acked(Seq(1)), ..entry(1, id, OutboxWhat::Message) };
    let empty = LocalConversation { ranges: Vec::new(), head: Seq(0), ..kept(id, &[], 1, 0) };
    let local = LocalState { conversations: vec![empty], outbox: vec![acked], ..LocalState::default() };
    let lost = |actions: &[Action]| {
        actions.iter().any(
            |one| matches!(one, Action::Store(StoreOp::Lost { conversations }) if *conversations == [id]),
        )
    };
    assert!(lost(&Bench::new(local.clone()).handshake(heads(Vec::new()))));
    let hidden = Heads { gone: vec![id], ..heads(Vec::new()) };
    assert!(!lost(&Bench::new(local).handshake(hidden)));
}

/// Writes message 1, which the server numbers.
fn acknowledge(bench: &mut Bench, id: ConversationId, seq: u64) -> Vec<Action> {
    bench.queue(vec![entry(1, id, OutboxWhat::Message)]);
    let actions = bench.stored(vec![message(1, id)]);
    let number = sent(&actions).into_iter().find(|(frame, _)| matches!(frame, ClientFrame::Send(_)));
    let ack = frame::Ack { reply_to: number.expect("a send").1, results: vec![numbered(seq)] };
    bench.frame(ServerFrame::Ack(ack))
}

/// An edit of message 1.
fn edit(item: i64, id: ConversationId) -> OutboxItem {
    let OutboxOp::Event(target) = message(1, id).op else { panic!("an event") };
    let mut edit = message(item, id);
    if let OutboxOp::Event(event) = &mut edit.op {
        (event.kind, event.target) = ("edit".to_owned(), Some(target.id));
    }
    edit
}

/// Nothing of a conversation is there, as a page says it.
fn empty_page(id: ConversationId, head: u64, reply_to: Option<u64>) -> ServerFrame {
    ServerFrame::Page(Page {
        reply_to,
        conversation: id,
        chain_before: Chain::empty(id),
        low: Seq(head + 1),
        high: Seq(head),
        head: Seq(head),
        events: Vec::new(),
        states: BTreeMap::new(),
        as_of: Seq(head),
        end: true,
    })
}

/// What the next exchange carries.
fn exchanged(actions: &[Action]) -> &[(ClientFrame, Option<u64>)] {
    let frames = actions.iter().find_map(|action| match action {
        Action::Exchange(frames) => Some(frames.as_slice()),
        _ => None,
    });
    frames.expect("an exchange")
}

fn queued(actions: &[Action]) -> Vec<i64> {
    let items = actions.iter().filter_map(|action| match action {
        Action::Store(StoreOp::Queued { items }) => Some(items.clone()),
        _ => None,
    });
    items.flatten().collect()
}

#[test]
fn s7_an_answer_from_before_an_acknowledgement_does_not_say_that_the_event_is_lost() {
    let id = conversation(1);
    let mut bench = Bench::new(LocalState::default());
    let told = HeadsItem { head: Seq(1), ..item(id, &log(id, bench.peer, 1), 1) };
    let asked = pulls(&bench.handshake(heads(vec![told])));
    bench.after(2_000);
    acknowledge(&mut bench, id, 2);
    bench.frame(empty_page(id, 0, Some(asked[0].1)));
    assert_eq!(queued(&bench.feed(Input::Stored(Stored::default()))), [0; 0]);
}

#[test]
fn s7_a_relation_that_is_about_to_leave_waits_for_its_target_that_is_sent_again() {
    let id = conversation(1);
    let (mut bench, _) = Bench::live(LocalState::default(), vec![item(id, &[], 1)]);
    acknowledge(&mut bench, id, 1);
    let asked = pulls(&bench.after(2_000));
    bench.frame(empty_page(id, 0, Some(asked[0].1)));
    assert_eq!(leaving(&bench.queue(vec![entry(2, id, OutboxWhat::Relation)])), [2]);
    let actions = bench.stored(vec![edit(2, id)]);
    assert!(!sent(&actions).iter().any(|(frame, _)| matches!(frame, ClientFrame::Send(_))), "{actions:?}");
    assert_eq!((queued(&actions), leaving(&actions)), (vec![1, 2], vec![1, 2]), "in their order");
}

/// The second row is ready for the next exchange when the server, set back, has lost the first one.
fn is_withdrawn_while_polling(rows: [(OutboxEntry, OutboxItem); 2]) {
    let id = conversation(1);
    let [(first, first_content), (second, second_content)] = rows;
    let mut bench = Bench::new(LocalState::default());
    bench.feed(Input::ConnectFailed(ConnectError::NoSocket { off: true }));
    let answer = |bench: &Bench, item| vec![bench.welcome(bench.me), ServerFrame::Heads(heads(vec![item]))];
    let handshake = answer(&bench, item(id, &[], 1));
    bench.feed(Input::Exchanged(handshake));
    bench.queue(vec![first]);
    bench.stored(vec![first_content]);
    let actions = bench.after(100);
    let send = exchanged(&actions).iter().find(|(frame, _)| matches!(frame, ClientFrame::Send(_)));
    let reply_to = send.expect("the first one").1;
    let mut acked =
        vec![bench.welcome(bench.me), ServerFrame::Heads(Heads { full: false, ..heads(Vec::new()) })];
    acked.push(ServerFrame::Ack(frame::Ack { reply_to, results: vec![numbered(1)] }));
    bench.feed(Input::Exchanged(acked));
    assert_eq!(leaving(&bench.queue(vec![second])), [2]);
    // The next exchange leaves before the store has answered, and tells of a server that was set back.
    assert!(bench.after(10_000).iter().any(|action| matches!(action, Action::Exchange(_))));
    let restored = answer(&bench, item(id, &[], 1));
    bench.stored(vec![second_content]);
    assert_eq!(queued(&bench.feed(Input::Exchanged(restored))), [1]);
    let actions = bench.after(10_000);
    let frames = exchanged(&actions);
    assert!(!frames.iter().any(|(frame, _)| matches!(frame, ClientFrame::Send(_))), "{frames:?}");
    assert_eq!(queued(&actions), [2]);
}

#[test]
fn s7_a_relation_that_is_ready_for_the_next_exchange_waits_for_its_target_that_is_sent_again() {
    let id = conversation(1);
    let target = (entry(1, id, OutboxWhat::Message), message(1, id));
    is_withdrawn_while_polling([target, (entry(2, id, OutboxWhat::Relation), edit(2, id))]);
}

#[test]
fn s7_an_edit_that_is_ready_for_the_next_exchange_waits_for_an_earlier_one_that_is_sent_again() {
    let id = conversation(1);
    // Both are about a message that is stored.
    let target = Some(EventId::mint());
    let about = |item| OutboxEntry { message: target, ..entry(item, id, OutboxWhat::Relation) };
    is_withdrawn_while_polling([(about(1), edit(1, id)), (about(2), edit(2, id))]);
}

#[test]
fn o2_what_was_acknowledged_is_asked_for_whatever_heads_said_of_the_membership() {
    let id = conversation(1);
    let (mut bench, _) = Bench::live(LocalState::default(), vec![item(id, &[], 1)]);
    let events = log(id, bench.peer, 12);
    let ended = HeadsItem { visible: vec![(Seq(1), Some(Seq(3)))], ..item(id, &events[..3], 1) };
    let asked = pulls(&bench.frame(ServerFrame::Heads(Heads { full: false, ..heads(vec![ended]) })));
    bench.frame(page(id, &events[..3], 1, 3, Some(asked[0].1)));
    bench.feed(Input::Stored(Stored::default()));
    acknowledge(&mut bench, id, 6);
    let asked = pulls(&bench.after(2_000));
    let mut actions = bench.frame(page(id, &events, 10, 12, Some(asked[0].1)));
    actions.extend(bench.after(2_000));
    let asked: Vec<_> = pulls(&actions).iter().map(|(pull, _)| (pull.from, pull.to)).collect();
    assert!(asked.contains(&(Some(Seq(6)), Some(Seq(6)))), "{asked:?}");
}
