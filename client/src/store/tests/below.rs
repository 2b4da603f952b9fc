//! What tests of whole engines do to a database below its store.

use super::super::{Db, Store, Tx, schema};
use crate::ClientError;

/// Makes the file one of a later version.
pub(crate) fn make_newer(tx: &mut Tx<'_>) -> Result<(), ClientError> {
    Ok(tx.conn.pragma_update(None, "user_version", 99)?)
}

/// The pages of the log.
pub(crate) fn pages_of_events(db: &Db<'_>) -> Result<Vec<usize>, ClientError> {
    let mut query = db.conn.prepare("SELECT pageno FROM dbstat WHERE name = 'events'")?;
    let pages = query.query_map([], |row| row.get::<_, u32>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(pages.into_iter().map(|page| page as usize).collect())
}

pub(crate) fn read_events(db: &Db<'_>) -> Result<u32, ClientError> {
    Ok(db.conn.query_row("SELECT count(body) FROM events NOT INDEXED", [], |row| row.get(0))?)
}

/// Brings what was written into the file itself.
pub(crate) fn into_the_file(store: &Store) {
    let (path, key) = store.readers.place();
    schema::checkpoint(&schema::open_writer(path, key, schema::MIGRATIONS).unwrap()).unwrap();
}
