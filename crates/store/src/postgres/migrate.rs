//! Brings the tables of a server to the newest version, which is kept in a table of its own.

use super::failure::{Failure, StatementFailure};
use super::in_time;
use super::pool::{Connection, Pool};
use crate::{StoreError, migrations};

/// Held while tables are made, so that servers that start at the same time do it one by one.
const LOCK: &str = "BEGIN; SELECT pg_advisory_xact_lock(7813249561); \
                    CREATE TABLE IF NOT EXISTS boxherd_version (version BIGINT NOT NULL)";
const STEP: &str = "migrating the store";

pub(super) async fn migrate(pool: &Pool) -> Result<(), StoreError> {
    let connection = pool.take().await.map_err(of_migration)?;
    let found = version(&connection).await?;
    if found == migrations::KNOWN {
        connection.give_back();
        return Ok(());
    }
    // Whatever fails from here on is taken back with the connection.
    run(&connection, LOCK).await?;
    // Another server may have been migrating until now.
    let found = version(&connection).await?;
    for migration in migrations::missing(found, pool.address())? {
        run(&connection, &in_bytewise_order(migration)).await?;
    }
    let known = migrations::KNOWN;
    run(&connection, "DELETE FROM boxherd_version").await?;
    run(&connection, &format!("INSERT INTO boxherd_version VALUES ({known})")).await?;
    run(&connection, "COMMIT").await?;
    connection.give_back();
    Ok(())
}

/// Texts are sorted byte by byte, as in SQLite, whatever language the server speaks.
fn in_bytewise_order(migration: &str) -> String {
    migration.replace(" TEXT", " TEXT COLLATE \"C\"")
}

async fn version(connection: &Connection<'_>) -> Result<i64, StoreError> {
    let client = connection.client();
    let exists = "SELECT 1 WHERE to_regclass('boxherd_version') IS NOT NULL";
    let exists = in_time(client.query_opt(exists, &[])).await.map_err(refused)?;
    if exists.is_none() {
        return Ok(0);
    }
    let found = in_time(client.query_opt("SELECT version FROM boxherd_version", &[])).await;
    Ok(found.map_err(refused)?.map_or(0, |row| row.get(0)))
}

async fn run(connection: &Connection<'_>, sql: &str) -> Result<(), StoreError> {
    in_time(connection.client().batch_execute(sql)).await.map_err(refused)
}

fn refused(failure: StatementFailure) -> StoreError {
    of_migration(Failure::of_only(failure))
}

fn of_migration(failure: Failure) -> StoreError {
    failure.into_error(STEP, Vec::new())
}
