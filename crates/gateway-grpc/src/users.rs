//! Users, what each may have, and what it may do with others' boxes. The herd lets administrators only.

use boxherd_boxd_api as api;
use boxherd_herd::{HerdError, UserRecord};
use boxherd_model::{ByteSize, Grant, Quota, UserId, UserName};

use crate::desk::Desk;
use crate::translate::invalid;

type Answer<T> = Result<T, HerdError>;

pub(crate) fn name(field: &'static str, text: &str) -> Answer<UserName> {
    text.parse().map_err(|error| invalid(field, error))
}

pub(crate) async fn create(
    desk: &Desk<'_>,
    asked: api::BoxherdCreateUserRequest,
) -> Answer<api::BoxherdUser> {
    let quota = changed(Quota::default(), asked.quota)?;
    let made = desk.herd.add_user(name("name", &asked.name)?, asked.admin, quota).await?;
    Ok(shown(made))
}

pub(crate) async fn list(
    desk: &Desk<'_>,
    _asked: api::BoxherdListUsersRequest,
) -> Answer<api::BoxherdListUsersResponse> {
    let users = desk.herd.users().await?.into_iter().map(shown).collect();
    Ok(api::BoxherdListUsersResponse { users })
}

pub(crate) async fn change(
    desk: &Desk<'_>,
    asked: api::BoxherdChangeUserRequest,
) -> Answer<api::BoxherdUser> {
    let name = name("name", &asked.name)?;
    // Refused before anything is looked for.
    changed(Quota::default(), asked.quota)?;
    let (admin, quota) = (asked.admin, asked.quota);
    let change = |user: &mut UserRecord| {
        user.quota = changed(user.quota, quota).unwrap_or(user.quota);
        user.admin = admin.unwrap_or(user.admin);
    };
    Ok(shown(desk.herd.change_user(&name, change).await?))
}

pub(crate) async fn grant(
    desk: &Desk<'_>,
    asked: api::BoxherdGrantRequest,
) -> Answer<api::BoxherdGrantResponse> {
    let (user, grant) = meant(desk, &asked.user, asked.grant).await?;
    desk.herd.grant(user, &grant).await?;
    Ok(api::BoxherdGrantResponse {})
}

pub(crate) async fn revoke(
    desk: &Desk<'_>,
    asked: api::BoxherdRevokeGrantRequest,
) -> Answer<api::BoxherdRevokeGrantResponse> {
    let (user, grant) = meant(desk, &asked.user, asked.grant).await?;
    desk.herd.revoke_grant(user, &grant).await?;
    Ok(api::BoxherdRevokeGrantResponse {})
}

pub(crate) async fn grants(
    desk: &Desk<'_>,
    asked: api::BoxherdListGrantsRequest,
) -> Answer<api::BoxherdListGrantsResponse> {
    let user = desk.herd.user_named(&name("user", &asked.user)?).await?.id;
    let users = desk.herd.users().await?;
    let named = |id: UserId| match users.iter().find(|user| user.id == id) {
        Some(user) => user.name.to_string(),
        None => id.to_string(),
    };
    let entry = |grant: Grant| api::BoxherdGrantEntry {
        engine: grant.engine.to_string(),
        owner: grant.owner.map(named).unwrap_or_default(),
    };
    let grants = desk.herd.grants(user).await?.into_iter().map(entry).collect();
    Ok(api::BoxherdListGrantsResponse { grants })
}

/// For the audit log.
pub(crate) fn told(user: &str, grant: Option<&api::BoxherdGrantEntry>) -> String {
    grant.map_or_else(String::new, |grant| format!("{user}: {}/{}", grant.engine, grant.owner))
}

async fn meant(
    desk: &Desk<'_>,
    user: &str,
    grant: Option<api::BoxherdGrantEntry>,
) -> Answer<(UserId, Grant)> {
    let user = desk.herd.user_named(&name("user", user)?).await?.id;
    let grant = grant.ok_or_else(|| invalid("grant", "say on which engine"))?;
    let engine = grant.engine.parse().map_err(|error| invalid("grant.engine", error))?;
    let owner = match grant.owner.as_str() {
        "" => None,
        owner => Some(desk.herd.user_named(&name("grant.owner", owner)?).await?.id),
    };
    Ok((user, Grant { engine, owner }))
}

/// What is not there stays as it is; a limit without a number is none.
fn changed(quota: Quota, asked: Option<api::BoxherdQuota>) -> Answer<Quota> {
    let Some(asked) = asked else { return Ok(quota) };
    let count = |field, asked: Option<api::BoxherdLimit>, kept| match asked {
        None => Ok(kept),
        Some(limit) => {
            let number = |at_most| u32::try_from(at_most).map_err(|error| invalid(field, error));
            limit.at_most.map(number).transpose()
        }
    };
    let size = |asked: Option<api::BoxherdLimit>, kept| match asked {
        None => kept,
        Some(limit) => limit.at_most.map(ByteSize::from_bytes),
    };
    Ok(Quota {
        boxes: count("quota.boxes", asked.boxes, quota.boxes)?,
        memory: size(asked.memory, quota.memory),
        disk: size(asked.disk, quota.disk),
        execs: count("quota.execs", asked.execs, quota.execs)?,
    })
}

fn shown(user: UserRecord) -> api::BoxherdUser {
    let limit = |at_most| Some(api::BoxherdLimit { at_most });
    let Quota { boxes, memory, disk, execs } = user.quota;
    let quota = api::BoxherdQuota {
        boxes: limit(boxes.map(u64::from)),
        memory: limit(memory.map(ByteSize::bytes)),
        disk: limit(disk.map(ByteSize::bytes)),
        execs: limit(execs.map(u64::from)),
    };
    let (id, name) = (user.id.to_string(), user.name.to_string());
    api::BoxherdUser { id, name, admin: user.admin, quota: Some(quota) }
}
