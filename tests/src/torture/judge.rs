//! Compares what every engine said, what every file holds and what PostgreSQL holds.

use super::{
    agent::{End, Heard},
    files::{File, Stored},
    tally::Findings,
    truth::{Log, Membership, Outcome},
    words::Operation,
};
use kith_protocol::{ConversationId, EventId, UserId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

type Logs = BTreeMap<ConversationId, Log>;

/// A device: what it said and what it holds.
pub struct Witness<'a> {
    pub label: String,
    pub heard: &'a Heard,
    /// Index of its first operation after the last restore.
    pub set_back_at: usize,
    /// Its file was damaged at least once. After a restore, events that only this file held are lost.
    pub was_corrupted: bool,
    pub file: File,
}

/// Judges everything.
///
/// After a restore the devices send lost events again. The judge then accepts two differences. A device keeps a deletion
/// that the server lost, and a read marker above the server's.
pub fn judge(logs: &Logs, witnesses: &[Witness<'_>], is_restored: bool) -> Findings {
    let mut findings = Findings::default();
    for (id, log) in logs {
        if let Err(error) = log.check(*id) {
            findings.reordered.push(format!("PostgreSQL: {error}"));
        }
    }
    let outcomes: BTreeMap<ConversationId, BTreeMap<EventId, Outcome>> =
        logs.iter().map(|(id, log)| (*id, log.outcomes())).collect();
    texts(logs, witnesses, &mut findings);
    for witness in witnesses {
        // After a restore, a deletion on any device keeps a message from being sent again.
        let deleted = if is_restored { deleted(witnesses) } else { deleted([witness]) };
        accepted(logs, witness, &deleted, is_restored && witness.was_corrupted, &mut findings);
        holds(logs, &outcomes, witness, is_restored, &mut findings);
        for row in witness.file.outbox().0.into_iter().filter(|row| row.kind != "message") {
            let why = format!("{} {}", row.kind, row.code.as_deref().unwrap_or("held"));
            *findings.parked_others.entry(why).or_default() += 1;
        }
        for row in witness.file.outbox().1 {
            findings.different.push(format!("{}: {row:?} is in the outbox", witness.label));
        }
    }
    last_words(logs, &outcomes, witnesses, is_restored, &mut findings);
    findings
}

/// No text is in the log twice, and none that nobody wrote. A text that was refused stayed with its user, who writes it
/// once more: in the log it would come twice.
fn texts(logs: &Logs, witnesses: &[Witness<'_>], findings: &mut Findings) {
    let (mut written, mut refused): (HashSet<&str>, HashSet<&str>) = Default::default();
    for (operation, end) in witnesses.iter().flat_map(|one| &one.heard.operations) {
        let to = if matches!(end, End::Refused(_)) { &mut refused } else { &mut written };
        to.extend(operation.text());
    }
    let mut seen: HashMap<&str, i64> = HashMap::new();
    for (id, log) in logs {
        for fact in log.facts.iter().filter(|fact| fact.kind == "message" || fact.kind == "edit") {
            let Some(text) = fact.text() else { continue };
            if let Some(before) = seen.insert(text, fact.seq) {
                findings.double.push(format!("{id}: {text:?} is at {before} and at {}", fact.seq));
            }
            if refused.contains(text) {
                findings.double.push(format!("{id}: {text:?} was refused and is at {}", fact.seq));
            } else if !written.contains(text) {
                findings.different.push(format!("{id}: nobody wrote {text:?}"));
            }
        }
    }
}

/// Messages that these devices deleted.
fn deleted<'a>(witnesses: impl IntoIterator<Item = &'a Witness<'a>>) -> HashSet<EventId> {
    let operations = witnesses.into_iter().flat_map(|one| &one.heard.operations);
    let of = |operation: &Operation| {
        if let Operation::Delete { message, .. } = operation { Some(*message) } else { None }
    };
    operations.filter_map(|(operation, _)| of(operation)).collect()
}

/// I1, I5, I9: every accepted message is in PostgreSQL once, deleted or parked. Messages written after the last restore
/// are in the order of writing; earlier ones may follow messages that were sent again.
fn accepted(
    logs: &Logs,
    witness: &Witness<'_>,
    deleted: &HashSet<EventId>,
    may_be_lost: bool,
    findings: &mut Findings,
) {
    let Witness { label, heard, file, set_back_at, .. } = witness;
    let parked: HashSet<EventId> = file.outbox().0.into_iter().filter_map(|row| row.id).collect();
    let places: HashMap<EventId, (ConversationId, i64)> = logs
        .iter()
        .flat_map(|(id, log)| log.facts.iter().map(move |fact| (fact.id, (*id, fact.seq))))
        .collect();
    let mut last: HashMap<ConversationId, i64> = HashMap::new();
    for (index, (operation, end)) in heard.operations.iter().enumerate() {
        let (Operation::Message { conversation, text }, End::Done(Some(message))) = (operation, end) else {
            continue;
        };
        match places.get(message) {
            Some((at, seq)) if at == conversation => {
                if index < *set_back_at {
                    continue;
                }
                let before = last.insert(*conversation, *seq).unwrap_or_default();
                if before > *seq {
                    findings.reordered.push(format!("{label}: {text:?} is at {seq}, after {before}"));
                }
            }
            Some((at, _)) => findings.different.push(format!("{label}: {text:?} went to {at}")),
            None if parked.contains(message) => findings.parked += 1,
            None if deleted.contains(message) || may_be_lost => {}
            None => findings.lost.push(format!("{label}: {text:?} was accepted and is not in PostgreSQL")),
        }
    }
}

/// I3, I7: the file equals PostgreSQL in the user's visible range, and so do the numbers that the engine shows.
fn holds(
    logs: &Logs,
    outcomes: &BTreeMap<ConversationId, BTreeMap<EventId, Outcome>>,
    witness: &Witness<'_>,
    is_restored: bool,
    findings: &mut Findings,
) {
    let Some(user) = witness.heard.user else { return };
    let empty = Stored::default();
    for (id, log) in logs {
        let Some(member) = log.members.iter().find(|member| member.user == user) else { continue };
        let name = format!("{} in {id}", witness.label);
        let stored = witness.file.conversations.get(id).unwrap_or(&empty);
        same_log(log, member, stored, &name, is_restored, findings);
        let shown = witness.heard.report.as_ref().and_then(|report| report.unread.get(&id.to_string()));
        let counted = log.unread(member);
        if !is_restored && member.is_active && shown.is_some_and(|shown| *shown as usize != counted) {
            findings.different.push(format!("{name}: {shown:?} unread, {counted} by count"));
        }
        if member.is_whole()
            && let Some(truth) = outcomes.get(id)
            && *truth != stored.outcomes
        {
            let keeps_deletion = |message: &EventId| {
                is_restored && stored.outcomes.get(message).is_some_and(|outcome| outcome.is_deleted)
            };
            let differs = |message: &&EventId| {
                truth.get(message) != stored.outcomes.get(message) && !keeps_deletion(message)
            };
            for message in truth.keys().chain(stored.outcomes.keys()).filter(differs).take(3) {
                let (here, there) = (stored.outcomes.get(message), truth.get(message));
                findings.different.push(format!("{name}: {message} is {here:?}, in PostgreSQL {there:?}"));
            }
        }
    }
}

fn same_log(
    log: &Log,
    member: &Membership,
    stored: &Stored,
    name: &str,
    is_restored: bool,
    findings: &mut Findings,
) {
    let here: BTreeMap<i64, _> = stored.facts.iter().map(|fact| (fact.seq, fact)).collect();
    let mut missing = Vec::new();
    for fact in log.facts.iter().filter(|fact| member.sees(fact.seq)) {
        let Some(found) = here.get(&fact.seq) else {
            missing.push(fact.seq);
            continue;
        };
        if found.id != fact.id || found.chain != fact.chain {
            findings.reordered.push(format!("{name}: at {} is {found:?}, not {fact:?}", fact.seq));
        } else if is_restored && found.body.is_none() {
            // The device keeps the deletion.
        } else if found.body != fact.body && (member.is_whole() || fact.body.is_some()) {
            findings.different.push(format!("{name}: at {} is {found:?}, not {fact:?}", fact.seq));
        }
    }
    if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
        let count = missing.len();
        findings.lost.push(format!("{name}: {count} events between {first} and {last} are not in the file"));
    }
    if let Some(fact) = stored.facts.iter().find(|fact| !member.sees(fact.seq)) {
        findings.different.push(format!("{name}: {fact:?} is not to be seen there"));
    }
}

/// What a device last did to a message, and what it may have done after that before it died.
#[derive(Default)]
struct Last<T> {
    done: Option<T>,
    perhaps: Vec<T>,
}

impl<T> Last<T> {
    fn add(&mut self, value: T, end: &End) {
        match end {
            End::Done(_) => (self.done, self.perhaps) = (Some(value), Vec::new()),
            End::Unknown => self.perhaps.push(value),
            End::Refused(_) => {}
        }
    }
}

/// An accepted edit or reaction that no later one of its kind replaced is what PostgreSQL shows, or it waits for the user.
/// Judged are conversations whose members stay.
fn last_words(
    logs: &Logs,
    outcomes: &BTreeMap<ConversationId, BTreeMap<EventId, Outcome>>,
    witnesses: &[Witness<'_>],
    is_restored: bool,
    findings: &mut Findings,
) {
    let stay =
        |id: &ConversationId| logs.get(id).is_some_and(|log| log.members.iter().all(Membership::is_whole));
    let mut edits: HashMap<(ConversationId, EventId), HashMap<&str, Last<&str>>> = HashMap::new();
    let mut reactions: HashMap<(ConversationId, EventId, &str, UserId), Last<bool>> = HashMap::new();
    for witness in witnesses {
        let Some(user) = witness.heard.user else { continue };
        for (operation, end) in &witness.heard.operations {
            let may_be_lost = is_restored && witness.was_corrupted && matches!(end, End::Done(_));
            let end = if may_be_lost { &End::Unknown } else { end };
            match operation {
                Operation::Edit { conversation, message, text } if stay(conversation) => {
                    let by = edits.entry((*conversation, *message)).or_default();
                    by.entry(&witness.label).or_default().add(text, end);
                }
                Operation::Reaction { conversation, message, emoji, on } if stay(conversation) => {
                    reactions.entry((*conversation, *message, emoji, user)).or_default().add(*on, end);
                }
                _ => {}
            }
        }
    }
    let waiting = witnesses.iter().flat_map(|witness| witness.file.outbox().0);
    let waiting: HashSet<(&str, EventId)> =
        waiting.filter_map(|row| Some((row.kind.as_str(), row.target?))).collect();
    let outcome =
        |id, message| outcomes.get(id)?.get(message).filter(|outcome: &&Outcome| !outcome.is_deleted);
    for ((id, message), by) in &edits {
        let Some(outcome) = outcome(id, message) else { continue };
        let may: BTreeSet<&str> =
            by.values().flat_map(|last| last.done.iter().chain(&last.perhaps)).copied().collect();
        let is_certain = by.values().any(|last| last.done.is_some());
        let waits = waiting.contains(&("edit", *message));
        if is_certain && !waits && !may.contains(outcome.text.as_str()) {
            findings.lost.push(format!("{id}: {message} says {:?}, its edits {may:?}", outcome.text));
        }
    }
    for ((id, message, emoji, user), last) in &reactions {
        let (Some(outcome), Some(done)) = (outcome(id, message), last.done) else { continue };
        let is_on = outcome.reactions.contains(&((*emoji).to_owned(), *user));
        let waits = waiting.contains(&("reaction", *message));
        if is_on != done && !waits && !last.perhaps.contains(&is_on) {
            findings.lost.push(format!("{id}: {emoji} on {message} by {user} is {is_on}, not {done}"));
        }
    }
}

#[cfg(test)]
mod tests;
