//! People: profiles as far as they are known here.

use super::{Db, Tx, sql, tokens};
use crate::{
    ClientError,
    view::{PersonView, UNKNOWN_NAME},
};
use kith_protocol::{UserId, api::Profile};
use rusqlite::{OptionalExtension, Row, named_params, params};
use std::{cell::RefCell, collections::HashMap};

fn person(row: &Row<'_>) -> rusqlite::Result<PersonView> {
    Ok(PersonView {
        id: sql::user(row, "id")?,
        username: row.get("username")?,
        display_name: row.get("display_name")?,
        role: row.get("role")?,
        avatar: row.get("avatar")?,
    })
}

/// People of one reading, each read once.
pub(super) struct Known<'a, 'c> {
    db: &'a Db<'c>,
    read: RefCell<HashMap<UserId, PersonView>>,
}

impl<'a, 'c> Known<'a, 'c> {
    pub(super) fn of(db: &'a Db<'c>) -> Self {
        Self { db, read: RefCell::default() }
    }

    /// One person; somebody unknown has no names.
    pub(super) fn get(&self, user: UserId) -> Result<PersonView, ClientError> {
        if let Some(known) = self.read.borrow().get(&user) {
            return Ok(known.clone());
        }
        let person = get(self.db, user)?;
        self.read.borrow_mut().insert(user, person.clone());
        Ok(person)
    }
}

/// One person; somebody unknown has no names.
pub(crate) fn get(db: &Db<'_>, user: UserId) -> Result<PersonView, ClientError> {
    Ok(find(db, user)?.unwrap_or_else(|| PersonView {
        id: user,
        username: String::new(),
        display_name: UNKNOWN_NAME.to_owned(),
        role: None,
        avatar: None,
    }))
}

/// One person, if known.
pub(crate) fn find(db: &Db<'_>, user: UserId) -> Result<Option<PersonView>, ClientError> {
    let mut query = db
        .conn
        .prepare_cached("SELECT id, username, display_name, role, avatar FROM people WHERE id = ?1")?;
    Ok(query.query_row([user.as_bytes()], person).optional()?)
}

/// People whose name or user name has a word that begins like this, by name; never oneself.
pub(crate) fn search(db: &Db<'_>, query: &str, limit: usize) -> Result<Vec<PersonView>, ClientError> {
    let wanted = format!(" {}", tokens::indexed(query));
    if wanted == " " && !query.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = db.conn.prepare_cached(
        "SELECT id, username, display_name, role, avatar FROM people ORDER BY display_name, id",
    )?;
    let mut found = Vec::new();
    let rows = statement.query_map([], person)?;
    for row in rows {
        let row = row?;
        let names = [&row.username, &row.display_name];
        let fits = |name: &&String| format!(" {}", tokens::indexed(name)).contains(&wanted);
        if names.iter().any(fits) && row.id != db.me {
            found.push(row);
            if found.len() == limit {
                break;
            }
        }
    }
    Ok(found)
}

/// The version of a profile that is stored, 0 for none.
pub(super) fn version(db: &Db<'_>, user: UserId) -> Result<u64, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT version FROM people WHERE id = ?1")?;
    let version = query.query_row([user.as_bytes()], |row| row.get::<_, i64>(0)).optional()?;
    Ok(version.map_or(0, |version| version.max(1) as u64))
}

/// Asks for a profile if nothing is known of a user.
pub(super) fn want_if_unknown(tx: &mut Tx<'_>, user: UserId) -> Result<(), ClientError> {
    if !tx.changes.profiles_wanted.contains(&user) && version(tx, user)? == 0 {
        tx.changes.profiles_wanted.insert(user);
    }
    Ok(())
}

/// Stores profiles; a lower version than the stored one is dropped.
pub(crate) fn put(tx: &mut Tx<'_>, profiles: &[Profile]) -> Result<(), ClientError> {
    let mut changed = false;
    for profile in profiles {
        let mut insert = tx.conn.prepare_cached(
            "INSERT INTO people (id, username, display_name, role, avatar, version)
             VALUES (:id, :username, :display_name, :role, :avatar, :version)
             ON CONFLICT (id) DO UPDATE SET username = excluded.username, display_name = excluded.display_name,
                 role = excluded.role, avatar = excluded.avatar, version = excluded.version
             WHERE excluded.version >= version AND (username, display_name, version, ifnull(role, ''), ifnull(avatar, ''))
                 IS NOT (excluded.username, excluded.display_name, excluded.version, ifnull(excluded.role, ''),
                         ifnull(excluded.avatar, ''))",
        )?;
        let rows = insert.execute(named_params! {
            ":id": profile.id.as_bytes(),
            ":username": profile.username,
            ":display_name": profile.display_name,
            ":role": profile.role,
            ":avatar": profile.avatar,
            ":version": i64::try_from(profile.version).unwrap_or(i64::MAX),
        })?;
        if rows > 0 {
            changed = true;
            let mut touched = tx.conn.prepare_cached(
                "SELECT c.id FROM members m JOIN conversations c USING (cid) WHERE m.user = ?1",
            )?;
            let ids = touched
                .query_map(params![profile.id.as_bytes()], |row| sql::conversation(row, "id"))?
                .collect::<Result<Vec<_>, _>>()?;
            drop(touched);
            drop(insert);
            for id in ids {
                tx.changes.row(id);
                tx.changes.timeline(id);
            }
        }
    }
    if changed {
        tx.changes.people_changed = true;
    }
    Ok(())
}
