//! What is true only at the moment: the link, who types, who is there; and the account's numbers, told when they change.

use crate::{
    driver::DriverEvents,
    events::{EngineEvent, Problem},
    notices::NoticeHub,
    store::{Progress, Store},
    view::{LinkView, PresenceView, StatusView},
};
use kith_protocol::{
    ConversationId, ErrorCode, TimestampMs, UserId,
    ephemeral::{Presence, PresenceState},
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The numbers are told at most this often.
const STATUS_EVERY: Duration = Duration::from_millis(100);
/// So many times as long as counting them took, they are not counted again: somebody may have much to read.
const STATUS_REST: u32 = 10;

/// The status of a profile in which nobody is signed in.
pub(crate) fn signed_out_status() -> StatusView {
    StatusView { link: LinkView::SignInNeeded, unread: 0, unsent: 0, parked: 0, rebuilding: None }
}

fn percent(progress: Progress) -> u8 {
    let percent = progress.done.saturating_mul(100) / progress.total.max(1);
    // All of it is said by its end.
    u8::try_from(percent.min(99)).unwrap_or(99)
}

/// What is known of the moment; one for each open account.
pub(crate) struct Live {
    hub: Arc<NoticeHub>,
    store: Store,
    now: Mutex<Now>,
    stale: Notify,
    typed: Notify,
    ended: CancellationToken,
}

struct Now {
    link: LinkView,
    typing: HashMap<ConversationId, Vec<UserId>>,
    /// Conversations whose typing has changed and was not told, each once: at most those that are stored.
    typing_untold: BTreeSet<ConversationId>,
    /// Whose presence is shown: no other's is kept.
    watched: HashSet<UserId>,
    presence: HashMap<UserId, (PresenceState, Option<TimestampMs>)>,
    told: Option<StatusView>,
}

impl Live {
    /// Starts to gather; ends with [`Live::stop`].
    pub(crate) fn start(store: Store, hub: Arc<NoticeHub>) -> Arc<Self> {
        let now = Now {
            link: LinkView::Connecting,
            typing: HashMap::new(),
            typing_untold: BTreeSet::new(),
            watched: HashSet::new(),
            presence: HashMap::new(),
            told: None,
        };
        let live = Arc::new(Self {
            hub,
            store,
            now: Mutex::new(now),
            stale: Notify::new(),
            typed: Notify::new(),
            ended: CancellationToken::new(),
        });
        tokio::spawn(live.clone().tell_status());
        tokio::spawn(live.clone().tell_typing_by_name());
        tokio::spawn(live.clone().tell_of_the_writer());
        live
    }

    /// Ends the task behind it.
    pub(crate) fn stop(&self) {
        self.ended.cancel();
    }

    /// The connection and the account's numbers, as they stand.
    pub(crate) async fn status(&self) -> StatusView {
        let numbers = self.store.numbers().await.unwrap_or_default();
        StatusView {
            link: self.now().link.clone(),
            unread: numbers.unread,
            unsent: numbers.unsent,
            parked: numbers.parked,
            rebuilding: self.store.rebuilding().borrow().map(percent),
        }
    }

    /// Tells notices of what the user did, and the numbers if they changed by it.
    pub(crate) fn changed(&self, notices: Vec<EngineEvent>) {
        self.hub.tell_all(notices);
        self.stale.notify_one();
    }

    pub(crate) fn link(&self) -> LinkView {
        self.now().link.clone()
    }

    pub(crate) fn typing_in(&self, conversation: ConversationId) -> Vec<UserId> {
        self.now().typing.get(&conversation).cloned().unwrap_or_default()
    }

    /// How present somebody is, as far as known.
    pub(crate) fn presence_of(&self, user: UserId) -> Option<PresenceView> {
        let (state, last_seen) = *self.now().presence.get(&user)?;
        Some(PresenceView { user, state, last_seen })
    }

    /// Replaces whose presence is shown. What is known of others is dropped: nobody says when it changes.
    pub(crate) fn watch(&self, users: &[UserId]) {
        let watched: HashSet<_> = users.iter().copied().collect();
        let has_dropped = {
            let mut now = self.now();
            let before = now.presence.len();
            now.presence.retain(|user, _| watched.contains(user));
            now.watched = watched;
            now.presence.len() < before
        };
        if has_dropped {
            self.hub.tell(EngineEvent::PresenceChanged);
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_typing(&self, conversation: ConversationId) {
        self.now().typing_untold.insert(conversation);
        self.typed.notify_one();
    }

    /// Tells who types, by name. One task, and each notice says who types when its names have been read: a notice that
    /// somebody types never comes behind the one that it ended.
    async fn tell_typing_by_name(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.ended.cancelled() => return,
                () = self.typed.notified() => {}
            }
            loop {
                let (conversation, users) = {
                    let mut now = self.now();
                    let Some(conversation) = now.typing_untold.pop_first() else { break };
                    (conversation, now.typing.get(&conversation).cloned().unwrap_or_default())
                };
                let people = match users.is_empty() {
                    true => Vec::new(),
                    false => self.store.people(users).await.unwrap_or_default(),
                };
                self.hub.tell(EngineEvent::TypingChanged { conversation, people });
            }
        }
    }

    /// Tells when the store's writer is not started any more.
    async fn tell_of_the_writer(self: Arc<Self>) {
        tokio::select! {
            () = self.ended.cancelled() => {}
            () = self.store.writer_gave_up() => {
                self.hub.tell(EngineEvent::Problem { problem: Problem::EngineFailed });
            }
        }
    }

    async fn tell_status(self: Arc<Self>) {
        let mut rebuilding = self.store.rebuilding();
        let mut is_rebuilding = rebuilding.borrow().is_some();
        loop {
            tokio::select! {
                () = self.ended.cancelled() => return,
                () = self.stale.notified() => {}
                changed = rebuilding.changed(), if is_rebuilding => {
                    is_rebuilding = changed.is_ok() && rebuilding.borrow_and_update().is_some();
                    if !is_rebuilding {
                        // Whatever is on screen may have been made anew.
                        self.hub.tell(EngineEvent::Missed);
                    }
                }
            }
            let began = Instant::now();
            let status = self.status().await;
            let rest = STATUS_EVERY.max(began.elapsed() * STATUS_REST);
            let changed = {
                let mut now = self.now();
                let changed = now.told.as_ref() != Some(&status);
                now.told = Some(status.clone());
                changed
            };
            if changed {
                self.hub.tell(EngineEvent::StatusChanged { status });
            }
            // While a history comes in, each page changes the numbers.
            tokio::select! {
                () = self.ended.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }
}

impl DriverEvents for Live {
    fn link(&self, link: LinkView) {
        let is_up = matches!(link, LinkView::Connected { .. } | LinkView::CatchingUp { .. });
        // What was true when the connection went is not known to be true any more.
        let (typed, present) = {
            let mut now = self.now();
            now.link = link;
            if is_up {
                Default::default()
            } else {
                (std::mem::take(&mut now.typing), std::mem::take(&mut now.presence))
            }
        };
        if !present.is_empty() {
            self.hub.tell(EngineEvent::PresenceChanged);
        }
        for conversation in typed.into_keys() {
            self.tell_typing(conversation);
        }
        self.stale.notify_one();
    }

    fn notices(&self, notices: Vec<EngineEvent>) {
        self.changed(notices);
    }

    fn typing(&self, conversation: ConversationId, users: Vec<UserId>) {
        {
            let mut now = self.now();
            if users.is_empty() {
                now.typing.remove(&conversation);
            } else {
                now.typing.insert(conversation, users);
            }
        }
        self.tell_typing(conversation);
    }

    fn presence(&self, changed: Vec<Presence>) {
        {
            let mut now = self.now();
            for presence in changed {
                // What was on its way when its user was not shown any more.
                if !now.watched.contains(&presence.user) {
                    continue;
                }
                now.presence.insert(presence.user, (presence.state, presence.last_seen));
            }
        }
        self.hub.tell(EngineEvent::PresenceChanged);
    }

    fn stopped(&self, code: ErrorCode) {
        let problem = match code {
            ErrorCode::UpgradeRequired => Problem::UpgradeRequired,
            _ => Problem::DeviceRevoked,
        };
        self.hub.tell(EngineEvent::Problem { problem });
    }

    fn gave_up(&self) {
        self.hub.tell(EngineEvent::Problem { problem: Problem::EngineFailed });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClientError, store::Key};

    async fn live(folder: &tempfile::TempDir) -> (Arc<Live>, Arc<NoticeHub>, Store) {
        let path = folder.path().join("kith.db");
        let store = Store::open(&path, &Key::new([7; 32]), UserId::mint()).await.unwrap();
        let hub = Arc::new(NoticeHub::default());
        (Live::start(store.clone(), hub.clone()), hub, store)
    }

    /// Who types, of the next notice about it.
    async fn next_typing(events: &mut crate::EventStream) -> (ConversationId, usize) {
        loop {
            if let Some(EngineEvent::TypingChanged { conversation, people }) = events.next().await {
                return (conversation, people.len());
            }
        }
    }

    /// Two notices about one conversation never change places, however long reading the names takes.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn r5_the_last_notice_of_typing_says_how_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let (live, hub, store) = live(&folder).await;
        let mut events = hub.subscribe();
        let (mark, user) = (ConversationId::mint(), UserId::mint());
        for _ in 0..300 {
            let conversation = ConversationId::mint();
            live.typing(conversation, vec![user]);
            tokio::task::yield_now().await;
            live.typing(conversation, Vec::new());
        }
        let mut last = HashMap::new();
        // What is told of this one comes behind everything that was told before.
        while live.now().typing_untold.first().is_some() {
            tokio::task::yield_now().await;
        }
        live.typing(mark, vec![user]);
        loop {
            let (conversation, people) = next_typing(&mut events).await;
            if conversation == mark {
                break;
            }
            last.insert(conversation, people);
        }
        assert_eq!(last.len(), 300);
        assert!(last.values().all(|people| *people == 0));
        live.stop();
        store.close().await;
    }

    #[tokio::test]
    async fn nobody_is_shown_typing_or_there_without_a_connection() {
        let folder = tempfile::tempdir().unwrap();
        let (live, hub, store) = live(&folder).await;
        let mut events = hub.subscribe();
        let (conversation, user) = (ConversationId::mint(), UserId::mint());
        DriverEvents::link(&*live, LinkView::Connected { polling: false });
        live.typing(conversation, vec![user]);
        assert_eq!(next_typing(&mut events).await, (conversation, 1));
        let offline = LinkView::Offline { since: TimestampMs(1), next_try: None, bad_certificate: false };
        DriverEvents::link(&*live, offline);
        assert_eq!(next_typing(&mut events).await, (conversation, 0));
        assert!(live.typing_in(conversation).is_empty());
        live.stop();
        store.close().await;
    }

    #[tokio::test]
    async fn r5_presence_of_whoever_is_watched_no_longer_is_dropped_and_late_words_of_it_too() {
        let folder = tempfile::tempdir().unwrap();
        let (live, _, store) = live(&folder).await;
        let user = UserId::mint();
        let say = || live.presence(vec![Presence { user, state: PresenceState::Online, last_seen: None }]);
        live.watch(&[user]);
        say();
        assert!(live.presence_of(user).is_some());
        live.watch(&[]);
        assert!(live.presence_of(user).is_none());
        say();
        assert!(live.presence_of(user).is_none());
        live.stop();
        store.close().await;
    }

    #[tokio::test]
    async fn an_engine_whose_driver_or_writer_is_given_up_says_so() {
        for is_driver in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let (live, hub, store) = live(&folder).await;
            let mut events = hub.subscribe();
            if is_driver {
                live.gave_up();
            } else {
                while matches!(store.write::<()>(|_| panic!("injected")).await, Err(ClientError::Panicked)) {}
            }
            let failed = async {
                while let Some(event) = events.next().await {
                    if matches!(event, EngineEvent::Problem { problem: Problem::EngineFailed }) {
                        return true;
                    }
                }
                false
            };
            let told = tokio::time::timeout(Duration::from_secs(30), failed).await;
            assert_eq!(told, Ok(true), "driver {is_driver}");
            live.stop();
            store.close().await;
        }
    }
}
