//! `kith-agent FOLDER SERVER NAME SEED EMOJI [--new] [--host]`
//!
//! One engine as a process of its own: signs in, does what is ordered on standard input, and says on standard output what
//! it is about to do and what the engine has accepted. It may be killed at any moment and started again on its folder. It
//! ends when standard input does.

#![expect(clippy::expect_used, reason = "an agent that cannot go on says why and ends")]

mod begin;

use anyhow::Result;
use begin::{Arguments, passes};
use kith_client::{
    ClientError, Engine,
    view::{
        Anchor, AppState, ConversationView, LinkView, MessageView, OutboxItemView, OutboxState, TimelineItem,
    },
};
use kith_protocol::{ConversationId, EventId, UserId, frame::ConversationKind};
use kith_tests::torture::words::{Operation, Order, Report, Said};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    time::{Duration, Instant},
};
use tokio::io::{AsyncBufReadExt, BufReader};

/// The group whose members come and go; the host's alone to change.
const COMING_AND_GOING: &str = "Coming and going";
/// Above, an agent waits before it writes more.
const UNSENT_MAX: u32 = 150;
/// Messages among which an agent chooses.
const NEWEST: u32 = 30;
const PAGE: u32 = 200;
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// How long a conversation is scrolled at a time, and how often what comes is looked for.
const SCROLL_FOR: Duration = Duration::from_secs(2);
const LOOK_AT_PAGE_AGAIN: Duration = Duration::from_millis(20);
/// The list of conversations is read again after so many operations.
const LOOK_AGAIN: u64 = 25;

enum Mode {
    Idle,
    Writing { pause_ms: u64 },
    Resting,
}

struct Agent {
    engine: Engine,
    me: UserId,
    arguments: Arguments,
    random: StdRng,
    written: u64,
    operations: u64,
    talks: Vec<ConversationView>,
    /// Conversations that were read to their beginning.
    complete: BTreeSet<ConversationId>,
    /// How far up the others were read.
    reached: BTreeMap<ConversationId, Anchor>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    let engine = begin::opened(&arguments).await?;
    let me = begin::signed_in(&engine, &arguments).await?;
    say(&Said::Ready { user: me });
    let random = StdRng::seed_from_u64(arguments.seed);
    let (talks, complete, reached) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
    Agent { engine, me, arguments, random, written: 0, operations: 0, talks, complete, reached }.serve().await
}

fn say(said: &Said) {
    let mut line = serde_json::to_vec(said).expect("plain data");
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    // One write a line, so that a kill leaves whole lines. Whoever closed the pipe has ended.
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

impl Agent {
    async fn serve(mut self) -> Result<()> {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let mut mode = Mode::Idle;
        loop {
            let pause = match mode {
                Mode::Idle => Duration::from_secs(3600),
                Mode::Writing { pause_ms } => {
                    Duration::from_millis(self.random.random_range(0..=2 * pause_ms))
                }
                Mode::Resting => REPORT_EVERY,
            };
            tokio::select! {
                line = lines.next_line() => {
                    let Some(line) = line? else { return Ok(()) };
                    match serde_json::from_str(&line)? {
                        Order::Group { title, members } => {
                            let conversation = self.engine.create_group(title, members).await?;
                            say(&Said::Made { conversation });
                        }
                        Order::Direct { user } => {
                            let conversation = self.engine.open_direct(user).await?;
                            self.write_message(conversation).await;
                            say(&Said::Made { conversation });
                        }
                        Order::Write { pause_ms } => mode = Mode::Writing { pause_ms },
                        Order::Clock { wrong_by_ms } => kith_failpoint::clock::set_wrong(wrong_by_ms),
                        Order::Rest => {
                            self.engine.network_changed().await?;
                            mode = Mode::Resting;
                        }
                        Order::Quit => {
                            self.engine.shutdown().await;
                            return Ok(());
                        }
                    }
                }
                () = tokio::time::sleep(pause) => match mode {
                    Mode::Idle => {}
                    Mode::Writing { .. } => {
                        let acted = self.act().await;
                        self.bear(acted).await?;
                    }
                    Mode::Resting => {
                        let reported = self.report().await;
                        self.bear(reported).await?;
                    }
                },
            }
        }
    }

    /// Goes on after what passes, as a user does who tries again.
    async fn bear(&mut self, done: Result<(), ClientError>) -> Result<()> {
        match done {
            Err(error) if passes(&error) => {
                say(&Said::Trouble { code: error.code().to_owned() });
                self.engine.try_again().await;
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Does one thing that a user does.
    async fn act(&mut self) -> Result<(), ClientError> {
        if self.operations.is_multiple_of(LOOK_AGAIN) || self.talks.is_empty() {
            self.look_for_mended().await?;
            self.talks = self.engine.conversations().await?;
        }
        self.operations += 1;
        let open: Vec<usize> =
            (0..self.talks.len()).filter(|index| self.talks[*index].my_role.is_some()).collect();
        if open.is_empty() || self.engine.status().await.unsent > UNSENT_MAX {
            return Ok(());
        }
        let talk = &self.talks[open[self.random.random_range(0..open.len())]];
        let (id, is_changing) =
            (talk.id, talk.kind == ConversationKind::Group && talk.title == COMING_AND_GOING);
        match self.random.random_range(0..100) {
            0..65 => self.write_message(id).await,
            65..74 => self.change(id, |agent, own| agent.edit_of(id, own)).await,
            74..78 => {
                let delete = |_: &mut Self, own: &MessageView| {
                    own.mine.then_some(Operation::Delete { conversation: id, message: own.id })
                };
                self.change(id, delete).await;
            }
            78..89 => self.change(id, |agent, any| Some(agent.reaction_to(id, any))).await,
            89..97 => self.attempt(Operation::Read { conversation: id }).await,
            _ if is_changing && self.arguments.is_host => self.change_members(id).await?,
            _ => self.try_again(id).await?,
        }
        Ok(())
    }

    async fn write_message(&mut self, conversation: ConversationId) {
        let text = self.new_text("");
        self.attempt(Operation::Message { conversation, text }).await;
    }

    /// A text that nobody else writes, ever.
    fn new_text(&mut self, what: &str) -> String {
        self.written += 1;
        let Arguments { name, emoji, seed, .. } = &self.arguments;
        format!("{name} {emoji} {seed:x} {what}{}", self.written)
    }

    fn edit_of(&mut self, conversation: ConversationId, own: &MessageView) -> Option<Operation> {
        own.mine.then(|| Operation::Edit { conversation, message: own.id, text: self.new_text("edit ") })
    }

    fn reaction_to(&mut self, conversation: ConversationId, message: &MessageView) -> Operation {
        let emoji = self.arguments.emoji.clone();
        let is_on = message.reactions.iter().any(|one| one.emoji == emoji && one.mine);
        Operation::Reaction { conversation, message: message.id, emoji, on: !is_on }
    }

    /// Does something to one of the newest messages.
    async fn change(
        &mut self,
        conversation: ConversationId,
        operation: impl FnOnce(&mut Self, &MessageView) -> Option<Operation>,
    ) {
        let Ok(page) = self.engine.timeline(conversation, Anchor::Newest, NEWEST).await else { return };
        let messages: Vec<MessageView> = page
            .items
            .into_iter()
            .filter_map(|item| match item {
                TimelineItem::Message(message) if !message.deleted => Some(message),
                _ => None,
            })
            .collect();
        if messages.is_empty() {
            return;
        }
        let chosen = &messages[self.random.random_range(0..messages.len())];
        if let Some(operation) = operation(self, chosen) {
            self.attempt(operation).await;
        }
    }

    /// Somebody goes who is there, or comes back.
    async fn change_members(&mut self, conversation: ConversationId) -> Result<(), ClientError> {
        let present: BTreeSet<UserId> =
            self.engine.conversation(conversation).await?.members.iter().map(|one| one.person.id).collect();
        let everybody = self.engine.conversations().await?.into_iter().find(|talk| talk.title == "Everybody");
        let Some(everybody) = everybody else { return Ok(()) };
        let mut others: Vec<UserId> =
            self.engine.conversation(everybody.id).await?.members.iter().map(|one| one.person.id).collect();
        others.retain(|user| *user != self.me);
        others.sort_unstable();
        // The first of them stays.
        if others.len() > 1 {
            let user = others[self.random.random_range(1..others.len())];
            let added = !present.contains(&user);
            self.attempt(Operation::Member { conversation, user, added }).await;
        }
        Ok(())
    }

    /// Tries again what was refused while one was not a member; what it held back follows (O5).
    async fn try_again(&mut self, conversation: ConversationId) -> Result<(), ClientError> {
        let is_parked = |one: &OutboxItemView| {
            one.conversation == Some(conversation) && matches!(one.state, OutboxState::Parked { .. })
        };
        if let Some(first) = self.engine.outbox().await?.into_iter().find(is_parked) {
            match self.engine.retry(first.item).await {
                // It has left meanwhile.
                Ok(()) | Err(ClientError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says what it will do, does it, and says what came of it.
    async fn attempt(&mut self, operation: Operation) {
        say(&Said::Will { operation: operation.clone() });
        match self.carry_out(&operation).await {
            Ok(id) => say(&Said::Did { operation, id }),
            Err(error) => {
                say(&Said::Refused { operation, code: error.code().to_owned() });
                // The file could not be opened; perhaps now.
                self.engine.try_again().await;
            }
        }
    }

    async fn carry_out(&self, operation: &Operation) -> Result<Option<EventId>, ClientError> {
        let engine = &self.engine;
        match operation.clone() {
            Operation::Message { conversation, text } => {
                engine.send_message(conversation, text, None).await.map(Some)
            }
            Operation::Edit { conversation, message, text } => {
                engine.edit_message(conversation, message, text).await.map(|()| None)
            }
            Operation::Delete { conversation, message } => {
                engine.delete_message(conversation, message).await.map(|()| None)
            }
            Operation::Reaction { conversation, message, emoji, on } => {
                engine.react(conversation, message, emoji, on).await.map(|()| None)
            }
            Operation::Member { conversation, user, added: true } => {
                engine.add_members(conversation, vec![user]).await.map(|()| None)
            }
            Operation::Member { conversation, user, added: false } => {
                engine.remove_member(conversation, user).await.map(|()| None)
            }
            Operation::Read { conversation } => {
                let page = engine.timeline(conversation, Anchor::Newest, 1).await?;
                let seq = page.items.iter().find_map(|item| match item {
                    TimelineItem::Message(message) => message.seq,
                    _ => None,
                });
                match seq {
                    Some(seq) => engine.mark_read(conversation, seq).await.map(|()| None),
                    None => Ok(None),
                }
            }
        }
    }

    /// Says how it stands. Once all is sent it reads everything to its beginning, as somebody does who scrolls up; that
    /// takes its time.
    async fn report(&mut self) -> Result<(), ClientError> {
        self.look_for_mended().await?;
        let talks = self.engine.conversations().await?;
        if self.say_how_it_stands(&talks).await? > 0 {
            return Ok(());
        }
        for talk in talks.iter().filter(|talk| !talk.is_local) {
            if !self.complete.contains(&talk.id) && self.scroll(talk.id).await? {
                self.complete.insert(talk.id);
            }
        }
        self.say_how_it_stands(&talks).await?;
        Ok(())
    }

    /// Returns how many items wait to be sent.
    async fn say_how_it_stands(&self, talks: &[ConversationView]) -> Result<usize, ClientError> {
        let status = self.engine.status().await;
        let waits_for_user =
            |one: &OutboxItemView| matches!(one.state, OutboxState::Parked { .. } | OutboxState::Held);
        let outbox = self.engine.outbox().await?;
        let unread: BTreeMap<_, _> = talks.iter().map(|talk| (talk.id.to_string(), talk.unread)).collect();
        let unsent = outbox.iter().filter(|one| !waits_for_user(one)).count();
        let logs = self.engine.diagnostics().await?.logs;
        let stored =
            logs.iter().map(|log| log.head.0.saturating_sub(u64::from(log.missing) + u64::from(log.older)));
        say(&Said::Report(Report {
            connected: matches!(status.link, LinkView::Connected { .. }),
            complete: talks.iter().all(|talk| self.complete.contains(&talk.id)),
            unread,
            unsent,
            stored: stored.sum(),
        }));
        Ok(unsent)
    }

    /// Takes note of a file that was replaced: what was complete has to come again.
    async fn look_for_mended(&mut self) -> Result<(), ClientError> {
        if let AppState::SignedIn { mended: Some(mended), .. } = self.engine.app_state().await {
            self.engine.mended_seen().await?;
            say(&Said::Mended { salvaged: mended.salvaged });
            self.complete.clear();
            self.reached.clear();
        }
        Ok(())
    }

    /// Scrolls up from where it stopped and waits for what comes; whether all of it is here, looked through in one go.
    async fn scroll(&mut self, conversation: ConversationId) -> Result<bool, ClientError> {
        let end = Instant::now() + SCROLL_FOR;
        let mut anchor = self.reached.remove(&conversation).unwrap_or(Anchor::Newest);
        let mut is_in_one_go = anchor == Anchor::Newest;
        loop {
            let page = self.engine.timeline(conversation, anchor.clone(), PAGE).await?;
            let has_gap = page.items.iter().any(|item| matches!(item, TimelineItem::Gap(_)));
            if page.loading || has_gap {
                if Instant::now() > end {
                    self.reached.insert(conversation, anchor);
                    return Ok(false);
                }
                tokio::time::sleep(LOOK_AT_PAGE_AGAIN).await;
                continue;
            }
            let first = page.items.first().map(order_of).filter(|_| !page.at_start);
            anchor = match first {
                Some(order) => Anchor::Before { order },
                None if is_in_one_go || !page.at_start => return Ok(page.at_start),
                None => {
                    is_in_one_go = true;
                    Anchor::Newest
                }
            };
        }
    }
}

fn order_of(item: &TimelineItem) -> f64 {
    match item {
        TimelineItem::Message(message) => message.order,
        TimelineItem::Notice(notice) => notice.order,
        TimelineItem::Gap(gap) => gap.order,
    }
}
