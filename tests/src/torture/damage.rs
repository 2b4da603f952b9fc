//! Pages of an engine's file are corrupted while nobody has it open.
//!
//! The corruption must take effect: everything is brought into the file first, and no page is chosen that the log of writes
//! has. And it must cost nothing: where the outbox is empty any page may go; else those that only the file has are
//! spared, and every unsent item has to survive.

use super::files;
use anyhow::{Context, Result};
use rand::{RngExt, rngs::StdRng};
use rusqlite::{Connection, config::DbConfig};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const PAGE: usize = 4_096;
/// What SQLite puts before a log of writes, and before each page in it, bytes.
const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Pages that are corrupted at a time, at most.
const PAGES_MAX: usize = 6;
/// What is not on the server, and what is needed to find it.
const SPARED: &str =
    "'outbox', 'drafts', 'conversations', 'meta', 'sqlite_schema', 'sqlite_stat1', 'sqlite_stat4'";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    pub pages: usize,
    /// Items that waited; their pages were spared if there were any.
    pub unsent: u32,
}

/// Corrupts a file that nobody has open.
pub fn damage(folder: &Path, random: &mut StdRng) -> Result<Damage> {
    let conn = files::open(folder)?;
    let path = PathBuf::from(conn.path().context("a file")?);
    let unsent = conn.query_row("SELECT count(*) FROM outbox WHERE kind <> 'state'", [], |row| row.get(0))?;
    leave_as_after_a_kill(&conn)?;
    let mut pages = pages(&conn, unsent > 0)?;
    drop(conn);
    let logged = logged_pages(&path)?;
    pages.retain(|page| !logged.contains(page));
    let mut bytes = fs::read(&path)?;
    let count = random.random_range(1..=PAGES_MAX).min(pages.len());
    for _ in 0..count {
        let page = pages.swap_remove(random.random_range(0..pages.len()));
        let at = (page - 1) * PAGE;
        let page_bytes = bytes.get_mut(at..at + PAGE).context("a page of the file")?;
        // The first bytes of all are the cipher's salt: without them every page is lost.
        if page > 1 && random.random_bool(0.3) {
            page_bytes.fill(0);
        } else {
            page_bytes[64..128].iter_mut().for_each(|byte| *byte ^= 0x55);
        }
    }
    fs::write(&path, bytes)?;
    Ok(Damage { pages: count, unsent })
}

/// All of it is in the file, but for a transaction that changes nothing: a log of writes that is not empty tells that the
/// process was ended by force.
fn leave_as_after_a_kill(conn: &Connection) -> Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.execute("UPDATE meta SET value = value", [])?;
    Ok(())
}

fn pages(conn: &Connection, is_sparing: bool) -> Result<Vec<usize>> {
    let spared = if is_sparing { SPARED } else { "" };
    let mut query = conn.prepare(&format!(
        "SELECT DISTINCT d.pageno FROM dbstat d LEFT JOIN sqlite_schema s USING (name)
         WHERE coalesce(s.tbl_name, d.name) NOT IN ({spared}) ORDER BY 1"
    ))?;
    let pages = query.query_map([], |row| row.get::<_, i64>(0))?;
    pages.map(|page| Ok(usize::try_from(page?)?)).collect()
}

/// The pages that a file's log of writes has: they are read from there.
fn logged_pages(path: &Path) -> Result<BTreeSet<usize>> {
    let log = fs::read(path.with_extension("db-wal"))?;
    let frames = log.get(WAL_HEADER..).unwrap_or_default().chunks_exact(FRAME_HEADER + PAGE);
    let number = |frame: &[u8]| frame.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) as usize);
    Ok(frames.filter_map(number).collect())
}
