//! Users, keys, tokens, grants and the audit log over any database.

use async_trait::async_trait;
use boxherd_model::{Grant, KeyId, Timestamp, TokenId, UserId, UserName};
use uuid::Uuid;

use crate::database::{Database, Query, Row, Statement, Value};
use crate::row::{Columns, corrupt, json, optional, text, time};
use crate::{
    Accounts, AuditEntry, Durability, KeyRecord, SigningKey, SqlStore, SshKeyRecord, StoreError,
    TokenRecord, UserRecord,
};

macro_rules! select_users {
    ($rest:literal) => {
        concat!("SELECT id, name, admin, quota, created FROM users ", $rest)
    };
}

macro_rules! select_keys {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, name, hash, prefix, created, expires, last_used FROM api_keys ",
            $rest
        )
    };
}

macro_rules! select_tokens {
    ($rest:literal) => {
        concat!("SELECT id, user_id, created, expires FROM tokens ", $rest)
    };
}

macro_rules! select_ssh_keys {
    ($rest:literal) => {
        concat!("SELECT fingerprint, user_id, key, label, created FROM ssh_keys ", $rest)
    };
}

#[async_trait]
impl<D: Database> Accounts for SqlStore<D> {
    async fn add_user(&self, user: &UserRecord) -> Result<(), StoreError> {
        let sql = "INSERT INTO users (id, name, admin, quota, created) \
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        let [id, name, admin, quota] = user_values(user);
        let values = [id, name, admin, quota, time(user.created)];
        let statement = Statement::new("writing a user", sql, values);
        self.database.durably(statement.unless_duplicate(user_taken(user))).await?;
        Ok(())
    }

    async fn update_user(&self, user: &UserRecord) -> Result<(), StoreError> {
        let sql = "UPDATE users SET name = ?2, admin = ?3, quota = ?4 WHERE id = ?1";
        let statement = Statement::new("changing a user", sql, user_values(user));
        self.database.durably(statement.unless_duplicate(user_taken(user))).await?;
        Ok(())
    }

    async fn users(&self) -> Result<Vec<UserRecord>, StoreError> {
        self.database.many(Query::new(select_users!("ORDER BY created, id"), []), to_user).await
    }

    async fn user(&self, id: UserId) -> Result<Option<UserRecord>, StoreError> {
        self.database.one(Query::new(select_users!("WHERE id = ?1"), [text(id)]), to_user).await
    }

    async fn user_by_name(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError> {
        self.database.one(Query::new(select_users!("WHERE name = ?1"), [text(name)]), to_user).await
    }

    async fn user_by_key(&self, id: UserId, key: KeyId) -> Result<Option<UserRecord>, StoreError> {
        let sql = select_users!(
            "WHERE id = ?1 AND EXISTS (SELECT 1 FROM api_keys WHERE id = ?2 AND user_id = ?1)"
        );
        self.database.one(Query::new(sql, [text(id), text(key)]), to_user).await
    }

    async fn user_by_token(
        &self,
        id: UserId,
        token: TokenId,
    ) -> Result<Option<UserRecord>, StoreError> {
        let sql = select_users!(
            "WHERE id = ?1 AND EXISTS (SELECT 1 FROM tokens WHERE id = ?2 AND user_id = ?1)"
        );
        self.database.one(Query::new(sql, [text(id), text(token)]), to_user).await
    }

    async fn add_key(&self, key: &KeyRecord) -> Result<(), StoreError> {
        let sql = "INSERT INTO api_keys \
                   (id, user_id, name, hash, prefix, created, expires, last_used) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let values = [
            text(key.id),
            text(key.user),
            text(&key.name),
            text(&key.hash),
            text(&key.prefix),
            time(key.created),
            optional(key.expires, time),
            optional(key.last_used, time),
        ];
        let taken = StoreError::Taken { what: "key", name: key.prefix.clone() };
        self.database
            .durably(Statement::new("writing a key", sql, values).unless_duplicate(taken))
            .await?;
        Ok(())
    }

    async fn keys(&self, user: UserId) -> Result<Vec<KeyRecord>, StoreError> {
        let sql = select_keys!("WHERE user_id = ?1 ORDER BY created, id");
        self.database.many(Query::new(sql, [text(user)]), to_key).await
    }

    async fn key_by_hash(&self, hash: &str) -> Result<Option<KeyRecord>, StoreError> {
        self.database.one(Query::new(select_keys!("WHERE hash = ?1"), [text(hash)]), to_key).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.database.one(Query::new(select_keys!("WHERE id = ?1"), [text(id)]), to_key).await
    }

    async fn touch_key(&self, id: KeyId, at: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE api_keys SET last_used = ?2 WHERE id = ?1";
        let statement = Statement::new("noting that a key was used", sql, [text(id), time(at)]);
        self.database.only(Durability::Process, statement).await?;
        Ok(())
    }

    async fn remove_key(&self, user: UserId, id: KeyId) -> Result<bool, StoreError> {
        let sql = "DELETE FROM api_keys WHERE user_id = ?1 AND id = ?2";
        self.database.durably(Statement::new("removing a key", sql, [text(user), text(id)])).await
    }

    async fn add_token(&self, token: &TokenRecord) -> Result<(), StoreError> {
        let sql = "INSERT INTO tokens (id, user_id, created, expires) VALUES (?1, ?2, ?3, ?4)";
        let values = [text(token.id), text(token.user), time(token.created), time(token.expires)];
        self.database.durably(Statement::new("writing a token", sql, values)).await?;
        Ok(())
    }

    async fn tokens(&self, user: UserId, now: Timestamp) -> Result<Vec<TokenRecord>, StoreError> {
        let forget = "DELETE FROM tokens WHERE expires <= ?1";
        let list = select_tokens!("WHERE user_id = ?1 ORDER BY created, id");
        let step = "listing tokens";
        let statements = vec![
            Statement::new(step, forget, [time(now)]),
            Statement::new(step, list, [text(user)]),
        ];
        let done = self.database.all(step, Durability::Process, statements).await?;
        done.into_iter().flat_map(|done| done.rows).map(to_token).collect()
    }

    async fn remove_token(&self, user: UserId, id: TokenId) -> Result<bool, StoreError> {
        let sql = "DELETE FROM tokens WHERE user_id = ?1 AND id = ?2";
        self.database.durably(Statement::new("removing a token", sql, [text(user), text(id)])).await
    }

    async fn signing_keys(&self) -> Result<Vec<SigningKey>, StoreError> {
        let sql = "SELECT id, secret, created FROM signing_keys ORDER BY created DESC, id DESC";
        self.database.many(Query::new(sql, []), to_signing_key).await
    }

    async fn add_signing_key(&self, key: &SigningKey, oldest: Timestamp) -> Result<(), StoreError> {
        let add = "INSERT INTO signing_keys (id, secret, created) VALUES (?1, ?2, ?3)";
        let values = [text(&key.id), text(hexadecimal(&key.secret)), time(key.created)];
        let forget = "DELETE FROM signing_keys WHERE created < ?1";
        let step = "writing a signing key";
        let statements =
            vec![Statement::new(step, add, values), Statement::new(step, forget, [time(oldest)])];
        self.database.all(step, Durability::Disk, statements).await?;
        Ok(())
    }

    async fn add_ssh_key(&self, key: &SshKeyRecord) -> Result<(), StoreError> {
        let sql = "INSERT INTO ssh_keys (fingerprint, user_id, key, label, created) \
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        let values = [
            text(&key.fingerprint),
            text(key.user),
            text(&key.key),
            text(&key.label),
            time(key.created),
        ];
        let taken = StoreError::Taken { what: "public key", name: key.fingerprint.clone() };
        let statement = Statement::new("writing a public key", sql, values);
        self.database.durably(statement.unless_duplicate(taken)).await?;
        Ok(())
    }

    async fn ssh_keys(&self, user: UserId) -> Result<Vec<SshKeyRecord>, StoreError> {
        let sql = select_ssh_keys!("WHERE user_id = ?1 ORDER BY created, fingerprint");
        self.database.many(Query::new(sql, [text(user)]), to_ssh_key).await
    }

    async fn ssh_key(&self, fingerprint: &str) -> Result<Option<SshKeyRecord>, StoreError> {
        let sql = select_ssh_keys!("WHERE fingerprint = ?1");
        self.database.one(Query::new(sql, [text(fingerprint)]), to_ssh_key).await
    }

    async fn grants(&self, user: UserId) -> Result<Vec<Grant>, StoreError> {
        let sql = "SELECT engine FROM grants WHERE user_id = ?1 ORDER BY engine";
        let to_grant = |row| Columns::from(row).parsed("engine");
        self.database.many(Query::new(sql, [text(user)]), to_grant).await
    }

    async fn grant(&self, user: UserId, grant: &Grant) -> Result<(), StoreError> {
        let sql = "INSERT INTO grants (user_id, engine) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        self.database.durably(Statement::new("granting", sql, [text(user), text(grant)])).await?;
        Ok(())
    }

    async fn revoke_grant(&self, user: UserId, grant: &Grant) -> Result<bool, StoreError> {
        let sql = "DELETE FROM grants WHERE user_id = ?1 AND engine = ?2";
        let statement = Statement::new("revoking a grant", sql, [text(user), text(grant)]);
        self.database.durably(statement).await
    }

    async fn audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let sql = "INSERT INTO audit (id, at, user_id, source, action, target, detail, outcome) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        // Ids of version 7 keep entries of the same millisecond in order.
        let values = [
            text(Uuid::now_v7()),
            time(entry.at),
            optional(entry.user, text),
            text(&entry.source),
            text(&entry.action),
            optional(entry.target, text),
            text(&entry.detail),
            text(&entry.outcome),
        ];
        self.database
            .only(Durability::Process, Statement::new("writing the audit log", sql, values))
            .await?;
        Ok(())
    }

    async fn audited(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let sql = "SELECT at, user_id, source, action, target, detail, outcome FROM audit \
                   ORDER BY at DESC, id DESC LIMIT ?1";
        self.database.many(Query::new(sql, [Value::Integer(limit.into())]), to_audit_entry).await
    }
}

fn user_values(user: &UserRecord) -> [Value; 4] {
    [text(user.id), text(&user.name), Value::Integer(user.admin.into()), json(&user.quota)]
}

fn user_taken(user: &UserRecord) -> StoreError {
    StoreError::Taken { what: "user", name: user.name.to_string() }
}

fn to_user(row: Row) -> Result<UserRecord, StoreError> {
    let mut row = Columns::from(row);
    Ok(UserRecord {
        id: row.parsed("id")?,
        name: row.parsed("name")?,
        admin: row.integer("admin")? != 0,
        quota: row.json("quota")?,
        created: row.time("created")?,
    })
}

fn to_key(row: Row) -> Result<KeyRecord, StoreError> {
    let mut row = Columns::from(row);
    Ok(KeyRecord {
        id: row.parsed("id")?,
        user: row.parsed("user_id")?,
        name: row.text("name")?,
        hash: row.text("hash")?,
        prefix: row.text("prefix")?,
        created: row.time("created")?,
        expires: row.optional_time("expires")?,
        last_used: row.optional_time("last_used")?,
    })
}

fn to_token(row: Row) -> Result<TokenRecord, StoreError> {
    let mut row = Columns::from(row);
    Ok(TokenRecord {
        id: row.parsed("id")?,
        user: row.parsed("user_id")?,
        created: row.time("created")?,
        expires: row.time("expires")?,
    })
}

fn to_signing_key(row: Row) -> Result<SigningKey, StoreError> {
    let mut row = Columns::from(row);
    Ok(SigningKey {
        id: row.text("id")?,
        secret: bytes(&row.text("secret")?).map_err(|source| corrupt("secret", source))?,
        created: row.time("created")?,
    })
}

fn to_ssh_key(row: Row) -> Result<SshKeyRecord, StoreError> {
    let mut row = Columns::from(row);
    Ok(SshKeyRecord {
        fingerprint: row.text("fingerprint")?,
        user: row.parsed("user_id")?,
        key: row.text("key")?,
        label: row.text("label")?,
        created: row.time("created")?,
    })
}

fn to_audit_entry(row: Row) -> Result<AuditEntry, StoreError> {
    let mut row = Columns::from(row);
    Ok(AuditEntry {
        at: row.time("at")?,
        user: row.optional_parsed("user_id")?,
        source: row.text("source")?,
        action: row.text("action")?,
        target: row.optional_parsed("target")?,
        detail: row.text("detail")?,
        outcome: row.text("outcome")?,
    })
}

/// Bytes as text: databases agree on texts, not on byte strings.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The other way of [`hexadecimal`].
fn bytes(text: &str) -> Result<Vec<u8>, std::num::ParseIntError> {
    // A byte that is cut in two, or half of a longer character, is no hexadecimal either.
    let digits = |pair: &[u8]| String::from_utf8_lossy(pair).into_owned();
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(&digits(pair), 16)).collect()
}
