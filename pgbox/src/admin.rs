//! Making and dropping databases, given the address of any database of the cluster.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::PgBoxError;

/// The same address with another database.
pub(crate) fn with_database(base: &str, database: &str) -> String {
    let (address, query) = base.split_once('?').map_or((base, None), |(a, q)| (a, Some(q)));
    let authority = address.find("://").map_or(0, |at| at + 3);
    let end = address[authority..].find('/').map_or(address.len(), |at| authority + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{database}{query}", &address[..end])
}

/// Escapes a folder for the `host` parameter of an address.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A name that needs no escaping inside double quotes.
pub(crate) fn checked(name: &str) -> Result<&str, PgBoxError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if (1..=63).contains(&name.len()) && name.bytes().all(allowed) {
        Ok(name)
    } else {
        Err(PgBoxError::BadName(name.to_owned()))
    }
}

pub(crate) async fn connect(base: &str) -> Result<PgConnection, PgBoxError> {
    Ok(PgConnection::connect(&with_database(base, "postgres")).await?)
}

pub(crate) async fn exists(connection: &mut PgConnection, name: &str) -> Result<bool, PgBoxError> {
    let found: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)")
        .bind(name)
        .fetch_one(connection)
        .await?;
    Ok(found)
}

/// Runs a statement about databases; the names in it have been [`checked`].
pub(crate) async fn run(connection: &mut PgConnection, statement: String) -> Result<(), PgBoxError> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

pub(crate) async fn ensure_database(base: &str, name: &str) -> Result<(), PgBoxError> {
    let name = checked(name)?;
    let mut connection = connect(base).await?;
    if !exists(&mut connection, name).await? {
        match run(&mut connection, format!("CREATE DATABASE \"{name}\"")).await {
            // Somebody else made it in between; PostgreSQL reports that race under either code.
            Err(PgBoxError::Sql(sqlx::Error::Database(error)))
                if matches!(error.code().as_deref(), Some("42P04" | "23505")) => {}
            other => other?,
        }
    }
    connection.close().await?;
    Ok(())
}

pub(crate) async fn create_from_template(base: &str, name: &str, template: &str) -> Result<(), PgBoxError> {
    let (name, template) = (checked(name)?, checked(template)?);
    let mut connection = connect(base).await?;
    run(&mut connection, format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\"")).await?;
    connection.close().await?;
    Ok(())
}

pub(crate) async fn drop_database(base: &str, name: &str) -> Result<(), PgBoxError> {
    let name = checked(name)?;
    let mut connection = connect(base).await?;
    run(&mut connection, format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)")).await?;
    connection.close().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_replaced_in_every_form_of_address() {
        assert_eq!(
            with_database("postgres://kith@localhost/a?host=/x/y", "b"),
            "postgres://kith@localhost/b?host=/x/y"
        );
        assert_eq!(
            with_database("postgres://kith:pw@127.0.0.1:5433", "b"),
            "postgres://kith:pw@127.0.0.1:5433/b"
        );
        assert_eq!(
            with_database("postgres://kith:pw@127.0.0.1:5433/", "b"),
            "postgres://kith:pw@127.0.0.1:5433/b"
        );
    }

    #[test]
    fn a_folder_with_blanks_and_accents_survives_in_an_address() {
        assert_eq!(percent_encoded("/home/ž a/x"), "/home/%C5%BE%20a/x");
    }

    #[test]
    fn names_that_would_need_quoting_are_refused() {
        assert!(checked("kith_template-1").is_ok());
        for bad in ["", "A", "a b", "a\"b", "a;b", &"x".repeat(64)] {
            assert!(checked(bad).is_err(), "{bad:?}");
        }
    }
}
