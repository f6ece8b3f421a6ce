//! Variables and secrets: what every command of a box is given.

use std::fmt;

use boxherd_boxd_api as api;

use crate::Error;
use crate::client::{Client, ask};

/// Every box of the caller.
const PRIVATE: &str = "private";
/// One box. An extension of Boxherd's.
const BOX: &str = "box:";
const ENV: &str = "env";
const SECRET: &str = "secret";

/// Which boxes something is for.
///
/// ```no_run
/// use boxherd_client::Scope;
///
/// let (everywhere, one) = (Scope::All, Scope::of("web"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// Every box of the caller.
    All,
    /// One box, by name or id; Boxherd alone offers it.
    Box(String),
    /// What another server calls otherwise.
    Other(String),
}

impl Scope {
    /// One box, by name or id.
    ///
    /// ```no_run
    /// let scope = boxherd_client::Scope::of("web");
    /// ```
    #[must_use]
    pub fn of(name: impl Into<String>) -> Self {
        Self::Box(name.into())
    }

    fn read(text: String) -> Self {
        match text.as_str() {
            "" | PRIVATE => Self::All,
            other => match other.strip_prefix(BOX) {
                Some(name) => Self::Box(name.to_owned()),
                None => Self::Other(text),
            },
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str(PRIVATE),
            Self::Box(name) => write!(f, "{BOX}{name}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// A variable or a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Variable {
    /// What it is called.
    pub name: String,
    /// What it is worth; `None` of a secret.
    pub value: Option<String>,
    /// Which boxes it is for.
    pub scope: Scope,
}

/// The caller's variables.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// client.variables().set("NAME", "worth", &boxherd_client::Scope::All).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Variables {
    client: Client,
}

impl Variables {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Sets a variable, for commands that start from now on.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.variables().set("NAME", "worth", &boxherd_client::Scope::All).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set(&self, name: &str, value: &str, scope: &Scope) -> Result<(), Error> {
        set(&self.client, ENV, name, value, scope).await
    }

    /// Every variable, with its value.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{}", client.variables().list().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<Variable>, Error> {
        list(&self.client, ENV).await
    }

    /// Removes a variable.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.variables().remove("NAME", &boxherd_client::Scope::All).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, name: &str, scope: &Scope) -> Result<(), Error> {
        remove(&self.client, ENV, name, scope).await
    }

    /// Gives a variable to other boxes. Boxherd offers it for secrets only.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// use boxherd_client::Scope;
    ///
    /// client.variables().rescope("NAME", &Scope::All, &Scope::of("web")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rescope(&self, name: &str, from: &Scope, to: &Scope) -> Result<(), Error> {
        rescope(&self.client, name, from, to).await
    }
}

/// The caller's secrets.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// client.secrets().set("NAME", "worth", &boxherd_client::Scope::All).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Secrets {
    client: Client,
}

impl Secrets {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Sets a secret, for commands that start from now on.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.secrets().set("NAME", "worth", &boxherd_client::Scope::All).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set(&self, name: &str, value: &str, scope: &Scope) -> Result<(), Error> {
        set(&self.client, SECRET, name, value, scope).await
    }

    /// Every secret; what one is worth is told nobody.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{}", client.secrets().list().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<Variable>, Error> {
        list(&self.client, SECRET).await
    }

    /// Removes a secret.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.secrets().remove("NAME", &boxherd_client::Scope::All).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, name: &str, scope: &Scope) -> Result<(), Error> {
        remove(&self.client, SECRET, name, scope).await
    }

    /// Gives a secret to other boxes.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// use boxherd_client::Scope;
    ///
    /// client.secrets().rescope("NAME", &Scope::All, &Scope::of("web")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rescope(&self, name: &str, from: &Scope, to: &Scope) -> Result<(), Error> {
        rescope(&self.client, name, from, to).await
    }
}

async fn set(
    client: &Client,
    kind: &str,
    name: &str,
    value: &str,
    scope: &Scope,
) -> Result<(), Error> {
    let asked = api::SetVarRequest {
        kind: kind.to_owned(),
        name: name.to_owned(),
        value: value.to_owned(),
        scope: scope.to_string(),
        ..api::SetVarRequest::default()
    };
    ask!(client, Changes, set_var, asked).map(drop)
}

async fn list(client: &Client, kind: &str) -> Result<Vec<Variable>, Error> {
    let asked = api::ListVarsRequest { kind: kind.to_owned(), ..api::ListVarsRequest::default() };
    let listed = ask!(client, Looks, list_vars, asked)?;
    let told = |item: api::VarItem| Variable {
        name: item.name,
        value: (kind == ENV).then_some(item.value),
        scope: Scope::read(item.scope),
    };
    Ok(listed.vars.into_iter().map(told).collect())
}

async fn remove(client: &Client, kind: &str, name: &str, scope: &Scope) -> Result<(), Error> {
    let asked = api::RemoveVarRequest {
        kind: kind.to_owned(),
        name: name.to_owned(),
        scope: scope.to_string(),
        ..api::RemoveVarRequest::default()
    };
    ask!(client, Changes, remove_var, asked).map(drop)
}

async fn rescope(client: &Client, name: &str, from: &Scope, to: &Scope) -> Result<(), Error> {
    let asked = api::SetSecretScopeRequest {
        name: name.to_owned(),
        from: from.to_string(),
        to: to.to_string(),
        ..api::SetSecretScopeRequest::default()
    };
    ask!(client, Changes, set_secret_scope, asked).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_as_they_are_written() {
        for scope in [Scope::All, Scope::of("web"), Scope::Other("team".to_owned())] {
            assert_eq!(Scope::read(scope.to_string()), scope);
        }
        assert_eq!(Scope::read(String::new()), Scope::All);
    }
}
