//! What a failure of the database says about the next try. The only place that reads SQLSTATE.

/// The kind of a failure, by class of SQLSTATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The rows at hand: the same statement may succeed with other rows.
    Rows,
    /// Locks of another transaction: the same statement may succeed once that one has ended.
    Locks,
    /// The statement was cancelled, or the server is short of a resource. The connection stays usable.
    Passing,
    /// The connection is unusable, or its server cannot write. Whether a commit took place is unknown.
    Connection,
    /// The statement itself: it fails with any rows.
    Statement,
}

impl Fault {
    pub fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => error.code().map_or(Self::Statement, |code| Self::of_code(&code)),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => Self::Connection,
            sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => Self::Rows,
            _ => Self::Statement,
        }
    }

    fn of_code(code: &str) -> Self {
        match (code.get(..2).unwrap_or_default(), code) {
            // Lock not available.
            (_, "55P03") => Self::Locks,
            // A standby, or a transaction that the server has ended.
            (_, "25006" | "25P02" | "25P03") => Self::Connection,
            // Query cancelled: by its timeout or by the operator.
            (_, "57014") => Self::Passing,
            // A prepared statement that the server behind a pooler does not have, or that fits an older schema.
            ("26", _) | (_, "0A000") => Self::Connection,
            // Connection exceptions; the server ends, starts, or the database was dropped.
            ("08" | "57", _) => Self::Connection,
            // Serialization failures and deadlocks.
            ("40", _) => Self::Locks,
            // Insufficient resources, errors of the system.
            ("53" | "58", _) => Self::Passing,
            // Data, integrity, a trigger's refusal, sizes, views with a check; damaged rows.
            ("21" | "22" | "23" | "27" | "44" | "54" | "P0" | "XX", _) => Self::Rows,
            _ => Self::Statement,
        }
    }

    /// Whether the same request may succeed later without anybody's repair.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Locks | Self::Passing | Self::Connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_sqlstate_has_one_meaning() {
        let expected = [
            (Fault::Rows, ["22021", "23505", "23514", "54000", "P0001", "XX001"]),
            (Fault::Locks, ["40001", "40P01", "55P03", "40002", "40003", "40P01"]),
            (Fault::Passing, ["53100", "53200", "53300", "57014", "58030", "53400"]),
            (Fault::Connection, ["08006", "25006", "57P01", "57P03", "25P02", "26000"]),
            (Fault::Statement, ["42P01", "42601", "28P01", "3D000", "55000", "25001"]),
        ];
        for (fault, codes) in expected {
            for code in codes {
                assert_eq!(Fault::of_code(code), fault, "{code}");
            }
        }
        let lost = sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        assert!(Fault::of(&lost) == Fault::Connection && Fault::of(&lost).is_passing());
        assert!(!Fault::of(&sqlx::Error::RowNotFound).is_passing());
    }
}
