//! The judge finds what it is there to find.

use super::*;
use crate::torture::{truth::Fact, words::Report};
use kith_protocol::{Chain, Seq};
use serde_json::json;

const TEXTS: [&str; 3] = ["one", "two", "three"];

/// A log of three messages by one user, and a second user who has read none of them.
struct Scene {
    id: ConversationId,
    author: UserId,
    log: Log,
    heard: Heard,
    reader: Heard,
}

impl Scene {
    fn new() -> Self {
        let (id, author, reader) = (ConversationId::mint(), UserId::mint(), UserId::mint());
        let member = |user| Membership { user, is_active: true, read: 0, intervals: vec![(1, None)] };
        let members = vec![member(author), member(reader)];
        let mut scene = Self {
            id,
            author,
            log: Log { members, ..Log::default() },
            heard: Heard { user: Some(author), ..Heard::default() },
            reader: Heard { user: Some(reader), ..Heard::default() },
        };
        for text in TEXTS {
            scene.accept(text);
        }
        scene.shows(3);
        scene
    }

    fn accept(&mut self, text: &str) {
        let message = EventId::mint();
        let operation = Operation::Message { conversation: self.id, text: text.to_owned() };
        self.heard.operations.push((operation, End::Done(Some(message))));
        self.number(message, text);
    }

    fn number(&mut self, id: EventId, text: &str) {
        let before = self.log.facts.last().and_then(|fact| Chain::from_slice(&fact.chain));
        let chain =
            before.unwrap_or_else(|| Chain::empty(self.id)).then(self.id, Seq::from_i64(self.log.head), id);
        self.log.head += 1;
        self.log.facts.push(Fact {
            seq: self.log.head,
            id,
            sender: self.author,
            kind: "message".to_owned(),
            target: None,
            countable: self.log.head,
            chain: chain.as_bytes().to_vec(),
            body: Some(json!({ "text": text })),
        });
    }

    fn shows(&mut self, unread: u32) {
        let unread = [(self.id.to_string(), unread)].into_iter().collect();
        self.reader.report = Some(Report { connected: true, complete: true, unread, unsent: 0, stored: 3 });
    }

    /// What is found if the reader's file holds `facts`.
    fn judge(self, facts: Vec<Fact>) -> Findings {
        let file = |facts| {
            let stored = Stored { facts, outcomes: self.log.outcomes() };
            let mut file = File::default();
            file.conversations.insert(self.id, stored);
            file
        };
        let files = [file(self.log.facts.clone()), file(facts)];
        let logs = [(self.id, self.log)].into_iter().collect();
        let witnesses: Vec<_> = [&self.heard, &self.reader]
            .into_iter()
            .zip(files)
            .map(|(heard, file)| Witness {
                label: "somebody".to_owned(),
                heard,
                set_back_at: 0,
                was_corrupted: false,
                file,
            })
            .collect();
        judge(&logs, &witnesses, false)
    }
}

#[test]
fn what_is_equal_is_clean() {
    let scene = Scene::new();
    let facts = scene.log.facts.clone();
    let findings = scene.judge(facts);
    assert!(findings.is_clean(), "{findings:?}");
}

#[test]
fn an_accepted_message_that_postgresql_lacks_is_lost() {
    let mut scene = Scene::new();
    scene.log.facts.pop();
    scene.log.head = 2;
    scene.shows(2);
    let facts = scene.log.facts.clone();
    assert_eq!(scene.judge(facts).lost.len(), 1);
}

#[test]
fn an_event_that_a_file_lacks_is_lost() {
    let scene = Scene::new();
    let mut facts = scene.log.facts.clone();
    facts.remove(1);
    assert_eq!(scene.judge(facts).lost.len(), 1);
}

#[test]
fn a_text_under_two_ids_is_double() {
    let mut scene = Scene::new();
    scene.number(EventId::mint(), TEXTS[0]);
    scene.shows(4);
    let facts = scene.log.facts.clone();
    assert_eq!(scene.judge(facts).double.len(), 1);
}

#[test]
fn another_order_in_a_file_or_against_the_writing_is_reordered() {
    let scene = Scene::new();
    let mut facts = scene.log.facts.clone();
    facts.swap(0, 1);
    (facts[0].seq, facts[1].seq) = (1, 2);
    assert_eq!(scene.judge(facts).reordered.len(), 2);
    let mut scene = Scene::new();
    scene.heard.operations.swap(0, 1);
    let facts = scene.log.facts.clone();
    assert_eq!(scene.judge(facts).reordered.len(), 1);
}

#[test]
fn another_unread_number_or_an_edit_that_did_not_come_is_found() {
    let mut scene = Scene::new();
    scene.shows(2);
    let message = scene.log.facts[0].id;
    let edit = Operation::Edit { conversation: scene.id, message, text: "better".to_owned() };
    scene.heard.operations.push((edit, End::Done(None)));
    let facts = scene.log.facts.clone();
    let findings = scene.judge(facts);
    assert_eq!((findings.different.len(), findings.lost.len()), (1, 1), "{findings:?}");
}

#[test]
fn a_text_that_was_refused_and_is_in_the_log_is_double() {
    let mut scene = Scene::new();
    let (_, end) = &mut scene.heard.operations[1];
    *end = End::Refused("disk_full".to_owned());
    let facts = scene.log.facts.clone();
    assert_eq!(scene.judge(facts).double.len(), 1);
}
