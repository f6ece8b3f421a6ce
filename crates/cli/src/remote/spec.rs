//! A spec as the wire has it. Pure.

use boxherd_client::NewBox;
use boxherd_herd::{Create, Volume};

use crate::failure::Failure;

/// What the server is asked for: all of the spec, in its own words.
pub(super) fn new_box(create: Create) -> Result<NewBox, Failure> {
    // What the command line has no words for is not set.
    let Create { mut spec, engine, volumes, .. } = create;
    // The command deletes a box that it is done with.
    spec.ephemeral = false;
    let document = serde_json::to_string(&spec);
    let document = document.map_err(|error| Failure::of(&error, "usage", None))?;
    Ok(NewBox {
        document: Some(document),
        engine: engine.map(|engine| engine.to_string()),
        volumes: volumes.into_iter().map(volume).collect(),
        ..NewBox::named(spec.name.to_string())
    })
}

fn volume(volume: Volume) -> boxherd_client::Volume {
    let Volume { disk, path, read_only } = volume;
    boxherd_client::Volume { disk, path: path.to_string(), read_only }
}

#[cfg(test)]
mod tests {
    use boxherd_model::{BoxSpec, EngineName, NetworkSpec};

    use super::*;

    #[test]
    fn all_of_a_spec_is_asked_for_but_that_the_server_deletes_it() {
        let spec = BoxSpec {
            network: NetworkSpec::None,
            user: Some("nobody".to_owned()),
            ..BoxSpec::new("web".parse().unwrap())
        };
        let asked = BoxSpec { ephemeral: true, ..spec.clone() };
        let create = Create { engine: Some(EngineName::local()), ..asked.into() };
        let asked = new_box(create).unwrap();
        assert_eq!((asked.name.as_str(), asked.engine.as_deref()), ("web", Some("local")));
        let said: BoxSpec = serde_json::from_str(&asked.document.unwrap()).unwrap();
        assert_eq!(said, spec);
    }
}
