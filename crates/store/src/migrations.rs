//! The tables, version by version. Forward only, and the same for every database; where the version
//! stands is the database's own affair.

use crate::StoreError;

/// One entry per version, applied in order.
const MIGRATIONS: &[&str] = &[BOXES, SERVER, USAGE];

/// Version 1: boxes, their journal, their snapshots.
const BOXES: &str = "
    CREATE TABLE boxes (
        id TEXT PRIMARY KEY NOT NULL,
        engine TEXT NOT NULL,
        name TEXT NOT NULL,
        spec TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        failure TEXT,
        created BIGINT NOT NULL,
        maker TEXT,
        last_operation TEXT,
        details TEXT NOT NULL,
        UNIQUE (engine, name)
    );
    CREATE TABLE operations (
        id TEXT PRIMARY KEY NOT NULL,
        kind TEXT NOT NULL,
        boxes TEXT NOT NULL,
        session TEXT NOT NULL,
        idempotency_key TEXT,
        started BIGINT NOT NULL,
        outcome TEXT
    );
    CREATE INDEX operations_unfinished ON operations (id) WHERE outcome IS NULL;
    CREATE INDEX operations_by_key ON operations (idempotency_key)
        WHERE idempotency_key IS NOT NULL;
    CREATE INDEX operations_by_age ON operations (started);
    CREATE TABLE snapshots (
        id TEXT PRIMARY KEY NOT NULL,
        box_id TEXT NOT NULL,
        name TEXT NOT NULL,
        created BIGINT NOT NULL,
        UNIQUE (box_id, name)
    );
    CREATE TABLE facts (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
    ";

/// Version 2: boxes have owners, and a server remembers who may ask and what they have. An
/// idempotency key belongs to its latest operation only.
const SERVER: &str = "
    CREATE TABLE owned_boxes (
        id TEXT PRIMARY KEY NOT NULL,
        engine TEXT NOT NULL,
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        spec TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        failure TEXT,
        created BIGINT NOT NULL,
        maker TEXT,
        last_operation TEXT,
        details TEXT NOT NULL,
        UNIQUE (name, owner, engine)
    );
    INSERT INTO owned_boxes (id, engine, owner, name, spec, state, reason, failure, created, maker,
            last_operation, details)
        SELECT id, engine, '', name, spec, state, reason, failure, created, maker, last_operation,
            details FROM boxes;
    DROP TABLE boxes;
    ALTER TABLE owned_boxes RENAME TO boxes;

    UPDATE operations SET idempotency_key = NULL WHERE EXISTS (
        SELECT 1 FROM operations AS later
        WHERE later.idempotency_key = operations.idempotency_key AND later.id > operations.id
    );
    DROP INDEX operations_by_key;
    CREATE UNIQUE INDEX operations_by_key ON operations (idempotency_key)
        WHERE idempotency_key IS NOT NULL;

    CREATE TABLE users (
        id TEXT PRIMARY KEY NOT NULL,
        name TEXT NOT NULL UNIQUE,
        admin BIGINT NOT NULL,
        quota TEXT NOT NULL,
        created BIGINT NOT NULL
    );
    CREATE TABLE api_keys (
        id TEXT PRIMARY KEY NOT NULL,
        user_id TEXT NOT NULL,
        name TEXT NOT NULL,
        hash TEXT NOT NULL UNIQUE,
        prefix TEXT NOT NULL,
        created BIGINT NOT NULL,
        expires BIGINT,
        last_used BIGINT
    );
    CREATE INDEX api_keys_by_user ON api_keys (user_id);
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY NOT NULL,
        user_id TEXT NOT NULL,
        created BIGINT NOT NULL,
        expires BIGINT NOT NULL
    );
    CREATE INDEX tokens_by_user ON tokens (user_id);
    CREATE TABLE signing_keys (
        id TEXT PRIMARY KEY NOT NULL,
        secret TEXT NOT NULL,
        created BIGINT NOT NULL
    );
    CREATE TABLE ssh_keys (
        fingerprint TEXT PRIMARY KEY NOT NULL,
        user_id TEXT NOT NULL,
        key TEXT NOT NULL,
        label TEXT NOT NULL,
        created BIGINT NOT NULL
    );
    CREATE INDEX ssh_keys_by_user ON ssh_keys (user_id);
    CREATE TABLE grants (
        user_id TEXT NOT NULL,
        engine TEXT NOT NULL,
        PRIMARY KEY (user_id, engine)
    );
    CREATE TABLE audit (
        id TEXT PRIMARY KEY NOT NULL,
        at BIGINT NOT NULL,
        user_id TEXT,
        source TEXT NOT NULL,
        action TEXT NOT NULL,
        target TEXT,
        detail TEXT NOT NULL,
        outcome TEXT NOT NULL
    );
    CREATE INDEX audit_by_age ON audit (at, id);
    CREATE TABLE things (
        id TEXT PRIMARY KEY NOT NULL,
        kind TEXT NOT NULL,
        owner TEXT NOT NULL,
        box_id TEXT NOT NULL,
        name TEXT NOT NULL,
        body TEXT NOT NULL,
        created BIGINT NOT NULL,
        UNIQUE (kind, name, owner, box_id)
    );
    CREATE INDEX things_by_box ON things (box_id);
    CREATE TABLE leases (
        box_id TEXT PRIMARY KEY NOT NULL,
        holder TEXT NOT NULL,
        token BIGINT NOT NULL,
        expires BIGINT NOT NULL
    );
    ";

/// Version 3: what boxes used.
const USAGE: &str = "
    CREATE TABLE meters (
        box_id TEXT PRIMARY KEY NOT NULL,
        counted BIGINT NOT NULL,
        turn TEXT NOT NULL
    );
    CREATE TABLE usage (
        box_id TEXT NOT NULL,
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        day BIGINT NOT NULL,
        running BIGINT NOT NULL,
        suspended BIGINT NOT NULL,
        hibernated BIGINT NOT NULL,
        stopped BIGINT NOT NULL,
        cpu BIGINT NOT NULL,
        memory BIGINT NOT NULL,
        disk BIGINT NOT NULL,
        PRIMARY KEY (box_id, day)
    );
    CREATE INDEX usage_by_owner ON usage (owner, day);
    CREATE INDEX usage_by_day ON usage (day);
    ";

/// The newest version.
pub(crate) const KNOWN: i64 = MIGRATIONS.len() as i64;

/// What brings a database of version `found` to [`KNOWN`]; `store` names it in errors.
pub(crate) fn missing(
    found: i64,
    store: impl std::fmt::Display,
) -> Result<&'static [&'static str], StoreError> {
    let missing = usize::try_from(found).ok().and_then(|done| MIGRATIONS.get(done..));
    missing.ok_or_else(|| StoreError::TooNew { store: store.to_string(), found, known: KNOWN })
}

/// The tables as a release of version `version` left them.
#[cfg(test)]
pub(crate) fn as_of(version: usize) -> impl Iterator<Item = &'static str> {
    MIGRATIONS[..version].iter().copied()
}
