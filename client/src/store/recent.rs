//! A look at the newest messages before the search index is asked: a beginning that is in every tenth message is found
//! there often enough at once, while the index would gather all places of all its words first.

use super::{
    Db,
    search::{Pending, Query},
};
use crate::ClientError;

/// Messages that are looked at.
const LOOKED_AT: usize = 1_000;

/// The newest messages that a query finds, if there are `limit` of them among the newest of all, without those that the
/// outbox will change. `None` if that is not known from here: the index knows it.
pub(super) fn matching(
    db: &Db<'_>,
    query: &Query,
    pending: &Pending,
    limit: usize,
) -> Result<Option<Vec<i64>>, ClientError> {
    if query.is_kept() {
        return Ok(None);
    }
    let mut statement = db
        .conn
        .prepare_cached("SELECT mid, text, is_deleted FROM messages WHERE mid > 0 ORDER BY mid DESC")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    for _ in 0..LOOKED_AT {
        let Some(row) = rows.next()? else { break };
        let text = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        if !row.get::<_, bool>(2)? && query.is_in(text) {
            let mid = row.get(0)?;
            if !pending.has(mid) {
                found.push(mid);
            }
            if found.len() == limit {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}
