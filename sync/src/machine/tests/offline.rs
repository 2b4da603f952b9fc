use super::*;
use crate::{ConnectError, LinkStatus};
use kith_protocol::frame::{Ack, AckResult, AckStatus};

const HOUR_MS: u64 = 3_600_000;

/// Lets the time pass; everything that is tried fails. Returns how often the network was tried.
fn fail_until(bench: &mut Bench, end: u64) -> usize {
    let mut tries = 0;
    while bench.now < end {
        let at = bench.machine.deadline().unwrap_or(end).clamp(bench.now + 1, end);
        let actions = bench.after(at - bench.now);
        if actions.iter().any(|action| matches!(action, Action::Connect | Action::Exchange(_))) {
            tries += 1;
            bench.feed(Input::ConnectFailed(ConnectError::Unreachable));
        }
    }
    tries
}

/// The server has taken an event and given it this place.
pub(super) fn numbered(seq: u64) -> AckResult {
    AckResult {
        id: None,
        status: AckStatus::Ok,
        seq: Some(Seq(seq)),
        ts: None,
        countable: None,
        chain: None,
        code: None,
        retry_after_ms: None,
    }
}

#[test]
fn s10_the_time_since_when_there_is_no_connection_stays_while_tries_fail() {
    let (mut bench, _) = Bench::live(LocalState::default(), Vec::new());
    bench.feed(Input::Closed(None));
    let since = |bench: &Bench| match bench.machine.shown {
        Some(LinkStatus::Offline { since, .. }) => since,
        ref other => panic!("{other:?}"),
    };
    let end = bench.now + HOUR_MS / 4;
    assert!(fail_until(&mut bench, end) > 5);
    let first = since(&bench);
    let end = bench.now + HOUR_MS;
    assert!(fail_until(&mut bench, end) > 5);
    assert_eq!(since(&bench), first);
}

/// S10, O4, I6: nothing that was written in 72 hours is given up, and the network's return is noticed at once.
#[test]
fn s10_after_three_days_without_network_everything_goes_out_once_and_in_order() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 3);
    let stored = LocalState { conversations: vec![kept(id, &events, 1, 3)], ..LocalState::default() };
    let mut bench = Bench::new(stored);
    bench.feed(Input::ConnectFailed(ConnectError::Unreachable));
    let mut tries = 0;
    for hour in 0..72 {
        for number in 1..=10 {
            let actions = bench.queue(vec![entry(hour * 10 + number, id, OutboxWhat::Message)]);
            assert_eq!(leaving(&actions), [0; 0]);
        }
        let end = bench.now + HOUR_MS;
        tries += fail_until(&mut bench, end);
    }
    assert!(tries >= 72 * 60, "at least once a minute, for ever: {tries}");

    let mut actions = bench.feed(Input::NetworkChanged);
    let tries = |actions: &[Action], way: fn(&Action) -> bool| actions.iter().any(way);
    let is_exchange = |action: &Action| matches!(action, Action::Exchange(_));
    assert!(tries(&actions, |action| matches!(action, Action::Connect | Action::Exchange(_))), "at once");
    for _ in 0..100 {
        if actions.contains(&Action::Connect) {
            break;
        }
        actions = if tries(&actions, is_exchange) {
            bench.feed(Input::ExchangeFailed(ConnectError::Unreachable))
        } else {
            let at = bench.machine.deadline().unwrap_or_default().max(bench.now + 1);
            bench.after(at - bench.now)
        };
    }
    let mut actions = bench.handshake(heads(vec![item(id, &events, 1)]));
    let (mut gone, mut seq) = (Vec::new(), 3);
    loop {
        let items = leaving(&actions);
        if items.is_empty() {
            break;
        }
        let sending: Vec<_> = items.iter().map(|item| message(*item, id)).collect();
        let actions_of_send = bench.stored(sending);
        let sends = sent(&actions_of_send);
        let (_, request) =
            sends.into_iter().find(|(frame, _)| matches!(frame, ClientFrame::Send(_))).expect("a send");
        let results = items.iter().map(|_| {
            seq += 1;
            numbered(seq)
        });
        let ack = Ack { reply_to: request, results: results.collect() };
        gone.extend(items);
        actions = bench.frame(ServerFrame::Ack(ack));
    }
    assert_eq!(gone, (1..=720).collect::<Vec<_>>());
}
