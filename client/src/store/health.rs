//! Whether a database file is sound, and what an error of SQLite says about the disk below it.
//!
//! **A wrong key is never taken for damage.** Both show at the first page in the same way ("not a database"), but each
//! page carries a code of its own that only the right key can check. One page anywhere in the file that the key checks
//! proves the key, and the first page is then a damaged one. A file of which no page fits, its first bytes (the salt
//! of the cipher) lost included, is treated as one whose key is missing: it stays as it is.

use super::{Key, schema};
use crate::ClientError;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::{fs::File, io::Write as _, path::Path};

/// What is written to find out why SQLite could not write, bytes.
const PROBE: usize = 64 * 1024;

/// Whether a file is damaged for certain: a page in use that its key does not check, or a structure that does not hold.
/// `is_over` ends the search early, with "no".
///
/// Pages are read as everybody reads them, through the log of writes, and not one by one from the file
/// (`cipher_integrity_check`): there a page that a checkpoint is writing, or was when it was ended, is half of the old
/// and half of the new, and one that never was in use is empty. Neither is damage (<https://sqlite.org/wal.html>).
/// A search index that does not fit its messages is no damage: it can be made again.
pub(super) fn is_damaged(path: &Path, key: &Key, is_over: impl Fn() -> bool + Send + 'static) -> bool {
    let look = || {
        let mut conn = schema::open_unproven(path, key, OpenFlags::empty())?;
        conn.progress_handler(10_000, Some(is_over))?;
        let mut query = conn.prepare("PRAGMA quick_check")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let line: String = row.get(0)?;
            if line != "ok" && !line.contains("FTS5") {
                tracing::error!(%line, "the database is damaged");
                return Ok(true);
            }
        }
        Ok(false)
    };
    match look() {
        Ok(is_damaged) => is_damaged,
        Err(ClientError::FileDamaged(error)) => {
            tracing::error!(%error, "the database is damaged");
            true
        }
        Err(error) => {
            tracing::info!(%error, "the database could not be checked");
            false
        }
    }
}

/// Gives an error of the disk its name: SQLite says no more than that reading or writing failed.
pub(super) fn explained(conn: &Connection, error: ClientError) -> ClientError {
    match conn.path() {
        Some(path) => explained_at(Path::new(path), error),
        None => error,
    }
}

/// The same, for the database at a path.
pub(super) fn explained_at(path: &Path, error: ClientError) -> ClientError {
    let is_vague = match &error {
        ClientError::Store(error) => error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure),
        ClientError::File(_) => true,
        _ => false,
    };
    if !is_vague {
        return error;
    }
    match probe(&super::place::beside(path, ".probe")) {
        Err(named @ (ClientError::DiskFull | ClientError::ReadOnly)) => named,
        _ => error,
    }
}

fn probe(path: &Path) -> Result<(), ClientError> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(&[0; PROBE])?;
        file.sync_all()
    });
    // It may never have come to be.
    let _ = std::fs::remove_file(path);
    Ok(written?)
}
