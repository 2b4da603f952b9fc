//! Pages with arbitrary content, applied to the store (`cargo xtask fuzz`). What the parser and the machine's check of
//! the chain let through never fails, applied twice changes nothing (C3), leaves whole ranges (C2), can be shown, and
//! projects to the same rows again (I8).

use super::*;
use kith_protocol::frame::{
    MessageState, ServerFrame,
    mutate::{Mutator, play},
};
use kith_sync::{Log, ops::LocalRange};
use serde_json::json;

/// Cases that failed once.
const FOUND: [u64; 0] = [];
/// Events of a case's log.
const EVENTS: usize = 40;
/// Pages of a case.
const PAGES: usize = 24;

fn content(mutator: &mut Mutator, fixture: &Fixture) -> (String, Option<EventId>, serde_json::Value) {
    let target = match fixture.log.len() {
        0 => EventId::mint(),
        known if mutator.below(8) > 0 => fixture.log[mutator.below(known)].id,
        _ => EventId::mint(),
    };
    let on = mutator.below(2) == 0;
    let user = *mutator.one(&[fixture.ada, fixture.bo]);
    let change = *mutator.one(&["added", "removed", "left", "role"]);
    let (kind, has_target, body) = match mutator.below(9) {
        0..=2 => ("message", false, json!({"text": format!("word {}", mutator.below(99))})),
        3 => ("edit", true, json!({"text": "changed"})),
        4 => ("delete", true, json!({})),
        5 => ("reaction", true, json!({"emoji": mutator.one(&["👍", "❤️"]), "on": on})),
        6 => ("pin", true, json!({"on": on})),
        7 => ("member", false, json!({"user": user, "change": change, "role": "admin"})),
        _ => (*mutator.one(&["title", "settings", "later"]), false, json!({"text": "t"})),
    };
    (kind.to_owned(), has_target.then_some(target), body)
}

/// A log whose chain holds, whatever its events say.
fn write_log(mutator: &mut Mutator, fixture: &mut Fixture) {
    for _ in 0..EVENTS {
        let sender = *mutator.one(&[fixture.ada, fixture.bo]);
        let (kind, target, body) = content(mutator, fixture);
        fixture.number(sender, EventId::mint(), &message(""));
        let event = fixture.log.last_mut().unwrap();
        (event.kind, event.target, event.body) = (kind, target, Some(body));
        event.redacted = mutator.below(12) == 0;
    }
}

fn page(mutator: &mut Mutator, fixture: &Fixture) -> Page {
    let low = 1 + mutator.below(EVENTS);
    let high = low + mutator.below(EVENTS - low + 1).min(12);
    let mut page = fixture.page(low as u64, high as u64);
    page.as_of = Seq(mutator.below(EVENTS + 2) as u64);
    for event in page.events.clone() {
        if mutator.below(3) == 0 {
            let state = MessageState {
                text: (mutator.below(2) == 0).then(|| "as it became".to_owned()),
                edited_seq: (mutator.below(2) == 0).then(|| Seq(mutator.below(EVENTS) as u64)),
                deleted: mutator.below(4) == 0,
                pinned: mutator.below(4) == 0,
                ..MessageState::default()
            };
            page.states.insert(event.id, state);
        }
    }
    page
}

/// The page as it comes over the wire, corrupted; what the parser lets through.
fn arrived(mutator: &mut Mutator, page: Page) -> Option<Page> {
    let mut frame: serde_json::Value = serde_json::from_str(&ServerFrame::Page(page).encode()).unwrap();
    for _ in 0..mutator.below(6) {
        mutator.value(&mut frame);
    }
    match ServerFrame::decode(&frame.to_string()).ok()?.frame {
        ServerFrame::Page(page) => Some(page),
        _ => None,
    }
}

async fn local(fixture: &Fixture) -> kith_sync::ops::LocalConversation {
    fixture.store.load_sync_state(nothing_earlier()).await.unwrap().conversations.remove(0)
}

/// Ranges are apart from each other and hold every event that they name.
async fn check_ranges(fixture: &Fixture, ranges: &[LocalRange]) {
    let mut before = 0;
    for range in ranges {
        assert!(range.low.0 > before + u64::from(before > 0) && range.high >= range.low, "{ranges:?}");
        before = range.high.0;
        let (low, high) = (range.low.as_i64(), range.high.as_i64());
        let held: i64 = fixture
            .read(move |db| {
                let count = "SELECT count(*) FROM events WHERE seq BETWEEN ?1 AND ?2";
                Ok(db.conn.query_row(count, [low, high], |row| row.get(0))?)
            })
            .await;
        assert_eq!(held, high - low + 1, "{range:?}");
    }
}

async fn case(seed: u64) -> u64 {
    let mut mutator = Mutator::new(seed);
    let mut fixture = Fixture::new().await;
    write_log(&mut mutator, &mut fixture);
    fixture.apply(vec![fixture.heads(false)]).await;
    let mut applied = 0;
    for _ in 0..PAGES {
        let page = page(&mut mutator, &fixture);
        let Some(page) = arrived(&mut mutator, page) else { continue };
        if page.conversation != fixture.conversation {
            continue;
        }
        let mut log = Log::stored(local(&fixture).await);
        if !matches!(log.page(&page), Ok((true, _))) {
            continue;
        }
        fixture.apply(vec![StoreOp::Page(page.clone())]).await;
        let once = fixture.dump().await;
        fixture.apply(vec![StoreOp::Page(page)]).await;
        assert_eq!(fixture.dump().await, once, "applied twice");
        check_ranges(&fixture, &local(&fixture).await.ranges).await;
        fixture.items(Anchor::Newest, 500).await;
        fixture.read(super::super::list::conversations).await;
        applied += 1;
    }
    let before = shown(&fixture).await;
    fixture.write(super::super::rebuild::all).await;
    assert_eq!(shown(&fixture).await, before, "projected again");
    fixture.store.close().await;
    applied
}

/// The projected messages, without the numbers that only order them.
async fn shown(fixture: &Fixture) -> Vec<String> {
    let columns =
        "hex(id), seq, hex(sender), ts, text, hex(reply_to), edited_seq, is_deleted, is_pinned, reactions";
    fixture
        .read(move |db| {
            let mut query =
                db.conn.prepare(&format!("SELECT json_array({columns}) FROM messages ORDER BY seq"))?;
            let rows = query.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
}

#[test]
fn i8_fuzz_pages_with_arbitrary_content() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut applied = 0;
    let played = play(&FOUND, 40, |seed| applied += runtime.block_on(case(seed)));
    assert!(applied > played * 2, "{applied} of {played} cases' pages: nearly everything is refused early");
}
