//! Another log than the stored one: a probe finds where they part, a rewind goes back to there (S7).

use super::{Asked, Machine};
use crate::ops::{LocalConversation, StoreOp};
use kith_protocol::{
    ClientFrame, ConversationId, Seq,
    frame::{Chains, Probe},
};

impl Machine {
    /// The server's log is not a continuation of the stored one: find where they part (S7).
    pub(super) fn fork(&mut self, conversation: ConversationId) {
        let Some(log) = self.logs.get_mut(&conversation) else { return };
        if log.probing {
            return;
        }
        log.probing = true;
        let seqs = log.probes();
        if seqs.is_empty() {
            self.store(StoreOp::Rewind { conversation, chains: Vec::new() });
            return;
        }
        self.request(ClientFrame::Probe(Probe { conversation, seqs }), Asked::Probe { conversation });
    }

    /// Asks whether the server's log continues the stored one, without suspicion: only what is queued waits for it.
    pub(super) fn confirm(&mut self, conversation: ConversationId) {
        let Some(log) = self.logs.get_mut(&conversation) else { return };
        let seqs = log.probes();
        if seqs.is_empty() {
            log.is_confirmed = true;
            return;
        }
        log.confirm_after = Some(u64::MAX);
        self.request(ClientFrame::Probe(Probe { conversation, seqs }), Asked::Confirm { conversation });
    }

    /// It was not answered; what is queued goes on waiting. A server that refuses it for good refuses the rest as well.
    pub(super) fn confirm_later(&mut self, conversation: ConversationId, wait_ms: Option<u64>) {
        if let Some(log) = self.logs.get_mut(&conversation) {
            match wait_ms {
                Some(wait_ms) => log.confirm_after = Some(self.now.mono + wait_ms),
                None => log.is_confirmed = true,
            }
        }
    }

    fn confirmed(&mut self, chains: &Chains) {
        let Some(log) = self.logs.get_mut(&chains.conversation) else { return };
        if log.differs_from(chains) {
            self.fork(chains.conversation);
        } else {
            log.is_confirmed = true;
        }
    }

    /// The store holds another log than the one it was given (S7): the server is asked about the place that shows it.
    pub(super) fn contradicted(&mut self, local: LocalConversation, seq: Seq) {
        let conversation = local.conversation;
        let Some(log) = self.logs.get_mut(&conversation) else { return };
        if log.contradicted(local.ranges, seq) {
            self.fork(conversation);
        } else {
            log.probing = true;
            self.store(StoreOp::Rewind { conversation, chains: Vec::new() });
        }
    }

    /// A probe that was not answered is repeated; until then the conversation stands still.
    pub(super) fn probe_later(&mut self, conversation: ConversationId, retry_after_ms: Option<u64>) {
        if let Some(log) = self.logs.get_mut(&conversation) {
            let wait = retry_after_ms.unwrap_or(super::ASK_AGAIN_MS);
            log.probe_after = Some(self.now.mono + wait);
            self.attention.insert(conversation);
        }
    }

    pub(super) fn probe_again(&mut self) {
        let now = self.now.mono;
        let due = |id: &&ConversationId| {
            self.logs.get(*id).and_then(|log| log.probe_after).is_some_and(|at| at <= now)
        };
        let due: Vec<_> = self.attention.iter().filter(due).copied().collect();
        for conversation in due {
            if let Some(log) = self.logs.get_mut(&conversation) {
                (log.probing, log.probe_after) = (false, None);
            }
            self.fork(conversation);
        }
    }

    /// A repeated answer is of a log that has been settled since.
    pub(super) fn chains(&mut self, chains: Chains, asked: Option<Asked>) {
        match asked {
            Some(Asked::Probe { .. }) => {}
            Some(Asked::Check { .. }) => return self.checked(&chains),
            Some(Asked::Confirm { .. }) => return self.confirmed(&chains),
            _ => return,
        }
        let Chains { conversation, head, mut chains, .. } = chains;
        if let Some(log) = self.logs.get_mut(&conversation) {
            log.head = head;
            let unseen = log.first_unseen();
            chains.retain(|(seq, _)| unseen.is_none_or(|unseen| *seq < unseen));
        }
        self.store(StoreOp::Rewind { conversation, chains });
    }
}
