//! What is true only at the moment: the link, who types, who is there; and the account's numbers, told when they change.

use super::NoticeHub;
use crate::{
    driver::DriverEvents,
    events::{EngineEvent, Problem},
    store::{Progress, Store},
    view::{LinkView, PresenceView, StatusView},
};
use kith_protocol::{
    ConversationId, ErrorCode, TimestampMs, UserId,
    ephemeral::{Presence, PresenceState},
};
use std::{
    collections::HashMap,
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
    ended: CancellationToken,
}

struct Now {
    link: LinkView,
    typing: HashMap<ConversationId, Vec<UserId>>,
    presence: HashMap<UserId, (PresenceState, Option<TimestampMs>)>,
    told: Option<StatusView>,
}

impl Live {
    /// Starts to gather; ends with [`Live::stop`].
    pub(crate) fn start(store: Store, hub: Arc<NoticeHub>) -> Arc<Self> {
        let now =
            Now { link: LinkView::Connecting, typing: HashMap::new(), presence: HashMap::new(), told: None };
        let live = Arc::new(Self {
            hub,
            store,
            now: Mutex::new(now),
            stale: Notify::new(),
            ended: CancellationToken::new(),
        });
        tokio::spawn(live.clone().tell_status());
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

    /// The connection.
    pub(crate) fn link(&self) -> LinkView {
        self.now().link.clone()
    }

    /// Who types there.
    pub(crate) fn typing_in(&self, conversation: ConversationId) -> Vec<UserId> {
        self.now().typing.get(&conversation).cloned().unwrap_or_default()
    }

    /// How present somebody is, as far as known.
    pub(crate) fn presence_of(&self, user: UserId) -> Option<PresenceView> {
        let (state, last_seen) = *self.now().presence.get(&user)?;
        Some(PresenceView { user, state, last_seen })
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
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
        let forgotten = {
            let mut now = self.now();
            now.link = link;
            !is_up && !now.presence.is_empty()
        };
        if forgotten {
            // What was true when the connection went is not known to be true any more.
            self.now().presence.clear();
            self.hub.tell(EngineEvent::PresenceChanged);
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
                now.typing.insert(conversation, users.clone());
            }
        }
        let (hub, store) = (self.hub.clone(), self.store.clone());
        tokio::spawn(async move {
            let people = store.people(users).await.unwrap_or_default();
            hub.tell(EngineEvent::TypingChanged { conversation, people });
        });
    }

    fn presence(&self, changed: Vec<Presence>) {
        {
            let mut now = self.now();
            for presence in changed {
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
}
