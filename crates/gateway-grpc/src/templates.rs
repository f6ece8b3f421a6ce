//! Templates.

use boxherd_boxd_api as api;
use boxherd_herd::{Create, HerdError};
use boxherd_model::{BoxSpec, ByteSize};

use crate::desk::Desk;
use crate::{disks, proxies, translate};

type Answer<T> = Result<T, HerdError>;

/// There is nothing to wait for.
const READY: &str = "ready";

pub(crate) async fn make(
    desk: &Desk<'_>,
    asked: api::CreateTemplateRequest,
) -> Answer<api::CreateTemplateResponse> {
    let mut spec = BoxSpec::new(translate::name("name", &asked.name)?);
    spec.image = translate::image(&asked.image_ref)?;
    translate::refuse_volumes(asked.config.as_ref())?;
    translate::refuse_proxies(asked.config.as_ref())?;
    translate::configure(&mut spec, asked.config.as_ref())?;
    let made = desk.herd.make_template(spec).await?;
    Ok(api::CreateTemplateResponse {
        template_id: made.id.to_string(),
        name: made.name,
        status: READY.to_owned(),
    })
}

pub(crate) async fn list(
    desk: &Desk<'_>,
    _asked: api::ListTemplatesRequest,
) -> Answer<api::ListTemplatesResponse> {
    let templates = desk.herd.templates().await?.into_iter().map(|template| api::TemplateInfo {
        template_id: template.id.to_string(),
        name: template.name,
        image_ref: template.image.to_string(),
        status: READY.to_owned(),
        vcpu: template.spec.limits.cpus.map_or(0, |cpus| cpus.millis().div_ceil(1000)),
        memory_bytes: template.spec.limits.memory.map_or(0, ByteSize::bytes),
    });
    Ok(api::ListTemplatesResponse { templates: templates.collect() })
}

pub(crate) async fn remove(
    desk: &Desk<'_>,
    asked: api::DeleteTemplateRequest,
) -> Answer<api::DeleteTemplateResponse> {
    desk.herd.remove_template(&asked.template_id).await?;
    Ok(api::DeleteTemplateResponse {})
}

pub(crate) async fn create_box(
    desk: &Desk<'_>,
    asked: api::CreateVmFromTemplateRequest,
) -> Answer<api::CreateVmFromTemplateResponse> {
    let template = desk.herd.template(&asked.template_id).await?;
    let name = match asked.name.as_str() {
        "" => desk.herd.suggest_name(),
        name => translate::name("name", name)?,
    };
    let mut spec = template.spec_of(name);
    translate::configure(&mut spec, asked.config.as_ref())?;
    let proxies = proxies::wanted(asked.config.as_ref())?;
    let volumes = disks::wanted(asked.config.as_ref())?;
    let status = desk.herd.create(Create { volumes, ..spec.into() }).await?;
    desk.about(status.id);
    proxies::make(desk, &status.address(), proxies).await?;
    let label = desk.herd.label_of(status.id).await?;
    let made = translate::created(&status, &label, desk.config);
    Ok(api::CreateVmFromTemplateResponse {
        vm_id: made.vm_id,
        name: made.name,
        public_ip: made.public_ip,
        url: made.url,
        status: made.status,
        boot_time_ms: made.boot_time_ms,
    })
}
