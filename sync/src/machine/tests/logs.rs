use super::*;
use kith_protocol::ephemeral::Typing;
use kith_protocol::frame::{Chains, Direction, Ephemeral, OwnStates};

fn local(conversations: Vec<LocalConversation>) -> LocalState {
    LocalState { conversations, ..LocalState::default() }
}

#[test]
fn s3_what_is_on_screen_comes_first_then_the_newest() {
    let logs: Vec<_> = (1..=30).map(|n| (conversation(n), log(conversation(n), UserId::mint(), 3))).collect();
    let mut bench = Bench::new(local(Vec::new()));
    bench.feed(Input::Focus(vec![conversation(3)]));
    let items = logs.iter().map(|(id, events)| item(*id, events, id.as_uuid().as_u128() as u64)).collect();
    let actions = bench.handshake(heads(items));
    let order: Vec<_> = pulls(&actions).iter().map(|(pull, _)| pull.conversation).collect();
    let wanted: Vec<_> = [3].into_iter().chain((20..=30).rev()).map(conversation).collect();
    assert_eq!(order, wanted, "twelve at a time");
    let first = &pulls(&actions)[0];
    assert_eq!((first.0.from, first.0.direction), (None, Direction::Backward), "the newest page");
}

/// Answers every pull at once with the whole log. Returns how many there were.
fn answered(bench: &mut Bench, logs: &BTreeMap<ConversationId, Vec<Event>>, actions: &[Action]) -> usize {
    let (mut waiting, mut asked) = (std::collections::VecDeque::from(pulls(actions)), 0);
    while let Some((pull, number)) = waiting.pop_front() {
        asked += 1;
        let id = pull.conversation;
        waiting.extend(pulls(&bench.frame(page(id, &logs[&id], 1, 3, Some(number)))));
    }
    asked
}

#[test]
fn l2_what_nobody_waits_for_stays_below_what_a_server_takes() {
    let logs: BTreeMap<_, _> =
        (1..=900).map(|n| (conversation(n), log(conversation(n), UserId::mint(), 3))).collect();
    let mut bench = Bench::new(local(Vec::new()));
    let items = logs.iter().map(|(id, events)| item(*id, events, 1)).collect();
    let actions = bench.handshake(heads(items));
    let at_once = answered(&mut bench, &logs, &actions);
    assert!((200..=300).contains(&at_once), "{at_once} of a burst of 400");
    for second in 1..=3 {
        let mut asked = 0;
        for _ in 0..100 {
            let actions = bench.after(10);
            asked += answered(&mut bench, &logs, &actions);
        }
        assert!((150..200).contains(&asked), "{asked} of 200 in second {second}");
    }
}

#[test]
fn c2_a_page_that_what_came_live_contradicts_claims_nothing() {
    let id = conversation(1);
    let mut bench = Bench::new(local(Vec::new()));
    // The chain of the third one is of the log before the server was set back.
    let (other, events) = (log(conversation(2), bench.peer, 3), log(id, bench.peer, 2));
    let actions = bench.handshake(heads(vec![item(id, &events[..1], 1)]));
    let number = pulls(&actions)[0].1;
    bench.events(id, &other[2..]);
    let actions = bench.frame(page(id, &events, 1, 2, Some(number)));
    let stores = |action: &Action| matches!(action, Action::Store(StoreOp::Page(_)));
    assert!(!actions.iter().any(stores), "{actions:?}");
    bench.feed(Input::Closed(None));
    bench.after(60_000);
    let actions = bench.handshake(heads(vec![item(id, &events, 1)]));
    assert_eq!(pulls(&actions).len(), 1, "it is not here");
}

#[test]
fn o2_what_was_acknowledged_in_a_row_is_asked_for_in_one_pull_a_page() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 60);
    let rows = (1..=30).filter(|seq| *seq != 3).map(|seq| acked(id, seq)).collect();
    let stored = kept(id, &events, 3, 3);
    let state = LocalState { outbox: rows, ..local(vec![LocalConversation { head: Seq(60), ..stored }]) };
    let (mut bench, actions) = Bench::live(state, vec![item(id, &events, 1)]);
    // Before the third one, and behind it, where the newest page leaps over the rest.
    let (mut asked, mut next) = (Vec::new(), pulls(&actions));
    while let Some((pull, number)) = next.pop() {
        let low = pull.from.map_or(51, |from| from.0);
        asked.push((pull.from.map(|from| from.0), pull.to.map(|to| to.0)));
        let high = (low + 9).min(pull.to.map_or(60, |to| to.0));
        next = pulls(&bench.frame(page(id, &events, low, high, Some(number))));
        next.retain(|(pull, _)| pull.from.is_none() || pull.direction == Direction::Forward);
    }
    let (some, newest) = (|from, to| (Some(from), Some(to)), (None, None));
    assert_eq!(asked, [some(1, 2), newest, some(4, 30), some(14, 30), some(24, 30)]);
}

fn acked(id: ConversationId, seq: u64) -> OutboxEntry {
    OutboxEntry { state: EntryState::Acked(Seq(seq)), ..entry(seq as i64, id, OutboxWhat::Message) }
}

#[test]
fn o2_what_was_acknowledged_is_not_fetched_before_the_news_below_it() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 12);
    let state = LocalState { outbox: vec![acked(id, 10)], ..local(vec![kept(id, &events, 1, 6)]) };
    let (mut bench, actions) = Bench::live(state, vec![item(id, &events, 1)]);
    let asked = pulls(&actions);
    let [(pull, number)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((pull.from, pull.to, pull.direction), (Some(Seq(7)), None, Direction::Forward));
    let next = pulls(&bench.frame(page(id, &events, 7, 12, Some(*number))));
    assert_eq!(next, [], "it came with them");
}

#[test]
fn c1_a_hole_may_close_by_itself_for_300_ms() {
    let id = conversation(1);
    let mut bench = Bench::new(local(Vec::new()));
    let events = log(id, bench.peer, 8);
    bench.machine.load(local(vec![kept(id, &events, 1, 3)]));
    bench.handshake(heads(vec![item(id, &events[..3], 1)]));
    assert_eq!(pulls(&bench.events(id, &events[4..6])), []);
    assert_eq!(pulls(&bench.after(299)), []);
    let actions = bench.after(1);
    let asked = pulls(&actions);
    assert_eq!((asked.len(), asked[0].0.from), (1, Some(Seq(4))));
    assert_eq!(pulls(&bench.events(id, &events[6..7])), [], "one pull in flight");
    let actions = bench.frame(page(id, &events, 4, 4, Some(asked[0].1)));
    let appended = actions.iter().find_map(|action| match action {
        Action::Store(StoreOp::Append { events, .. }) => {
            Some(events.iter().map(|event| event.seq.0).collect::<Vec<_>>())
        }
        _ => None,
    });
    assert_eq!(appended, Some(vec![5, 6, 7]), "what was held back follows the page");
}

#[test]
fn c1_known_events_are_dropped() {
    let id = conversation(1);
    let mut bench = Bench::new(local(Vec::new()));
    let events = log(id, bench.peer, 3);
    bench.machine.load(local(vec![kept(id, &events, 1, 3)]));
    bench.handshake(heads(vec![item(id, &events, 1)]));
    let actions = bench.events(id, &events);
    assert!(!actions.iter().any(|action| matches!(action, Action::Store(_))), "{actions:?}");
}

#[test]
fn c2_a_far_head_gets_the_newest_page_first_and_then_the_gap() {
    let id = conversation(1);
    let mut bench = Bench::new(local(Vec::new()));
    let events = log(id, bench.peer, 40);
    bench.machine.load(local(vec![kept(id, &events, 1, 5)]));
    let actions = bench.handshake(heads(vec![item(id, &events, 1)]));
    let asked = pulls(&actions);
    assert_eq!((asked[0].0.from, asked[0].0.direction), (None, Direction::Backward));
    let actions = bench.frame(page(id, &events, 31, 40, Some(asked[0].1)));
    let asked = pulls(&actions);
    assert_eq!((asked[0].0.from, asked[0].0.to), (Some(Seq(30)), Some(Seq(6))));
}

#[test]
fn r6_nothing_outside_the_visible_intervals_is_asked_for() {
    let id = conversation(1);
    let mut bench = Bench::new(local(Vec::new()));
    let events = log(id, bench.peer, 20);
    bench.machine.load(local(vec![kept(id, &events, 1, 5)]));
    let visible = vec![(Seq(1), Some(Seq(5))), (Seq(16), None)];
    let actions = bench.handshake(heads(vec![HeadsItem { visible, ..item(id, &events, 1) }]));
    // What is stored of the earlier interval is compared first: nothing that comes will touch it.
    assert_eq!(pulls(&actions), []);
    let rewound = vec![kept(id, &events, 1, 5)];
    let actions = bench.feed(Input::Stored(Stored { rewound, ..Stored::default() }));
    let number = pulls(&actions)[0].1;
    let actions = bench.frame(page(id, &events, 16, 20, Some(number)));
    assert_eq!(pulls(&actions), [], "6 to 15 are not one's own");
    let older = HistoryRequest::Older { conversation: id, before: Seq(16) };
    assert_eq!(pulls(&bench.feed(Input::History(older))), []);
}

#[test]
fn r6_whoever_scrolls_up_gets_past_the_time_in_which_they_were_no_member() {
    let id = conversation(1);
    let chain = Chain::empty(id);
    let range = LocalRange { low: Seq(6_001), high: Seq(12_000), chain_before: chain, chain_high: chain };
    let visible = vec![(Seq(1), Some(Seq(1_000))), (Seq(6_001), None)];
    // More than is fetched without anybody asking.
    let stored = LocalConversation { ranges: vec![range], head: Seq(12_000), ..kept(id, &[], 1, 0) };
    let mut bench = Bench::new(local(Vec::new()));
    bench.machine.load(local(vec![LocalConversation { visible: visible.clone(), ..stored }]));
    let told = HeadsItem { head: Seq(12_000), chain, visible, ..item(id, &[], 1) };
    assert_eq!(pulls(&bench.handshake(heads(vec![told]))), []);
    let older = HistoryRequest::Older { conversation: id, before: Seq(6_001) };
    let asked = pulls(&bench.feed(Input::History(older)));
    assert_eq!(asked.len(), 1, "what lies before the absence");
    assert_eq!((asked[0].0.from, asked[0].0.direction), (Some(Seq(1_000)), Direction::Backward));
}

#[test]
fn a_pull_that_is_refused_for_good_is_not_repeated() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 3);
    let (mut bench, actions) = Bench::live(local(Vec::new()), vec![item(id, &events, 1)]);
    let refused = frame::ErrorFrame {
        reply_to: Some(pulls(&actions)[0].1),
        code: kith_protocol::ErrorCode::NotMember,
        message: String::new(),
        retry_after_ms: None,
        current: None,
    };
    bench.frame(ServerFrame::Error(refused));
    assert_eq!(pulls(&bench.after(29_000)), []);
    let again = heads(vec![item(id, &events, 1)]);
    assert_eq!(pulls(&bench.frame(ServerFrame::Heads(again))).len(), 1, "heads say otherwise");
}

#[test]
fn r1_delivered_is_told_only_after_the_commit() {
    let id = conversation(1);
    let mut bench = Bench::new(local(Vec::new()));
    let events = log(id, bench.peer, 2);
    bench.handshake(heads(vec![item(id, &[], 1)]));
    let delivered = |actions: &[Action]| {
        sent(actions)
            .iter()
            .any(|(frame, _)| matches!(frame, ClientFrame::Delivered(d) if d.markers == [(id, Seq(2))]))
    };
    assert!(!delivered(&bench.events(id, &events)));
    assert!(delivered(&bench.stored(Vec::new())));
    let own = log(id, bench.me, 2);
    let (mut bench, _) = Bench::live(local(Vec::new()), vec![item(id, &[], 1)]);
    bench
        .events(id, &own.iter().map(|event| Event { sender: bench.me, ..event.clone() }).collect::<Vec<_>>());
    assert!(!delivered(&bench.stored(Vec::new())), "one's own messages need no receipt");
}

#[test]
fn s4_a_missed_change_of_own_state_is_asked_for() {
    let id = conversation(1);
    let (mut bench, _) = Bench::live(local(Vec::new()), vec![item(id, &[], 1)]);
    let own = |user_seq| {
        ServerFrame::OwnState(OwnStates { reply_to: None, user_seq, items: vec![own(id, user_seq)] })
    };
    let asks =
        |actions: &[Action]| sent(actions).iter().any(|(frame, _)| matches!(frame, ClientFrame::Heads(_)));
    bench.frame(own(1));
    assert!(!asks(&bench.after(5_000)));
    let actions = bench.frame(own(3));
    assert!(actions.iter().any(|a| matches!(a, Action::Store(StoreOp::OwnState { user_seq: None, .. }))));
    assert!(asks(&bench.after(1_000)));
}

/// `own_state` with one change of this version.
fn own_change(id: ConversationId, user_seq: u64) -> ServerFrame {
    ServerFrame::OwnState(OwnStates { reply_to: None, user_seq, items: vec![own(id, user_seq)] })
}

/// The numbers of the requests for heads.
fn heads_asked(actions: &[Action]) -> Vec<u64> {
    let frames = sent(actions).into_iter();
    frames
        .filter(|(frame, _)| matches!(frame, ClientFrame::Heads(_)))
        .filter_map(|(_, number)| number)
        .collect()
}

/// Returns the requests for markers with which a connection begins.
fn answer_markers(bench: &mut Bench, mut actions: Vec<Action>) {
    loop {
        let asked = sent(&actions).into_iter().find_map(|(frame, number)| match frame {
            ClientFrame::Markers(asked) => Some((asked.conversation, number)),
            _ => None,
        });
        let Some((conversation, reply_to)) = asked else { return };
        let markers = frame::Markers { reply_to, conversation, markers: Vec::new() };
        actions = bench.frame(ServerFrame::Markers(markers));
    }
}

#[test]
fn s2_s4_heads_in_parts_answer_their_request_with_the_last_part() {
    let (first, second) = (conversation(1), conversation(2));
    let (mut bench, actions) =
        Bench::live(LocalState::default(), vec![item(first, &[], 1), item(second, &[], 1)]);
    answer_markers(&mut bench, actions);
    bench.frame(own_change(first, 3));
    let asked = heads_asked(&bench.after(1_000));
    let [number] = asked[..] else { panic!("{asked:?}") };
    let part = |id, more| {
        ServerFrame::Heads(Heads {
            reply_to: Some(number),
            more,
            user_seq: 3,
            ..heads(vec![item(id, &[], 1)])
        })
    };
    bench.frame(part(first, true));
    assert!(!bench.after(29_000).contains(&Action::Close), "each part shows that the answer is on its way");
    bench.frame(part(first, true));
    assert!(!bench.after(29_000).contains(&Action::Close), "each part shows that the answer is on its way");
    // A change that leaves the server between two parts is behind their snapshot.
    bench.frame(own_change(second, 4));
    let actions = bench.frame(part(second, false));
    let ends = |a: &Action| matches!(a, Action::Store(StoreOp::Heads { last: true, user_seq: 3, .. }));
    assert!(actions.iter().any(ends), "{actions:?}");
    let mut actions = bench.frame(own_change(second, 5));
    actions.extend(bench.after(5_000));
    assert_eq!(heads_asked(&actions), [0; 0], "own state is complete");
}

#[test]
fn s4_what_is_missed_while_heads_are_under_way_is_asked_for_after_them() {
    let id = conversation(1);
    let (mut bench, _) = Bench::live(LocalState::default(), vec![item(id, &[], 1)]);
    bench.frame(own_change(id, 3));
    let asked = heads_asked(&bench.after(1_000));
    bench.frame(own_change(id, 7));
    assert_eq!(heads_asked(&bench.after(1_000)), [0; 0], "one request at a time");
    let told = Heads { reply_to: Some(asked[0]), user_seq: 4, ..heads(vec![item(id, &[], 1)]) };
    assert_eq!(heads_asked(&bench.frame(ServerFrame::Heads(told))).len(), 1, "5 and 6 are still missing");
}

#[test]
fn s2_a_handshake_in_parts_may_take_long_while_parts_come() {
    let mut bench = Bench::new(LocalState::default());
    bench.feed(Input::Connected);
    let welcome = bench.welcome(bench.me);
    bench.frame(welcome);
    for n in 1..=3 {
        let part = Heads { more: true, ..heads(vec![item(conversation(n), &[], 1)]) };
        bench.frame(ServerFrame::Heads(part));
        assert!(!bench.after(20_000).contains(&Action::Close));
    }
    assert!(bench.after(10_000).contains(&Action::Close), "none has come for 30 s");
}

#[test]
fn s7_a_log_of_another_lineage_is_probed_and_rewound() {
    let id = conversation(1);
    let mut bench = Bench::new(local(Vec::new()));
    let (mine, other) = (log(id, bench.peer, 6), log(id, bench.peer, 4));
    bench.machine.load(local(vec![kept(id, &mine, 1, 6)]));
    let actions = bench.handshake(heads(vec![item(id, &other, 1)]));
    let probe = sent(&actions).into_iter().find_map(|(frame, request)| match frame {
        ClientFrame::Probe(probe) => Some((probe.seqs.clone(), request)),
        _ => None,
    });
    let (seqs, request) = probe.expect("a probe");
    assert_eq!(seqs, [6, 5, 3].map(Seq));
    let chains = vec![(Seq(3), other[2].chain)];
    let answer = Chains { reply_to: request, conversation: id, head: Seq(4), chains: chains.clone() };
    let actions = bench.frame(ServerFrame::Chains(answer));
    assert!(actions.contains(&Action::Store(StoreOp::Rewind { conversation: id, chains })));
    let rewound = vec![kept(id, &mine, 1, 3)];
    let actions = bench.feed(Input::Stored(Stored { rewound, ..Stored::default() }));
    assert_eq!(pulls(&actions)[0].0.from, Some(Seq(4)));
}

#[test]
fn r5_typing_expires_and_ends_with_the_message() {
    let id = conversation(1);
    let mut bench = Bench::new(local(Vec::new()));
    let (events, peer) = (log(id, bench.peer, 1), bench.peer);
    bench.handshake(heads(vec![item(id, &[], 1)]));
    let typing =
        |on| ServerFrame::Ephemeral(Ephemeral { typing: vec![Typing(id, peer, on)], presence: Vec::new() });
    assert!(bench.frame(typing(true)).contains(&Action::Typing(id, vec![peer])));
    assert!(bench.after(7_000).contains(&Action::Typing(id, Vec::new())));
    bench.frame(typing(true));
    assert!(bench.events(id, &events).contains(&Action::Typing(id, Vec::new())));
}

#[test]
fn r5_a_frame_full_of_typists_makes_one_action_a_conversation() {
    let id = conversation(1);
    let (mut bench, _) = Bench::live(LocalState::default(), vec![item(id, &[], 1)]);
    let typing = |id| (0..90_000).map(move |_| Typing(id, UserId::mint(), true));
    let all = typing(id).chain(typing(conversation(2))).collect();
    let frame = ServerFrame::Ephemeral(Ephemeral { typing: all, presence: Vec::new() });
    let counts = |actions: Vec<Action>| {
        let users = actions.into_iter().filter_map(|action| match action {
            Action::Typing(conversation, users) => Some((conversation, users.len())),
            _ => None,
        });
        users.collect::<Vec<_>>()
    };
    assert_eq!(counts(bench.frame(frame)), [(id, 4_000)], "not of a conversation that nobody announced");
    assert_eq!(counts(bench.after(7_000)), [(id, 0)]);
}

#[test]
fn r5_presence_of_whoever_is_not_watched_is_not_shown() {
    let mut bench = Bench::new(local(Vec::new()));
    bench.handshake(heads(Vec::new()));
    let (user, state) = (bench.peer, kith_protocol::ephemeral::PresenceState::Away);
    let told = kith_protocol::ephemeral::Presence { user, state, last_seen: None };
    for watched in [vec![], vec![user], vec![]] {
        bench.feed(Input::Watch(watched.clone()));
        let frame = Ephemeral { typing: Vec::new(), presence: vec![told.clone()] };
        let actions = bench.frame(ServerFrame::Ephemeral(frame));
        let is_shown = actions.contains(&Action::Presence(vec![told.clone()]));
        assert_eq!(is_shown, !watched.is_empty(), "{watched:?}");
    }
}

#[test]
fn r5_own_typing_is_told_every_4_s_and_ends_a_second_after_the_last_key() {
    let id = conversation(1);
    let (mut bench, _) = Bench::live(local(Vec::new()), vec![item(id, &[], 1)]);
    let mut told = Vec::new();
    for key in 0..50 {
        let mut actions = bench.feed(Input::Typing(id, true));
        actions.extend(bench.after(100));
        told.extend(sent(&actions).iter().map(|_| key));
    }
    assert_eq!(told, [0, 39], "again 4 s later");
    let actions = bench.after(1_000);
    let off = frame::TypingChange { conversation: id, on: false };
    assert_eq!(sent(&actions), [(&ClientFrame::Typing(off), None)]);
}

#[test]
fn s3_r6_heads_that_newer_ones_have_overtaken_change_nothing() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 40);
    let (mut bench, actions) = Bench::live(LocalState::default(), vec![item(id, &events, 1)]);
    bench.frame(page(id, &events, 21, 40, Some(pulls(&actions)[0].1)));
    let pushed = |item| ServerFrame::Heads(Heads { full: false, ..heads(vec![item]) });
    // The membership ended once at 12; a snapshot from before then is still on its way.
    let newer = HeadsItem { visible: vec![(Seq(1), Some(Seq(12))), (Seq(18), None)], ..item(id, &events, 1) };
    bench.frame(pushed(newer));
    let older = HeadsItem { visible: vec![(Seq(1), Some(Seq(12)))], ..item(id, &events[..12], 1) };
    bench.frame(pushed(older));
    assert_eq!(bench.machine.logs[&id].visible, [(Seq(1), Some(Seq(12))), (Seq(18), None)]);
}
