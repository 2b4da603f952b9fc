//! Own state is the server's, and what a user said last.

use super::super::world::World;
use kith_model::Conversation;
use kith_protocol::ConversationId;
use kith_sync::{
    memory::{Kept, MemoryStore, Row},
    ops::OutboxOp,
};

impl World {
    /// I7, S4
    pub(super) fn own_state_is_the_servers(&self, client: usize, image: &MemoryStore) {
        let (one, seed) = (&self.clients[client], self.seed);
        for ((user, conversation), kept) in &self.server.states {
            let state = &kept.own;
            let is_in = |one: &Conversation| one.members.contains_key(user) && one.is_shown_to(*user);
            if *user != one.user || !self.server.conversations.get(conversation).is_some_and(is_in) {
                continue;
            }
            let known = image.conversations.get(conversation);
            let own = known.and_then(|kept| kept.own.as_ref());
            let hidden = self.server.own(*user, *conversation).hidden;
            let Some((known, own)) = known.zip(own) else {
                // A device that was never in sync before it was hidden does not know it.
                assert!(hidden, "seed {seed}: S4, client {client}, nothing is known of {conversation}");
                continue;
            };
            assert_eq!(own.hidden, hidden, "seed {seed}: I7, client {client}, hidden");
            if hidden {
                continue; // the rest comes with the next event
            }
            let flags =
                |own: &kith_protocol::frame::OwnState| (own.pin, own.mute, own.archive, own.unread_flag);
            assert_eq!(flags(own), flags(state), "seed {seed}: I7, client {client}, {conversation}");
            if !known.has_draft_conflict {
                assert_eq!(own.draft, state.draft, "seed {seed}: I7, client {client}, draft");
            }
            self.marker_is_the_servers(client, image, known, *conversation);
        }
    }

    fn marker_is_the_servers(
        &self,
        client: usize,
        image: &MemoryStore,
        kept: &Kept,
        conversation: ConversationId,
    ) {
        let (one, seed) = (&self.clients[client], self.seed);
        let state = &self.server.states[&(one.user, conversation)].own;
        let read = kept.own.as_ref().map(|own| own.read).unwrap_or_default();
        // A server that was set back may know an older marker; the client's never falls below it.
        let is_lost = self.lost.states.contains(&(one.user, conversation))
            || self.lost.from.contains_key(&conversation);
        let is = read == state.read || (is_lost && read > state.read);
        assert!(is, "seed {seed}: I7, client {client}: {read} and {}", state.read);
        let marked = one.read.get(&conversation).copied().unwrap_or_default();
        let waits_here = |row: &Row| row.conversation == conversation && matches!(row.op, OutboxOp::State(_));
        let waits = image.outbox.values().any(waits_here);
        assert!(state.read >= marked || waits || is_lost, "seed {seed}: I7, a read marker was lost");
        self.last_word_counts(client, conversation, waits || is_lost);
    }

    /// What a user said last of own state, on their only device and while in the conversation, is what it is.
    fn last_word_counts(&self, client: usize, conversation: ConversationId, is_excused: bool) {
        let (one, seed) = (&self.clients[client], self.seed);
        let is_alone = self.clients.iter().filter(|other| other.user == one.user).count() == 1;
        let was_always_in = self.server.conversations[&conversation].visible[&one.user].len() == 1;
        let Some(said) = one.said.get(&conversation) else { return };
        if is_excused || !is_alone || !was_always_in {
            return;
        }
        let own = &self.server.states[&(one.user, conversation)].own;
        let is = said.pin.is_none_or(|pin| pin == own.pin) && said.mute.is_none_or(|mute| mute == own.mute);
        assert!(is, "seed {seed}: I7, client {client}, {said:?} was lost: {own:?}");
    }
}
