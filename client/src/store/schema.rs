//! How a database file is opened: key, pragmas, migrations. The file is not touched before its key has been checked,
//! and not migrated before a copy of it is kept.

use super::place;
use crate::ClientError;
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};
use std::path::Path;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The database's raw key. It has no `Debug`, and is overwritten when it goes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl std::ops::Deref for Key {
    type Target = [u8; 32];

    fn deref(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Each is one step of `user_version`. Never edited once released.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("schema/0001_init.sql"),
    include_str!("schema/0002_last_lines.sql"),
    include_str!("schema/0003_marks.sql"),
    include_str!("schema/0004_tokens.sql"),
    include_str!("schema/0005_deletions_and_drafts.sql"),
    include_str!("schema/0006_members_as_of.sql"),
];

/// Raised when projections are made differently; a file with another number makes them again (C6).
pub(super) const PROJECTION: i64 = 2;

/// Pages kept in memory: SQLite takes negative numbers for KiB. A history that is fetched touches many; what is read for
/// the window lies together.
const WRITER_CACHE_KIB: i64 = -16_384;
const READER_CACHE_KIB: i64 = -6_144;

/// SQLCipher's page, bytes; never set otherwise.
const PAGE: usize = 4_096;

/// Another connection of the same file is waited for so long.
pub(super) const BUSY: std::time::Duration = std::time::Duration::from_secs(5);

/// Opens the file for its one writer and brings the schema up to date with these steps.
pub(super) fn open_writer(path: &Path, key: &Key, migrations: &[&str]) -> Result<Connection, ClientError> {
    let mut conn = open(path, key, OpenFlags::SQLITE_OPEN_CREATE)?;
    let known = migrations.len() as u32;
    let found: u32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known {
        return Err(ClientError::NewerFile { found, known });
    }
    set_for_writing(&conn)?;
    let is_outdated = 0 < found && found < known;
    if is_outdated {
        checkpoint(&conn)?;
        place::keep_copy(path)?;
    }
    // All steps or none: ended between two of them, the next start would keep a copy of a file that is half migrated in
    // the place of the one from before.
    if found < known {
        let tx = conn.transaction()?;
        for sql in migrations.iter().skip(found as usize) {
            tx.execute_batch(sql)?;
        }
        tx.pragma_update(None, "user_version", known)?;
        tx.commit()?;
    }
    if !is_outdated {
        // The migrated file has been closed and opened again.
        place::drop_copy(path)?;
    }
    Ok(conn)
}

/// Opens a file again that [`open_writer`] has opened before, for its one writer.
pub(super) fn reopen_writer(path: &Path, key: &Key) -> Result<Connection, ClientError> {
    let conn = open(path, key, OpenFlags::empty())?;
    set_for_writing(&conn)?;
    Ok(conn)
}

fn set_for_writing(conn: &Connection) -> Result<(), ClientError> {
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "wal_autocheckpoint", 1_000)?;
    conn.pragma_update(None, "cache_size", WRITER_CACHE_KIB)?;
    // Deleted rows are cleared in their pages where that costs nothing; the rest is `scrub`'s.
    conn.execute_batch("PRAGMA secure_delete = FAST")?;
    Ok(())
}

/// Brings everything into the file itself.
///
/// # Errors
/// [`ClientError::FileBusy`] if somebody still reads an older state.
pub(super) fn checkpoint(conn: &Connection) -> Result<(), ClientError> {
    match conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))? {
        0 => Ok(()),
        _ => Err(ClientError::FileBusy),
    }
}

/// Opens the file for reading; the writer has been opened before.
pub(super) fn open_reader(path: &Path, key: &Key) -> Result<Connection, ClientError> {
    let conn = open(path, key, OpenFlags::empty())?;
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "cache_size", READER_CACHE_KIB)?;
    Ok(conn)
}

fn open(path: &Path, key: &Key, more: OpenFlags) -> Result<Connection, ClientError> {
    let conn = open_unproven(path, key, more)?;
    // The first read is what proves the key.
    match conn.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(())) {
        Err(rusqlite::Error::SqliteFailure(failure, _))
            if failure.code == ErrorCode::NotADatabase && !is_key_of_some_page(&conn) =>
        {
            return Err(ClientError::KeyMissing);
        }
        other => other?,
    }
    conn.busy_timeout(BUSY)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.set_prepared_statement_cache_capacity(160);
    Ok(conn)
}

/// Whether a connection's key checks at least one page of its file.
fn is_key_of_some_page(conn: &Connection) -> bool {
    let pages = || Some(std::fs::metadata(conn.path()?).ok()?.len() / PAGE as u64);
    // A file without a whole page shows nothing, and neither does a check that fails.
    let unfit = || {
        let mut query = conn.prepare("PRAGMA cipher_integrity_check")?;
        let lines = query.query_map([], |_| Ok(()))?;
        Ok::<_, rusqlite::Error>(lines.count() as u64)
    };
    matches!((pages(), unfit()), (Some(pages), Ok(unfit)) if unfit < pages)
}

/// Opens the file with its key, and reads nothing of it.
pub(super) fn open_unproven(path: &Path, key: &Key, more: OpenFlags) -> Result<Connection, ClientError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let conn = Connection::open_with_flags(path, flags)?;
    let mut pragma = Zeroizing::new(String::with_capacity(96));
    pragma.push_str("PRAGMA key = \"x'");
    for byte in key.iter() {
        use std::fmt::Write;
        // Writing into a string has no way to fail.
        let _ = write!(pragma, "{byte:02x}");
    }
    pragma.push_str("'\"");
    conn.execute_batch(&pragma)?;
    Ok(conn)
}
