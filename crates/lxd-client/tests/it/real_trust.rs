//! Trust, with a real server and the real `lxc`.

use std::path::Path;
use std::process::Command;

use boxherd_lxd_client::{
    Auth, Client, Config, Credential, Endpoint, Error, Fingerprint, Flavour, Identity, Locations,
    Remote, Settings, Token, enroll, server_certificate, server_of,
};
use boxherd_testkit::LxdLab;

use crate::guest::{unique, with_lab};

fn locations(folder: &Path) -> Locations {
    Locations { flavour: Flavour::Lxd, folders: vec![folder.into()], sockets: Vec::new() }
}

fn lxc(lab: &LxdLab, conf: &Path, args: &[&str]) -> String {
    let output = Command::new("lxc")
        .args(args)
        .env("LXD_CONF", conf)
        .env("LXD_DIR", lab.socket.parent().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn endpoint(lab: &LxdLab) -> Endpoint {
    Endpoint::parse(&format!("https://{}", lab.https[0])).unwrap()
}

fn new_identity() -> Identity {
    let (certificate, key) = Identity::generate("test").unwrap();
    Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap()
}

async fn forget(client: &Client, identity: &Identity) {
    let print = Fingerprint::of(identity.certificate()).to_string();
    client.delete_certificate(&print).await.unwrap();
}

#[test]
fn a_password_lets_a_client_in_and_lxc_reads_what_is_written() {
    let name = "a_password_lets_a_client_in_and_lxc_reads_what_is_written";
    with_lab(name, |local, lab| async move {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::load(&locations(folder.path())).unwrap();
        let identity = config.identity_or_new("me@test").unwrap();
        let endpoint = endpoint(&lab);
        let certificate = server_certificate(&endpoint, &Settings::default()).await.unwrap();
        let told = &local.server().await.unwrap().environment.certificate_fingerprint;
        assert_eq!(Fingerprint::of(&certificate).to_string(), *told);

        let client_name = unique("pw");
        let wrong = Credential::Password("wrong".into());
        let error =
            enroll(endpoint.clone(), certificate.clone(), identity.clone(), &client_name, &wrong)
                .await
                .unwrap_err();
        assert!(matches!(error, Error::Untrusted { .. } | Error::Forbidden { .. }), "{error:?}");

        let right = Credential::Password(lab.password.clone());
        let remote =
            enroll(endpoint, certificate, identity.clone(), &client_name, &right).await.unwrap();
        config.add("lab", &remote).unwrap();
        assert_eq!(Client::connect(&remote).await.unwrap().project(), "default");

        let listed = lxc(&lab, folder.path(), &["remote", "list", "--format", "csv"]);
        assert!(listed.lines().any(|line| line.starts_with("lab,https://127.0.0.1")), "{listed}");
        lxc(&lab, folder.path(), &["list", "lab:", "--format", "csv"]);
        forget(&local, &identity).await;
    });
}

#[test]
fn a_token_lets_a_client_in_once() {
    with_lab("a_token_lets_a_client_in_once", |local, lab| async move {
        let folder = tempfile::tempdir().unwrap();
        let client_name = unique("token");
        let printed =
            lxc(&lab, folder.path(), &["config", "trust", "add", "--name", &client_name, "-q"]);
        let token = Token::parse(printed.lines().last().unwrap()).unwrap();
        assert_eq!(token.client_name(), client_name);
        let (endpoint, certificate) = server_of(&token, &Settings::default()).await.unwrap();
        let credential = Credential::Token(token);
        let first = new_identity();
        let enrolled =
            enroll(endpoint.clone(), certificate.clone(), first.clone(), "", &credential).await;
        let client = Client::connect(&enrolled.unwrap()).await.unwrap();
        assert_eq!(client.server().await.unwrap().auth, Auth::Trusted);
        let second = enroll(endpoint, certificate, new_identity(), "", &credential).await;
        let error = second.unwrap_err();
        assert!(matches!(error, Error::Untrusted { .. } | Error::Forbidden { .. }), "{error:?}");
        forget(&local, &first).await;
    });
}

#[test]
fn what_lxc_wrote_is_read_and_kept() {
    with_lab("what_lxc_wrote_is_read_and_kept", |local, lab| async move {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("https://{}", lab.https[0]);
        let add = ["remote", "add", "bylxc", &url, "--accept-certificate", "--password"];
        lxc(&lab, folder.path(), &[&add[..], &[&lab.password]].concat());
        let mut config = Config::load(&locations(folder.path())).unwrap();
        let remote = config.remote("bylxc").unwrap();
        let client = Client::connect(&remote).await.unwrap();
        client.instances().await.unwrap();

        config.add("second", &remote).unwrap();
        assert!(matches!(config.add("second", &remote).unwrap_err(), Error::Conflict { .. }));
        lxc(&lab, folder.path(), &["list", "bylxc:", "--format", "csv"]);
        lxc(&lab, folder.path(), &["list", "second:", "--format", "csv"]);
        config.remove("second").unwrap();
        let again = Config::load(&locations(folder.path())).unwrap();
        assert!(again.remote("second").unwrap_err().is_not_found());
        assert!(
            again.remote("images").is_err() || again.remotes().all(|(name, _)| name != "images")
        );
        forget(&local, remote.identity.as_ref().unwrap()).await;
    });
}

#[test]
fn strangers_and_impostors_are_told_apart() {
    with_lab("strangers_and_impostors_are_told_apart", |_, lab| async move {
        let certificate = server_certificate(&endpoint(&lab), &Settings::default()).await.unwrap();
        let identity = new_identity();
        let stranger = Remote {
            endpoints: vec![endpoint(&lab)],
            identity: Some(identity.clone()),
            server_certificate: Some(certificate.clone()),
            project: "default".into(),
        };
        let error = Client::connect(&stranger).await.unwrap_err();
        assert!(matches!(error, Error::Untrusted { .. }), "{error:?}");

        let wrong = identity.certificate().clone();
        let pinned_wrong = Remote { server_certificate: Some(wrong.clone()), ..stranger };
        let error = Client::connect(&pinned_wrong).await.unwrap_err();
        let Error::Pin { pinned, found, .. } = error else { panic!("{error:?}") };
        assert_eq!((pinned, found), (Fingerprint::of(&wrong), Fingerprint::of(&certificate)));
    });
}
