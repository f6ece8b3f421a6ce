//! Three real servers as one cluster. One test, because its parts change what the others see.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use boxherd_lxd_client::{
    Client, Credential, Endpoint, Error, ExecRequest, Fingerprint, Identity, Instance, NewInstance,
    Remote, Settings, Source, enroll, server_certificate,
};
use boxherd_testkit::lxd_cluster_or_skip;

use crate::guest::{remove, unique};

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_speaks_for_all_members() {
    let test = "every_endpoint_speaks_for_all_members";
    let Some(cluster) = lxd_cluster_or_skip(test) else { return };
    let lab = &cluster.lab;
    let (certificate, key) = Identity::generate("test").unwrap();
    let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    let endpoints: Vec<_> =
        lab.https.iter().map(|a| Endpoint::parse(&format!("https://{a}")).unwrap()).collect();
    let certificate = server_certificate(&endpoints[0], &Settings::default()).await.unwrap();
    let password = Credential::Password(lab.password.clone());
    let first = endpoints[0].clone();
    let remote =
        enroll(first, certificate, identity.clone(), &unique("c"), &password).await.unwrap();

    // An endpoint that nobody listens on stands first.
    let dead = Endpoint::parse("https://127.0.0.11:1").unwrap();
    let all = [vec![dead], endpoints].concat();
    let client = Client::connect(&Remote { endpoints: all, ..remote }).await.unwrap();
    assert!(client.server().await.unwrap().environment.server_clustered);
    let mut members = client.cluster_members().await.unwrap();
    members.sort_by(|one, other| one.server_name.cmp(&other.server_name));
    assert_eq!(members.len(), 3);
    assert!(members.iter().all(|member| member.is_online()), "{members:?}");

    for member in &members {
        let guest = client.instance(&unique("cl"));
        let new = NewInstance {
            name: guest.name().into(),
            source: Source::alias("tiny"),
            target: Some(member.server_name.clone()),
            config: BTreeMap::from([("user.test".into(), "1".into())]),
            ..NewInstance::default()
        };
        client.create_instance(&new).await.unwrap().wait().await.unwrap();
        assert_eq!(guest.get().await.unwrap().location, member.server_name);
        guest.start().await.unwrap();
        let recorded = guest.exec_recorded(&ExecRequest::new(["echo", "hi"]), 10).await.unwrap();
        assert_eq!(&recorded.stdout[..], b"hi\n");
        let exec = guest.exec(&ExecRequest::new(["sh", "-c", "exit 6"])).await.unwrap();
        assert_eq!(exec.wait().await.unwrap(), 6);
        remove(&guest).await;
    }
    // The first of the living endpoints dies.
    let survivor = client.instance(&unique("cl"));
    let create = async |guest: &Instance, target: Option<&str>| {
        let new = NewInstance {
            name: guest.name().into(),
            source: Source::alias("tiny"),
            target: target.map(str::to_owned),
            ..NewInstance::default()
        };
        client.create_instance(&new).await?.wait().await
    };
    create(&survivor, Some("n2")).await.unwrap();
    survivor.start().await.unwrap();
    cluster.kill("n1");
    // What only reads is repeated on the next endpoint, when the kept connection breaks under it.
    client.instances().await.unwrap();
    let recorded = survivor.exec_recorded(&ExecRequest::new(["echo", "on"]), 10).await.unwrap();
    assert_eq!(&recorded.stdout[..], b"on\n");
    wait_until(&client, "n1", false).await;
    let error = create(&client.instance(&unique("cl")), Some("n1")).await.unwrap_err();
    assert!(!matches!(error, Error::Timeout { .. }), "{error:?}");
    let elsewhere = client.instance(&unique("cl"));
    create(&elsewhere, None).await.unwrap();
    assert_ne!(elsewhere.get().await.unwrap().location, "n1");
    cluster.start("n1");
    wait_until(&client, "n1", true).await;
    remove(&elsewhere).await;
    remove(&survivor).await;

    let print = Fingerprint::of(identity.certificate()).to_string();
    client.delete_certificate(&print).await.unwrap();
}

/// Waits until the cluster sees a member as it is.
async fn wait_until(client: &Client, member: &str, online: bool) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let members = client.cluster_members().await.unwrap();
        let found = members.iter().find(|other| other.server_name == member).unwrap();
        if found.is_online() == online {
            return;
        }
        assert!(Instant::now() < until, "{member} is {} for the others", found.status);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
