use boxherd_model::{ByteSize, Grant, KeyId, TokenId};

use super::*;
use crate::{AuditEntry, KeyRecord, SigningKey, SshKeyRecord, TokenRecord};

pub(super) async fn users_are_kept_by_unique_names(home: &dyn Home) {
    let store = home.open().await;
    let (mut ann, bob) = (user("ann"), UserRecord { created: at(2), ..user("bob") });
    store.add_user(&ann).await.unwrap();
    store.add_user(&bob).await.unwrap();
    let refused = store.add_user(&user("ann")).await.unwrap_err();
    assert_eq!(refused.to_string(), "there is a user `ann` already");

    ann.admin = true;
    ann.quota =
        Quota { boxes: Some(3), memory: Some(ByteSize::from_mib(1024)), ..Quota::default() };
    store.update_user(&ann).await.unwrap();
    assert_eq!(store.users().await.unwrap(), [ann.clone(), bob.clone()]);
    assert_eq!(store.user(ann.id).await.unwrap(), Some(ann.clone()));
    assert_eq!(store.user_by_name(&ann.name).await.unwrap(), Some(ann.clone()));
    assert_eq!(store.user_by_name(&"eve".parse().unwrap()).await.unwrap(), None);

    let renamed = UserRecord { name: bob.name.clone(), ..ann.clone() };
    assert_eq!(store.update_user(&renamed).await.unwrap_err().code(), "taken");
    assert_eq!(store.users().await.unwrap(), [ann, bob]);
}

pub(super) async fn keys_are_found_by_hash_and_removed_by_their_users_only(home: &dyn Home) {
    let store = home.open().await;
    let (ann, bob) = (UserId::new(), UserId::new());
    let key = |user, hash: &str| KeyRecord {
        id: KeyId::new(),
        user,
        name: String::new(),
        hash: hash.to_owned(),
        prefix: "bxk_1".to_owned(),
        created: at(1),
        expires: Some(at(5)),
        last_used: None,
    };
    let (mut first, second) = (key(ann, "aa"), key(ann, "bb"));
    store.add_key(&first).await.unwrap();
    store.add_key(&second).await.unwrap();
    assert_eq!(store.add_key(&key(bob, "bb")).await.unwrap_err().code(), "taken");

    store.touch_key(first.id, at(3)).await.unwrap();
    first.last_used = Some(at(3));
    assert_eq!(store.key_by_hash("aa").await.unwrap(), Some(first.clone()));
    assert_eq!(store.key(first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(store.keys(ann).await.unwrap(), [first.clone(), second.clone()]);

    assert!(!store.remove_key(bob, first.id).await.unwrap(), "not Bob's");
    assert!(store.remove_key(ann, first.id).await.unwrap());
    assert!(!store.remove_key(ann, first.id).await.unwrap());
    assert_eq!(store.keys(ann).await.unwrap(), [second]);
}

pub(super) async fn tokens_are_forgotten_when_they_end(home: &dyn Home) {
    let store = home.open().await;
    let (ann, bob) = (UserId::new(), UserId::new());
    let token = |expires| TokenRecord {
        id: TokenId::new(),
        user: ann,
        created: at(1),
        expires: at(expires),
    };
    let (short, long) = (token(10), token(20));
    store.add_token(&short).await.unwrap();
    store.add_token(&long).await.unwrap();
    assert_eq!(store.tokens(ann, at(9)).await.unwrap(), [short.clone(), long.clone()]);
    assert_eq!(store.tokens(ann, at(10)).await.unwrap(), std::slice::from_ref(&long));
    assert!(store.tokens(bob, at(0)).await.unwrap().is_empty());

    assert!(!store.remove_token(bob, long.id).await.unwrap(), "not Bob's");
    assert!(store.remove_token(ann, long.id).await.unwrap());
    assert!(store.tokens(ann, at(0)).await.unwrap().is_empty());
}

pub(super) async fn users_are_found_by_their_own_keys_and_tokens(home: &dyn Home) {
    let store = home.open().await;
    let (ann, bob) = (user("ann"), user("bob"));
    store.add_user(&ann).await.unwrap();
    store.add_user(&bob).await.unwrap();
    let key = KeyRecord {
        id: KeyId::new(),
        user: ann.id,
        name: String::new(),
        hash: "aa".to_owned(),
        prefix: "bxk_1".to_owned(),
        created: at(1),
        expires: None,
        last_used: None,
    };
    store.add_key(&key).await.unwrap();
    assert_eq!(store.user_by_key(ann.id, key.id).await.unwrap(), Some(ann.clone()));
    assert_eq!(store.user_by_key(bob.id, key.id).await.unwrap(), None, "not Bob's");
    assert_eq!(store.user_by_key(ann.id, KeyId::new()).await.unwrap(), None);
    store.remove_key(ann.id, key.id).await.unwrap();
    assert_eq!(store.user_by_key(ann.id, key.id).await.unwrap(), None);

    let token = TokenRecord { id: TokenId::new(), user: bob.id, created: at(1), expires: at(9) };
    store.add_token(&token).await.unwrap();
    assert_eq!(store.user_by_token(bob.id, token.id).await.unwrap(), Some(bob.clone()));
    assert_eq!(store.user_by_token(ann.id, token.id).await.unwrap(), None, "not Ann's");
    store.remove_token(bob.id, token.id).await.unwrap();
    assert_eq!(store.user_by_token(bob.id, token.id).await.unwrap(), None);
    let nobody = TokenRecord { id: TokenId::new(), user: UserId::new(), ..token };
    store.add_token(&nobody).await.unwrap();
    assert_eq!(store.user_by_token(nobody.user, nobody.id).await.unwrap(), None);
}

pub(super) async fn old_signing_keys_are_forgotten(home: &dyn Home) {
    let store = home.open().await;
    let key = |id: &str, created| SigningKey {
        id: id.to_owned(),
        secret: (0..=255).collect(),
        created: at(created),
    };
    let (first, second, third) = (key("z", 1), key("y", 2), key("x", 3));
    store.add_signing_key(&first, at(0)).await.unwrap();
    store.add_signing_key(&second, at(1)).await.unwrap();
    assert_eq!(store.signing_keys().await.unwrap(), [second.clone(), first]);
    store.add_signing_key(&third, at(2)).await.unwrap();
    assert_eq!(store.signing_keys().await.unwrap(), [third, second]);
}

pub(super) async fn a_public_key_is_linked_once(home: &dyn Home) {
    let store = home.open().await;
    let key = SshKeyRecord {
        fingerprint: "SHA256:abc".to_owned(),
        user: UserId::new(),
        key: "ssh-ed25519 AAAA".to_owned(),
        label: "laptop".to_owned(),
        created: at(1),
    };
    store.add_ssh_key(&key).await.unwrap();
    let others = SshKeyRecord { user: UserId::new(), ..key.clone() };
    assert_eq!(store.add_ssh_key(&others).await.unwrap_err().code(), "taken");
    assert_eq!(store.ssh_key("SHA256:abc").await.unwrap(), Some(key.clone()));
    assert_eq!(store.ssh_keys(key.user).await.unwrap(), [key]);
    assert!(store.ssh_keys(others.user).await.unwrap().is_empty());
}

pub(super) async fn grants_are_given_and_taken(home: &dyn Home) {
    let store = home.open().await;
    let ann = UserId::new();
    let local = Grant { engine: EngineName::local(), owner: None };
    let bobs = Grant { owner: Some(UserId::new()), ..local.clone() };
    for grant in [&bobs, &local, &local] {
        store.grant(ann, grant).await.unwrap();
    }
    assert_eq!(store.grants(ann).await.unwrap(), [local.clone(), bobs.clone()]);
    assert!(store.revoke_grant(ann, &local).await.unwrap());
    assert!(!store.revoke_grant(ann, &local).await.unwrap());
    assert_eq!(store.grants(ann).await.unwrap(), [bobs]);
    assert!(store.grants(UserId::new()).await.unwrap().is_empty());
}

pub(super) async fn the_audit_log_is_read_newest_first(home: &dyn Home) {
    let store = home.open().await;
    let entry = |at_, action: &str| AuditEntry {
        at: at(at_),
        user: Some(UserId::new()),
        source: "192.0.2.1".to_owned(),
        action: action.to_owned(),
        target: Some(BoxId::new()),
        detail: "web".to_owned(),
        outcome: "ok".to_owned(),
    };
    let nobody = AuditEntry { user: None, target: None, ..entry(1, "denied") };
    let entries = [nobody, entry(2, "create"), entry(2, "exec"), entry(2, "delete")];
    for entry in &entries {
        store.audit(entry).await.unwrap();
    }
    let mut newest_first = entries.to_vec();
    newest_first.reverse();
    assert_eq!(store.audited(10).await.unwrap(), newest_first);
    assert_eq!(store.audited(2).await.unwrap(), newest_first[..2]);
}
