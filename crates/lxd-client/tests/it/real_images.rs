//! Images and the inventory of a real server.

use std::path::Path;

use boxherd_lxd_client::{Error, NewImage, NewInstance, Source, imported};
use bytes::Bytes;
use futures_util::{Stream, stream};

use crate::guest::{remove, tiny, unique, with_lab};

/// A file in pieces of 64 KiB.
fn pieces(path: &Path) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let content = Bytes::from(std::fs::read(path).unwrap());
    stream::unfold(content, |mut rest| async move {
        let piece = rest.split_to(rest.len().min(64 << 10));
        (!piece.is_empty()).then_some((Ok(piece), rest))
    })
}

/// Metadata unlike that of all other images: the fingerprint is made of it.
fn metadata(folder: &Path, mark: &str) -> std::path::PathBuf {
    let text = format!("architecture: x86_64\ncreation_date: 1\nproperties: {{mark: {mark}}}\n");
    std::fs::write(folder.join("metadata.yaml"), text).unwrap();
    let file = folder.join("meta.tar");
    let mut tar = std::process::Command::new("tar");
    let done = tar.arg("-C").arg(folder).arg("-cf").arg(&file).arg("metadata.yaml").status();
    assert!(done.unwrap().success());
    file
}

#[test]
fn a_split_image_is_imported_named_used_and_deleted() {
    with_lab("a_split_image_is_imported_named_used_and_deleted", async |client, lab| {
        let folder = tempfile::tempdir().unwrap();
        let mark = unique("split");
        let meta = metadata(folder.path(), &mark);
        let rootfs = lab.cache.join("tiny.tar");
        let (new, meta, rootfs) = (NewImage::default(), pieces(&meta), pieces(&rootfs));
        let import = client.import_split_image(&new, meta, rootfs, false);
        let print = imported(&import.await.unwrap().wait().await.unwrap()).unwrap();
        let info = client.image(&print[..12]).await.unwrap();
        assert_eq!(
            (info.fingerprint.as_str(), info.properties["mark"].as_str()),
            (&*print, &*mark)
        );

        client.create_alias(&mark, &print).await.unwrap();
        let taken = client.create_alias(&mark, &print).await.unwrap_err();
        assert!(matches!(taken, Error::Conflict { .. }), "{taken:?}");
        assert_eq!(client.alias(&mark).await.unwrap().target, print);

        let guest = client.instance(&unique("img"));
        let new = NewInstance { source: Source::fingerprint(&print), ..tiny(guest.name()) };
        client.create_instance(&new).await.unwrap().wait().await.unwrap();
        remove(&guest).await;

        client.delete_alias(&mark).await.unwrap();
        assert!(client.alias(&mark).await.unwrap_err().is_not_found());
        client.delete_image(&print).await.unwrap();
        assert!(client.image(&print).await.unwrap_err().is_not_found());
    });
}

#[test]
fn a_unified_image_is_imported_and_garbage_is_refused() {
    with_lab("a_unified_image_is_imported_and_garbage_is_refused", async |client, _| {
        let folder = tempfile::tempdir().unwrap();
        let mark = unique("unified");
        metadata(folder.path(), &mark);
        std::fs::create_dir_all(folder.path().join("rootfs/etc")).unwrap();
        let file = folder.path().join("all.tar");
        let mut tar = std::process::Command::new("tar");
        tar.arg("-C").arg(folder.path()).arg("-cf").arg(&file).args(["metadata.yaml", "rootfs"]);
        assert!(tar.status().unwrap().success());
        let operation = client.import_image(&NewImage::default(), pieces(&file)).await.unwrap();
        let print = imported(&operation.wait().await.unwrap()).unwrap();
        assert!(client.images().await.unwrap().iter().any(|image| image.fingerprint == print));
        client.delete_image(&print).await.unwrap();

        let garbage = stream::iter([Ok(Bytes::from_static(b"no archive"))]);
        let refused = match client.import_image(&NewImage::default(), garbage).await {
            Ok(operation) => operation.wait().await.map(drop),
            Err(error) => Err(error),
        };
        assert!(refused.is_err());
    });
}

#[test]
fn a_private_image_of_another_server_is_copied_by_a_secret() {
    let name = "a_private_image_of_another_server_is_copied_by_a_secret";
    with_lab(name, async |client, lab| {
        let project = unique("copies");
        drop(lab.run(None, &["project", "create", &project, "-q"]));
        let print = client.alias("tiny").await.unwrap().target;
        let server = format!("https://{}", lab.https[0]);
        let protocol = if lab.kind == "incus" { "incus" } else { "lxd" };
        let source = Source {
            alias: None,
            fingerprint: Some(print.clone()),
            certificate: Some(client.server().await.unwrap().environment.certificate.clone()),
            secret: Some(client.image_secret(&print).await.unwrap()),
            ..Source::remote(&server, protocol, "")
        };
        let inside = client.in_project(&project);
        let operation = inside.copy_image(&source, false).await.unwrap();
        assert_eq!(imported(&operation.wait().await.unwrap()).unwrap(), print);
        assert_eq!(inside.images().await.unwrap().len(), 1);
        inside.delete_image(&print).await.unwrap();
        drop(lab.run(None, &["project", "delete", &project, "-q"]));
    });
}

#[test]
fn an_image_of_a_server_that_is_not_there_fails_with_its_words() {
    let name = "an_image_of_a_server_that_is_not_there_fails_with_its_words";
    with_lab(name, async |client, _| {
        let source = Source::remote("https://127.0.0.1:9", "simplestreams", "debian/12");
        let failed = match client.copy_image(&source, false).await {
            Ok(operation) => operation.wait().await.map(drop),
            Err(error) => Err(error),
        };
        assert!(failed.unwrap_err().to_string().contains("127.0.0.1:9"));
    });
}

#[test]
fn pools_profiles_and_networks_are_read() {
    with_lab("pools_profiles_and_networks_are_read", async |client, _| {
        let pools = client.storage_pools().await.unwrap();
        let driver = |name| pools.iter().find(|pool| pool.name == name).unwrap().driver.as_str();
        assert_eq!((driver("default"), driver("bt")), ("dir", "btrfs"));
        let profile = client.profile("default").await.unwrap();
        let network = client.network(&profile.devices["eth0"]["network"]).await.unwrap();
        assert!(network.managed && network.kind == "bridge", "{network:?}");
        assert!(client.profiles().await.unwrap().iter().any(|profile| profile.name == "default"));
        assert!(client.networks().await.unwrap().iter().any(|other| other.name == network.name));
        assert!(client.cluster_members().await.is_err(), "it is no cluster");
        assert!(client.profile("none").await.unwrap_err().is_not_found());
    });
}
