//! Instances that somebody else made: taken for boxes, and given back.

use boxherd_engine::EngineError;
use boxherd_lxd_client::{Error, Instance, InstancePut};
use boxherd_model::{BoxId, BoxName, BoxSpec};

use crate::error::failed;
use crate::server::Known;
use crate::{disks, marks, spec};

impl Known {
    /// Writes down that an instance is a box; what the box is like. `None` when there is none.
    pub(crate) async fn adopt(
        &self,
        id: BoxId,
        name: &BoxName,
    ) -> Result<Option<BoxSpec>, EngineError> {
        self.names.intend(id);
        let instance = self.client.instance(name.as_str());
        let (info, tag) = match instance.get_tagged().await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => {
                self.check_project().await?;
                return Ok(None);
            }
            Err(error) => return Err(self.failed("look at the instance", error).await),
        };
        if marks::is_somebodys(&info) {
            let reason = "another installation of Boxherd says that it is its own";
            return Err(EngineError::refused("take the instance for a box", reason));
        }
        let spec = spec::of(&info, name);
        let mut new = InstancePut::from(info);
        new.config.extend(marks::of(id, &spec, &self.settings.installation));
        new.config.insert(marks::ADOPTED.to_owned(), "true".to_owned());
        new.config.extend(self.claims.mark(id));
        self.names.begins(id);
        let put = async { instance.put(&new, Some(&tag)).await?.wait().await };
        put.await.map_err(failed("take the instance for a box"))?;
        self.is_called(id, name.as_str());
        Ok(Some(spec))
    }

    /// Takes back what says that an instance is a box, and its disks. The agent in it goes by itself.
    pub(crate) async fn release(&self, id: BoxId, instance: &Instance) -> Result<(), EngineError> {
        let released = async {
            let (info, tag) = instance.get_tagged().await?;
            let mut new = InstancePut::from(info);
            new.config.retain(|key, _| !marks::ALL.contains(&key.as_str()));
            new.devices.retain(|name, _| !disks::is_disk(name));
            instance.put(&new, Some(&tag)).await?.wait().await
        };
        match released.await {
            Ok(_) | Err(Error::NotFound { .. }) => {
                self.is_gone(id);
                Ok(())
            }
            Err(error) => Err(failed("give the instance back")(error)),
        }
    }
}
