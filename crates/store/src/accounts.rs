//! Who may ask: users, their keys and tokens, and who asked for what.

use async_trait::async_trait;
use boxherd_model::{BoxId, Grant, KeyId, Quota, Timestamp, TokenId, UserId, UserName};

use crate::StoreError;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// For ever.
    pub id: UserId,
    /// Unique.
    pub name: UserName,
    /// May do what the host may: see every box, give keys and grants.
    pub admin: bool,
    /// How much the user may have at once.
    pub quota: Quota,
    /// When it was made.
    pub created: Timestamp,
}

/// An API key, of which only a hash is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// For ever.
    pub id: KeyId,
    /// Whose it is.
    pub user: UserId,
    /// What its user calls it; may be empty.
    pub name: String,
    /// SHA-256 of the key, in hexadecimal.
    pub hash: String,
    /// Its first characters, by which people recognise it.
    pub prefix: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends; `None` is never.
    pub expires: Option<Timestamp>,
    /// When it was last exchanged.
    pub last_used: Option<Timestamp>,
}

/// A token that was made by asking for it; it holds for as long as it is remembered and not expired.
/// Those that come of exchanging a key are not remembered: they live for an hour, with their key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its `jti`.
    pub id: TokenId,
    /// Whose it is.
    pub user: UserId,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

/// A secret that signs tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Its `kid`.
    pub id: String,
    /// 32 random bytes.
    pub secret: Vec<u8>,
    /// When it was made; the newest signs, the others only verify.
    pub created: Timestamp,
}

/// A public key by which a user is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKeyRecord {
    /// `SHA256:…`, as `ssh-keygen -l` prints it. Unique.
    pub fingerprint: String,
    /// Whose it is.
    pub user: UserId,
    /// The key as a line of `authorized_keys`, without options.
    pub key: String,
    /// What its user calls it.
    pub label: String,
    /// When it was linked.
    pub created: Timestamp,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who; `None` for the host, and for whoever could not be recognised.
    pub user: Option<UserId>,
    /// Where the request came from: an address, or the name of a front door.
    pub source: String,
    /// What was asked for, such as `create`, `exec`, `token.revoke`.
    pub action: String,
    /// The box it was done to.
    pub target: Option<BoxId>,
    /// Names, commands: whatever else tells what was asked for. Never a secret.
    pub detail: String,
    /// `ok`, or the code of the error.
    pub outcome: String,
}

/// Remembers who may ask. What changes who may do what is on disk before the call returns.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// # Errors
    ///
    /// [`StoreError::Taken`] when there is a user of that name.
    async fn add_user(&self, user: &UserRecord) -> Result<(), StoreError>;
    /// Changes name, admin and quota of a user.
    async fn update_user(&self, user: &UserRecord) -> Result<(), StoreError>;
    /// Every user, oldest first.
    async fn users(&self) -> Result<Vec<UserRecord>, StoreError>;
    /// The user with that id.
    async fn user(&self, id: UserId) -> Result<Option<UserRecord>, StoreError>;
    /// The user of that name.
    async fn user_by_name(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError>;
    /// The user with that id, if the key is there and is that user's.
    async fn user_by_key(&self, id: UserId, key: KeyId) -> Result<Option<UserRecord>, StoreError>;
    /// The user with that id, if the token is there and is that user's.
    async fn user_by_token(
        &self,
        id: UserId,
        token: TokenId,
    ) -> Result<Option<UserRecord>, StoreError>;

    /// Remembers a key.
    async fn add_key(&self, key: &KeyRecord) -> Result<(), StoreError>;
    /// The keys of a user, oldest first.
    async fn keys(&self, user: UserId) -> Result<Vec<KeyRecord>, StoreError>;
    /// The key with that hash.
    async fn key_by_hash(&self, hash: &str) -> Result<Option<KeyRecord>, StoreError>;
    /// The key with that id.
    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError>;
    /// Notes that a key was exchanged. Need not survive a power cut.
    async fn touch_key(&self, id: KeyId, at: Timestamp) -> Result<(), StoreError>;
    /// Forgets a key of that user. Says whether there was one.
    async fn remove_key(&self, user: UserId, id: KeyId) -> Result<bool, StoreError>;

    /// Remembers a token.
    async fn add_token(&self, token: &TokenRecord) -> Result<(), StoreError>;
    /// The tokens of a user that end after `now`, oldest first. Forgets those that ended.
    async fn tokens(&self, user: UserId, now: Timestamp) -> Result<Vec<TokenRecord>, StoreError>;
    /// Forgets a token of that user. Says whether there was one.
    async fn remove_token(&self, user: UserId, id: TokenId) -> Result<bool, StoreError>;

    /// The keys that sign tokens, newest first.
    async fn signing_keys(&self) -> Result<Vec<SigningKey>, StoreError>;
    /// Remembers a key that signs tokens, and forgets those made before `oldest`.
    async fn add_signing_key(&self, key: &SigningKey, oldest: Timestamp) -> Result<(), StoreError>;

    /// # Errors
    ///
    /// [`StoreError::Taken`] when somebody has linked it.
    async fn add_ssh_key(&self, key: &SshKeyRecord) -> Result<(), StoreError>;
    /// The public keys of a user, oldest first.
    async fn ssh_keys(&self, user: UserId) -> Result<Vec<SshKeyRecord>, StoreError>;
    /// The public key with that fingerprint.
    async fn ssh_key(&self, fingerprint: &str) -> Result<Option<SshKeyRecord>, StoreError>;

    /// What a user may do beyond boxes of its own.
    async fn grants(&self, user: UserId) -> Result<Vec<Grant>, StoreError>;
    /// Lets a user do that. Idempotent.
    async fn grant(&self, user: UserId, grant: &Grant) -> Result<(), StoreError>;
    /// Takes that back. Says whether it was there.
    async fn revoke_grant(&self, user: UserId, grant: &Grant) -> Result<bool, StoreError>;

    /// Adds to the audit log. Need not survive a power cut.
    async fn audit(&self, entry: &AuditEntry) -> Result<(), StoreError>;
    /// The newest entries, newest first, at most `limit`.
    async fn audited(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}
