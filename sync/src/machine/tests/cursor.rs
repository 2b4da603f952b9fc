//! Heads since a cursor (S5).

use super::*;

const CHAT: u128 = 7;
const DAY_MS: u64 = 24 * 3_600_000;

fn since(items: Vec<HeadsItem>, full: bool, cursor: &str) -> Heads {
    Heads { full, cursor: Some(cursor.to_owned()), ..heads(items) }
}

/// The cursor of the `hello` with which a bench connects.
fn shown(bench: &mut Bench) -> Option<String> {
    let actions = bench.feed(Input::Connected);
    actions.into_iter().find_map(|action| match action {
        Action::Send(ClientFrame::Hello(hello), _) => Some(hello.cursor),
        _ => None,
    })?
}

/// Cut off and at the next connection, before `hello`.
fn cut(bench: &mut Bench) {
    bench.feed(Input::Closed(None));
    let mut actions = Vec::new();
    while !actions.contains(&Action::Connect) {
        actions = bench.after(1_000);
    }
}

/// Connected with full heads that gave a cursor, cut off, and connecting.
fn cut_after(items: Vec<HeadsItem>, local: LocalState) -> Bench {
    let mut bench = Bench::new(local);
    bench.handshake(since(items, true, "first"));
    cut(&mut bench);
    bench
}

fn local(conversations: Vec<LocalConversation>) -> LocalState {
    LocalState { conversations, ..LocalState::default() }
}

#[test]
fn s5_a_new_connection_shows_the_cursor_and_goes_on_with_what_it_knew() {
    let id = conversation(CHAT);
    let events = log(id, UserId::mint(), 30);
    let mut bench = cut_after(vec![item(id, &events, 5)], local(vec![kept(id, &events, 1, 10)]));
    assert_eq!(shown(&mut bench), Some("first".to_owned()));
    bench.frame(bench.welcome(bench.me));
    // Nothing has changed: what was missing before the cut is pulled all the same.
    let actions = bench.frame(ServerFrame::Heads(since(Vec::new(), false, "second")));
    let pulls = actions.iter().filter(|action| matches!(action, Action::Send(ClientFrame::Pull(_), _)));
    assert_eq!(pulls.count(), 1, "{actions:?}");
    assert!(!actions.iter().any(|action| matches!(action, Action::Store(StoreOp::Lost { .. }))));
    cut(&mut bench);
    assert_eq!(shown(&mut bench), Some("second".to_owned()));
}

#[test]
fn s5_full_heads_are_asked_for_after_a_day_by_either_clock_and_within_a_connection() {
    let id = conversation(CHAT);
    let events = log(id, UserId::mint(), 3);
    let begin = || cut_after(vec![item(id, &events, 5)], local(vec![kept(id, &events, 1, 3)]));
    let mut bench = begin();
    bench.now += DAY_MS;
    assert_eq!(shown(&mut bench), None, "a day has passed");
    let mut bench = begin();
    let wall = TimestampMs(1_000_000 + bench.now + DAY_MS);
    let actions = bench.machine.handle(Input::Connected, Now { mono: bench.now, wall });
    assert!(
        matches!(&actions[0], Action::Send(ClientFrame::Hello(hello), _) if hello.cursor.is_none()),
        "slept for a day: {actions:?}"
    );
    let mut bench = Bench::new(local(vec![kept(id, &events, 1, 3)]));
    bench.handshake(since(vec![item(id, &events, 5)], true, "first"));
    bench.machine.requests.clear();
    bench.now += DAY_MS;
    assert!(bench.machine.deadline().is_some_and(|at| at <= bench.now));
    let actions = bench.feed(Input::Timer);
    let asked = |action: &Action| matches!(action, Action::Send(ClientFrame::Heads(_), Some(_)));
    assert!(actions.iter().any(asked), "{actions:?}");
    cut(&mut bench);
    assert_eq!(shown(&mut bench), None, "their answer was lost");
}

#[test]
fn s5_s7_while_anything_is_open_full_heads_are_asked_for() {
    let id = conversation(CHAT);
    let mine = log(id, UserId::mint(), 5);
    // The server's log ends below the stored one: a probe is under way when the link breaks.
    let mut bench = cut_after(vec![item(id, &mine[..2], 5)], local(vec![kept(id, &mine, 1, 5)]));
    assert_eq!(shown(&mut bench), None, "a fork");
    // A stored conversation that the server does not know.
    let mut bench = cut_after(Vec::new(), local(vec![kept(id, &mine, 1, 5)]));
    assert_eq!(shown(&mut bench), None, "a lost conversation");
    // An event of a conversation that was never announced.
    let mut bench = Bench::new(LocalState::default());
    bench.handshake(since(Vec::new(), true, "first"));
    bench.events(id, &mine[..1]);
    cut(&mut bench);
    assert_eq!(shown(&mut bench), None, "a missed announcement");
    // A transaction that failed: what was heard is not stored.
    let mut bench = Bench::new(LocalState::default());
    bench.handshake(since(vec![item(id, &mine, 5)], true, "first"));
    bench.feed(Input::StoreFailed);
    bench.feed(Input::Reloaded(LocalState::default()));
    bench.after(1);
    assert_eq!(shown(&mut bench), None, "a failed write");
}

#[test]
fn s5_a_refused_cursor_compares_everything() {
    let id = conversation(CHAT);
    let events = log(id, UserId::mint(), 3);
    let mut bench = cut_after(vec![item(id, &events, 5)], local(vec![kept(id, &events, 1, 3)]));
    assert!(shown(&mut bench).is_some());
    bench.frame(bench.welcome(bench.me));
    let actions = bench.frame(ServerFrame::Heads(since(Vec::new(), true, "second")));
    let lost = StoreOp::Lost { conversations: vec![id] };
    assert!(actions.contains(&Action::Store(lost)), "{actions:?}");
}

#[test]
fn s5_r1_a_delivered_marker_that_was_lost_with_its_connection_is_sent_again() {
    let id = conversation(CHAT);
    let events = log(id, UserId::mint(), 4);
    let mut bench = Bench::new(local(vec![kept(id, &events, 1, 3)]));
    bench.handshake(since(vec![item(id, &events[..3], 5)], true, "first"));
    bench.events(id, &events[3..]);
    let delivered = |action: &Action| matches!(action, Action::Send(ClientFrame::Delivered(_), _));
    let mut actions = bench.feed(Input::Stored(Stored::default()));
    actions.extend(bench.after(1_000));
    assert!(actions.iter().any(delivered), "{actions:?}");
    cut(&mut bench);
    assert!(shown(&mut bench).is_some());
    bench.frame(bench.welcome(bench.me));
    bench.frame(ServerFrame::Heads(since(Vec::new(), false, "second")));
    let mut actions = bench.feed(Input::Stored(Stored::default()));
    actions.extend(bench.after(1_000));
    assert!(actions.iter().any(delivered), "{actions:?}");
}
