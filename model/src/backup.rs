//! Backups: what a restore brings back is everything at an earlier moment.

use super::{Conversation, Kept, Server};
use kith_protocol::{ConversationId, DeviceId, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// A copy of the database.
#[derive(Debug)]
pub struct Backup {
    conversations: BTreeMap<ConversationId, Conversation>,
    states: BTreeMap<(UserId, ConversationId), Kept>,
    user_seqs: BTreeMap<UserId, u64>,
    generations: BTreeMap<DeviceId, (u64, u64)>,
    blocks: BTreeSet<(UserId, UserId)>,
}

impl Server {
    /// Copies everything that is stored.
    pub fn backup(&self) -> Backup {
        Backup {
            conversations: self.conversations.clone(),
            states: self.states.clone(),
            user_seqs: self.user_seqs.clone(),
            generations: self.generations.clone(),
            blocks: self.blocks.clone(),
        }
    }

    /// Goes back to an earlier moment; the lineage may be another one (S6) or stay (S7).
    pub fn restore(&mut self, backup: &Backup, new_epoch: bool) {
        self.conversations.clone_from(&backup.conversations);
        self.states.clone_from(&backup.states);
        self.user_seqs.clone_from(&backup.user_seqs);
        self.generations.clone_from(&backup.generations);
        self.blocks.clone_from(&backup.blocks);
        self.epoch += u64::from(new_epoch);
        self.cursors.clear();
        self.restart();
    }

    /// Nothing of what is in memory stays.
    pub fn restart(&mut self) {
        self.connections.clear();
        self.focus.clear();
        self.out.clear();
        self.closed.clear();
    }
}
