//! The files beside a database: the copy from before a migration, and what was set aside because it is damaged.
//! Nothing that a user wrote is removed here but a copy that has served, and what was set aside [`KEPT_DAYS`] ago: it
//! holds what was deleted since.

use crate::ClientError;
use kith_protocol::TimestampMs;
use rusqlite::{Connection, OptionalExtension, params};
use std::{
    ffi::OsString,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// The file as it was before the last migration.
const COPY: &str = ".before-upgrade";
/// A new database, complete, that takes the place of the damaged one; the time stamp of the set-aside one follows.
const RESCUED: &str = ".rescued-";
/// A new database in the making.
const PART: &str = ".rescue-part";
/// A damaged file that was set aside; a time stamp follows.
const DAMAGED: &str = ".damaged-";
/// A file whose key is lost, set aside for the one in its place; a time stamp follows.
const KEYLESS: &str = ".keyless-";
/// A file that was set aside is kept so long, in days.
const KEPT_DAYS: i64 = 30;
/// What SQLite keeps beside a file, the file itself last: whatever else is there belongs to it.
const PARTS: [&str; 4] = ["-wal", "-shm", "-journal", ""];

/// The same place with something behind its name.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Keeps a copy of a file that is about to be migrated, in the place of an older one. Everything must be in the file.
pub(super) fn keep_copy(path: &Path) -> Result<(), ClientError> {
    let part = beside(path, ".copy-part");
    fs::copy(path, &part)?;
    File::options().write(true).open(&part)?.sync_all()?;
    fs::rename(part, beside(path, COPY))?;
    sync_folder_of(path)
}

/// Makes names that were given or taken in a file's folder survive a power cut. Windows does so by itself, and has no
/// handle for it.
fn sync_folder_of(path: &Path) -> Result<(), ClientError> {
    #[cfg(unix)]
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Removes the copy once the migrated file has worked.
pub(super) fn drop_copy(path: &Path) -> Result<(), ClientError> {
    remove(&beside(path, COPY))
}

fn remove(path: &Path) -> Result<(), ClientError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Where a new database is made. What an interrupted attempt left is removed: all of it is in the damaged one.
pub(super) fn begin_rescue(path: &Path) -> Result<PathBuf, ClientError> {
    let part = beside(path, PART);
    PARTS.iter().try_for_each(|ending| remove(&beside(&part, ending)))?;
    Ok(part)
}

/// A name for the damaged file that nothing has yet.
pub(super) fn free_name(path: &Path) -> Result<String, ClientError> {
    free_name_behind(path, DAMAGED)
}

fn free_name_behind(path: &Path, ending: &str) -> Result<String, ClientError> {
    let clock = Connection::open_in_memory()?;
    let stamp: String = clock.query_row("SELECT strftime('%Y%m%dT%H%M%SZ', 'now')", [], |row| row.get(0))?;
    let names = std::iter::once(stamp.clone()).chain((2_u32..).map(|number| format!("{stamp}-{number}")));
    let mut free = names.filter(|name| !beside(path, &format!("{ending}{name}")).exists());
    // The numbers do not end before the files do.
    Ok(free.next().unwrap_or(stamp))
}

/// Where the damaged file will lie.
pub(super) fn damaged(path: &Path, name: &str) -> PathBuf {
    beside(path, &format!("{DAMAGED}{name}"))
}

/// Puts a complete new database in the place of the damaged one, which is set aside with everything that belongs to
/// it. Ended in the middle, it goes on at the next [`finish_rescue`].
pub(super) fn replace(path: &Path, part: &Path, name: &str) -> Result<(), ClientError> {
    File::options().write(true).open(part)?.sync_all()?;
    fs::rename(part, beside(path, &format!("{RESCUED}{name}")))?;
    sync_folder_of(path)?;
    finish_rescue(path)
}

/// Finishes a replacement that was interrupted; nothing happens if there is none.
pub(super) fn finish_rescue(path: &Path) -> Result<(), ClientError> {
    let Some((rescued, name)) = rescued(path)? else { return Ok(()) };
    rename_database(path, &damaged(path, &name))?;
    fs::rename(rescued, path)?;
    sync_folder_of(path)
}

/// Renames a closed database with everything that belongs to it: the copy is of its past.
pub(crate) fn rename_database(from: &Path, to: &Path) -> Result<(), ClientError> {
    for ending in [COPY].into_iter().chain(PARTS) {
        match fs::rename(beside(from, ending), beside(to, ending)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Sets aside a database that nobody can open, so that another can take its place. Returns where it is.
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, ClientError> {
    finish_rescue(path)?;
    let aside = beside(path, &format!("{KEYLESS}{}", free_name_behind(path, KEYLESS)?));
    rename_database(path, &aside)?;
    tracing::warn!(file = %aside.display(), "a database whose key is lost was set aside");
    Ok(aside)
}

/// Until when a file that was set aside is kept; `None` if its name does not say when that was.
pub(super) fn kept_until(file: &str) -> Result<Option<TimestampMs>, ClientError> {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    let stamp = [DAMAGED, KEYLESS].iter().find_map(|ending| name.split_once(ending)).map(|(_, stamp)| stamp);
    let Some(at) = stamp.map(stamped_at).transpose()?.flatten() else { return Ok(None) };
    let until = at.saturating_add(KEPT_DAYS * 24 * 60 * 60 * 1_000);
    Ok(u64::try_from(until).ok().map(TimestampMs))
}

/// The time that a name begins with, in milliseconds since 1970.
fn stamped_at(name: &str) -> Result<Option<i64>, ClientError> {
    let is_stamp = name.len() >= 16
        && name.bytes().zip(*b"00000000T000000Z").all(|(byte, kind)| match kind {
            b'0' => byte.is_ascii_digit(),
            kind => byte == kind,
        });
    if !is_stamp {
        return Ok(None);
    }
    let part = |from: usize, to: usize| &name[from..to];
    let (date, time) = (
        format!("{}-{}-{}", part(0, 4), part(4, 6), part(6, 8)),
        format!("{}:{}:{}", part(9, 11), part(11, 13), part(13, 15)),
    );
    let clock = Connection::open_in_memory()?;
    let read =
        clock.query_row("SELECT unixepoch(?1 || 'T' || ?2) * 1000", params![date, time], |row| row.get(0));
    Ok(read.optional()?.flatten())
}

/// Removes what was set aside too long ago, with all that belongs to it. Returns how many files.
pub(super) fn expire(path: &Path, now: TimestampMs) -> Result<usize, ClientError> {
    let Some((folder, file)) = path.parent().zip(path.file_name().and_then(|name| name.to_str())) else {
        return Ok(0);
    };
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(file)) else { continue };
        if ![DAMAGED, KEYLESS].iter().any(|ending| rest.starts_with(ending)) {
            continue;
        }
        if kept_until(rest)?.is_some_and(|until| until < now) {
            remove(&entry.path())?;
            removed += 1;
        }
    }
    if removed > 0 {
        tracing::info!(files = removed, "removed what was set aside more than {KEPT_DAYS} days ago");
    }
    Ok(removed)
}

fn rescued(path: &Path) -> Result<Option<(PathBuf, String)>, ClientError> {
    let Some((folder, file)) = path.parent().zip(path.file_name()) else { return Ok(None) };
    let mut start = OsString::from(file);
    start.push(RESCUED);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(stamp) =
            name.to_str().zip(start.to_str()).and_then(|(name, start)| name.strip_prefix(start))
            && !stamp.ends_with("-wal")
            && !stamp.ends_with("-shm")
        {
            return Ok(Some((entry.path(), stamp.to_owned())));
        }
    }
    Ok(None)
}
