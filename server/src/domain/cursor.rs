//! The cursor of heads (S5): what a client's last heads included, so that the next ones tell only what changed since.
//!
//! It names a snapshot by transaction, never by time: what was written before it and committed after it is told too.
//! It is an optimisation. One that cannot be read, another user's, one of an earlier incarnation_id of the database and one of a
//! future that a restore has undone all get full heads.

use super::epoch;
use crate::db::cursor::MomentRow;
use kith_protocol::UserId;

/// The form of the text.
const FORM: &str = "1";

/// The snapshot that a user's heads were read in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    incarnation_id: String,
    user: UserId,
    /// Every transaction below it is included.
    pub xmin: i64,
    /// Own state up to this version is included.
    pub user_seq: i64,
}

impl Cursor {
    /// The cursor of a snapshot.
    pub fn new(moment: &MomentRow, user: UserId, user_seq: i64) -> Self {
        Self { incarnation_id: incarnation_id(moment), user, xmin: moment.xmin, user_seq }
    }

    /// What a client has, if heads of `user` in the snapshot of `moment` can be told from it.
    pub fn read(text: &str, moment: &MomentRow, user: UserId, user_seq: i64) -> Option<Self> {
        let mut parts = text.split('.');
        let form = parts.next()?;
        let cursor = Self {
            incarnation_id: parts.next()?.to_owned(),
            user: UserId::parse(parts.next()?).ok()?,
            xmin: parts.next()?.parse().ok()?,
            user_seq: parts.next()?.parse().ok()?,
        };
        let is_whole = form == FORM && parts.next().is_none();
        let is_ours = cursor.user == user && cursor.incarnation_id == incarnation_id(moment);
        let is_past = (0..=moment.xmax).contains(&cursor.xmin) && (0..=user_seq).contains(&cursor.user_seq);
        (is_whole && is_ours && is_past).then_some(cursor)
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{FORM}.{}.{}.{}.{}", self.incarnation_id, self.user, self.xmin, self.user_seq)
    }
}

fn incarnation_id(moment: &MomentRow) -> String {
    epoch::word(&moment.incarnation_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment() -> MomentRow {
        MomentRow { incarnation_id: "a".to_owned(), xmin: 700, xmax: 710, user_seq: 9 }
    }

    #[test]
    fn s5_a_cursor_is_read_as_it_was_written() {
        let user = UserId::mint();
        let cursor = Cursor::new(&moment(), user, 5);
        assert_eq!(Cursor::read(&cursor.to_string(), &moment(), user, 9), Some(cursor));
    }

    #[test]
    fn s5_an_unknown_old_foreign_or_future_cursor_is_none() {
        let user = UserId::mint();
        let good = Cursor::new(&moment(), user, 5).to_string();
        let read =
            |text: &str, moment: &MomentRow, user, user_seq| Cursor::read(text, moment, user, user_seq);
        assert!(read(&good, &moment(), UserId::mint(), 9).is_none(), "another user's");
        let other_incarnation_id = MomentRow { incarnation_id: "b".to_owned(), ..moment() };
        assert!(read(&good, &other_incarnation_id, user, 9).is_none(), "of an earlier incarnation_id");
        let restored = MomentRow { xmin: 600, xmax: 605, ..moment() };
        assert!(read(&good, &restored, user, 9).is_none(), "of transactions to come");
        assert!(read(&good, &moment(), user, 4).is_none(), "of own state to come");
        let incarnation_id = incarnation_id(&moment());
        let bad = [
            String::new(),
            "c".to_owned(),
            good.replacen('1', "2", 1),
            format!("{good}.1"),
            format!("1.{incarnation_id}.{user}.-1.5"),
            format!("1.{incarnation_id}.{user}.700.99999999999999999999"),
            format!("1.{incarnation_id}.{user}.700"),
            format!("1.{incarnation_id}.nobody.700.5"),
        ];
        for text in bad {
            assert!(read(&text, &moment(), user, 9).is_none(), "{text}");
        }
    }
}
