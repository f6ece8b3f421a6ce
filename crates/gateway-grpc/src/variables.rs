//! Variables and secrets. What a secret is worth is taken in and never given out.

use boxherd_boxd_api as api;
use boxherd_herd::{HerdError, Scope, Secret, Worth};
use boxherd_model::BoxId;

use crate::desk::Desk;
use crate::translate::invalid;

type Answer<T> = Result<T, HerdError>;

/// Every box of the caller.
const PRIVATE: &str = "private";
/// One box: `box:` and its name or id. Ours; the wire has no word for it.
const BOX: &str = "box:";

/// Whether it is secrets that are meant.
fn is_secret(kind: &str) -> Answer<bool> {
    match kind {
        "env" | "" => Ok(false),
        "secret" => Ok(true),
        _ => Err(invalid("kind", "use `env` or `secret`")),
    }
}

fn scope(desk: &Desk<'_>, field: &'static str, text: &str) -> Answer<Scope> {
    match text {
        // One has no boxes but one's own here.
        "" | PRIVATE | "all" => Ok(Scope::User),
        text => match text.strip_prefix(BOX) {
            Some(name) => desk.address(field, name).map(Scope::Box),
            None => Err(invalid(field, "this server offers `private` and `box:BOX`")),
        },
    }
}

fn shown(of: Option<BoxId>) -> String {
    of.map_or_else(|| PRIVATE.to_owned(), |id| format!("{BOX}{id}"))
}

fn said(done: &str, name: &str) -> api::VarReply {
    api::VarReply { message: format!("{name} {done}") }
}

pub(crate) async fn set(desk: &Desk<'_>, asked: api::SetVarRequest) -> Answer<api::VarReply> {
    desk.own_org(&asked.org).await?;
    if !asked.domains.is_empty() {
        return Err(invalid("domains", "this server does not offer it"));
    }
    let worth = match is_secret(&asked.kind)? {
        true => Worth::Secret(Secret::new(asked.value)),
        false => Worth::Plain(asked.value),
    };
    let scope = scope(desk, "scope", &asked.scope)?;
    desk.herd.set_variable(&asked.name, worth, &scope).await?;
    Ok(said("is set, for commands that start from now on", &asked.name))
}

pub(crate) async fn list(
    desk: &Desk<'_>,
    asked: api::ListVarsRequest,
) -> Answer<api::VarListReply> {
    desk.own_org(&asked.org).await?;
    let kinds: &[(bool, &str)] = match asked.kind.as_str() {
        "" => &[(false, "env"), (true, "secret")],
        kind if is_secret(kind)? => &[(true, "secret")],
        _ => &[(false, "env")],
    };
    let mut vars = Vec::new();
    for (secret, kind) in kinds {
        let variables = desk.herd.variables(*secret).await?;
        vars.extend(variables.into_iter().map(|variable| api::VarItem {
            name: variable.name,
            kind: (*kind).to_owned(),
            scope: shown(variable.of),
            value: variable.value.unwrap_or_default(),
            domains: Vec::new(),
            bound_machines: 0,
        }));
    }
    Ok(api::VarListReply { vars })
}

pub(crate) async fn remove(desk: &Desk<'_>, asked: api::RemoveVarRequest) -> Answer<api::VarReply> {
    desk.own_org(&asked.org).await?;
    let scope = scope(desk, "scope", &asked.scope)?;
    desk.herd.remove_variable(&asked.name, is_secret(&asked.kind)?, &scope).await?;
    Ok(said("is removed", &asked.name))
}

pub(crate) async fn rescope(
    desk: &Desk<'_>,
    asked: api::SetSecretScopeRequest,
) -> Answer<api::VarReply> {
    desk.own_org(&asked.org).await?;
    let (from, to) = (scope(desk, "from", &asked.from)?, scope(desk, "to", &asked.to)?);
    desk.herd.move_variable(&asked.name, &from, &to).await?;
    Ok(said("has another scope", &asked.name))
}
