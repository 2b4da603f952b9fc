//! What the sync machine wants written: each call is one transaction (C3), and applying it twice changes nothing.

use super::{
    Changes, Db, Store, Tx, conversations, drafts, facts, log, members, outbox,
    own_state::{self, Source},
    people, receipts, rewind, sql, verify,
    writer::Durability,
};
use crate::{
    ClientError,
    driver::{Applied, Boxed, Earlier, SyncStore},
    events::Problem,
};
use kith_protocol::{
    frame::{HeadsItem, Notification, OwnState},
    limits,
    text::check_name,
};
use kith_sync::{
    ops::{LocalState, StoreOp},
    terms::Terms,
};
use rusqlite::{OptionalExtension, named_params, params};

impl SyncStore for Store {
    fn load_sync_state(&self, earlier: Earlier) -> Boxed<'_, Result<LocalState, ClientError>> {
        Box::pin(async { Ok(self.write_with(Durability::Full, load, |_| drop(earlier())).await?.0) })
    }

    fn apply(&self, ops: Vec<StoreOp>, earlier: Earlier) -> Boxed<'_, Result<Applied, ClientError>> {
        let durability = durability(&ops);
        let work = move |tx: &mut Tx<'_>| ops.into_iter().try_for_each(|op| apply(tx, op));
        Box::pin(async move {
            let after = |changes: &mut Changes| changes.earlier = earlier();
            let ((), changes) = self.write_with(durability, work, after).await?;
            Ok(changes.into_applied())
        })
    }
}

pub(super) fn durability(ops: &[StoreOp]) -> Durability {
    if ops.iter().any(StoreOp::is_durable) { Durability::Full } else { Durability::Normal }
}

pub(super) fn load(tx: &mut Tx<'_>) -> Result<LocalState, ClientError> {
    Ok(LocalState {
        generation: meta_number(tx, "generation")?,
        epoch: meta(tx, "epoch")?,
        terms: terms(tx)?,
        user_seq: meta_number(tx, "user_seq")?,
        conversations: conversations::load(tx)?,
        outbox: outbox::load(tx)?,
    })
}

pub(super) fn apply(tx: &mut Tx<'_>, op: StoreOp) -> Result<(), ClientError> {
    match op {
        StoreOp::Welcome { generation, epoch, terms } => {
            set_meta(tx, "generation", &generation.to_string())?;
            set_meta(tx, "epoch", &epoch)?;
            set_meta(tx, "terms", &sql::write_json(&terms)?)
        }
        StoreOp::Device { device } => {
            set_meta(tx, "device", &device.to_string())?;
            set_meta(tx, "generation", "0")?;
            // A device that never finished its first sync stays so: messages of its first heads are not announced.
            if meta(tx, "user_seq")?.is_some() { set_meta(tx, "user_seq", "0") } else { Ok(()) }
        }
        StoreOp::Heads { handshake, last, user_seq, items, gone, .. } => {
            put_heads(tx, &items, handshake)?;
            let as_of = (!handshake).then_some(user_seq);
            if handshake {
                // No version is above `user_seq`: a server that was set back counts from there again (S7).
                for cid in
                    gone.iter().filter_map(|id| conversations::cid(tx, *id).transpose()).collect::<Vec<_>>()
                {
                    let cid = cid?;
                    own_state::lower_version(tx, cid, user_seq)?;
                    facts::let_go(tx, cid)?;
                }
            }
            gone.into_iter().try_for_each(|id| conversations::hide_gone(tx, id, as_of))?;
            if handshake && last {
                own_state::forget_versions_above(tx, user_seq)?;
            }
            let is_news = handshake || user_seq > meta_number(tx, "user_seq")?;
            if last && is_news { set_meta(tx, "user_seq", &user_seq.to_string()) } else { Ok(()) }
        }
        StoreOp::Append { conversation, chain_before, events } => {
            log::store_run(tx, conversation, chain_before, &events)
        }
        StoreOp::Page(page) => log::store_page(tx, &page),
        StoreOp::Rewind { conversation, chains } => rewind::rewind(tx, conversation, &chains),
        StoreOp::Lost { conversations } => conversations.into_iter().try_for_each(|id| rewind::lost(tx, id)),
        StoreOp::Sending { items } => outbox::sending(tx, &items),
        StoreOp::Queued { items } => outbox::queued(tx, &items),
        StoreOp::Retry { items, at, code } => outbox::failed(tx, &items, code, Some(at)),
        StoreOp::Parked { items, code } => outbox::failed(tx, &items, code, None),
        StoreOp::Acked { item, id, seq, ts } => outbox::acked(tx, item, id, seq, ts),
        StoreOp::Done { items } => outbox::done(tx, &items),
        StoreOp::OwnState { user_seq, items } => put_own_states(tx, user_seq, &items),
        StoreOp::DraftConflict { items, current } => draft_conflict(tx, &items, &current),
        StoreOp::Markers { conversation, markers } => receipts::put(tx, conversation, &markers),
        StoreOp::Profiles(profiles) => people::put(tx, &profiles),
        StoreOp::Members { conversation, as_of, items, first, last } => {
            members::put_part(tx, conversation, &items, first, last)?;
            if last { facts::members_told(tx, conversation, as_of) } else { Ok(()) }
        }
        StoreOp::Count { counter, by } => verify::count(tx, counter, by),
        StoreOp::Verify { conversation, salt } => verify::conversation(tx, conversation, salt),
        StoreOp::Notifications(items) => items.iter().try_for_each(|item| put_notification(tx, item)),
    }
}

fn put_heads(tx: &mut Tx<'_>, items: &[HeadsItem], handshake: bool) -> Result<(), ClientError> {
    let is_first_sync = meta(tx, "user_seq")?.is_none();
    let source = if handshake { Source::Heads } else { Source::Change };
    items.iter().try_for_each(|item| conversations::put_head(tx, item, is_first_sync, source))
}

fn put_own_states(tx: &mut Tx<'_>, user_seq: Option<u64>, items: &[OwnState]) -> Result<(), ClientError> {
    for own in items {
        put_own_state(tx, own)?;
    }
    match user_seq {
        Some(user_seq) if user_seq > meta_number(tx, "user_seq")? => {
            set_meta(tx, "user_seq", &user_seq.to_string())
        }
        _ => Ok(()),
    }
}

fn put_own_state(tx: &mut Tx<'_>, own: &OwnState) -> Result<(), ClientError> {
    let Some(cid) = conversations::cid(tx, own.conversation)? else { return Ok(()) };
    let head = conversations::facts(tx, cid)?.head;
    own_state::put(tx, cid, own, head, Source::Change)
}

fn draft_conflict(tx: &mut Tx<'_>, items: &[i64], current: &OwnState) -> Result<(), ClientError> {
    let Some(cid) = conversations::cid(tx, current.conversation)? else { return Ok(()) };
    let rest = outbox::take_states(tx, items)?;
    drafts::conflict(tx, cid, current)?;
    put_own_state(tx, current)?;
    // What went with the draft was refused with it, and goes again without it.
    outbox::push_states_again(tx, cid, rest)
}

fn put_notification(tx: &mut Tx<'_>, item: &Notification) -> Result<(), ClientError> {
    let known = "SELECT EXISTS (SELECT 1 FROM notifications WHERE id = ?1)";
    let is_known: bool = tx.conn.prepare_cached(known)?.query_row([item.id.as_bytes()], |row| row.get(0))?;
    if let Some(problem) = new_device(item).filter(|_| !is_known) {
        tx.changes.problem(problem);
    }
    tx.conn
        .prepare_cached(
            "INSERT INTO notifications (id, kind, title, text, data, link, at, is_acknowledged)
             VALUES (:id, :kind, :title, :text, :data, :link, :at, :is_acknowledged)
             ON CONFLICT (id) DO UPDATE SET is_acknowledged = 1
             WHERE excluded.is_acknowledged AND NOT is_acknowledged",
        )?
        .execute(named_params! {
            ":id": item.id.as_bytes(),
            ":kind": item.kind,
            ":title": item.title,
            ":text": item.text,
            ":data": item.data.as_ref().map(sql::write_json).transpose()?,
            ":link": item.link,
            ":at": item.at.as_i64(),
            ":is_acknowledged": item.acknowledged,
        })?;
    Ok(())
}

/// What the user is told of a notification that came for the first time.
fn new_device(item: &Notification) -> Option<Problem> {
    let data = item.data.as_ref().filter(|_| item.kind == "new_device" && !item.acknowledged)?;
    let name = data.get("name")?.as_str()?;
    check_name(name, limits::DEVICE_NAME_CHARS_MAX).ok()?;
    let is_copy = data.get("copy").and_then(serde_json::Value::as_bool).unwrap_or_default();
    Some(Problem::NewDevice { name: name.to_owned(), is_copy })
}

pub(super) fn meta(db: &Db<'_>, key: &str) -> Result<Option<String>, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(query.query_row([key], |row| row.get(0)).optional()?)
}

/// What the server offers and its limits, as its last `welcome` said. What cannot be read, for another version wrote it,
/// is as if there had been none.
pub(super) fn terms(db: &Db<'_>) -> Result<Terms, ClientError> {
    Ok(meta(db, "terms")?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

fn meta_number(tx: &Tx<'_>, key: &str) -> Result<u64, ClientError> {
    Ok(meta(tx, key)?.and_then(|text| text.parse().ok()).unwrap_or_default())
}

pub(super) fn set_meta(tx: &Tx<'_>, key: &str, value: &str) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?
        .execute(params![key, value])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_protocol::DeviceId;

    #[test]
    fn s8_what_a_server_compares_or_would_see_twice_survives_a_power_cut() {
        let of = |op: StoreOp| durability(&[StoreOp::Profiles(Vec::new()), op]);
        assert_eq!(
            of(StoreOp::Welcome { generation: 2, epoch: "e".into(), terms: Terms::default() }),
            Durability::Full
        );
        assert_eq!(of(StoreOp::Device { device: DeviceId::mint() }), Durability::Full);
        assert_eq!(of(StoreOp::Done { items: vec![1] }), Durability::Full);
        assert_eq!(of(StoreOp::Lost { conversations: Vec::new() }), Durability::Full);
        assert_eq!(of(StoreOp::Sending { items: vec![1] }), Durability::Full);
        assert_eq!(of(StoreOp::Notifications(Vec::new())), Durability::Normal);
    }
}
