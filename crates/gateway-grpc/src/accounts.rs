//! Who one is, and one's tokens and keys.

use std::time::Duration;

use boxherd_boxd_api as api;
use boxherd_herd::HerdError;
use boxherd_model::Timestamp;

use crate::desk::Desk;
use crate::translate::{invalid, seconds};
use crate::users;

type Answer<T> = Result<T, HerdError>;

pub(crate) async fn whoami(
    desk: &Desk<'_>,
    _asked: api::WhoamiRequest,
) -> Answer<api::WhoamiResponse> {
    let me = desk.herd.whoami().await?;
    Ok(api::WhoamiResponse {
        user_id: me.user.id.to_string(),
        pubkey_fingerprints: me.fingerprints,
        display_name: me.user.name.to_string(),
        default_network_id: desk.herd.default_network()?,
        ..api::WhoamiResponse::default()
    })
}

/// Every user is an org, and there are no others.
pub(crate) async fn orgs(
    desk: &Desk<'_>,
    _asked: api::ListOrgsRequest,
) -> Answer<api::ListOrgsResponse> {
    let user = desk.herd.whoami().await?.user;
    let id = user.id.to_string();
    let name = user.name.to_string();
    let own = api::OrgSummary { id: id.clone(), slug: name.clone(), name, is_admin: true };
    Ok(api::ListOrgsResponse { orgs: vec![own], active_org_id: id.clone(), default_org_id: id })
}

pub(crate) async fn config(
    desk: &Desk<'_>,
    _asked: api::GetConfigRequest,
) -> Answer<api::GetConfigResponse> {
    let default_image = boxherd_model::ImageRef::host().to_string();
    let boxherd_knows =
        ["spec", "grace", "live", "user", "keys-of-users"].map(str::to_owned).to_vec();
    Ok(api::GetConfigResponse { default_image, zone: desk.config.zone.clone(), boxherd_knows })
}

/// Zero is the default.
fn life(seconds: u64) -> Option<Duration> {
    (seconds != 0).then(|| Duration::from_secs(seconds))
}

pub(crate) async fn make_token(
    desk: &Desk<'_>,
    asked: api::CreateTokenRequest,
) -> Answer<api::CreateTokenResponse> {
    let made = desk.herd.make_token(life(asked.expires_in_secs)).await?;
    let expires_at = seconds(made.expires);
    Ok(api::CreateTokenResponse { token: made.token.reveal().to_owned(), expires_at })
}

pub(crate) async fn tokens(
    desk: &Desk<'_>,
    _asked: api::ListTokensRequest,
) -> Answer<api::ListTokensResponse> {
    let tokens = desk.herd.tokens().await?.into_iter().map(|token| api::TokenInfo {
        jti: token.id.to_string(),
        created_at: seconds(token.created),
        expires_at: seconds(token.expires),
    });
    Ok(api::ListTokensResponse { tokens: tokens.collect() })
}

pub(crate) async fn revoke_token(
    desk: &Desk<'_>,
    asked: api::RevokeTokenRequest,
) -> Answer<api::RevokeTokenResponse> {
    let none = || HerdError::NoSuch { what: "token", name: asked.jti.clone() };
    desk.herd.revoke_token(asked.jti.parse().map_err(|_| none())?).await?;
    Ok(api::RevokeTokenResponse {})
}

pub(crate) async fn make_key(
    desk: &Desk<'_>,
    asked: api::CreateApiKeyRequest,
) -> Answer<api::CreateApiKeyResponse> {
    let user = match asked.boxherd_user.as_str() {
        "" => desk.herd.user_id()?,
        name => desk.herd.user_or_new(&users::name("boxherd_user", name)?).await?,
    };
    let made = desk.herd.make_key(user, &asked.name, life(asked.expires_in_secs)).await?;
    Ok(api::CreateApiKeyResponse {
        id: made.record.id.to_string(),
        api_key: made.key.reveal().to_owned(),
        expires_at: seconds_or_zero(made.record.expires),
    })
}

pub(crate) async fn keys(
    desk: &Desk<'_>,
    asked: api::ListApiKeysRequest,
) -> Answer<api::ListApiKeysResponse> {
    let me = desk.herd.user_id()?;
    let user = match asked.boxherd_user.as_str() {
        "" => me,
        name => desk.herd.user_named(&users::name("boxherd_user", name)?).await?.id,
    };
    let keys = desk.herd.keys(user).await?.into_iter().map(|key| api::ApiKeyInfo {
        id: key.id.to_string(),
        name: key.name,
        key_prefix: key.prefix,
        created_at: seconds(key.created),
        last_used_at: seconds_or_zero(key.last_used),
        expires_at: seconds_or_zero(key.expires),
        created_by: user.to_string(),
        mine: user == me,
        ..api::ApiKeyInfo::default()
    });
    Ok(api::ListApiKeysResponse { keys: keys.collect() })
}

pub(crate) async fn remove_key(
    desk: &Desk<'_>,
    asked: api::DeleteApiKeyRequest,
) -> Answer<api::DeleteApiKeyResponse> {
    let none = || HerdError::NoSuch { what: "API key", name: asked.id.clone() };
    desk.herd.remove_key(asked.id.parse().map_err(|_| none())?).await?;
    Ok(api::DeleteApiKeyResponse {})
}

pub(crate) async fn link_key(
    desk: &Desk<'_>,
    asked: api::LinkSshKeyRequest,
) -> Answer<api::LinkSshKeyResponse> {
    if !asked.device_id.is_empty() {
        return Err(invalid("device_id", "this server does not offer it"));
    }
    desk.herd.link_public_key(&asked.pubkey, &asked.label).await?;
    Ok(api::LinkSshKeyResponse {})
}

fn seconds_or_zero(time: Option<Timestamp>) -> i64 {
    time.map_or(0, seconds)
}
