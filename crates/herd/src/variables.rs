//! Variables and secrets of users, which every command in their boxes finds in its environment.
//!
//! They are not in a box's spec, because a spec is shown: a secret is in the store and in the
//! environment of commands, and nowhere else.

use std::collections::BTreeMap;
use std::fmt;

use boxherd_model::{Address, BoxId};
use boxherd_store::{BoxRecord, StoreError, ThingKind, ThingRecord};
use serde::{Deserialize, Serialize};

use crate::belongings::{no_such, read, written};
use crate::{Herd, HerdError, Secret};

/// The longest name, in bytes.
const MAX_NAME: usize = 256;
/// The longest value, in bytes; the kernel takes no variable above 128 KiB.
const MAX_VALUE: usize = 64 * 1024;

/// Which boxes a variable is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every box of its user.
    User,
    /// One box.
    Box(Address),
}

/// What a variable is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worth {
    /// A text that may be shown.
    Plain(String),
    /// A text that is given to boxes only.
    Secret(Secret),
}

/// A variable, as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// What it is called in the environment.
    pub name: String,
    /// The box it is for; `None` for every box of the user.
    pub of: Option<BoxId>,
    /// Its value, unless it is a secret.
    pub value: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Body {
    secret: bool,
    value: String,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("secret", &self.secret).finish_non_exhaustive()
    }
}

impl Herd {
    /// Sets a variable. In one scope a variable and a secret cannot have the same name.
    pub async fn set_variable(
        &self,
        name: &str,
        worth: Worth,
        scope: &Scope,
    ) -> Result<(), HerdError> {
        let body = match worth {
            Worth::Plain(value) => Body { secret: false, value },
            Worth::Secret(secret) => Body { secret: true, value: secret.reveal().to_owned() },
        };
        check(name, &body.value)?;
        let of = self.place(scope).await?;
        match self.variable(name, of).await? {
            None => self.acquire(ThingKind::Variable, of, name, &body).await.map(drop),
            Some(thing) if read::<Body>(&thing)?.secret != body.secret => {
                Err(StoreError::Taken { what: "variable", name: name.to_owned() }.into())
            }
            Some(thing) => {
                let thing = ThingRecord { body: written(&body), ..thing };
                Ok(self.store.update_thing(&thing).await?)
            }
        }
    }

    /// The caller's variables, or its secrets, oldest first.
    pub async fn variables(&self, secrets: bool) -> Result<Vec<Variable>, HerdError> {
        let mut variables = Vec::new();
        for thing in self.belongings(ThingKind::Variable).await? {
            let Body { secret, value } = read(&thing)?;
            if secret == secrets {
                let value = (!secret).then_some(value);
                variables.push(Variable { name: thing.name, of: thing.of, value });
            }
        }
        Ok(variables)
    }

    /// Removes a variable, or a secret.
    pub async fn remove_variable(
        &self,
        name: &str,
        secret: bool,
        scope: &Scope,
    ) -> Result<(), HerdError> {
        let of = self.place(scope).await?;
        let found = self.variable(name, of).await?;
        let thing = found.ok_or_else(|| no_such(ThingKind::Variable, name))?;
        match read::<Body>(&thing)?.secret == secret {
            true => self.give_up(&thing).await,
            false => Err(no_such(ThingKind::Variable, name)),
        }
    }

    /// Gives a variable or a secret another scope.
    pub async fn move_variable(
        &self,
        name: &str,
        from: &Scope,
        to: &Scope,
    ) -> Result<(), HerdError> {
        let (from, to) = (self.place(from).await?, self.place(to).await?);
        let found = self.variable(name, from).await?;
        let thing = found.ok_or_else(|| no_such(ThingKind::Variable, name))?;
        if from == to {
            return Ok(());
        }
        // First there, then no more here: whoever is interrupted has it twice, not never.
        self.acquire(ThingKind::Variable, to, name, &read::<Body>(&thing)?).await?;
        self.give_up(&thing).await
    }

    /// What the environment of commands in a box has of its owner's variables: what is for the box
    /// alone comes before what is for all.
    pub(crate) async fn variables_in(
        &self,
        record: &BoxRecord,
    ) -> Result<BTreeMap<String, String>, HerdError> {
        // The host has none.
        if record.owner.is_none() {
            return Ok(BTreeMap::new());
        }
        let things = self.store.things_owned(ThingKind::Variable, record.owner).await?;
        let (for_all, for_it): (Vec<_>, Vec<_>) = things
            .into_iter()
            .filter(|thing| thing.of.is_none_or(|of| of == record.id))
            .partition(|thing| thing.of.is_none());
        let pair = |thing: ThingRecord| Ok((thing.name.clone(), read::<Body>(&thing)?.value));
        for_all.into_iter().chain(for_it).map(pair).collect()
    }

    /// The secrets that commands in a box are given, by name.
    pub(crate) async fn secrets_in(
        &self,
        record: &BoxRecord,
    ) -> Result<Vec<(String, String)>, HerdError> {
        let things = self.store.things_owned(ThingKind::Variable, record.owner).await?;
        let mut secrets = Vec::new();
        for thing in things.into_iter().filter(|thing| thing.of.is_none_or(|of| of == record.id)) {
            let Body { secret, value } = read(&thing)?;
            if secret && !value.is_empty() {
                secrets.push((thing.name, value));
            }
        }
        Ok(secrets)
    }

    async fn place(&self, scope: &Scope) -> Result<Option<BoxId>, HerdError> {
        match scope {
            Scope::User => Ok(None),
            Scope::Box(address) => self.find(address).await.map(|record| Some(record.id)),
        }
    }

    async fn variable(
        &self,
        name: &str,
        of: Option<BoxId>,
    ) -> Result<Option<ThingRecord>, HerdError> {
        let own = self.belongings(ThingKind::Variable).await?;
        Ok(own.into_iter().find(|thing| thing.of == of && thing.name == name))
    }
}

/// Names as every shell takes them (POSIX.1-2024, XBD 8.1).
fn check(name: &str, value: &str) -> Result<(), HerdError> {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    let invalid = |field, reason: &str| HerdError::Invalid { field, reason: reason.to_owned() };
    if !name.starts_with(letter) || !name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
        return Err(invalid("name", "use letters, digits and `_`, and no digit first"));
    }
    if name.len() > MAX_NAME {
        return Err(invalid("name", "at most 256 bytes are allowed"));
    }
    if value.len() > MAX_VALUE || value.contains('\0') {
        return Err(invalid("value", "at most 64 KiB are allowed, and no NUL byte"));
    }
    Ok(())
}
