//! Change notices to any number of listeners, each bounded.

use crate::events::EngineEvent;
use std::sync::{Mutex, PoisonError};
use tokio::sync::broadcast;

/// Notices that wait for one listener. When full, its oldest are dropped and it is told [`EngineEvent::Missed`].
const LISTENER_NOTICES_MAX: usize = 1_024;

/// Hands notices to all listeners; never waits.
pub(crate) struct NoticeHub(Mutex<Option<broadcast::Sender<EngineEvent>>>);

impl Default for NoticeHub {
    fn default() -> Self {
        Self(Mutex::new(Some(broadcast::channel(LISTENER_NOTICES_MAX).0)))
    }
}

impl NoticeHub {
    /// Tells everybody who listens.
    pub(crate) fn tell(&self, event: EngineEvent) {
        if let Some(sender) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // Nobody listening is no failure.
            let _ = sender.send(event);
        }
    }

    /// Tells several, in order.
    pub(crate) fn tell_all(&self, events: impl IntoIterator<Item = EngineEvent>) {
        for event in events {
            self.tell(event);
        }
    }

    /// A listener from here on.
    pub(crate) fn subscribe(&self) -> EventStream {
        let hub = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        EventStream(hub.as_ref().map(broadcast::Sender::subscribe))
    }

    /// Ends all streams, once they have been read.
    pub(crate) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A listener's end of the change notices.
pub struct EventStream(Option<broadcast::Receiver<EngineEvent>>);

impl EventStream {
    /// The next notice; [`EngineEvent::Missed`] if some were lost, `None` once the engine has been shut down.
    ///
    /// Safe to cancel: a notice is taken only when it is returned.
    pub async fn next(&mut self) -> Option<EngineEvent> {
        match self.0.as_mut()?.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(EngineEvent::Missed),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_listener_is_told_that_it_missed_something() {
        let hub = NoticeHub::default();
        let (mut slow, mut other) = (hub.subscribe(), hub.subscribe());
        for _ in 0..LISTENER_NOTICES_MAX {
            hub.tell(EngineEvent::OutboxChanged);
        }
        assert_eq!(other.next().await, Some(EngineEvent::OutboxChanged));
        hub.tell(EngineEvent::PresenceChanged);
        assert_eq!(slow.next().await, Some(EngineEvent::Missed));
        hub.close();
        let mut last = None;
        while let Some(event) = slow.next().await {
            last = Some(event);
        }
        assert_eq!(last, Some(EngineEvent::PresenceChanged));
        assert_eq!(hub.subscribe().next().await, None);
    }
}
