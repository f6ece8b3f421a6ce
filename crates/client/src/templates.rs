//! Templates: an image and sizes, to make boxes from.

use boxherd_boxd_api as api;

use crate::client::{Client, ask};
use crate::{BoxInfo, Error, Sizes};

/// The caller's templates. Servers after release 0.1 of the boxd SDKs may have none.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// use boxherd_client::Sizes;
///
/// let templates = client.templates();
/// let small = templates.create("small", "debian:bookworm", Sizes::default()).await?;
/// let web = templates.create_box(&small.id, Some("web")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Templates {
    client: Client,
}

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Template {
    /// For ever.
    pub id: String,
    /// Unique among the caller's.
    pub name: String,
    /// What boxes are booted from.
    pub image: String,
    /// `ready`, or why it is not.
    pub status: String,
    /// At most this many processors; 0 where there is no limit.
    pub cpus: u32,
    /// At most this much memory, in bytes; 0 where there is no limit.
    pub memory: u64,
}

impl Templates {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes a template; what its image stands for now, it stands for ever.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.templates().create("small", "host", boxherd_client::Sizes::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(&self, name: &str, image: &str, sizes: Sizes) -> Result<Template, Error> {
        let asked = api::CreateTemplateRequest {
            name: name.to_owned(),
            image_ref: image.to_owned(),
            config: Some(sizes.config()),
        };
        let made = ask!(self.client, Changes, create_template, asked)?;
        Ok(Template {
            id: made.template_id,
            name: made.name,
            image: image.to_owned(),
            status: made.status,
            cpus: sizes.cpus.unwrap_or(0),
            memory: sizes.memory.unwrap_or(0),
        })
    }

    /// Every template.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{} templates", client.templates().list().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<Template>, Error> {
        let listed = ask!(self.client, Looks, list_templates, api::ListTemplatesRequest {})?;
        let told = |template: api::TemplateInfo| Template {
            id: template.template_id,
            name: template.name,
            image: template.image_ref,
            status: template.status,
            cpus: template.vcpu,
            memory: template.memory_bytes,
        };
        Ok(listed.templates.into_iter().map(told).collect())
    }

    /// Makes a box. Without a name the server makes one up.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let web = client.templates().create_box("small", Some("web")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_box(&self, template: &str, name: Option<&str>) -> Result<BoxInfo, Error> {
        let asked = api::CreateVmFromTemplateRequest {
            template_id: template.to_owned(),
            name: name.unwrap_or_default().to_owned(),
            config: None,
        };
        let made = ask!(self.client, Changes, create_vm_from_template, asked)?;
        self.client.boxes().get(&made.vm_id).await
    }

    /// Removes a template; boxes that were made of it stay.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.templates().remove("small").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, template: &str) -> Result<(), Error> {
        let asked = api::DeleteTemplateRequest { template_id: template.to_owned() };
        ask!(self.client, Changes, delete_template, asked).map(drop)
    }
}
