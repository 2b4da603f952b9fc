//! What was deleted leaves the file's pages, too.
//!
//! SQLite deletes a row by forgetting where it is, and when it moves rows from one page to another, the old page keeps
//! its copies: `secure_delete` clears the first and not the second. So after something was erased, all pages are looked
//! through in small steps, and every byte that belongs to nothing is cleared: the gap in a page of a tree, its free
//! blocks, the end of a chain of overflow pages, and pages in no use. Bytes in use are never touched. Then the log of
//! writes is brought into the file and cut off.
//!
//! The format is that of <https://sqlite.org/fileformat2.html>; a page that does not keep to it is left as it is.

use super::{Tx, apply, place, schema};
use crate::ClientError;
use rusqlite::{Connection, OptionalExtension, config::DbConfig, params};
use std::{collections::HashSet, path::Path, time::Duration};

/// Names the row of `meta` that says that something was erased, until the file is clean; its value rises with each.
const MARK: &str = "scrub";
/// Pages of one step: some milliseconds.
const STEP_PAGES: u32 = 256;
/// From here on an overflow page could look like one of a tree (64 GiB); such a file is left as it is.
const PAGES_MAX: u32 = 1 << 24;
/// SQLite's locks are at this place of a file, and the page there is never used.
const LOCK_BYTE: u32 = 1 << 30;
/// A reader of an older state keeps the log of writes; it is not waited for longer.
const BUSY: Duration = Duration::from_millis(50);

/// Notes that something was erased.
pub(super) fn note(tx: &Tx<'_>) -> Result<(), ClientError> {
    let number = apply::meta(tx, MARK)?.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    apply::set_meta(tx, MARK, &(number + 1).to_string())
}

/// One pass over the pages.
#[derive(Debug)]
pub(super) struct Pass {
    /// What was erased before it began is gone at its end.
    mark: String,
    next: u32,
}

/// What is left of a pass after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Pages,
    /// The log of writes, which somebody still reads.
    Log,
    Nothing,
}

impl Pass {
    /// Begins one if something was erased since the last.
    pub(super) fn begin(conn: &Connection) -> Result<Option<Self>, ClientError> {
        let mut query = conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        let mark = query.query_row([MARK], |row| row.get(0)).optional()?;
        Ok(mark.map(|mark| Self { mark, next: 1 }))
    }

    /// Clears what is unused in the next pages, in one transaction.
    pub(super) fn step(&mut self, conn: &Connection) -> Result<Left, ClientError> {
        // Pages are written below the checks that protect them otherwise.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
        let cleared = self.clear(conn);
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        if cleared? { self.finish(conn) } else { Ok(Left::Pages) }
    }

    /// Returns whether these were the last pages.
    fn clear(&mut self, conn: &Connection) -> Result<bool, ClientError> {
        let transaction = conn.unchecked_transaction()?;
        let count: u32 = transaction.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        if count >= PAGES_MAX {
            tracing::warn!(count, "the database is too large to be scrubbed");
            return Ok(true);
        }
        let pages = Pages::of(&transaction, count)?;
        let end = self.next.saturating_add(STEP_PAGES).min(count + 1);
        for number in self.next..end {
            pages.clear(number)?;
        }
        transaction.commit()?;
        self.next = end;
        Ok(end > count)
    }

    /// Brings the log of writes into the file and cuts it off.
    fn finish(&self, conn: &Connection) -> Result<Left, ClientError> {
        conn.busy_timeout(BUSY)?;
        let result = schema::checkpoint(conn);
        conn.busy_timeout(schema::BUSY)?;
        match result {
            Err(ClientError::FileBusy) => return Ok(Left::Log),
            other => other?,
        }
        if self.mark != "0"
            && let Some(path) = conn.path()
        {
            // The migrated file has been read as a whole and written: its copy has served, and has what was erased.
            place::drop_copy(Path::new(path))?;
        }
        conn.execute("DELETE FROM meta WHERE key = ?1 AND value = ?2", params![MARK, self.mark])?;
        // The log begins anew with the mark's page; a reader that keeps it has nothing of what was erased.
        match schema::checkpoint(conn) {
            Err(ClientError::FileBusy) => {}
            other => other?,
        }
        Ok(Left::Nothing)
    }
}

/// Whether something was erased and is not known to have left the pages.
#[cfg(test)]
pub(super) fn is_noted(db: &super::Db<'_>) -> Result<bool, ClientError> {
    Ok(apply::meta(db, MARK)?.is_some())
}

/// The pages of one state of the file.
struct Pages<'c> {
    conn: &'c Connection,
    count: u32,
    /// Bytes of a page that SQLite uses; what follows is the cipher's.
    usable: usize,
    /// Those that name free pages, with the number that they name, and those that they name.
    trunks: HashSet<u32>,
    free: HashSet<u32>,
}

impl<'c> Pages<'c> {
    fn of(conn: &'c Connection, count: u32) -> Result<Self, ClientError> {
        let mut pages = Self { conn, count, usable: 0, trunks: HashSet::new(), free: HashSet::new() };
        let first = pages.read(1)?;
        pages.usable = first.len().saturating_sub(first.get(20).copied().map_or(0, usize::from));
        let mut next = u32_at(&first, 32);
        // A list that comes back to itself ends.
        while let Some(number) = next.filter(|number| *number != 0 && pages.trunks.insert(*number)) {
            let trunk = pages.read(number)?;
            let named = named_in(&trunk, pages.usable);
            pages.free.extend((0..named).filter_map(|at| u32_at(&trunk, 8 + 4 * at)));
            next = u32_at(&trunk, 0);
        }
        Ok(pages)
    }

    fn read(&self, number: u32) -> Result<Vec<u8>, ClientError> {
        let mut query = self.conn.prepare_cached("SELECT data FROM sqlite_dbpage WHERE pgno = ?1")?;
        Ok(query.query_row([number], |row| row.get(0)).optional()?.unwrap_or_default())
    }

    fn write(&self, number: u32, page: &[u8]) -> Result<(), ClientError> {
        self.conn
            .prepare_cached("UPDATE sqlite_dbpage SET data = ?2 WHERE pgno = ?1")?
            .execute(params![number, page])?;
        Ok(())
    }

    /// Clears what is unused in a page, and behind its rows in the ends of their chains.
    fn clear(&self, number: u32) -> Result<(), ClientError> {
        let mut page = self.read(number)?;
        if page.len() < self.usable || self.usable < 480 || number == LOCK_BYTE / page.len() as u32 + 1 {
            return Ok(());
        }
        let is_dirty = if self.free.contains(&number) {
            fill(&mut page, 0, self.usable)
        } else if self.trunks.contains(&number) {
            let end = 8 + 4 * named_in(&page, self.usable);
            fill(&mut page, end, self.usable)
        } else {
            let header = if number == 1 { 100 } else { 0 };
            let Some(tree) = Tree::of(&page, header, self.usable) else { return Ok(()) };
            for (first, bytes) in tree.chains(&page) {
                self.clear_end(first, bytes)?;
            }
            tree.clear(&mut page)
        };
        if is_dirty { self.write(number, &page) } else { Ok(()) }
    }

    /// Clears what lies behind the last byte of a chain of overflow pages.
    fn clear_end(&self, first: u32, mut bytes: usize) -> Result<(), ClientError> {
        let (mut number, held) = (first, self.usable - 4);
        loop {
            if number < 2 || number > self.count {
                return Ok(());
            }
            let mut page = self.read(number)?;
            if bytes <= held {
                let is_dirty = fill(&mut page, 4 + bytes, self.usable);
                return if is_dirty { self.write(number, &page) } else { Ok(()) };
            }
            bytes -= held;
            number = u32_at(&page, 0).unwrap_or(0);
        }
    }
}

/// How many free pages a page names.
fn named_in(trunk: &[u8], usable: usize) -> usize {
    u32_at(trunk, 4).map_or(0, |named| named as usize).min((usable / 4).saturating_sub(2))
}

/// A page of a tree.
struct Tree {
    kind: u8,
    header: usize,
    /// Where the list of rows begins, and how many it has.
    list: usize,
    rows: usize,
    /// Where the rows' bytes begin.
    content: usize,
    usable: usize,
}

impl Tree {
    /// `None` if it is none.
    fn of(page: &[u8], header: usize, usable: usize) -> Option<Self> {
        let kind = *page.get(header)?;
        let list = header
            + match kind {
                2 | 5 => 12,
                10 | 13 => 8,
                _ => return None,
            };
        let rows = u16_at(page, header + 3)?;
        let content = match u16_at(page, header + 5)? {
            0 => 65_536,
            content => content,
        };
        (list + 2 * rows <= content && content <= usable).then_some(Self {
            kind,
            header,
            list,
            rows,
            content,
            usable,
        })
    }

    /// Clears the gap between the list of rows and their bytes, and the free blocks among these. Returns whether
    /// something was there.
    fn clear(&self, page: &mut [u8]) -> bool {
        let mut is_dirty = fill(page, self.list + 2 * self.rows, self.content);
        let mut block = u16_at(page, self.header + 1).unwrap_or(0);
        while block != 0 {
            let (Some(next), Some(size)) = (u16_at(page, block), u16_at(page, block + 2)) else { break };
            if block < self.content || size < 4 || block + size > self.usable {
                break;
            }
            is_dirty |= fill(page, block + 4, block + size);
            if next <= block {
                break;
            }
            block = next;
        }
        is_dirty
    }

    /// The first overflow page of each row that has one, and how many bytes its chain holds.
    fn chains(&self, page: &[u8]) -> Vec<(u32, usize)> {
        let most = match self.kind {
            13 => self.usable - 35,
            2 | 10 => (self.usable - 12) * 64 / 255 - 23,
            // It holds numbers only.
            _ => return Vec::new(),
        };
        let row = |at: usize| {
            let place = u16_at(page, self.list + 2 * at)?;
            let place = if self.kind == 2 { place + 4 } else { place };
            let (payload, length) = varint(page, place)?;
            let payload = usize::try_from(payload).ok()?;
            let start = match self.kind {
                13 => place + length + varint(page, place + length)?.1,
                _ => place + length,
            };
            if payload <= most {
                return None;
            }
            let least = (self.usable - 12) * 32 / 255 - 23;
            let split = least + (payload - least) % (self.usable - 4);
            let local = if split <= most { split } else { least };
            (start + local + 4 <= self.usable).then_some(())?;
            Some((u32_at(page, start + local)?, payload - local))
        };
        (0..self.rows).filter_map(row).collect()
    }
}

/// Sets a part of a page to zero. Returns whether it was something else.
fn fill(page: &mut [u8], from: usize, to: usize) -> bool {
    let Some(part) = page.get_mut(from..to) else { return false };
    let is_dirty = part.iter().any(|byte| *byte != 0);
    part.fill(0);
    is_dirty
}

fn u16_at(page: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(page.get(at..at + 2)?.try_into().ok()?)))
}

fn u32_at(page: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(page.get(at..at + 4)?.try_into().ok()?))
}

/// A number of SQLite's, and how many bytes it takes.
fn varint(page: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value: u64 = 0;
    for length in 1..=9 {
        let byte = *page.get(at + length - 1)?;
        if length == 9 {
            return Some((value << 8 | u64::from(byte), 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value, length));
        }
    }
    None
}
