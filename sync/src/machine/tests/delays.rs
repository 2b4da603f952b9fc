//! What a server or a proxy names as a delay stops nobody for long, and no number breaks the arithmetic.

use super::*;
use crate::{ConnectError, delays};
use kith_protocol::{
    ErrorCode,
    frame::{Ack, AckResult, AckStatus, Bye, ErrorFrame},
};

/// A named delay of a day, and the greatest number there is.
const NAMED: [u64; 2] = [86_400_000, u64::MAX];

fn error(number: u64, code: ErrorCode, ms: u64) -> ServerFrame {
    ServerFrame::Error(ErrorFrame {
        reply_to: Some(number),
        code,
        message: String::new(),
        retry_after_ms: Some(ms),
        current: None,
    })
}

/// The number of the last request of a kind.
fn number_of(actions: &[Action], is_meant: fn(&ClientFrame) -> bool) -> u64 {
    sent(actions)
        .into_iter()
        .rfind(|(frame, _)| is_meant(frame))
        .and_then(|(_, number)| number)
        .expect("asked")
}

/// Time passes up to the deadline of the machine and a little more, for `ms` at most, until `is_done`.
fn within(bench: &mut Bench, ms: u64, mut actions: Vec<Action>, is_done: impl Fn(&[Action]) -> bool) {
    let end = bench.now + ms;
    while !is_done(&actions) {
        let at = bench.machine.deadline().expect("a next step");
        assert!(at <= end, "the next step is {} ms away", at - bench.now);
        bench.now = at.max(bench.now);
        actions = bench.feed(Input::Timer);
    }
}

#[test]
fn s10_a_connection_that_is_refused_for_long_is_tried_after_a_minute() {
    for ms in NAMED {
        let mut bench = Bench::new(LocalState::default());
        let actions = bench.feed(Input::ConnectFailed(ConnectError::Later { retry_after_ms: Some(ms) }));
        within(&mut bench, 60_000, actions, |actions| actions.contains(&Action::Connect));
        bench.feed(Input::Connected);
        let actions = bench.frame(error(bench.machine.last_request, ErrorCode::RateLimited, ms));
        within(&mut bench, 60_000, actions, |actions| actions.contains(&Action::Connect));
    }
}

#[test]
fn s10_a_server_that_says_goodbye_for_long_is_tried_after_a_minute() {
    for ms in NAMED {
        let (mut bench, _) = Bench::live(LocalState::default(), Vec::new());
        bench.frame(ServerFrame::Bye(Bye { code: 1012, after_ms: ms }));
        let actions = bench.feed(Input::Closed(Some(1012)));
        within(&mut bench, 60_000, actions, |actions| actions.contains(&Action::Connect));
    }
}

#[test]
fn o6_s13_no_request_waits_longer_than_a_minute_for_being_asked_again() {
    let id = conversation(1);
    for ms in NAMED {
        let events = log(id, UserId::mint(), 5);
        let local = LocalState {
            conversations: vec![kept(id, &events, 1, 5)],
            outbox: vec![entry(1, conversation(2), OutboxWhat::Message)],
            ..LocalState::default()
        };
        let named =
            vec![item(id, &events[..3], 1), item(conversation(2), &[], 1), item(conversation(3), &events, 1)];
        let (mut bench, actions) = Bench::live(local, named);
        let is_probe = |frame: &ClientFrame| matches!(frame, ClientFrame::Probe(_));
        let is_pull = |frame: &ClientFrame| matches!(frame, ClientFrame::Pull(_));
        let is_send = |frame: &ClientFrame| matches!(frame, ClientFrame::Send(_));
        let (probe, pull) = (number_of(&actions, is_probe), number_of(&actions, is_pull));
        let left = bench.stored(vec![message(1, conversation(2))]);
        let send = number_of(&left, is_send);
        bench.frame(error(probe, ErrorCode::Busy, ms));
        bench.frame(error(pull, ErrorCode::Busy, ms));
        let refused = AckResult {
            id: None,
            status: AckStatus::Error,
            seq: None,
            ts: None,
            countable: None,
            chain: None,
            code: Some(ErrorCode::Busy),
            retry_after_ms: Some(ms),
        };
        let actions = bench.frame(ServerFrame::Ack(Ack { reply_to: Some(send), results: vec![refused] }));
        let end = bench.now + delays::NAMED_MS_MAX;
        let retried = actions.iter().find_map(|action| match action {
            Action::Store(StoreOp::Retry { at, .. }) => Some(at.0 - 1_000_000),
            _ => None,
        });
        assert!(retried.is_some_and(|at| at <= end), "{retried:?}");
        let (probed, pulled) = (&bench.machine.logs[&id], &bench.machine.logs[&conversation(3)]);
        assert!(probed.probe_after.is_some_and(|at| at <= end), "{:?}", probed.probe_after);
        assert!((1..=end).contains(&pulled.pull_after), "{}", pulled.pull_after);
    }
}

#[test]
fn s10_an_outdated_version_asks_again_after_ten_minutes_at_most() {
    let connects = |actions: &[Action]| actions.contains(&Action::Connect);
    for ms in NAMED {
        let mut bench = Bench::new(LocalState::default());
        bench.feed(Input::Connected);
        let actions = bench.frame(error(bench.machine.last_request, ErrorCode::UpgradeRequired, ms));
        assert!(actions.contains(&Action::Stopped(ErrorCode::UpgradeRequired)));
        let begun = bench.now;
        within(&mut bench, delays::UPGRADE_MS_MAX, actions, connects);
        assert_eq!(bench.now - begun, delays::UPGRADE_MS_MAX);
        let again = bench.feed(Input::ConnectFailed(ConnectError::Refused(ErrorCode::UpgradeRequired)));
        assert!(!again.contains(&Action::Stopped(ErrorCode::UpgradeRequired)), "that was told");
        within(&mut bench, delays::UPGRADE_MS_MAX, again, connects);
    }
    let mut bench = Bench::new(LocalState::default());
    bench.feed(Input::Connected);
    let actions = bench.frame(error(bench.machine.last_request, ErrorCode::UpgradeRequired, 5_000));
    within(&mut bench, 5_000, actions, connects);
}
