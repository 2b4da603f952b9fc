//! What the store reports after a transaction.

use super::Machine;
use crate::ops::{Counter, LocalConversation, OutboxUpdate, Stored};

impl Machine {
    pub(super) fn stored(&mut self, stored: Stored) {
        for update in stored.earlier {
            self.outbox.update(update);
        }
        for item in stored.ended {
            self.outbox.remove(item);
        }
        let orphans = stored.queued.len();
        if !stored.queued.is_empty() {
            self.outbox.update(OutboxUpdate { changed: stored.queued, removed: Vec::new() });
        }
        self.outbox.stored();
        for (local, seq) in stored.forked {
            if !stored.rewound.iter().any(|left| left.conversation == local.conversation) {
                self.contradicted(local, seq);
            }
        }
        let mut forks = 0;
        for local in stored.rewound {
            // Own state was cut where the logs part: heads tell what of it holds in this log (S7).
            self.heads_at.get_or_insert(self.now.mono);
            if let Some(log) = self.logs.get_mut(&local.conversation) {
                log.is_confirmed = true;
            }
            forks += usize::from(self.rewound(local));
        }
        for local in stored.repaired {
            self.rewound(local);
        }
        self.count(Counter::Forks, forks);
        self.count(Counter::Orphans, if forks > 0 { orphans } else { 0 });
        self.live.profiles_wanted(stored.profiles_wanted);
        self.live.members_wanted.extend(stored.members_wanted);
        self.live.stored();
        self.send_lost_again();
        self.send_items(stored.sending);
    }

    /// What is left of a log. Returns whether something was cut.
    fn rewound(&mut self, local: LocalConversation) -> bool {
        self.attention.insert(local.conversation);
        if let Some(op) = self.outbox.rewound(local.conversation) {
            self.store(op);
        }
        self.logs.get_mut(&local.conversation).is_some_and(|log| log.rewound(local.ranges))
    }
}
