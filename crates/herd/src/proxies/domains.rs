//! Domains of users that lead to their boxes.

use boxherd_model::{Address, BoxId, BoxName, ThingId};
use boxherd_store::{StoreError, ThingKind, ThingRecord};

use super::Host;
use super::labels::is_label;
use crate::{Herd, HerdError};

/// A domain that leads to a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// The domain, in lower case.
    pub name: String,
    /// The box.
    pub of: BoxId,
    /// The box, by name.
    pub box_name: BoxName,
}

impl Herd {
    /// Binds a domain to the default proxy of a box. A domain leads to one box, over all users; who
    /// binds it first has it. DNS is not asked: a domain that does not lead here does no harm here.
    pub async fn bind_domain(
        &self,
        address: &Address,
        domain: &str,
        zone: &str,
    ) -> Result<Domain, HerdError> {
        let name = checked(domain, zone)?;
        let record = self.find(address).await?;
        let bound =
            Domain { name: name.clone(), of: record.id, box_name: record.spec.name.clone() };
        let taken = || StoreError::Taken { what: "domain", name: name.clone() };
        match self.store.things_named(ThingKind::Domain, &name).await?.first() {
            Some(there) if there.of == Some(record.id) => return Ok(bound),
            Some(_) => return Err(taken().into()),
            None => {}
        }
        let thing = ThingRecord {
            id: ThingId::new(),
            kind: ThingKind::Domain,
            owner: record.owner,
            of: Some(record.id),
            name: name.clone(),
            body: "{}".to_owned(),
            created: self.now(),
        };
        self.store.add_thing(&thing).await?;
        // Another may have come in between: then neither has it, and both may try again.
        if self.store.things_named(ThingKind::Domain, &name).await?.len() > 1 {
            self.store.remove_thing(thing.id).await?;
            return Err(taken().into());
        }
        self.routes.changed();
        Ok(bound)
    }

    /// Lets a domain lead nowhere.
    pub async fn unbind_domain(&self, domain: &str) -> Result<(), HerdError> {
        let name = domain.trim_end_matches('.').to_ascii_lowercase();
        let mut things = self.store.things_named(ThingKind::Domain, &name).await?;
        things.retain(|thing| self.caller.sees(thing.owner) && !is_label(thing));
        let none = || HerdError::NoSuch { what: "domain", name: name.chars().take(80).collect() };
        let thing = things.pop().ok_or_else(none)?;
        self.store.remove_thing(thing.id).await?;
        self.routes.changed();
        Ok(())
    }

    /// The caller's domains, oldest first.
    pub async fn domains(&self) -> Result<Vec<Domain>, HerdError> {
        let mut domains = Vec::new();
        for thing in self.store.things(ThingKind::Domain).await? {
            let Some(of) = thing.of else { continue };
            if is_label(&thing) || !self.caller.sees(thing.owner) {
                continue;
            }
            // A box that went in this moment took its domains with it.
            if let Some(record) = self.store.box_by_id(of).await? {
                domains.push(Domain { name: thing.name, of, box_name: record.spec.name });
            }
        }
        Ok(domains)
    }
}

fn checked(domain: &str, zone: &str) -> Result<String, HerdError> {
    let invalid = |reason: &str| HerdError::Invalid { field: "domain", reason: reason.to_owned() };
    if domain.contains(':') {
        return Err(invalid("a domain has no port"));
    }
    match Host::parse(domain, zone) {
        Some(Host::Domain(name)) => Ok(name),
        Some(_) => Err(invalid("names below the server's own zone lead to boxes already")),
        None => Err(invalid("use a name such as `app.example.com`")),
    }
}
