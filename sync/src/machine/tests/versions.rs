//! Versions that know different things talk: what is not offered is not used, limits are kept, and what a later version
//! adds is carried along.

use super::*;
use crate::memory::{MemoryStore, RowState};
use kith_model::Server;
use kith_protocol::{ErrorCode, capability, frame::Open};
use serde_json::{Value, json};
use std::collections::VecDeque;

/// A machine with its store, on a connection of its own to the model.
struct Side {
    machine: Machine,
    store: MemoryStore,
    user: UserId,
    device: DeviceId,
    connection: u64,
    hello: Option<Vec<String>>,
}

fn user(n: u128) -> UserId {
    UserId::from_uuid(uuid::Uuid::from_u128(n))
}

fn event(body: Value) -> NewEvent {
    let (id, kind) = (EventId::mint(), "message".to_owned());
    NewEvent { id, kind, target: None, body, written_at: None, resubmitted: None }
}

impl Side {
    fn new(n: u128, understood: &'static [&'static str]) -> Self {
        let (user, device) = (user(n), DeviceId::from_uuid(uuid::Uuid::from_u128(0x100 + n)));
        let options =
            MachineOptions { user, device, app: "tests/1".to_owned(), seed: 1, pace: Pace::OF_TESTS };
        let machine = Machine::new(options, LocalState::default()).understanding(understood);
        let store = MemoryStore { me: Some(user), ..MemoryStore::default() };
        Self { machine, store, user, device, connection: n as u64, hello: None }
    }

    fn feed(&mut self, server: &mut Server, now: u64, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let actions = self.machine.handle(input, Now { mono: now, wall: TimestampMs(1_000_000 + now) });
            let (mut ops, mut rest) = (Vec::new(), Vec::new());
            for action in actions {
                if let Action::Store(op) = action { ops.push(op) } else { rest.push(action) }
            }
            if !ops.is_empty() {
                inputs.push_back(Input::Stored(self.store.apply(ops)));
            }
            for action in rest {
                match action {
                    Action::Connect => {
                        server.connect(self.connection, self.user, self.device);
                        inputs.push_back(Input::Connected);
                    }
                    Action::Send(frame, request) => {
                        if let ClientFrame::Hello(hello) = &frame {
                            self.hello = Some(hello.capabilities.clone());
                        }
                        // Through the wire's own form.
                        let text = frame.encode(request);
                        let received = ClientFrame::decode(&text).expect("it is written as it is read");
                        server.handle(self.connection, received.frame, received.request);
                    }
                    _ => {}
                }
            }
        }
    }

    fn write(&mut self, server: &mut Server, now: u64, conversation: ConversationId, op: OutboxOp) {
        let changed = vec![self.store.push(conversation, op)];
        self.feed(server, now, Input::Outbox(OutboxUpdate { changed, removed: Vec::new() }));
    }

    fn parked(&self) -> Vec<ErrorCode> {
        let parked = self.store.outbox.values().filter_map(|row| match row.state {
            RowState::Parked(code) => Some(code),
            _ => None,
        });
        parked.collect()
    }

    /// Texts in the order of the log, kinds of what is no message.
    fn log(&self, conversation: ConversationId) -> Vec<String> {
        let events =
            self.store.conversations.get(&conversation).into_iter().flat_map(|kept| kept.events.values());
        let word = |event: &Event| match event.kind.as_str() {
            "message" => {
                event.body.as_ref().and_then(|body| body["text"].as_str()).unwrap_or_default().to_owned()
            }
            kind => format!("[{kind}]"),
        };
        events.map(word).collect()
    }
}

/// Lets time pass until nothing is on its way.
fn settle(server: &mut Server, sides: &mut [&mut Side], now: &mut u64) {
    for _ in 0..100 {
        *now += 50;
        for side in sides.iter_mut() {
            side.feed(server, *now, Input::Timer);
        }
        while !server.out.is_empty() {
            for (to, frame) in std::mem::take(&mut server.out) {
                let frame = ServerFrame::decode(&frame.encode()).expect("it is written as it is read").frame;
                if let Some(side) = sides.iter_mut().find(|side| side.connection == to) {
                    side.feed(server, *now, Input::Frame(frame));
                }
            }
        }
    }
}

/// Two people in a conversation, on a server that offers these abilities.
fn talk(
    offered: &[&str],
    understood: [&'static [&'static str]; 2],
) -> (Server, Side, Side, ConversationId, u64) {
    let mut server = Server::default();
    server.offered = offered.iter().map(|name| (*name).to_owned()).collect();
    let (mut ada, mut bo) = (Side::new(1, understood[0]), Side::new(2, understood[1]));
    let conversation = ConversationId::direct(ada.user, bo.user);
    let mut now = 1;
    for side in [&mut ada, &mut bo] {
        server.sign_up(side.user);
        side.feed(&mut server, now, Input::Start);
    }
    let kind = ConversationKind::Direct;
    let open = Open { conversation, kind, members: vec![bo.user], title: None, context: None, first: None };
    ada.write(&mut server, now, conversation, OutboxOp::Open(open));
    settle(&mut server, &mut [&mut ada, &mut bo], &mut now);
    (server, ada, bo, conversation, now)
}

fn with_files(text: &str) -> OutboxOp {
    OutboxOp::Event(event(json!({ "text": text, "attachments": [{ "sha256": "0" }] })))
}

fn plain(text: &str) -> OutboxOp {
    OutboxOp::Event(event(json!({ "text": text })))
}

#[test]
fn a_later_client_does_not_use_what_an_earlier_server_does_not_offer() {
    let (mut server, mut ada, mut bo, id, mut now) = talk(&[], [&[capability::FILES], &[]]);
    assert_eq!(ada.hello.as_deref(), Some(&[capability::FILES.to_owned()][..]));
    ada.write(&mut server, now, id, plain("one"));
    ada.write(&mut server, now, id, with_files("two"));
    settle(&mut server, &mut [&mut ada, &mut bo], &mut now);
    assert_eq!(bo.log(id), ["one"]);
    assert_eq!(ada.parked(), [ErrorCode::Unsupported]);
    let left = ada.store.outbox.values().map(|row| row.tries).sum::<u32>();
    assert_eq!(left, 1, "it was looked at, and did not leave");
    assert_eq!(server.conversations[&id].log.len(), 1);
}

#[test]
fn clients_of_both_versions_talk_through_a_later_server() {
    let (mut server, mut ada, mut bo, id, mut now) =
        talk(&[capability::FILES, "later.v9"], [&[capability::FILES], &[]]);
    assert_eq!(bo.hello.as_deref(), Some(&[][..]));
    ada.write(&mut server, now, id, with_files("with a file"));
    settle(&mut server, &mut [&mut ada, &mut bo], &mut now);
    bo.write(&mut server, now, id, plain("thanks"));
    settle(&mut server, &mut [&mut ada, &mut bo], &mut now);
    // The later server numbers an event of a kind that neither client knows.
    let conversation = server.conversations.get_mut(&id).expect("it was opened");
    let last = conversation.log.last().cloned().expect("two messages");
    let poll = EventId::mint();
    conversation.log.push(Event {
        seq: last.seq.next(),
        id: poll,
        kind: "poll".to_owned(),
        chain: last.chain.then(id, last.seq, poll),
        body: Some(json!({ "question": "tea?" })),
        ..last
    });
    bo.write(&mut server, now, id, plain("and now?"));
    settle(&mut server, &mut [&mut ada, &mut bo], &mut now);
    for side in [&ada, &bo] {
        assert_eq!(side.log(id), ["with a file", "thanks", "[poll]", "and now?"]);
        assert_eq!(side.parked(), []);
        assert!(side.store.outbox.is_empty(), "{:?}", side.store.outbox);
        let kept = &side.store.conversations[&id];
        assert_eq!(
            kept.events.values().cloned().collect::<Vec<_>>(),
            server.conversations[&id].log,
            "as it came"
        );
    }
}

/// The rows that leave, and the codes of those that are parked, when a connection of these limits begins.
fn with_limits(limits: WelcomeLimits, items: Vec<OutboxItem>) -> (Vec<usize>, Vec<(Vec<i64>, ErrorCode)>) {
    let outbox = items.iter().map(|one| entry(one.item, one.conversation, OutboxWhat::Message)).collect();
    let mut bench = Bench::new(LocalState { outbox, ..LocalState::default() });
    bench.feed(Input::Connected);
    let ServerFrame::Welcome(welcome) = bench.welcome(bench.me) else { unreachable!() };
    bench.frame(ServerFrame::Welcome(Box::new(Welcome { limits, ..*welcome })));
    let known = items.iter().map(|one| one.conversation).collect::<BTreeSet<_>>();
    let mut actions =
        bench.frame(ServerFrame::Heads(heads(known.into_iter().map(|id| item(id, &[], 1)).collect())));
    let (mut sizes, mut parked) = (Vec::new(), Vec::new());
    loop {
        parked.extend(actions.iter().filter_map(|action| match action {
            Action::Store(StoreOp::Parked { items, code }) => Some((items.clone(), *code)),
            _ => None,
        }));
        sizes.extend(sent(&actions).iter().filter_map(|(frame, _)| match frame {
            ClientFrame::Send(send) => Some(send.events.len()),
            _ => None,
        }));
        let leaving = leaving(&actions);
        if leaving.is_empty() {
            return (sizes, parked);
        }
        let content = items.iter().filter(|one| leaving.contains(&one.item)).cloned().collect();
        actions = bench.stored(content);
    }
}

#[test]
fn the_limits_of_welcome_bind_what_leaves() {
    let id = conversation(1);
    let five = || (1..=5).map(|n| message(n, id)).collect::<Vec<_>>();
    let limits = |frame_bytes, text_chars, send_events| WelcomeLimits {
        frame_bytes,
        text_chars,
        send_events,
        ..WelcomeLimits::default()
    };
    assert_eq!(with_limits(limits(0, 0, 2), five()), (vec![2], Vec::new()), "one send in flight");
    assert_eq!(with_limits(limits(400, 0, 0), five()), (vec![3], Vec::new()), "of 100 bytes each");
    let mut long = five();
    let OutboxOp::Event(third) = &mut long[2].op else { unreachable!() };
    third.body = json!({ "text": "too long" });
    // What stands before it leaves; what follows waits for the user's word about it (O5).
    let wanted = (vec![2], vec![(vec![3], ErrorCode::TooLarge)]);
    assert_eq!(with_limits(limits(0, 7, 0), long), wanted);
}
