use super::*;

fn checks(actions: &[Action]) -> Vec<(ConversationId, u64)> {
    let probes = sent(actions).into_iter().filter_map(|(frame, request)| match frame {
        ClientFrame::Probe(probe) => Some((probe.conversation, request.unwrap())),
        _ => None,
    });
    probes.collect()
}

fn with_conversations(count: u128) -> (Bench, Vec<Vec<Event>>) {
    let sender = UserId::mint();
    let logs: Vec<_> = (1..=count).map(|n| log(conversation(n), sender, 3)).collect();
    let numbers = || (1..=count).zip(&logs);
    let conversations = numbers().map(|(n, events)| kept(conversation(n), events, 1, 3)).collect();
    let items = numbers().map(|(n, events)| item(conversation(n), events, 1)).collect();
    let (bench, _) = Bench::live(LocalState { conversations, ..LocalState::default() }, items);
    (bench, logs)
}

fn chains(id: ConversationId, number: u64, events: &[Event]) -> ServerFrame {
    let chains = events.iter().map(|event| (event.seq, event.chain)).rev().collect();
    let head = events.last().map_or(Seq::ZERO, |event| event.seq);
    ServerFrame::Chains(frame::Chains { reply_to: Some(number), conversation: id, head, chains })
}

#[test]
fn s7_a_sample_is_compared_every_hour_and_the_next_one_goes_on_behind_it() {
    let (mut bench, logs) = with_conversations(20);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut actions = bench.after(12_000);
        while let Some((id, number)) = checks(&actions).first().copied() {
            assert!(checks(&actions).len() <= 4, "few at once");
            let verified = |action: &Action| matches!(action, Action::Store(StoreOp::Verify { conversation, .. }) if *conversation == id);
            assert!(actions.iter().any(verified), "the rows are looked at too");
            let mut next = Vec::new();
            for (id, number) in checks(&actions) {
                seen.push(id);
                let events = &logs[id.as_uuid().as_u128() as usize - 1];
                next.extend(bench.frame(chains(id, number, events)));
            }
            assert!(!next.iter().any(|action| matches!(action, Action::Store(StoreOp::Rewind { .. }))));
            let _ = number;
            actions = next;
        }
    }
    let expected: Vec<_> = (1..=20).chain(1..=12).map(conversation).collect();
    assert_eq!(seen, expected);
}

#[test]
fn s7_a_check_that_finds_another_log_begins_a_probe() {
    for shorter in [false, true] {
        let (mut bench, logs) = with_conversations(1);
        let actions = bench.feed(Input::CheckNow);
        let (id, number) = checks(&actions)[0];
        let mut told = logs[0].clone();
        if shorter {
            told.truncate(2);
        } else {
            told[2].chain = Chain([9; 8]);
        }
        let actions = bench.frame(chains(id, number, &told));
        assert_eq!(checks(&actions).len(), 1, "the probe");
        assert_eq!(checks(&bench.feed(Input::CheckNow)), [], "one at a time");
    }
}

#[test]
fn what_goes_otherwise_than_planned_is_counted() {
    use crate::ops::Counter;
    let counted = |actions: &[Action]| {
        let counts = actions.iter().filter_map(|action| match action {
            Action::Store(StoreOp::Count { counter, by }) => Some((*counter, *by)),
            _ => None,
        });
        counts.collect::<Vec<_>>()
    };
    let id = conversation(1);
    let events = log(id, UserId::mint(), 9);
    let mut bench =
        Bench::new(LocalState { conversations: vec![kept(id, &events, 1, 3)], ..LocalState::default() });
    let actions = bench.handshake(heads(vec![item(id, &events[..3], 1)]));
    assert_eq!(counted(&actions), [(Counter::FullHeads, 1)]);
    bench.events(id, &events[5..6]);
    assert_eq!(counted(&bench.after(300)), [(Counter::GapPulls, 1)], "a hole that did not close");
    let rewound = LocalConversation { ranges: Vec::new(), ..kept(id, &events, 1, 3) };
    let queued = vec![entry(1, id, OutboxWhat::Message), entry(2, id, OutboxWhat::Message)];
    let answer = Stored { rewound: vec![rewound], queued, ..Stored::default() };
    let actions = bench.feed(Input::Stored(answer));
    assert_eq!(counted(&actions)[..2], [(Counter::Forks, 1), (Counter::Orphans, 2)]);
}
