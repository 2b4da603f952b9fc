//! Polling (S12), for networks in which a socket does not work: a connection that ends after each answer.

use super::{Asked, Link, Machine};
use crate::{Action, outbox::Gate};
use kith_protocol::{ClientFrame, ServerFrame, limits};
use std::collections::BTreeSet;

/// Polling instead of a socket (S12).
#[derive(Debug, Default)]
pub(crate) struct Polling {
    /// The socket does not work here.
    pub on: bool,
    /// Sockets that failed in a row while the server answered, or nobody did.
    failed_sockets: u32,
    /// When a socket is tried again, monotonic ms.
    pub socket_at: u64,
    /// Nobody had answered when polling began: after the first exchange that works a socket is tried at once.
    suspect: bool,
    /// The last request of the exchange under way, and of those before it that did not fit.
    sent_up_to: u64,
    /// What the next exchange carries, or as much of it as fits.
    pub queue: Vec<(ClientFrame, Option<u64>)>,
}

/// The least time between two exchanges, ms.
const EXCHANGE_EVERY_MS: u64 = 100;
/// What an exchange's body has besides its frames, at most, in bytes.
const EXCHANGE_ROOM: usize = 1024;

/// Takes the first frames, as many as an exchange may carry.
fn fitting(queue: &mut Vec<(ClientFrame, Option<u64>)>) -> Vec<(ClientFrame, Option<u64>)> {
    let mut bytes = EXCHANGE_ROOM;
    let fits = |(frame, request): &&(ClientFrame, Option<u64>)| {
        bytes += frame.encode(*request).len() + 1;
        bytes <= limits::HTTP_BODY_BYTES_MAX
    };
    let count = queue.iter().take(limits::EXCHANGE_FRAMES_MAX).take_while(fits).count();
    let left = queue.split_off(count);
    std::mem::replace(queue, left)
}

impl Machine {
    /// Two failed sockets, or a server that has none, begin polling (S12); whether the server answers at all, the first
    /// exchange shows.
    pub(super) fn socket_failed(&mut self, off: bool, answered: bool) {
        let was_on = self.polling.on;
        self.polling.failed_sockets += 1;
        if off || self.polling.failed_sockets >= 2 {
            self.polling.on = true;
            self.polling.suspect = !answered && !was_on;
            self.polling.socket_at = self.now.mono + limits::SOCKET_RETRY_EVERY.as_millis() as u64;
        }
        if was_on || (answered && self.polling.on) {
            self.begin_exchange();
        } else {
            self.wait(0);
        }
    }

    pub(super) fn begin_exchange(&mut self) {
        self.link = Link::Exchanging;
        let queued = std::mem::take(&mut self.polling.queue);
        let queued = self.without_overtaking(queued);
        self.hello();
        if self.heard {
            self.tell_again();
        }
        self.polling.queue.extend(queued);
        let frames = fitting(&mut self.polling.queue);
        self.polling.sent_up_to = self.last_request;
        self.actions.push(Action::Exchange(frames));
    }

    /// Leaves out events that were ready for the next exchange when an answer showed another lineage: they would overtake
    /// what leaves again before them (S7). They have their turn again.
    fn without_overtaking(
        &mut self,
        queued: Vec<(ClientFrame, Option<u64>)>,
    ) -> Vec<(ClientFrame, Option<u64>)> {
        let (mut stay, mut withdrawn) = (Vec::with_capacity(queued.len()), Vec::new());
        for (frame, request) in queued {
            let asked = request.and_then(|number| self.requests.get(&number)).map(|request| &request.asked);
            let (ClientFrame::Send(send), Some(Asked::Send { items })) = (&frame, asked) else {
                stay.push((frame, request));
                continue;
            };
            let waits = matches!(self.gate(send.conversation), Some((Gate::Opening, _)));
            let items: Vec<i64> = items.iter().map(|(item, _)| *item).collect();
            if waits || self.outbox.is_overtaking(send.conversation, &items) {
                withdrawn.extend(items);
                request.map(|number| self.requests.remove(&number));
            } else {
                stay.push((frame, request));
            }
        }
        if let Some(op) = self.outbox.requeued(withdrawn) {
            self.store(op);
        }
        stay
    }

    /// Begins the next exchange when there is something to send, or it is time.
    pub(super) fn flush_exchange(&mut self) {
        let Link::Between { until } = self.link else { return };
        if until <= self.now.mono {
            self.begin_exchange();
        } else if !self.polling.queue.is_empty() {
            self.link = Link::Between { until: until.min(self.now.mono + EXCHANGE_EVERY_MS) };
        }
    }

    pub(super) fn exchanged(&mut self, frames: Vec<ServerFrame>) {
        if self.link != Link::Exchanging {
            return;
        }
        for frame in frames {
            self.frame(frame);
            if self.link != Link::Exchanging {
                return; // refused
            }
        }
        // What this exchange carried and did not answer will not be answered any more.
        let left: BTreeSet<u64> = self.polling.queue.iter().filter_map(|(_, request)| *request).collect();
        for (id, request) in std::mem::take(&mut self.requests) {
            if id > self.polling.sent_up_to || left.contains(&id) {
                self.requests.insert(id, request);
            } else {
                self.unanswered(request.asked);
            }
        }
        self.backoff.reset();
        self.link = Link::Between { until: self.now.mono + limits::POLL_EVERY.as_millis() as u64 };
        if std::mem::take(&mut self.polling.suspect) {
            self.polling.socket_at = self.now.mono;
        }
    }

    fn unanswered(&mut self, asked: Asked) {
        let items = match asked {
            Asked::Send { items } => items.into_iter().map(|(item, _)| item).collect(),
            Asked::Open { item } => vec![item],
            Asked::State { items, .. } => items,
            Asked::Pull { conversation } => {
                if let Some(log) = self.logs.get_mut(&conversation) {
                    log.pull_failed();
                }
                return;
            }
            Asked::Probe { conversation } => return self.probe_later(conversation, None),
            Asked::Confirm { conversation } => return self.confirm_later(conversation, Some(0)),
            Asked::Profiles { .. } | Asked::Members { .. } | Asked::Markers { .. } => {
                return self.ask_later(asked, None);
            }
            Asked::Hello | Asked::Auth | Asked::Heads | Asked::Check { .. } => return,
        };
        if let Some(op) = self.outbox.requeued(items) {
            self.store(op);
        }
    }
}
