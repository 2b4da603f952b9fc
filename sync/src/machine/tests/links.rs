use super::*;
use crate::{ConnectError, TokenError};
use kith_protocol::{
    ErrorCode,
    error::close,
    frame::{AuthExpiring, ErrorFrame, ProfilesRequest},
};

fn refused(bench: &Bench, code: ErrorCode) -> ServerFrame {
    ServerFrame::Error(ErrorFrame {
        reply_to: Some(bench.machine.last_request),
        code,
        message: String::new(),
        retry_after_ms: None,
        current: None,
    })
}

const RENEW: Action = Action::RenewToken { new_device: false };

#[test]
fn s10_it_is_tried_for_ever_and_at_once_when_the_network_changes() {
    let mut bench = Bench::new(LocalState::default());
    let mut socket_tries = 0;
    for _ in 0..40 {
        bench.feed(Input::ConnectFailed(ConnectError::Unreachable));
        let at = bench.machine.deadline().expect("a next try");
        assert!(at - bench.now <= 60_000);
        bench.now = at;
        let actions = bench.feed(Input::Timer);
        socket_tries += u32::from(actions.contains(&Action::Connect));
        assert!(actions.iter().any(|a| matches!(a, Action::Connect | Action::Exchange(_))), "{actions:?}");
    }
    assert!(socket_tries > 20);
    bench.feed(Input::ConnectFailed(ConnectError::Unreachable));
    let actions = bench.feed(Input::NetworkChanged);
    assert!(actions.iter().any(|a| matches!(a, Action::Connect | Action::Exchange(_))), "{actions:?}");
}

#[test]
fn a07_after_72_hours_without_a_network_no_wait_is_longer_than_a_minute_and_a_network_is_used_at_once() {
    let local =
        LocalState { outbox: vec![entry(1, conversation(1), OutboxWhat::Message)], ..LocalState::default() };
    let mut bench = Bench::new(local);
    let end = bench.now + 72 * 3_600_000;
    while bench.now < end {
        bench.feed(Input::ConnectFailed(ConnectError::Unreachable));
        let at = bench.machine.deadline().expect("a next try");
        assert!(at - bench.now <= 60_000);
        bench.now = at;
        bench.feed(Input::Timer);
    }
    bench.feed(Input::ConnectFailed(ConnectError::Unreachable));
    let actions = bench.feed(Input::NetworkChanged);
    assert!(actions.contains(&Action::Connect), "{actions:?}");
    bench.feed(Input::Connected);
    let welcome = bench.welcome(bench.me);
    bench.frame(welcome);
    let actions = bench.frame(ServerFrame::Heads(heads(vec![item(conversation(1), &[], 1)])));
    assert_eq!(leaving(&actions), [1], "what waited leaves");
}

#[test]
fn s10_a_request_without_an_answer_ends_the_connection() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 1);
    let (mut bench, actions) = Bench::live(LocalState::default(), vec![item(id, &events, 1)]);
    assert_eq!(pulls(&actions).len(), 1);
    assert!(!bench.after(29_999).contains(&Action::Close));
    assert!(bench.after(1).contains(&Action::Close));
}

#[test]
fn s11_a_token_that_ends_is_renewed_in_band() {
    let (mut bench, _) = Bench::live(LocalState::default(), Vec::new());
    let expiring = ServerFrame::AuthExpiring(AuthExpiring { ms: 60_000 });
    assert!(bench.frame(expiring).contains(&RENEW));
    let device = bench.machine.options.device;
    let actions = bench.feed(Input::TokenRenewed(device));
    assert!(matches!(actions[0], Action::SendToken(_)), "{actions:?}");
}

#[test]
fn s11_an_expired_token_is_renewed_before_connecting_and_the_outbox_stays() {
    let local =
        LocalState { outbox: vec![entry(1, conversation(1), OutboxWhat::Message)], ..LocalState::default() };
    let (mut bench, _) = Bench::live(local, vec![item(conversation(1), &[], 1)]);
    let actions = bench.feed(Input::Closed(Some(close::TOKEN_EXPIRED)));
    assert!(actions.contains(&RENEW));
    let device = bench.machine.options.device;
    assert!(bench.feed(Input::TokenRenewed(device)).contains(&Action::Connect));
    assert_eq!(leaving(&bench.handshake(heads(vec![item(conversation(1), &[], 1)]))), [1]);
}

#[test]
fn s11_a_sign_in_is_asked_for_only_when_the_server_refuses() {
    let mut bench = Bench::new(LocalState::default());
    let expired = ConnectError::Unauthorized(ErrorCode::TokenExpired);
    assert!(bench.feed(Input::ConnectFailed(expired)).contains(&RENEW));
    let actions = bench.feed(Input::TokenFailed(TokenError::Unreachable));
    assert!(!actions.contains(&Action::Link(LinkStatus::SignInNeeded)));
    assert!(bench.after(2_000).contains(&RENEW), "the renewal is tried again");
    let actions = bench.feed(Input::TokenFailed(TokenError::Refused(ErrorCode::TokenInvalid)));
    assert!(actions.contains(&Action::Link(LinkStatus::SignInNeeded)));
}

#[test]
fn s11_a_fresh_token_that_is_refused_is_no_reason_to_hurry() {
    let mut bench = Bench::new(LocalState::default());
    let expired = ConnectError::Unauthorized(ErrorCode::TokenExpired);
    let mut renewals = 0;
    while bench.now < 60_000 {
        let actions = bench.feed(Input::ConnectFailed(expired));
        renewals += u32::from(actions.contains(&RENEW));
        bench.now = bench.machine.deadline().unwrap_or(bench.now);
        let actions = bench.feed(Input::Timer);
        renewals += u32::from(actions.contains(&RENEW));
        let device = bench.machine.options.device;
        bench.feed(Input::TokenRenewed(device));
    }
    assert!(renewals <= 10, "{renewals} in a minute");
}

#[test]
fn a_revoked_device_stops() {
    let (mut bench, _) = Bench::live(LocalState::default(), Vec::new());
    let actions = bench.feed(Input::Closed(Some(close::REVOKED)));
    assert!(actions.contains(&Action::Stopped(ErrorCode::DeviceRevoked)));
    assert_eq!(bench.machine.deadline(), None);
}

#[test]
fn s8_s12_a_copy_that_polls_takes_a_new_device() {
    let mut bench = Bench::new(LocalState::default());
    bench.feed(Input::ConnectFailed(ConnectError::NoSocket { off: true }));
    let actions = bench.feed(Input::ExchangeFailed(ConnectError::Forked));
    assert!(actions.contains(&Action::RenewToken { new_device: true }), "{actions:?}");
    let device = DeviceId::from_uuid(uuid::Uuid::from_u128(2));
    let actions = bench.feed(Input::TokenRenewed(device));
    let exchange = actions.iter().find_map(|action| match action {
        Action::Exchange(frames) => Some(&frames[0].0),
        _ => None,
    });
    assert!(matches!(exchange, Some(ClientFrame::Hello(hello)) if hello.device == device), "{actions:?}");
}

#[test]
fn s8_a_handshake_that_names_the_device_of_before_ends_at_once() {
    let mut bench = Bench::new(LocalState::default());
    let actions = bench.feed(Input::Connected);
    assert!(matches!(actions[0], Action::Send(ClientFrame::Hello(_), _)), "{actions:?}");
    let actions = bench.feed(Input::TokenRenewed(DeviceId::from_uuid(uuid::Uuid::from_u128(2))));
    assert!(actions.contains(&Action::Close) && actions.contains(&Action::Connect), "{actions:?}");
}

#[test]
fn s8_a_forked_device_takes_a_new_one_and_keeps_the_outbox() {
    let local = LocalState {
        generation: 4,
        user_seq: 9,
        outbox: vec![entry(1, conversation(1), OutboxWhat::Message)],
        ..LocalState::default()
    };
    let mut bench = Bench::new(local);
    bench.feed(Input::Connected);
    let error = refused(&bench, ErrorCode::DeviceForked);
    assert!(bench.frame(error).contains(&Action::RenewToken { new_device: true }));
    let device = DeviceId::from_uuid(uuid::Uuid::from_u128(2));
    let actions = bench.feed(Input::TokenRenewed(device));
    assert!(
        actions.contains(&Action::Store(StoreOp::Device { device })) && actions.contains(&Action::Connect)
    );
    let actions = bench.feed(Input::Connected);
    let Action::Send(ClientFrame::Hello(hello), _) = &actions[0] else { panic!("{actions:?}") };
    assert_eq!((hello.device, hello.generation, hello.user_seq), (device, 0, 0));
    let welcome = bench.welcome(bench.me);
    bench.frame(welcome);
    let actions = bench.frame(ServerFrame::Heads(heads(vec![item(conversation(1), &[], 1)])));
    assert_eq!(leaving(&actions), [1]);
}

#[test]
fn s9_another_identity_is_not_merged() {
    let mut bench = Bench::new(LocalState::default());
    bench.feed(Input::Connected);
    let welcome = bench.welcome(bench.peer);
    let actions = bench.frame(welcome);
    assert!(actions.contains(&Action::Close));
    assert!(!actions.iter().any(|action| matches!(action, Action::Store(_))));
}

#[test]
fn s12_two_failed_sockets_begin_polling_and_a_socket_is_tried_again() {
    let mut bench = Bench::new(LocalState::default());
    let none = ConnectError::NoSocket { off: false };
    bench.feed(Input::ConnectFailed(none));
    bench.now = bench.machine.deadline().unwrap();
    bench.feed(Input::Timer);
    let actions = bench.feed(Input::ConnectFailed(none));
    let Some(Action::Exchange(frames)) = actions.iter().find(|a| matches!(a, Action::Exchange(_))) else {
        panic!("{actions:?}")
    };
    assert!(matches!(frames[0].0, ClientFrame::Hello(_)));
    let welcome = bench.welcome(bench.me);
    let answer = vec![welcome, ServerFrame::Heads(heads(vec![item(conversation(1), &[], 1)]))];
    let actions = bench.feed(Input::Exchanged(answer));
    assert!(actions.contains(&Action::Link(LinkStatus::Connected { polling: true })), "{actions:?}");
    assert!(bench.after(10_000).iter().any(|a| matches!(a, Action::Exchange(_))), "every ten seconds");
    for _ in 0..30 {
        let answer = vec![bench.welcome(bench.me), ServerFrame::Heads(heads(Vec::new()))];
        bench.feed(Input::Exchanged(answer));
        if bench.after(10_000).contains(&Action::Connect) {
            assert!(bench.now >= 300_000);
            return;
        }
    }
    panic!("no socket within five minutes");
}

#[test]
fn s12_another_network_is_asked_for_a_socket_at_once_and_polled_when_it_has_none() {
    let mut bench = Bench::new(LocalState::default());
    bench.feed(Input::ConnectFailed(ConnectError::NoSocket { off: true }));
    let answer = vec![bench.welcome(bench.me), ServerFrame::Heads(heads(Vec::new()))];
    bench.feed(Input::Exchanged(answer));
    let mut actions = bench.feed(Input::NetworkChanged);
    actions.extend(bench.after(0));
    assert!(actions.contains(&Action::Connect), "{actions:?}");
    let actions = bench.feed(Input::ConnectFailed(ConnectError::NoSocket { off: true }));
    assert!(actions.iter().any(|a| matches!(a, Action::Exchange(_))), "{actions:?}");
}

#[test]
fn s12_a_server_without_sockets_is_polled_at_once_and_takes_what_waits() {
    let local =
        LocalState { outbox: vec![entry(1, conversation(1), OutboxWhat::Message)], ..LocalState::default() };
    let mut bench = Bench::new(local);
    let actions = bench.feed(Input::ConnectFailed(ConnectError::NoSocket { off: true }));
    assert!(actions.iter().any(|a| matches!(a, Action::Exchange(_))), "{actions:?}");
    let answer =
        vec![bench.welcome(bench.me), ServerFrame::Heads(heads(vec![item(conversation(1), &[], 1)]))];
    let actions = bench.feed(Input::Exchanged(answer));
    assert_eq!(leaving(&actions), [1]);
    bench.stored(vec![message(1, conversation(1))]);
    let actions = bench.after(100);
    let Some(Action::Exchange(frames)) = actions.iter().find(|a| matches!(a, Action::Exchange(_))) else {
        panic!("{actions:?}")
    };
    assert!(matches!(frames[0].0, ClientFrame::Hello(_)));
    assert!(frames.iter().any(|(frame, _)| matches!(frame, ClientFrame::Send(_))));
}

#[test]
fn s12_what_does_not_fit_into_an_exchange_goes_with_the_next() {
    let mut bench = Bench::new(LocalState::default());
    bench.feed(Input::ConnectFailed(ConnectError::NoSocket { off: true }));
    let answer = |bench: &Bench| vec![bench.welcome(bench.me), ServerFrame::Heads(heads(Vec::new()))];
    bench.feed(Input::Exchanged(answer(&bench)));
    let ask = |bench: &mut Bench, number: u128, names: usize| {
        let (conversation, users) = (conversation(number), vec![UserId::mint(); names]);
        bench.machine.request(
            ClientFrame::Profiles(ProfilesRequest { users }),
            super::super::Asked::Check { conversation },
        )
    };
    let carried = |bench: &mut Bench| {
        let actions = [bench.after(100), bench.after(100)].concat();
        let exchange = actions.into_iter().find_map(|action| match action {
            Action::Exchange(frames) => Some(frames),
            _ => None,
        });
        let frames = exchange.expect("an exchange");
        assert!(matches!(frames[0].0, ClientFrame::Hello(_)));
        frames[1..].iter().filter_map(|(_, request)| *request).collect::<Vec<u64>>()
    };
    // Many small ones, and some that are large together.
    for (count, names, least) in [(300, 1, 255), (8, 5_000, 2)] {
        let asked: Vec<u64> = (0..count).map(|n| ask(&mut bench, n, names)).collect();
        let first = carried(&mut bench);
        assert!(first.len() >= least && first.len() < asked.len(), "{} of {}", first.len(), asked.len());
        bench.feed(Input::Exchanged(answer(&bench)));
        let mut all = first;
        while all.len() < asked.len() {
            all.extend(carried(&mut bench));
            bench.feed(Input::Exchanged(answer(&bench)));
        }
        assert_eq!(all, asked, "each once, in order");
    }
}

#[test]
fn the_link_is_catching_up_until_nothing_is_behind() {
    let id = conversation(1);
    let events = log(id, UserId::mint(), 2);
    let (mut bench, actions) = Bench::live(LocalState::default(), vec![item(id, &events, 1)]);
    assert!(actions.contains(&Action::Link(LinkStatus::CatchingUp { behind: 1 })));
    let number = pulls(&actions)[0].1;
    let actions = bench.frame(page(id, &events, 1, 2, Some(number)));
    assert!(actions.contains(&Action::Link(LinkStatus::Connected { polling: false })));
}

#[test]
fn what_is_on_screen_before_the_server_knows_it_is_named_then() {
    let id = conversation(1);
    let (mut bench, _) = Bench::live(LocalState::default(), Vec::new());
    let focus = |actions: &[Action]| {
        let focus = sent(actions).into_iter().filter_map(|(frame, _)| match frame {
            ClientFrame::Focus(focus) => Some(focus.conversations.clone()),
            _ => None,
        });
        focus.collect::<Vec<_>>()
    };
    assert_eq!(focus(&bench.feed(Input::Focus(vec![id]))), [Vec::new()]);
    let mut told =
        |item: HeadsItem| focus(&bench.frame(ServerFrame::Heads(Heads { full: false, ..heads(vec![item]) })));
    assert_eq!(told(item(id, &[], 1)), [vec![id]]);
    assert!(told(item(id, &[], 1)).is_empty(), "it is said once");
    let left = HeadsItem { visible: vec![(Seq(1), Some(Seq(1)))], ..item(id, &[], 1) };
    assert_eq!(told(left), [Vec::new()]);
    assert_eq!(told(item(id, &[], 1)), [vec![id]]);
}

#[test]
fn r5_people_are_watched_again_when_a_conversation_begins() {
    let (id, bo) = (conversation(1), UserId::mint());
    let (mut bench, _) = Bench::live(LocalState::default(), Vec::new());
    let watches = |actions: &[Action]| {
        let is_watch =
            |frame: &ClientFrame| matches!(frame, ClientFrame::PresenceWatch(watch) if watch.users == [bo]);
        sent(actions).into_iter().filter(|(frame, _)| is_watch(frame)).count()
    };
    assert_eq!(watches(&bench.feed(Input::Watch(vec![bo]))), 1);
    let mut announced = |events: &[Event]| {
        bench.frame(ServerFrame::Heads(Heads { full: false, ..heads(vec![item(id, events, 1)]) }))
    };
    assert_eq!(watches(&announced(&[])), 1, "made");
    assert_eq!(watches(&announced(&[])), 0, "known");
    assert_eq!(watches(&announced(&log(id, bo, 1))), 1, "its first event shows it to both");
    assert_eq!(watches(&announced(&log(id, bo, 2))), 0);
}
