//! What the machine does when the store finds that two logs differ (S7).

use super::*;

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
    assert_eq!(leaving(&bench.frame(ServerFrame::Heads(begun))), [1], "the server knows it again");
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
