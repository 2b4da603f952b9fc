//! What is refused for now, or not answered, is asked again, and in no hurry.

use super::*;
use crate::ConnectError;
use kith_protocol::{ErrorCode, frame::ErrorFrame};

fn refusal(reply_to: Option<u64>, code: ErrorCode, retry_after_ms: Option<u64>) -> ServerFrame {
    ServerFrame::Error(ErrorFrame { reply_to, code, message: String::new(), retry_after_ms, current: None })
}

type Frames = Vec<(ClientFrame, Option<u64>)>;

fn exchange(actions: Vec<Action>) -> Option<Frames> {
    actions.into_iter().find_map(|action| match action {
        Action::Exchange(frames) => Some(frames),
        _ => None,
    })
}

/// What a server answers to an exchange.
fn answers(bench: &Bench, frames: &Frames) -> Vec<ServerFrame> {
    let mut answers = Vec::new();
    for (frame, request) in frames {
        match frame {
            ClientFrame::Hello(_) => {
                let ServerFrame::Welcome(mut welcome) = bench.welcome(bench.me) else { unreachable!() };
                welcome.reply_to = *request;
                answers.push(ServerFrame::Welcome(welcome));
                let items = (1..=2).map(|n| item(conversation(n), &[], 1)).collect();
                answers.push(ServerFrame::Heads(heads(items)));
            }
            ClientFrame::Markers(asked) => answers.push(ServerFrame::Markers(frame::Markers {
                reply_to: *request,
                conversation: asked.conversation,
                markers: Vec::new(),
            })),
            _ => {}
        }
    }
    answers
}

/// Polls for a minute. Returns how many exchanges there were, and how many asked for ticks.
fn poll_for_a_minute(focus: bool) -> (u32, u32) {
    let mut bench = Bench::new(LocalState::default());
    if focus {
        bench.feed(Input::Focus(vec![conversation(1)]));
    }
    let mut frames =
        exchange(bench.feed(Input::ConnectFailed(ConnectError::NoSocket { off: true }))).unwrap();
    let (mut exchanges, mut ticks) = (1, 0);
    while bench.now < 60_000 {
        ticks += u32::from(frames.iter().any(|(frame, _)| matches!(frame, ClientFrame::Markers(_))));
        let answer = answers(&bench, &frames);
        let mut actions = bench.feed(Input::Exchanged(answer));
        frames = loop {
            if let Some(frames) = exchange(actions) {
                break frames;
            }
            bench.now = bench.machine.deadline().unwrap().max(bench.now);
            actions = bench.feed(Input::Timer);
        };
        exchanges += 1;
    }
    (exchanges, ticks)
}

#[test]
fn s12_polling_asks_every_ten_seconds_and_no_more_often() {
    assert!(poll_for_a_minute(false).0 <= 10);
    let (exchanges, ticks) = poll_for_a_minute(true);
    assert!(exchanges <= 10, "{exchanges}");
    assert!(ticks >= 5, "what is on screen gets its ticks by asking: {ticks}");
}

#[test]
fn s7_a_refused_probe_is_repeated() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 3);
    let mut other = item(id, &events, 1);
    other.chain = Chain([9; 8]);
    let local = LocalState { conversations: vec![kept(id, &events, 1, 3)], ..LocalState::default() };
    let (mut bench, actions) = Bench::live(local, vec![other]);
    let probe = |actions: &[Action]| {
        sent(actions)
            .into_iter()
            .find_map(|(frame, request)| matches!(frame, ClientFrame::Probe(_)).then_some(request).flatten())
    };
    let asked = probe(&actions);
    assert!(asked.is_some());
    bench.frame(refusal(asked, ErrorCode::RateLimited, Some(1_000)));
    assert_eq!(bench.machine.deadline().map(|at| at <= bench.now + 1_000), Some(true));
    assert_eq!(probe(&bench.after(900)), None);
    assert!(probe(&bench.after(200)).is_some());
}

#[test]
fn a_list_of_members_that_nobody_asked_for_changes_nothing() {
    let (mut bench, _) = Bench::live(LocalState::default(), vec![item(conversation(5), &[], 1)]);
    let list = |request| {
        ServerFrame::Members(frame::Members {
            reply_to: request,
            conversation: conversation(5),
            as_of: Some(Seq(1)),
            items: Vec::new(),
            next: None,
        })
    };
    let writes = |actions: &[Action]| {
        actions.iter().any(|action| matches!(action, Action::Store(StoreOp::Members { .. })))
    };
    let wanted = Stored { members_wanted: vec![conversation(5)], ..Stored::default() };
    let actions = bench.feed(Input::Stored(wanted));
    let asked = sent(&actions);
    let request = asked.iter().find(|(frame, _)| matches!(frame, ClientFrame::Members(_))).unwrap().1;
    assert!(writes(&bench.frame(list(request))));
    assert!(
        !writes(&bench.frame(list(request))),
        "an answer that came twice may be older than what has come since"
    );
    assert!(!writes(&bench.frame(list(None))));
}

#[test]
fn refused_profiles_members_and_ticks_are_asked_again() {
    let known = item(conversation(5), &[], 1);
    let (mut bench, first) = Bench::live(LocalState::default(), vec![known]);
    let peer = bench.peer;
    let kinds = |actions: &[Action]| {
        let kinds = sent(actions).into_iter().filter_map(|(frame, request)| match frame {
            ClientFrame::Profiles(_) => Some(("profiles", request)),
            ClientFrame::Members(_) => Some(("members", request)),
            ClientFrame::Markers(_) => Some(("markers", request)),
            _ => None,
        });
        kinds.collect::<BTreeMap<_, _>>()
    };
    let mut asked = kinds(&first);
    asked.extend(kinds(&bench.feed(Input::Stored(Stored {
        profiles_wanted: vec![peer],
        members_wanted: vec![conversation(5)],
        ..Stored::default()
    }))));
    assert_eq!(asked.len(), 3, "{asked:?}");
    for request in asked.into_values() {
        bench.frame(refusal(request, ErrorCode::Unavailable, Some(500)));
    }
    assert!(kinds(&bench.after(400)).is_empty());
    assert_eq!(kinds(&bench.after(200)).len(), 3);
}

#[test]
fn s7_what_was_acknowledged_and_then_lost_by_the_server_leaves_again() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 3);
    let acked = OutboxEntry { state: EntryState::Acked(Seq(5)), ..entry(1, id, OutboxWhat::Message) };
    let local = LocalState {
        conversations: vec![kept(id, &events, 1, 3)],
        outbox: vec![acked],
        ..LocalState::default()
    };
    let (_, actions) = Bench::live(local, vec![item(id, &events, 1)]);
    assert_eq!(leaving(&actions), [1]);
}

#[test]
fn s11_a_token_that_is_refused_in_a_connection_is_not_renewed_again_and_again() {
    let (mut bench, _) = Bench::live(LocalState::default(), Vec::new());
    let renewals = |actions: &[Action]| {
        actions.iter().filter(|action| matches!(action, Action::RenewToken { .. })).count()
    };
    let expiring = ServerFrame::AuthExpiring(frame::AuthExpiring { ms: 1 });
    assert_eq!(renewals(&bench.frame(expiring)), 1);
    let device = bench.machine.options.device;
    let actions = bench.feed(Input::TokenRenewed(device));
    let number = actions.iter().find_map(|action| match action {
        Action::SendToken(number) => Some(*number),
        _ => None,
    });
    assert!(number.is_some());
    assert_eq!(renewals(&bench.frame(refusal(number, ErrorCode::TokenInvalid, None))), 0);
}

#[test]
fn o5_own_state_that_is_refused_ends() {
    let id = conversation(1);
    let (mut bench, _) = Bench::live(LocalState::default(), vec![item(id, &[], 1)]);
    bench.queue(vec![entry(1, id, OutboxWhat::State)]);
    let op = OutboxOp::State(frame::StateChange { pin: Some(true), ..frame::StateChange::of(id) });
    let actions = bench.stored(vec![OutboxItem { item: 1, conversation: id, op }]);
    let request = sent(&actions)[0].1;
    let actions = bench.frame(refusal(request, ErrorCode::NotMember, None));
    assert!(actions.contains(&Action::Store(StoreOp::Done { items: vec![1] })), "{actions:?}");
}

#[test]
fn o5_what_waited_for_more_than_thirty_days_does_not_leave_without_being_asked() {
    let id = conversation(1);
    let mut bench = Bench::new(LocalState::default());
    let day = 24 * 3_600_000;
    bench.now += 40 * day;
    bench.handshake(heads(vec![item(id, &[], 1)]));
    let at = |days_ago: u64| TimestampMs(1_000_000 + bench.now - days_ago * day);
    let old = OutboxEntry { written_at: at(31), ..entry(1, id, OutboxWhat::Message) };
    let young = OutboxEntry { written_at: at(29), ..entry(2, id, OutboxWhat::Message) };
    let (asked, behind) = (old.clone(), young);
    let actions = bench.queue(vec![asked, behind]);
    let parked = StoreOp::Parked { items: vec![1], code: ErrorCode::TooOld };
    assert!(actions.contains(&Action::Store(parked)), "{actions:?}");
    assert_eq!(leaving(&actions), Vec::<i64>::new(), "a parked message holds what is behind it");
    let now = TimestampMs(1_000_000 + bench.now);
    let actions = bench.queue(vec![OutboxEntry { written_at: now, ..old }]);
    assert_eq!(leaving(&actions), [1, 2], "the user said that it is to go");
}

#[test]
fn a12_s10_a_sleep_of_the_computer_is_noticed() {
    let (mut bench, _) = Bench::live(LocalState::default(), Vec::new());
    let now = Now { mono: bench.now + 1, wall: TimestampMs(1_000_000 + bench.now + 3_600_000) };
    assert!(bench.machine.handle(Input::Timer, now).contains(&Action::Check));
    let mut offline = Bench::new(LocalState::default());
    for _ in 0..6 {
        offline.feed(Input::ConnectFailed(ConnectError::Later { retry_after_ms: Some(30_000) }));
        offline.now = offline.machine.deadline().unwrap();
        offline.feed(Input::Timer);
    }
    offline.feed(Input::ConnectFailed(ConnectError::Later { retry_after_ms: Some(30_000) }));
    let now = Now { mono: offline.now + 1, wall: TimestampMs(1_000_000 + offline.now + 3_600_000) };
    assert!(offline.machine.handle(Input::Timer, now).contains(&Action::Connect));
}

#[test]
fn an_outdated_version_is_tried_again_when_the_user_asks_and_a_revoked_device_is_not() {
    for (code, tries) in [(ErrorCode::UpgradeRequired, true), (ErrorCode::DeviceRevoked, false)] {
        let mut bench = Bench::new(LocalState::default());
        let actions = bench.feed(Input::ConnectFailed(ConnectError::Refused(code)));
        let shown = if tries { LinkStatus::Stopped { code } } else { LinkStatus::SignInNeeded };
        assert!(actions.contains(&Action::Link(shown)), "{actions:?}");
        assert_eq!(bench.feed(Input::SendNow).contains(&Action::Connect), tries, "{code}");
    }
}

#[test]
fn s3_what_somebody_asked_for_is_asked_for_again_when_it_was_refused() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 12);
    // The newest is stored, and what was acknowledged lies below a hole.
    let acked = OutboxEntry { state: EntryState::Acked(Seq(3)), ..entry(1, id, OutboxWhat::Message) };
    let local = LocalState {
        conversations: vec![kept(id, &events, 10, 12)],
        outbox: vec![acked],
        ..LocalState::default()
    };
    let (mut bench, actions) = Bench::live(local, vec![item(id, &events, 1)]);
    let (pull, number) = pulls(&actions).remove(0);
    assert_eq!((pull.from, pull.to), (Some(Seq(3)), Some(Seq(3))));
    bench.frame(refusal(Some(number), ErrorCode::RateLimited, Some(500)));
    let mut actions = Vec::new();
    while pulls(&actions).is_empty() {
        actions = bench.after(500);
        assert!(bench.now < 10_000, "it is not asked for again");
    }
    let (again, number) = pulls(&actions).remove(0);
    assert_eq!((again.from, again.to), (Some(Seq(3)), Some(Seq(3))));
    let actions = bench.frame(page(id, &events, 3, 3, Some(number)));
    let next = pulls(&actions);
    assert!(next.iter().all(|(pull, _)| pull.to != Some(Seq(3))), "{next:?}");
}

#[test]
fn s7_s12_whoever_polls_confirms_a_log_of_several_parts_each_time_something_is_queued() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 9);
    let mut holed = kept(id, &events, 1, 3);
    holed.ranges.extend(kept(id, &events, 7, 9).ranges);
    let mut bench = Bench::new(LocalState { conversations: vec![holed], ..LocalState::default() });
    let off = ConnectError::NoSocket { off: true };
    let mut frames = exchange(bench.feed(Input::ConnectFailed(off))).expect("an exchange");
    for n in 1..=3 {
        bench.queue(vec![entry(n, id, OutboxWhat::Message)]);
        let end = bench.now + 30_000;
        loop {
            let mut answer = answers(&bench, &frames);
            for frame in &mut answer {
                if let ServerFrame::Heads(told) = frame {
                    told.items = vec![item(id, &events, 1)];
                }
            }
            answer.extend(frames.iter().filter_map(|(frame, number)| match frame {
                ClientFrame::Probe(_) => Some(ServerFrame::Chains(frame::Chains {
                    reply_to: *number,
                    conversation: id,
                    head: Seq(9),
                    chains: vec![(Seq(3), events[2].chain), (Seq(9), events[8].chain)],
                })),
                _ => None,
            }));
            let mut actions = bench.feed(Input::Exchanged(answer));
            let mut left = leaving(&actions);
            frames = loop {
                if let Some(frames) = exchange(actions) {
                    break frames;
                }
                bench.now = bench.machine.deadline().expect("the next exchange").max(bench.now);
                actions = bench.feed(Input::Timer);
                left.extend(leaving(&actions));
            };
            if left == [n] {
                break;
            }
            assert!(bench.now < end, "message {n} does not leave");
        }
        bench.feed(Input::Stored(Stored { ended: vec![n], ..Stored::default() }));
    }
}

#[test]
fn s7_while_polling_nothing_overtakes_what_a_server_that_was_set_back_has_acknowledged() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 3);
    let local = LocalState { conversations: vec![kept(id, &events, 1, 1)], ..LocalState::default() };
    let mut bench = Bench::new(local);
    let answer = |bench: &Bench, frames: &Frames, head: usize| {
        let mut answer = Vec::new();
        for (frame, number) in frames {
            match frame {
                ClientFrame::Hello(_) => {
                    let ServerFrame::Welcome(mut welcome) = bench.welcome(bench.me) else { unreachable!() };
                    welcome.reply_to = *number;
                    answer.push(ServerFrame::Welcome(welcome));
                    answer.push(ServerFrame::Heads(heads(vec![item(id, &events[..head], 1)])));
                }
                ClientFrame::Pull(pull) if pull.from == Some(Seq(2)) => {
                    answer.push(page(id, &events, 2, 3, *number));
                }
                _ => {}
            }
        }
        Input::Exchanged(answer)
    };
    let mut frames =
        exchange(bench.feed(Input::ConnectFailed(ConnectError::NoSocket { off: true }))).unwrap();
    bench.feed(answer(&bench, &frames, 1));
    let acked = |row, what, seq| OutboxEntry { state: EntryState::Acked(Seq(seq)), ..entry(row, id, what) };
    bench.queue(vec![acked(1, OutboxWhat::Message, 2), acked(2, OutboxWhat::Relation, 4)]);
    // The server has lost both. Others have taken the place of the first one, and the log ends below the second.
    let mut left = Vec::new();
    for _ in 0..2 {
        frames = loop {
            bench.now = bench.machine.deadline().expect("the next exchange").max(bench.now);
            let actions = bench.feed(Input::Timer);
            left.extend(leaving(&actions));
            if let Some(frames) = exchange(actions) {
                break frames;
            }
        };
        left.extend(leaving(&bench.feed(answer(&bench, &frames, 3))));
    }
    assert_eq!(left, [0; 0], "the relation would overtake the message");
    left.extend(leaving(&bench.feed(Input::Stored(Stored::default()))));
    assert_eq!(left, [1, 2]);
}
