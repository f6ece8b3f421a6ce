//! The methods, one line each: what they are called in the audit log, whether they are in it, what
//! of the request goes there, which box it is about, and the function that serves them.

use std::pin::Pin;

use boxherd_boxd_api as api;
use boxherd_boxd_api::boxd_api_server::BoxdApi;
use boxherd_herd::Herd;
use futures_util::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::desk::Kept::{Audited, Plain};
use crate::exec::Begun;
use crate::{
    Config, accounts, boxes, checkpoints, dial, disks, exec, files, forwards, images, logs,
    machine, proxies, shape, snapshots, templates, timers, usage, users, variables,
};

/// The API.
#[derive(Debug, Clone)]
pub struct Api {
    pub(crate) herd: Herd,
    pub(crate) config: Config,
}

impl Api {
    pub(crate) fn new(herd: Herd, config: Config) -> Self {
        Self { herd, config }
    }
}

/// A stream of answers.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The first message of a stream, which says what it is about.
async fn first<T: Default>(frames: &mut Streaming<T>) -> Result<T, Status> {
    // A stream without any is one whose first message says nothing.
    Ok(frames.message().await?.unwrap_or_default())
}

/// The box of a call of which releases before 0.2 have another field.
fn either<'a>(vm: &'a str, older: &'a str) -> &'a str {
    if vm.is_empty() { older } else { vm }
}

/// The name of a program without what it is told, which may be secret.
fn program(command: &str) -> &str {
    let word = command.split_whitespace().find(|word| !word.contains('='));
    word.unwrap_or_default()
}

macro_rules! methods {
    ($(
        $method:ident($Request:ident) -> $Response:ident =
            $kept:ident $action:literal ($asked:ident: $detail:expr) $(of $of:expr)?, $serve:path;
    )*) => {
        #[expect(deprecated, reason = "releases before 0.2 name boxes in other fields")]
        #[tonic::async_trait]
        impl BoxdApi for Api {
            $(
                async fn $method(
                    &self,
                    request: Request<api::$Request>,
                ) -> Result<Response<api::$Response>, Status> {
                    let detail = {
                        let $asked = request.get_ref();
                        String::from(&*$detail)
                    };
                    #[allow(unused_mut, reason = "most calls name a box")]
                    let mut desk = self.admit($action, detail, &request).await?;
                    $(
                        let named = {
                            let $asked = request.get_ref();
                            String::from(&*$of)
                        };
                        if let Err(error) = desk.enter(&named).await {
                            return desk.answer($kept, Err(error)).await;
                        }
                    )?
                    let done = $serve(&desk, request.into_inner()).await;
                    desk.answer($kept, done).await
                }
            )*

            async fn exec(
                &self,
                request: Request<Streaming<api::ExecChunk>>,
            ) -> Result<Response<Answers<api::ExecChunk>>, Status> {
                let (metadata, extensions, mut frames) = request.into_parts();
                let begun = first(&mut frames).await?;
                let detail = format!("{}: {}", begun.vm_id, program(&begun.command));
                let request = Request::from_parts(metadata, extensions, ());
                let mut desk = self.admit("exec", detail, &request).await?;
                if let Err(error) = desk.enter(&begun.vm_id).await {
                    return desk.answer(Audited, Err(error)).await;
                }
                match exec::exec(&desk, begun, frames).await {
                    Ok(Begun { which: Some(which), answers, .. }) => {
                        let mut answer = desk.answer_meanwhile(answers);
                        which.tell(answer.metadata_mut());
                        Ok(answer)
                    }
                    Ok(Begun { all_is_said: true, answers, .. }) => {
                        Ok(desk.answer_with_first(answers).await)
                    }
                    Ok(Begun { answers, .. }) => Ok(desk.answer_meanwhile(answers)),
                    Err(error) => desk.answer(Audited, Err(error)).await,
                }
            }

            async fn stream_logs(
                &self,
                request: Request<api::StreamLogsRequest>,
            ) -> Result<Response<Answers<api::LogChunk>>, Status> {
                let detail = request.get_ref().vm_id.clone();
                let mut desk = self.admit("logs", detail, &request).await?;
                if let Err(error) = desk.enter(&request.get_ref().vm_id).await {
                    return desk.answer(Plain, Err(error)).await;
                }
                let done = logs::stream(&desk, request.into_inner()).await;
                let done = done.map(|answers| Box::pin(answers) as Answers<api::LogChunk>);
                desk.answer(Plain, done).await
            }

            async fn download_file_stream(
                &self,
                request: Request<api::DownloadFileRequest>,
            ) -> Result<Response<Answers<api::DownloadFileChunk>>, Status> {
                let asked = request.get_ref();
                let detail = format!("{}:{}", asked.vm_id, asked.path);
                let mut desk = self.admit("file.read", detail, &request).await?;
                if let Err(error) = desk.enter(&request.get_ref().vm_id).await {
                    return desk.answer(Plain, Err(error)).await;
                }
                let done = files::download_stream(&desk, request.into_inner()).await;
                let done = done.map(|answers| Box::pin(answers) as Answers<api::DownloadFileChunk>);
                desk.answer(Plain, done).await
            }

            async fn boxherd_dial(
                &self,
                request: Request<Streaming<api::BoxherdDialChunk>>,
            ) -> Result<Response<Answers<api::BoxherdDialChunk>>, Status> {
                let (metadata, extensions, mut frames) = request.into_parts();
                let begun = first(&mut frames).await?;
                let detail = format!("{}: {}", begun.vm_id, begun.port);
                let request = Request::from_parts(metadata, extensions, ());
                let mut desk = self.admit("dial", detail, &request).await?;
                if let Err(error) = desk.enter(&begun.vm_id).await {
                    return desk.answer(Audited, Err(error)).await;
                }
                let done = dial::dial(&desk, begun, frames).await;
                let done = done.map(|answers| Box::pin(answers) as Answers<api::BoxherdDialChunk>);
                desk.answer(Audited, done).await
            }

            async fn boxherd_pull_image(
                &self,
                request: Request<api::BoxherdPullImageRequest>,
            ) -> Result<Response<Answers<api::BoxherdImageStep>>, Status> {
                let detail = request.get_ref().image.clone();
                let desk = self.admit("image.pull", detail, &request).await?;
                let done = images::pull(&desk, request.into_inner()).await;
                let done = done.map(|answers| Box::pin(answers) as Answers<api::BoxherdImageStep>);
                desk.answer(Audited, done).await
            }

            async fn boxherd_import_image(
                &self,
                request: Request<Streaming<api::BoxherdImportImageChunk>>,
            ) -> Result<Response<Answers<api::BoxherdImageStep>>, Status> {
                let (metadata, extensions, mut pieces) = request.into_parts();
                let begun = first(&mut pieces).await?;
                let request = Request::from_parts(metadata, extensions, ());
                let desk = self.admit("image.import", begun.image.clone(), &request).await?;
                let done = images::import(&desk, begun, pieces).await;
                let done = done.map(|answers| Box::pin(answers) as Answers<api::BoxherdImageStep>);
                desk.answer(Audited, done).await
            }

            async fn upload_file_stream(
                &self,
                request: Request<Streaming<api::UploadFileChunk>>,
            ) -> Result<Response<api::UploadFileResponse>, Status> {
                let (metadata, extensions, mut pieces) = request.into_parts();
                let begun = first(&mut pieces).await?;
                let detail = format!("{}:{}", begun.vm_id, begun.path);
                let request = Request::from_parts(metadata, extensions, ());
                let mut desk = self.admit("file.write", detail, &request).await?;
                if let Err(error) = desk.enter(&begun.vm_id).await {
                    return desk.answer(Audited, Err(error)).await;
                }
                let done = files::upload_stream(&desk, begun, pieces).await;
                desk.answer(Audited, done).await
            }
        }
    };
}

methods! {
    create_vm(CreateVmRequest) -> CreateVmResponse =
        Audited "create" (asked: asked.name), boxes::create;
    get_vm(GetVmRequest) -> GetVmResponse =
        Plain "show" (asked: asked.vm_id) of asked.vm_id, boxes::get;
    list_vms(ListVmsRequest) -> ListVmsResponse = Plain "ls" (_asked: ""), boxes::list;
    destroy_vm(DestroyVmRequest) -> DestroyVmResponse =
        Audited "delete" (asked: asked.vm_id) of asked.vm_id, boxes::destroy;
    start_vm(StartVmRequest) -> StartVmResponse =
        Audited "start" (asked: asked.vm_id) of asked.vm_id, boxes::start;
    stop_vm(StopVmRequest) -> StopVmResponse =
        Audited "stop" (asked: asked.vm_id) of asked.vm_id, boxes::stop;
    reboot_vm(RebootVmRequest) -> RebootVmResponse =
        Audited "restart" (asked: asked.vm_id) of asked.vm_id, boxes::reboot;
    suspend_vm(SuspendVmRequest) -> SuspendVmResponse =
        Audited "suspend" (asked: asked.vm_id) of asked.vm_id, boxes::suspend;
    resume_vm(ResumeVmRequest) -> ResumeVmResponse =
        Audited "resume" (asked: asked.vm_id) of asked.vm_id, boxes::resume;
    hibernate_vm(HibernateVmRequest) -> HibernateVmResponse =
        Audited "hibernate" (asked: asked.vm_id) of asked.vm_id, boxes::hibernate;
    wake_vm(WakeVmRequest) -> WakeVmResponse =
        Audited "resume" (asked: asked.vm_id) of asked.vm_id, boxes::wake;
    fork_vm(ForkVmRequest) -> ForkVmResponse =
        Audited "fork" (asked: asked.source_vm_id) of asked.source_vm_id, boxes::fork;
    rename_vm(RenameVmRequest) -> RenameVmResponse =
        Audited "rename" (asked: format!("{} to {}", asked.vm_id, asked.new_name)) of asked.vm_id, boxes::rename;
    update_vm_labels(UpdateVmLabelsRequest) -> UpdateVmLabelsResponse =
        Audited "label" (asked: asked.vm) of asked.vm, boxes::label;
    suggest_vm_name(SuggestVmNameRequest) -> SuggestVmNameResponse =
        Plain "suggest-name" (_asked: ""), boxes::suggest_name;

    set_auto_suspend_timeout(SetAutoSuspendTimeoutRequest) -> SetAutoSuspendTimeoutResponse =
        Audited "timer.suspend" (asked: asked.vm_id) of asked.vm_id, timers::suspend_after_idle;
    set_auto_hibernate_timeout(SetAutoHibernateTimeoutRequest) -> SetAutoHibernateTimeoutResponse =
        Audited "timer.hibernate" (asked: asked.vm_id) of asked.vm_id, timers::hibernate_after_idle;
    set_delete_after(SetDeleteAfterRequest) -> SetDeleteAfterResponse =
        Audited "timer.delete" (asked: asked.vm_id) of asked.vm_id, timers::delete_after;
    set_idle_ignore_outbound(SetIdleIgnoreOutboundRequest) -> SetIdleIgnoreOutboundResponse =
        Audited "timer.idle" (asked: asked.vm_id) of asked.vm_id, timers::ignore_outbound;

    update_machine_spec(UpdateMachineSpecRequest) -> UpdateMachineSpecResponse =
        Audited "spec.set" (asked: asked.vm) of asked.vm, machine::update;

    get_vm_usage(GetVmUsageRequest) -> GetVmUsageResponse =
        Plain "usage" (asked: asked.vm_id) of asked.vm_id, usage::of_box;
    get_org_usage(GetOrgUsageRequest) -> GetOrgUsageResponse =
        Plain "usage" (asked: asked.org), usage::of_org;

    upload_file(UploadFileRequest) -> UploadFileResponse =
        Audited "file.write" (asked: format!("{}:{}", asked.vm_id, asked.path)) of asked.vm_id, files::upload;
    download_file(DownloadFileRequest) -> DownloadFileResponse =
        Plain "file.read" (asked: format!("{}:{}", asked.vm_id, asked.path)) of asked.vm_id, files::download;
    list_dir(ListDirRequest) -> ListDirResponse =
        Plain "file.list" (asked: format!("{}:{}", asked.vm_id, asked.path)) of asked.vm_id, files::list;
    mkdir(MkdirRequest) -> MkdirResponse =
        Audited "file.mkdir" (asked: format!("{}:{}", asked.vm_id, asked.path)) of asked.vm_id, files::mkdir;
    rename_path(RenamePathRequest) -> RenamePathResponse =
        Audited "file.rename" (asked: format!("{}:{}", asked.vm_id, asked.old_path)) of asked.vm_id, files::rename;
    delete_path(DeletePathRequest) -> DeletePathResponse =
        Audited "file.delete" (asked: format!("{}:{}", asked.vm_id, asked.path)) of asked.vm_id, files::delete;

    copy_path(CopyPathRequest) -> CopyPathResponse =
        Audited "file.copy" (asked: format!("{}:{}", asked.vm_id, asked.old_path)) of asked.vm_id, files::copy;

    resize_vm(ResizeVmRequest) -> ResizeVmResponse =
        Audited "resize" (asked: asked.vm_id) of asked.vm_id, shape::resize;
    set_vm_networks(SetVmNetworksRequest) -> SetVmNetworksResponse =
        Audited "network.set" (asked: format!("{}: {}", asked.vm_id, asked.networks.join(" "))) of asked.vm_id, shape::set_networks;
    set_vm_egress_allow(SetVmEgressAllowRequest) -> SetVmEgressAllowResponse =
        Audited "egress.set" (asked: format!("{}: {}", asked.vm, asked.entries.join(" "))) of asked.vm, shape::set_egress;
    create_network(CreateNetworkRequest) -> CreateNetworkResponse =
        Audited "network.create" (asked: asked.name), shape::make_network;
    list_networks(ListNetworksRequest) -> ListNetworksResponse =
        Plain "network.ls" (_asked: ""), shape::networks;

    create_checkpoint(CreateCheckpointRequest) -> CreateCheckpointResponse =
        Audited "snapshot.take" (asked: format!("{}: {}", asked.vm, asked.name)) of asked.vm, checkpoints::take;
    list_checkpoints(ListCheckpointsRequest) -> ListCheckpointsResponse =
        Plain "snapshot.ls" (asked: asked.vm) of asked.vm, checkpoints::list;
    delete_checkpoint(DeleteCheckpointRequest) -> DeleteCheckpointResponse =
        Audited "snapshot.rm" (asked: format!("{}: {}", asked.vm, asked.name)) of asked.vm, checkpoints::remove;
    restore_checkpoint(RestoreCheckpointRequest) -> RestoreCheckpointResponse =
        Audited "snapshot.restore" (asked: format!("{}: {}", asked.vm, asked.name)) of asked.vm, checkpoints::restore;

    create_snapshot(CreateSnapshotRequest) -> CreateSnapshotResponse =
        Audited "save" (asked: format!("{}: {}", asked.vm, asked.name)) of asked.vm, snapshots::save;
    list_snapshots(ListSnapshotsRequest) -> ListSnapshotsResponse =
        Plain "save.ls" (_asked: ""), snapshots::list;
    get_snapshot(GetSnapshotRequest) -> GetSnapshotResponse =
        Plain "save.show" (asked: asked.name), snapshots::get;
    delete_snapshot(DeleteSnapshotRequest) -> DeleteSnapshotResponse =
        Audited "save.rm" (asked: asked.name), snapshots::remove;
    create_vm_from_snapshot(CreateVmFromSnapshotRequest) -> CreateVmResponse =
        Audited "create" (asked: format!("{} of {}", asked.name, asked.snapshot)),
        snapshots::create_box;

    create_template(CreateTemplateRequest) -> CreateTemplateResponse =
        Audited "template.create" (asked: asked.name), templates::make;
    list_templates(ListTemplatesRequest) -> ListTemplatesResponse =
        Plain "template.ls" (_asked: ""), templates::list;
    delete_template(DeleteTemplateRequest) -> DeleteTemplateResponse =
        Audited "template.rm" (asked: asked.template_id), templates::remove;
    create_vm_from_template(CreateVmFromTemplateRequest) -> CreateVmFromTemplateResponse =
        Audited "create" (asked: format!("{} of {}", asked.name, asked.template_id)),
        templates::create_box;

    create_disk(CreateDiskRequest) -> CreateDiskResponse =
        Audited "disk.create" (asked: asked.name), disks::make;
    list_disks(ListDisksRequest) -> ListDisksResponse = Plain "disk.ls" (_asked: ""), disks::list;
    attach_disk(AttachDiskRequest) -> AttachDiskResponse =
        Audited "disk.attach" (asked: format!("{} to {}:{}", asked.disk_id, asked.vm_id, asked.mount_path)) of asked.vm_id, disks::attach;
    detach_disk(DetachDiskRequest) -> DetachDiskResponse =
        Audited "disk.detach" (asked: format!("{} from {}", asked.disk_id, asked.vm_id)) of asked.vm_id, disks::detach;
    destroy_disk(DestroyDiskRequest) -> DestroyDiskResponse =
        Audited "disk.rm" (asked: asked.disk_id), disks::destroy;

    set_var(SetVarRequest) -> VarReply = Audited "var.set" (asked: asked.name), variables::set;
    list_vars(ListVarsRequest) -> VarListReply = Plain "var.ls" (_asked: ""), variables::list;
    remove_var(RemoveVarRequest) -> VarReply =
        Audited "var.rm" (asked: asked.name), variables::remove;
    set_secret_scope(SetSecretScopeRequest) -> VarReply =
        Audited "var.move" (asked: asked.name), variables::rescope;

    list_proxies(ListProxiesRequest) -> ListProxiesResponse =
        Plain "proxy.ls" (asked: asked.vm) of either(&asked.vm, &asked.vm_name), proxies::list;
    create_proxy(CreateProxyRequest) -> CreateProxyResponse =
        Audited "proxy.create" (asked: asked.name) of either(&asked.vm, &asked.vm_name), proxies::create;
    delete_proxy(DeleteProxyRequest) -> DeleteProxyResponse =
        Audited "proxy.rm" (asked: asked.name) of either(&asked.vm, &asked.vm_name), proxies::delete;
    set_proxy_port(SetProxyPortRequest) -> SetProxyPortResponse =
        Audited "proxy.set" (asked: format!("{}: {}", asked.name, asked.port)) of either(&asked.vm, &asked.vm_name), proxies::set_port;
    expose_port(ExposePortRequest) -> ExposePortResponse =
        Audited "forward.create" (asked: format!("{}: {}", asked.vm, asked.vm_port)) of either(&asked.vm, &asked.vm_id), forwards::expose;
    unexpose_port(UnexposePortRequest) -> UnexposePortResponse =
        Audited "forward.rm" (asked: format!("{}: {}", asked.vm, asked.vm_port)) of either(&asked.vm, &asked.vm_id), forwards::unexpose;
    list_exposed_ports(ListExposedPortsRequest) -> ListExposedPortsResponse =
        Plain "forward.ls" (asked: asked.vm) of asked.vm, forwards::list;
    bind_domain(BindDomainRequest) -> BindDomainResponse =
        Audited "domain.bind" (asked: asked.domain) of asked.vm_id, proxies::bind_domain;
    unbind_domain(UnbindDomainRequest) -> UnbindDomainResponse =
        Audited "domain.unbind" (asked: asked.domain), proxies::unbind_domain;
    list_domains(ListDomainsRequest) -> ListDomainsResponse =
        Plain "domain.ls" (_asked: ""), proxies::domains;
    add_custom_domain(AddCustomDomainRequest) -> AddCustomDomainResponse =
        Audited "domain.bind" (asked: asked.domain) of asked.vm_id, proxies::add_custom_domain;
    list_custom_domains(ListCustomDomainsRequest) -> ListCustomDomainsResponse =
        Plain "domain.ls" (_asked: ""), proxies::custom_domains;
    remove_custom_domain(RemoveCustomDomainRequest) -> RemoveCustomDomainResponse =
        Audited "domain.unbind" (asked: asked.domain), proxies::remove_custom_domain;

    whoami(WhoamiRequest) -> WhoamiResponse = Plain "whoami" (_asked: ""), accounts::whoami;
    list_orgs(ListOrgsRequest) -> ListOrgsResponse = Plain "org.ls" (_asked: ""), accounts::orgs;
    get_config(GetConfigRequest) -> GetConfigResponse =
        Plain "config" (_asked: ""), accounts::config;
    create_token(CreateTokenRequest) -> CreateTokenResponse =
        Audited "token.create" (_asked: ""), accounts::make_token;
    list_tokens(ListTokensRequest) -> ListTokensResponse =
        Plain "token.ls" (_asked: ""), accounts::tokens;
    revoke_token(RevokeTokenRequest) -> RevokeTokenResponse =
        Audited "token.revoke" (asked: asked.jti), accounts::revoke_token;
    create_api_key(CreateApiKeyRequest) -> CreateApiKeyResponse =
        Audited "key.create" (asked: asked.name), accounts::make_key;
    list_api_keys(ListApiKeysRequest) -> ListApiKeysResponse =
        Plain "key.ls" (_asked: ""), accounts::keys;
    delete_api_key(DeleteApiKeyRequest) -> DeleteApiKeyResponse =
        Audited "key.rm" (asked: asked.id), accounts::remove_key;
    link_ssh_key(LinkSshKeyRequest) -> LinkSshKeyResponse =
        Audited "key.link" (asked: asked.label), accounts::link_key;

    boxherd_create_user(BoxherdCreateUserRequest) -> BoxherdUser =
        Audited "user.create" (asked: asked.name), users::create;
    boxherd_list_users(BoxherdListUsersRequest) -> BoxherdListUsersResponse =
        Plain "user.ls" (_asked: ""), users::list;
    boxherd_change_user(BoxherdChangeUserRequest) -> BoxherdUser =
        Audited "user.set" (asked: asked.name), users::change;
    boxherd_grant(BoxherdGrantRequest) -> BoxherdGrantResponse =
        Audited "user.grant" (asked: users::told(&asked.user, asked.grant.as_ref())), users::grant;
    boxherd_revoke_grant(BoxherdRevokeGrantRequest) -> BoxherdRevokeGrantResponse =
        Audited "user.revoke" (asked: users::told(&asked.user, asked.grant.as_ref())), users::revoke;
    boxherd_list_grants(BoxherdListGrantsRequest) -> BoxherdListGrantsResponse =
        Plain "user.grants" (asked: asked.user), users::grants;

    boxherd_list_images(BoxherdListImagesRequest) -> BoxherdListImagesResponse =
        Plain "image.ls" (_asked: ""), images::list;
    boxherd_remove_image(BoxherdRemoveImageRequest) -> BoxherdRemoveImageResponse =
        Audited "image.rm" (asked: asked.image), images::remove;
}

#[cfg(test)]
mod tests {
    use super::program;

    #[test]
    fn only_the_program_of_a_command_is_told() {
        assert_eq!(program("K='v' /bin/psql --password hunter2"), "/bin/psql");
        assert_eq!(program("A=1"), "");
    }
}
