//! Columns to types and back. What is read often is read by place: a name is looked for among all names of its row.

use kith_protocol::{Chain, ConversationId, ErrorCode, EventId, Seq, TimestampMs, UserId, event::Role};
use rusqlite::{Error, Row, RowIndex, types::Type};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

type Result<T> = std::result::Result<T, Error>;

fn uuid(row: &Row<'_>, column: impl RowIndex) -> Result<Uuid> {
    row.get::<_, [u8; 16]>(column).map(Uuid::from_bytes)
}

pub(super) fn user(row: &Row<'_>, column: impl RowIndex) -> Result<UserId> {
    uuid(row, column).map(UserId::from_uuid)
}

pub(super) fn user_opt(row: &Row<'_>, column: impl RowIndex) -> Result<Option<UserId>> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(|bytes| UserId::from_uuid(Uuid::from_bytes(bytes))))
}

pub(super) fn event(row: &Row<'_>, column: impl RowIndex) -> Result<EventId> {
    uuid(row, column).map(EventId::from_uuid)
}

pub(super) fn event_opt(row: &Row<'_>, column: impl RowIndex) -> Result<Option<EventId>> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(|bytes| EventId::from_uuid(Uuid::from_bytes(bytes))))
}

pub(super) fn conversation(row: &Row<'_>, column: impl RowIndex) -> Result<ConversationId> {
    uuid(row, column).map(ConversationId::from_uuid)
}

pub(super) fn seq(row: &Row<'_>, column: impl RowIndex) -> Result<Seq> {
    row.get(column).map(Seq::from_i64)
}

pub(super) fn seq_opt(row: &Row<'_>, column: impl RowIndex) -> Result<Option<Seq>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Seq::from_i64))
}

pub(super) fn time(row: &Row<'_>, column: impl RowIndex) -> Result<TimestampMs> {
    row.get(column).map(TimestampMs::from_i64)
}

pub(super) fn count(row: &Row<'_>, column: impl RowIndex) -> Result<u64> {
    Ok(row.get::<_, i64>(column)?.try_into().unwrap_or_default())
}

/// A number for a view: the greatest that it can show stands for all above.
pub(super) fn count_u32(row: &Row<'_>, column: impl RowIndex) -> Result<u32> {
    Ok(u32::try_from(row.get::<_, i64>(column)?.max(0)).unwrap_or(u32::MAX))
}

pub(super) fn chain(row: &Row<'_>, column: impl RowIndex) -> Result<Chain> {
    row.get::<_, [u8; 8]>(column).map(Chain)
}

pub(super) fn role(row: &Row<'_>, column: impl RowIndex) -> Result<Role> {
    Ok(Role::parse(&row.get::<_, String>(column)?).unwrap_or(Role::Member))
}

pub(super) fn code_opt(row: &Row<'_>, column: impl RowIndex) -> Result<Option<ErrorCode>> {
    Ok(row.get::<_, Option<String>>(column)?.and_then(|text| ErrorCode::parse(&text)))
}

pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: impl RowIndex) -> Result<T> {
    read_json(&row.get::<_, String>(column)?)
}

pub(super) fn read_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

pub(super) fn write_json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))
}
