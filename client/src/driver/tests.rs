//! Drivers over real sockets, with the reference server at the other end.

mod model;

use super::{
    Applied, Boxed, DriverEvents, DriverHandle, DriverOptions, Earlier, SyncStore, TokenError, TokenSource,
};
use crate::{ClientError, events::EngineEvent, view::LinkView};
use kith_protocol::{
    ConversationId, DeviceId, ErrorCode, EventId, NewEvent, TimestampMs, UserId,
    ephemeral::Presence,
    frame::{ConversationKind, Open},
};
use kith_sync::{
    memory::MemoryStore,
    ops::{Counter, LocalState, OutboxOp, OutboxUpdate, StoreOp},
};
use model::Model;
use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

#[tokio::test]
async fn what_was_written_offline_arrives_once_and_in_order() {
    let model = Model::start().await;
    let [ada, bo] = [1, 2].map(|n| Person::new(&model, n));
    let chat = ada.open_chat(bo.user);
    let sent: Vec<_> = (0..300).map(|_| ada.write(chat)).collect();
    ada.connect(&model);
    bo.connect(&model);
    bo.until(|store| ids(store, chat) == sent).await;
    ada.until(|store| ids(store, chat) == sent && store.outbox.is_empty()).await;
    ada.stop().await;
    bo.stop().await;
}

#[tokio::test]
async fn o4_a_row_that_ended_before_the_driver_heard_of_it_holds_nothing() {
    let model = Model::start().await;
    let [ada, bo] = [1, 2].map(|n| Person::new(&model, n));
    let chat = ada.open_chat(bo.user);
    ada.connect(&model);
    bo.connect(&model);
    ada.until(|store| store.outbox.is_empty()).await;
    let driver = ada.driver();
    *ada.store.end_next.lock().unwrap() = Some(Box::new(move |memory| {
        // So old that it would wait for the user's word (O5).
        let mut entry = memory.push(chat, OutboxOp::Event(message(EventId::mint())));
        memory.outbox.remove(&entry.item);
        entry.written_at = TimestampMs(0);
        let item = entry.item;
        driver.outbox(OutboxUpdate { changed: vec![entry], removed: Vec::new() });
        item
    }));
    let first = bo.write(chat);
    ada.until(|store| ids(store, chat) == [first]).await;
    assert!(ada.store.end_next.lock().unwrap().is_none());
    let second = ada.write(chat);
    bo.until(|store| ids(store, chat) == [first, second]).await;
    ada.stop().await;
    bo.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_cut_again_and_again_loses_nothing() {
    let model = Model::start().await;
    let [ada, bo] = [1, 2].map(|n| Person::new(&model, n));
    let chat = ada.open_chat(bo.user);
    ada.connect(&model);
    bo.connect(&model);
    let mut sent = Vec::new();
    for round in 0..20 {
        sent.extend((0..10).map(|_| ada.write(chat)));
        if round % 2 == 0 {
            ada.until(|store| ids(store, chat).len() * 2 > sent.len()).await;
        }
        model.cut().await;
        ada.driver().network_changed();
        bo.driver().network_changed();
    }
    bo.until(|store| ids(store, chat) == sent).await;
    ada.until(|store| store.outbox.is_empty()).await;
    ada.stop().await;
    bo.stop().await;
}

#[tokio::test]
async fn s11_a_refused_token_is_renewed_and_nothing_waits_for_a_sign_in() {
    let model = Model::start().await;
    let ada = Person::new(&model, 1);
    ada.token.store(1, Ordering::Relaxed);
    model.token.store(2, Ordering::Relaxed);
    ada.connect(&model);
    ada.until_link(|link| matches!(link, LinkView::Connected { polling: false })).await;
    assert_eq!(ada.token.load(Ordering::Relaxed), 2);
    ada.stop().await;
}

#[tokio::test]
async fn the_link_is_shown_truthfully() {
    let model = Model::start().await;
    let ada = Person::new(&model, 1);
    ada.connect(&model);
    ada.until_link(|link| matches!(link, LinkView::Connected { polling: false })).await;
    model.refuse.store(1, Ordering::Relaxed);
    model.cut().await;
    ada.until_link(|link| matches!(link, LinkView::Offline { .. })).await;
    model.refuse.store(0, Ordering::Relaxed);
    ada.driver().network_changed();
    ada.until_link(|link| matches!(link, LinkView::Connected { .. })).await;
    ada.stop().await;
}

#[tokio::test]
async fn a_store_that_fails_is_read_again_and_nothing_is_lost() {
    let model = Model::start().await;
    let [ada, bo] = [1, 2].map(|n| Person::new(&model, n));
    let chat = ada.open_chat(bo.user);
    bo.connect(&model);
    ada.connect(&model);
    ada.until(|store| store.conversations.contains_key(&chat)).await;
    bo.store.fail_next.store(1, Ordering::Relaxed);
    let sent: Vec<_> = (0..3).map(|_| ada.write(chat)).collect();
    bo.until(|store| ids(store, chat) == sent).await;
    assert!(bo.seen().problems > 0, "the failure was told");
    ada.stop().await;
    bo.stop().await;
}

#[tokio::test]
async fn a_panic_of_the_driver_is_shown_counted_and_survived() {
    let model = Model::start().await;
    let [ada, bo] = [1, 2].map(|n| Person::new(&model, n));
    let chat = ada.open_chat(bo.user);
    bo.connect(&model);
    ada.connect(&model);
    let mut sent = vec![ada.write(chat)];
    bo.until(|store| ids(store, chat) == sent).await;
    bo.until_link(|link| matches!(link, LinkView::Connected { .. })).await;
    bo.store.panic_next.store(1, Ordering::Relaxed);
    sent.push(ada.write(chat));
    bo.until_link(|link| matches!(link, LinkView::Offline { next_try: Some(_), .. })).await;
    bo.until(|store| ids(store, chat) == sent).await;
    bo.until_link(|link| matches!(link, LinkView::Connected { .. })).await;
    assert_eq!(bo.store.restarts.load(Ordering::Relaxed), 1);
    // The handle is the same one: what is written goes out.
    sent.push(bo.write(chat));
    ada.until(|store| ids(store, chat) == sent).await;
    ada.stop().await;
    bo.stop().await;
}

/// Time is not waited for: no network is part of it.
#[tokio::test(start_paused = true)]
async fn a_driver_that_panics_again_and_again_is_given_up_and_is_not_shown_as_connected() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ada = Person::offline(1);
    ada.store.panic_always.store(1, Ordering::Relaxed);
    ada.start(listener.local_addr().unwrap(), Arc::default());
    let told = async {
        while !ada.seen().has_given_up {
            ada.events.changed.notified().await;
        }
    };
    timeout(Duration::from_secs(3600), told).await.expect("it is told");
    assert!(matches!(ada.seen().link, Some(LinkView::Offline { next_try: None, .. })));
    assert_eq!(ada.store.panic_always.load(Ordering::Relaxed), 1 + 9, "the first and eight restarts");
    ada.stop().await;
}

#[test]
fn what_is_on_screen_is_told_to_each_driver_that_begins() {
    let mailbox = super::Mailbox::default();
    let handle =
        DriverHandle { mailbox: Arc::new(mailbox), stop: Default::default(), tasks: Default::default() };
    let (chat, peer) = (ConversationId::mint(), UserId::mint());
    handle.focus(vec![ConversationId::mint()]);
    handle.focus(vec![chat]);
    handle.watch(vec![peer]);
    handle.mailbox.commands().focus.take();
    let inputs: Vec<_> = handle.mailbox.lasting().clone().into_inputs().collect();
    assert_eq!(inputs, [kith_sync::Input::Focus(vec![chat]), kith_sync::Input::Watch(vec![peer])]);
}

#[test]
fn sec_026_plain_text_goes_to_this_computer_only() {
    let safe = |address: &str| crate::transport::is_safe(&url::Url::parse(address).unwrap());
    assert!(safe("https://kith.example") && safe("http://127.0.0.1:7480") && safe("http://[::1]:1"));
    assert!(safe("http://localhost:7480"));
    assert!(!safe("http://kith.example") && !safe("http://192.168.1.4") && !safe("ftp://localhost"));
}

// --- builders ---

const WITHIN: Duration = Duration::from_secs(30);

fn ids(store: &MemoryStore, chat: ConversationId) -> Vec<EventId> {
    store
        .conversations
        .get(&chat)
        .map(|kept| kept.events.values().map(|event| event.id).collect())
        .unwrap_or_default()
}

/// Writes a row, tells the driver and ends the row. Returns its number.
type Ending = Box<dyn FnOnce(&mut MemoryStore) -> i64 + Send>;

#[derive(Default)]
struct SharedStore {
    memory: Mutex<MemoryStore>,
    changed: Notify,
    fail_next: AtomicU32,
    /// What the next transaction ends although the driver has not heard of it.
    end_next: Mutex<Option<Ending>>,
    /// Panics in the next transaction.
    panic_next: AtomicU32,
    /// Panics whenever it is read, and counts that; 0 for never.
    panic_always: AtomicU32,
    /// Restarts of the driver that were counted.
    restarts: AtomicU32,
}

impl SharedStore {
    fn lock(&self) -> MutexGuard<'_, MemoryStore> {
        self.memory.lock().unwrap()
    }
}

impl SyncStore for SharedStore {
    fn load_sync_state(&self, earlier: Earlier) -> Boxed<'_, Result<LocalState, ClientError>> {
        Box::pin(async {
            if self.panic_always.load(Ordering::Relaxed) > 0 {
                self.panic_always.fetch_add(1, Ordering::Relaxed);
                panic!("injected");
            }
            let mut memory = self.lock();
            drop(earlier());
            Ok(memory.load())
        })
    }

    fn apply(&self, ops: Vec<StoreOp>, earlier: Earlier) -> Boxed<'_, Result<Applied, ClientError>> {
        Box::pin(async move {
            if self.fail_next.swap(0, Ordering::Relaxed) > 0 {
                return Err(ClientError::DiskFull);
            }
            assert_eq!(self.panic_next.swap(0, Ordering::Relaxed), 0, "injected");
            let is_restart =
                |op: &&StoreOp| matches!(op, StoreOp::Count { counter: Counter::DriverRestarts, .. });
            let restarts = ops.iter().filter(is_restart).count();
            self.restarts.fetch_add(u32::try_from(restarts).unwrap(), Ordering::Relaxed);
            let stored = {
                let mut memory = self.lock();
                let mut stored = memory.apply(ops);
                if let Some(ending) = self.end_next.lock().unwrap().take() {
                    stored.ended.push(ending(&mut memory));
                }
                stored.earlier = earlier();
                stored
            };
            self.changed.notify_waiters();
            Ok(Applied { stored, notices: Vec::new() })
        })
    }
}

fn message(id: EventId) -> NewEvent {
    let body = serde_json::json!({ "text": "hello" });
    NewEvent { id, kind: "message".to_owned(), target: None, body, written_at: None, resubmitted: None }
}

#[derive(Default)]
struct Seen {
    link: Option<LinkView>,
    problems: u32,
    has_given_up: bool,
}

#[derive(Default)]
struct Recorder {
    seen: Mutex<Seen>,
    changed: Notify,
}

impl DriverEvents for Recorder {
    fn link(&self, link: LinkView) {
        self.seen.lock().unwrap().link = Some(link);
        self.changed.notify_waiters();
    }
    fn notices(&self, notices: Vec<EngineEvent>) {
        let problems = notices.iter().filter(|notice| matches!(notice, EngineEvent::Problem { .. })).count();
        self.seen.lock().unwrap().problems += u32::try_from(problems).unwrap();
    }
    fn typing(&self, _: ConversationId, _: Vec<UserId>) {}
    fn presence(&self, _: Vec<Presence>) {}
    fn stopped(&self, _: ErrorCode) {}
    fn gave_up(&self) {
        self.seen.lock().unwrap().has_given_up = true;
        self.changed.notify_one();
    }
}

struct Tokens {
    mine: Arc<AtomicU32>,
    server: Arc<AtomicU32>,
    name: String,
    device: DeviceId,
}

impl TokenSource for Tokens {
    fn access_token(&self) -> Boxed<'_, Result<String, TokenError>> {
        Box::pin(async { Ok(format!("{} {}", self.name, self.mine.load(Ordering::Relaxed))) })
    }
    fn device(&self) -> Boxed<'_, DeviceId> {
        Box::pin(async { self.device })
    }
    fn renew(&self) -> Boxed<'_, Result<DeviceId, TokenError>> {
        self.mine.store(self.server.load(Ordering::Relaxed), Ordering::Relaxed);
        Box::pin(async { Ok(self.device) })
    }
    fn renew_as_new_device(&self) -> Boxed<'_, Result<DeviceId, TokenError>> {
        self.renew()
    }
}

struct Person {
    user: UserId,
    device: DeviceId,
    store: Arc<SharedStore>,
    events: Arc<Recorder>,
    token: Arc<AtomicU32>,
    driver: Mutex<Option<DriverHandle>>,
}

impl Person {
    fn new(model: &Model, number: u128) -> Self {
        let person = Self::offline(number);
        model.sign_up(number.to_string(), person.user, person.device);
        person
    }

    /// Somebody whom no server knows.
    fn offline(number: u128) -> Self {
        Self {
            user: UserId::mint(),
            device: DeviceId::from_uuid(uuid::Uuid::from_u128(number)),
            store: Arc::default(),
            events: Arc::default(),
            token: Arc::default(),
            driver: Mutex::default(),
        }
    }

    fn connect(&self, model: &Model) {
        self.start(model.address, model.token.clone());
    }

    fn start(&self, server: std::net::SocketAddr, token: Arc<AtomicU32>) {
        let name = self.device.as_uuid().as_u128().to_string();
        let tokens = Tokens { mine: self.token.clone(), server: token, name, device: self.device };
        let options = DriverOptions {
            server: url::Url::parse(&format!("http://{server}")).unwrap(),
            user: self.user,
            app: "tests/1".to_owned(),
            trust: crate::transport::tls::Trust::load(None).unwrap(),
        };
        let driver = DriverHandle::start(options, self.store.clone(), Arc::new(tokens), self.events.clone());
        *self.driver.lock().unwrap() = Some(driver);
    }

    fn driver(&self) -> DriverHandle {
        self.driver.lock().unwrap().clone().unwrap()
    }

    async fn stop(&self) {
        timeout(WITHIN, self.driver().stop()).await.expect("the driver ends");
    }

    fn push(&self, conversation: ConversationId, op: OutboxOp) {
        let mut memory = self.store.lock();
        let entry = memory.push(conversation, op);
        if let Some(driver) = self.driver.lock().unwrap().as_ref() {
            driver.outbox(OutboxUpdate { changed: vec![entry], removed: Vec::new() });
        }
    }

    fn open_chat(&self, peer: UserId) -> ConversationId {
        let conversation = ConversationId::direct(self.user, peer);
        let kind = ConversationKind::Direct;
        let open = Open { conversation, kind, members: vec![peer], title: None, context: None, first: None };
        self.push(conversation, OutboxOp::Open(open));
        conversation
    }

    fn write(&self, conversation: ConversationId) -> EventId {
        let id = EventId::mint();
        self.push(conversation, OutboxOp::Event(message(id)));
        id
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.events.seen.lock().unwrap()
    }

    async fn until(&self, holds: impl Fn(&MemoryStore) -> bool) {
        let waiting = async {
            loop {
                let changed = self.store.changed.notified();
                if holds(&self.store.lock()) {
                    return;
                }
                // A change between the look and the wait is seen at the next look.
                let _ = timeout(Duration::from_millis(50), changed).await;
            }
        };
        if timeout(WITHIN, waiting).await.is_err() {
            panic!("not reached: link {:?}, store {:?}", self.seen().link, self.store.lock());
        }
    }

    async fn until_link(&self, holds: impl Fn(&LinkView) -> bool) {
        let waiting = async {
            loop {
                let changed = self.events.changed.notified();
                if self.seen().link.as_ref().is_some_and(&holds) {
                    return;
                }
                let _ = timeout(Duration::from_millis(50), changed).await;
            }
        };
        if timeout(WITHIN, waiting).await.is_err() {
            panic!("not reached: link {:?}", self.seen().link);
        }
    }
}
