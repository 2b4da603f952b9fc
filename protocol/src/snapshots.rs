//! The written form of every frame and HTTP body, so that a change of the wire shows in a diff.
//!
//! Values are struct literals without `..`: a new field does not compile until it is here. Each type stands twice where
//! it has optional fields: with all of them, and with none.

use crate::{
    Chain, ConversationId, DeviceId, ErrorCode, Event, EventId, NewEvent, Seq, TimestampMs, UserId, api,
    ephemeral::{Presence, PresenceState, Typing},
    event::{
        EditBody, EventContent, Forwarded, MemberBody, MemberChange, MessageBody, PinBody, ReactionBody,
        Role, TitleBody,
    },
    frame::*,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

const fn user(number: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(0x0190_a000_0000_7000_8000_0000_0000_0100 + number))
}

const USER: UserId = user(1);
const OTHER: UserId = user(2);
const DEVICE: DeviceId = DeviceId::from_uuid(Uuid::from_u128(0x0190_a000_0000_7000_8000_0000_0000_0200));
const CONVERSATION: ConversationId =
    ConversationId::from_uuid(Uuid::from_u128(0x0190_a000_0000_7000_8000_0000_0000_0300));
const EVENT: EventId = EventId::from_uuid(Uuid::from_u128(0x0190_a000_0000_7000_8000_0000_0000_0400));
const CHAIN: Chain = Chain([1, 2, 3, 4, 5, 6, 7, 8]);
const TIME: TimestampMs = TimestampMs(1_700_000_000_000);

fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).expect("plain data")
}

/// One written value a line, so that a diff shows the field.
fn lines<T>(all: &[T], write: impl Fn(&T) -> String) -> String {
    all.iter().map(write).collect::<Vec<_>>().join("\n")
}

fn context() -> Context {
    Context {
        kind: "job".into(),
        id: "7".into(),
        title: Some("Baker".into()),
        link: Some("https://platform.example/7".into()),
    }
}

fn new_event(is_full: bool) -> NewEvent {
    NewEvent {
        id: EVENT,
        kind: "edit".into(),
        target: is_full.then_some(EVENT),
        body: json!({"text": "hi"}),
        written_at: is_full.then_some(TIME),
        resubmitted: is_full.then_some(true),
    }
}

fn event(is_full: bool) -> Event {
    Event {
        seq: Seq(2),
        id: EVENT,
        kind: "message".into(),
        sender: USER,
        ts: TIME,
        written_at: is_full.then_some(TIME),
        countable: 1,
        chain: CHAIN,
        target: is_full.then_some(EVENT),
        body: is_full.then(|| json!({"text": "hi"})),
        redacted: !is_full,
    }
}

fn profile(is_full: bool) -> api::Profile {
    api::Profile {
        id: USER,
        username: "alice".into(),
        display_name: "Alice".into(),
        role: is_full.then(|| "recruiter".into()),
        avatar: is_full.then(|| "https://platform.example/alice.png".into()),
        email: is_full.then(|| "alice@platform.example".into()),
        show_presence: is_full.then_some(false),
        version: 3,
    }
}

fn own_state(is_full: bool) -> OwnState {
    OwnState {
        conversation: CONVERSATION,
        unread: 1,
        read: Seq(1),
        delivered: Seq(2),
        unread_flag: is_full,
        mute: TIME,
        pin: is_full,
        archive: is_full,
        hidden: is_full,
        draft: is_full.then(|| Draft { text: "soon".into(), version: 4 }),
        version: 5,
    }
}

fn heads_item(is_full: bool) -> HeadsItem {
    HeadsItem {
        own: own_state(is_full),
        kind: ConversationKind::Group,
        head: Seq(9),
        chain: CHAIN,
        countable: 7,
        last_ts: TIME,
        floor: Seq(1),
        visible: vec![(Seq(1), Some(Seq(4))), (Seq(6), None)],
        members: is_full.then(|| vec![HeadsMember { user: USER, role: Role::Owner, profile_version: 3 }]),
        member_count: 1,
        title: is_full.then(|| "Bakers".into()),
        context: is_full.then(context),
    }
}

fn limits() -> WelcomeLimits {
    WelcomeLimits {
        frame_bytes: 262_144,
        text_chars: 16_000,
        send_events: 256,
        rates: BTreeMap::from([("send".into(), (20, 60))]),
    }
}

fn client_frames() -> Vec<ClientFrame> {
    let mut frames = Vec::new();
    for is_full in [true, false] {
        let text = |text: &str| is_full.then(|| text.to_owned());
        frames.extend([
            ClientFrame::Hello(Hello {
                protocol: 1,
                device: DEVICE,
                generation: 2,
                epoch: text("epoch"),
                cursor: text("cursor"),
                user_seq: 3,
                full: is_full.then_some(true),
                app: "kith/1".into(),
                capabilities: if is_full { vec!["files.v1".into()] } else { Vec::new() },
            }),
            ClientFrame::Send(Send { conversation: CONVERSATION, events: vec![value(&new_event(is_full))] }),
            ClientFrame::Open(Open {
                conversation: CONVERSATION,
                kind: ConversationKind::Group,
                members: vec![OTHER],
                title: text("Bakers"),
                context: is_full.then(context),
                first: is_full.then(|| value(&new_event(false))),
            }),
            ClientFrame::Pull(Pull {
                conversation: CONVERSATION,
                from: is_full.then_some(Seq(1)),
                to: is_full.then_some(Seq(2)),
                direction: if is_full { Direction::Forward } else { Direction::Backward },
                max: 50,
            }),
            ClientFrame::State(StateChange {
                conversation: CONVERSATION,
                read: is_full.then_some(Seq(1)),
                unread_flag: is_full.then_some(true),
                mute: is_full.then_some(TIME),
                pin: is_full.then_some(true),
                archive: is_full.then_some(true),
                hidden: is_full.then_some(true),
                draft: is_full.then(|| DraftChange { text: "soon".into(), base: 4 }),
            }),
            ClientFrame::Heads(HeadsRequest { full: is_full.then_some(true) }),
            ClientFrame::Members(MembersRequest {
                conversation: CONVERSATION,
                after: is_full.then_some(USER),
                max: 50,
            }),
        ]);
    }
    frames.extend([
        ClientFrame::Auth(Auth { token: "token".into() }),
        ClientFrame::Probe(Probe { conversation: CONVERSATION, seqs: vec![Seq(1), Seq(2)] }),
        ClientFrame::Delivered(Delivered { markers: vec![(CONVERSATION, Seq(2))] }),
        ClientFrame::Profiles(ProfilesRequest { users: vec![OTHER] }),
        ClientFrame::Markers(MarkersRequest { conversation: CONVERSATION }),
        ClientFrame::Focus(Focus { conversations: vec![CONVERSATION] }),
        ClientFrame::Typing(TypingChange { conversation: CONVERSATION, on: true }),
        ClientFrame::PresenceWatch(PresenceWatch { users: vec![OTHER] }),
        ClientFrame::PresenceSet(PresenceSet { state: PresenceState::Busy }),
        ClientFrame::NotificationAck(NotificationAck { ids: vec![EVENT] }),
    ]);
    frames
}

fn ack_result(status: AckStatus) -> AckResult {
    let is_ok = status == AckStatus::Ok;
    let is_error = status == AckStatus::Error;
    AckResult {
        id: (!is_error).then_some(EVENT),
        status,
        seq: is_ok.then_some(Seq(2)),
        ts: is_ok.then_some(TIME),
        countable: is_ok.then_some(1),
        chain: is_ok.then_some(CHAIN),
        code: is_error.then_some(ErrorCode::RateLimited),
        retry_after_ms: is_error.then_some(500),
    }
}

fn message_state(is_full: bool) -> MessageState {
    MessageState {
        text: is_full.then(|| "ho".into()),
        edited_seq: is_full.then_some(Seq(3)),
        deleted: !is_full,
        reactions: if is_full { BTreeMap::from([("👍".into(), vec![USER])]) } else { BTreeMap::new() },
        reaction_counts: if is_full { BTreeMap::from([("👍".into(), 70)]) } else { BTreeMap::new() },
        pinned: is_full,
    }
}

fn answers(is_full: bool) -> Vec<ServerFrame> {
    let reply_to = is_full.then_some(7);
    vec![
        ServerFrame::Welcome(Box::new(Welcome {
            reply_to,
            connection: "connection".into(),
            server: "kith-server/1".into(),
            user: USER,
            device: DEVICE,
            generation: 2,
            epoch: "epoch".into(),
            now: TIME,
            protocol: 1,
            capabilities: if is_full { vec!["files.v1".into()] } else { Vec::new() },
            limits: limits(),
            token_ms: 600_000,
        })),
        ServerFrame::Heads(Heads {
            reply_to,
            full: is_full,
            more: is_full,
            user_seq: 5,
            cursor: is_full.then(|| "cursor".into()),
            items: vec![heads_item(is_full)],
            gone: if is_full { vec![CONVERSATION] } else { Vec::new() },
        }),
        ServerFrame::Page(Page {
            reply_to,
            conversation: CONVERSATION,
            chain_before: CHAIN,
            low: Seq(2),
            high: Seq(2),
            head: Seq(9),
            events: vec![event(is_full)],
            states: BTreeMap::from([(EVENT, message_state(is_full))]),
            as_of: Seq(9),
            end: is_full,
        }),
        ServerFrame::Ack(Ack {
            reply_to,
            results: [AckStatus::Ok, AckStatus::Duplicate, AckStatus::Error, AckStatus::Skipped]
                .map(ack_result)
                .to_vec(),
        }),
        ServerFrame::Chains(Chains {
            reply_to,
            conversation: CONVERSATION,
            head: Seq(9),
            chains: vec![(Seq(2), CHAIN)],
        }),
        ServerFrame::OwnState(OwnStates { reply_to, user_seq: 5, items: vec![own_state(is_full)] }),
        ServerFrame::Markers(Markers {
            reply_to,
            conversation: CONVERSATION,
            markers: vec![(USER, Seq(2), Seq(1))],
        }),
        ServerFrame::Profiles(Profiles { reply_to, items: vec![profile(is_full)] }),
        ServerFrame::Members(Members {
            reply_to,
            conversation: CONVERSATION,
            as_of: is_full.then_some(Seq(5)),
            items: vec![MemberItem { user: USER, role: Role::Admin }],
            next: is_full.then_some(USER),
        }),
        ServerFrame::Error(ErrorFrame {
            reply_to,
            code: ErrorCode::StateConflict,
            message: "the state has changed".into(),
            retry_after_ms: is_full.then_some(500),
            current: is_full.then(|| Box::new(own_state(true))),
        }),
    ]
}

fn server_frames() -> Vec<ServerFrame> {
    let mut frames = [answers(true), answers(false)].concat();
    frames.extend([
        ServerFrame::Events(Events { conversation: CONVERSATION, events: vec![event(true), event(false)] }),
        ServerFrame::Hint(Hint { heads: vec![(CONVERSATION, Seq(9))] }),
        ServerFrame::Notification(Notifications {
            items: [true, false]
                .map(|is_full| Notification {
                    id: EVENT,
                    kind: "system".into(),
                    title: "Maintenance".into(),
                    text: "Tonight.".into(),
                    data: is_full.then(|| json!({"n": 1})),
                    link: is_full.then(|| "https://platform.example".into()),
                    at: TIME,
                    acknowledged: is_full,
                })
                .to_vec(),
        }),
        ServerFrame::Ephemeral(Ephemeral {
            typing: vec![Typing(CONVERSATION, OTHER, true)],
            presence: vec![
                Presence { user: OTHER, state: PresenceState::Offline, last_seen: Some(TIME) },
                Presence { user: USER, state: PresenceState::Online, last_seen: None },
            ],
        }),
        ServerFrame::Ephemeral(Ephemeral { typing: Vec::new(), presence: Vec::new() }),
        ServerFrame::AuthExpiring(AuthExpiring { ms: 60_000 }),
        ServerFrame::Bye(Bye { code: 1012, after_ms: 1_000 }),
    ]);
    frames
}

#[test]
fn every_frame_of_a_client_is_written_as_before() {
    let frames = client_frames();
    for kind in ClientFrame::TYPES {
        assert!(frames.iter().any(|frame| frame.type_name() == *kind), "{kind} has no snapshot");
    }
    for frame in &frames {
        let read = ClientFrame::decode(&frame.encode(Some(7))).expect("a frame");
        assert_eq!((read.frame, read.request), (frame.clone(), Some(7)));
    }
    insta::assert_snapshot!(lines(&frames, |frame| frame.encode(Some(7))));
}

#[test]
fn every_frame_of_a_server_is_written_as_before() {
    let frames = server_frames();
    for kind in ServerFrame::TYPES {
        assert!(frames.iter().any(|frame| frame.type_name() == *kind), "{kind} has no snapshot");
    }
    for frame in &frames {
        assert_eq!(ServerFrame::decode(&frame.encode()).expect("a frame").frame, *frame);
    }
    insta::assert_snapshot!(lines(&frames, ServerFrame::encode));
}

#[test]
fn every_body_of_an_event_is_written_as_before() {
    let bodies = [
        value(&MessageBody {
            text: "hi".into(),
            reply_to: Some(EVENT),
            mentions: Some(vec![OTHER]),
            attachments: Some(vec![json!({"id": "1"})]),
            forwarded: Some(Forwarded { from: OTHER }),
        }),
        value(&MessageBody {
            text: "hi".into(),
            reply_to: None,
            mentions: None,
            attachments: None,
            forwarded: None,
        }),
        value(&EditBody { text: "ho".into() }),
        value(&ReactionBody { emoji: "👍".into(), on: true }),
        value(&PinBody { on: true }),
        value(&MemberBody { user: OTHER, change: MemberChange::Role, role: Some(Role::Admin) }),
        value(&MemberBody { user: OTHER, change: MemberChange::Left, role: None }),
        value(&TitleBody { text: "Bakers".into() }),
        EventContent::Delete { target: EVENT }.to_wire().2,
        EventContent::Settings(serde_json::Map::from_iter([("theme".into(), json!("dark"))])).to_wire().2,
    ];
    insta::assert_snapshot!(lines(&bodies, Value::to_string));
}

fn requests() -> Vec<(&'static str, Value)> {
    let mut bodies = Vec::new();
    for is_full in [true, false] {
        let text = |text: &str| is_full.then(|| text.to_owned());
        let post = api::PostMessage { id: is_full.then_some(EVENT), text: "hi".into() };
        bodies.extend([
            (
                "CreateAccount",
                value(&api::CreateAccount {
                    username: "alice".into(),
                    password: "password".into(),
                    display_name: "Alice".into(),
                    invite: text("code"),
                }),
            ),
            (
                "SignIn",
                value(&api::SignIn {
                    username: "alice".into(),
                    password: "password".into(),
                    device: api::DeviceRequest { id: is_full.then_some(DEVICE), name: "laptop".into() },
                }),
            ),
            (
                "Refresh",
                value(&api::Refresh { refresh_token: "refresh".into(), device: is_full.then_some(DEVICE) }),
            ),
            (
                "UpdateProfile",
                value(&api::UpdateProfile {
                    display_name: text("Alice B."),
                    show_presence: is_full.then_some(false),
                }),
            ),
            (
                "CreateConversation",
                value(&api::CreateConversation {
                    id: is_full.then_some(CONVERSATION),
                    kind: ConversationKind::Direct,
                    members: vec![OTHER],
                    title: text("Bakers"),
                    context: is_full.then(context),
                    first: is_full.then(|| post.clone()),
                }),
            ),
            ("PostMessage", value(&post)),
            (
                "ExchangeRequest",
                value(&api::ExchangeRequest {
                    frames: vec![json!({"type": "heads"})],
                    wait_ms: is_full.then_some(25_000),
                }),
            ),
        ]);
    }
    bodies.extend([
        ("RevokeSession", value(&api::RevokeSession { password: "password".into() })),
        ("ChangePassword", value(&api::ChangePassword { current: "password".into(), new: "another".into() })),
        ("MarkRead", value(&api::MarkRead { up_to: Seq(2) })),
    ]);
    bodies
}

fn responses() -> Vec<(&'static str, Value)> {
    let device = api::DeviceRef { id: DEVICE, name: "laptop".into() };
    vec![
        ("AccountCreated", value(&api::AccountCreated { user: profile(true) })),
        (
            "Session",
            value(&api::Session {
                access_token: "access".into(),
                access_expires_in_s: 600,
                refresh_token: "refresh".into(),
                user: profile(false),
                device,
            }),
        ),
        (
            "ListOfSessionItem",
            value(&api::List {
                items: vec![api::SessionItem {
                    device: DEVICE,
                    name: "laptop".into(),
                    created_at: TIME,
                    last_seen: TIME,
                    current: true,
                }],
                next: Some("cursor".into()),
            }),
        ),
        ("ListOfProfile", value(&api::List { items: vec![profile(true)], next: None })),
        (
            "ListOfConversation",
            value(&api::List {
                items: vec![api::Conversation { item: heads_item(true), profiles: vec![profile(true)] }],
                next: None,
            }),
        ),
        ("MessagePosted", value(&api::MessagePosted { id: EVENT, seq: Seq(2), ts: TIME })),
        ("ExchangeAnswer", value(&api::ExchangeAnswer { frames: vec![json!({"type": "bye"})] })),
        (
            "ServerInfo",
            value(&api::ServerInfo {
                server: "kith-server/1".into(),
                protocol: 1,
                signup: "invite".into(),
                sockets: true,
                capabilities: vec!["files.v1".into()],
                limits: limits(),
            }),
        ),
        (
            "ErrorBody",
            value(&api::ErrorBody {
                code: ErrorCode::RateLimited,
                message: "too many requests".into(),
                retry_after_ms: Some(500),
            }),
        ),
    ]
}

#[test]
fn every_http_body_is_written_as_before() {
    let written = |(name, body): &(&str, Value)| format!("{name} {body}");
    insta::assert_snapshot!("requests", lines(&requests(), written));
    insta::assert_snapshot!("responses", lines(&responses(), written));
    // A type that `api` gains is either here or on the list of parts.
    let parts = ["DeviceRequest", "DeviceRef", "SessionItem", "Profile", "Conversation", "List"];
    let all = [requests(), responses()].concat();
    for line in include_str!("api.rs").lines().filter_map(|line| line.strip_prefix("pub struct ")) {
        let name: String = line.chars().take_while(|c| c.is_alphanumeric()).collect();
        let is_here = parts.contains(&name.as_str()) || all.iter().any(|(body, _)| *body == name);
        assert!(is_here, "{name} has no snapshot");
    }
}

#[test]
fn every_error_code_is_written_as_before() {
    insta::assert_snapshot!(lines(ErrorCode::ALL, |code| format!(
        "{code} {} {:?}",
        code.http_status(),
        code.class()
    )));
}
