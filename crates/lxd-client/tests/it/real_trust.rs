//! Trust, with a real server and the real `lxc`.

use std::path::Path;

use boxherd_lxd_client::{
    Auth, Client, Config, Credential, Endpoint, Error, ExecRequest, Fingerprint, Flavour, Identity,
    Locations, Remote, Settings, Token, enroll, server_certificate, server_of,
};
use boxherd_testkit::LxdLab;

use crate::guest::{remove, tiny, unique, with_lab};

fn locations(lab: &LxdLab, folder: &Path) -> Locations {
    let flavour = if lab.kind == "incus" { Flavour::Incus } else { Flavour::Lxd };
    Locations { flavour, folders: vec![folder.into()], sockets: Vec::new() }
}

/// A token for a new client.
fn token(lab: &LxdLab, client: &str) -> Token {
    let printed = match lab.kind.as_str() {
        "incus" => lab.run(None, &["config", "trust", "add", client, "-q"]),
        _ => lab.run(None, &["config", "trust", "add", "--name", client, "-q"]),
    };
    Token::parse(printed.lines().last().unwrap()).unwrap()
}

/// Something that makes the server trust a new client.
pub(crate) fn credential(lab: &LxdLab, client: &str) -> Credential {
    match lab.kind.as_str() {
        "incus" => Credential::Token(token(lab, client)),
        _ => Credential::Password(lab.password.clone()),
    }
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
    with_lab(name, async |local, lab| {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::load(&locations(&lab, folder.path())).unwrap();
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

        let right = credential(&lab, &client_name);
        let remote =
            enroll(endpoint, certificate, identity.clone(), &client_name, &right).await.unwrap();
        config.add("lab", &remote).unwrap();
        assert_eq!(Client::connect(&remote).await.unwrap().project(), "default");

        let listed = lab.run(Some(folder.path()), &["remote", "list", "--format", "csv"]);
        assert!(listed.lines().any(|line| line.starts_with("lab,https://127.0.0.1")), "{listed}");
        let _ = lab.run(Some(folder.path()), &["list", "lab:", "--format", "csv"]);
        forget(&local, &identity).await;
    });
}

#[test]
fn a_token_lets_a_client_in_once() {
    with_lab("a_token_lets_a_client_in_once", async |local, lab| {
        let client_name = unique("token");
        let token = token(&lab, &client_name);
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
fn a_restricted_client_works_in_its_project_and_hears_of_its_operations() {
    let name = "a_restricted_client_works_in_its_project_and_hears_of_its_operations";
    with_lab(name, async |local, lab| {
        let project = unique("rp");
        let features = ["features.images=false", "features.profiles=false"];
        let create = ["project", "create", &project, "-q", "-c", features[0], "-c", features[1]];
        drop(lab.run(None, &create));
        let client_name = unique("restricted");
        let restricted = ["--restricted", "--projects", &project, "-q"];
        let add = match lab.kind.as_str() {
            "incus" => vec!["config", "trust", "add", &client_name],
            _ => vec!["config", "trust", "add", "--name", &client_name],
        };
        let printed = lab.run(None, &[&add[..], &restricted].concat());
        let token = Token::parse(printed.lines().last().unwrap()).unwrap();
        let (endpoint, certificate) = server_of(&token, &Settings::default()).await.unwrap();
        let identity = new_identity();
        let credential = Credential::Token(token);
        let remote =
            enroll(endpoint, certificate, identity.clone(), "", &credential).await.unwrap();
        let client = Client::new(&remote).unwrap().in_project(&project);

        let outside = client.in_project("default").create_instance(&tiny("outside")).await;
        assert!(outside.is_err(), "{outside:?}");
        let guest = client.instance(&unique("r"));
        for _ in 0..2 {
            client.create_instance(&tiny(guest.name())).await.unwrap().wait().await.unwrap();
            guest.start().await.unwrap();
            let request = ExecRequest::new(["echo", "hi"]);
            let recorded = guest.exec_recorded(&request, 10).await.unwrap();
            assert_eq!(&recorded.stdout[..], b"hi\n");
            remove(&guest).await;
        }
        forget(&local, &identity).await;
        drop(lab.run(None, &["project", "delete", &project, "-q"]));
    });
}

#[test]
fn what_lxc_wrote_is_read_and_kept() {
    with_lab("what_lxc_wrote_is_read_and_kept", async |local, lab| {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("https://{}", lab.https[0]);
        let secret = match lab.kind.as_str() {
            "incus" => {
                let printed = lab.run(None, &["config", "trust", "add", &unique("by"), "-q"]);
                ["--token".to_owned(), printed.lines().last().unwrap().to_owned()]
            }
            _ => ["--password".to_owned(), lab.password.clone()],
        };
        let add = ["remote", "add", "bylxc", &url, "--accept-certificate", &secret[0], &secret[1]];
        let _ = lab.run(Some(folder.path()), &add);
        let mut config = Config::load(&locations(&lab, folder.path())).unwrap();
        let remote = config.remote("bylxc").unwrap();
        let client = Client::connect(&remote).await.unwrap();
        client.instances().await.unwrap();

        config.add("second", &remote).unwrap();
        assert!(matches!(config.add("second", &remote).unwrap_err(), Error::Conflict { .. }));
        let _ = lab.run(Some(folder.path()), &["list", "bylxc:", "--format", "csv"]);
        let _ = lab.run(Some(folder.path()), &["list", "second:", "--format", "csv"]);
        config.remove("second").unwrap();
        let again = Config::load(&locations(&lab, folder.path())).unwrap();
        assert!(again.remote("second").unwrap_err().is_not_found());
        assert!(
            again.remote("images").is_err() || again.remotes().all(|(name, _)| name != "images")
        );
        forget(&local, remote.identity.as_ref().unwrap()).await;
    });
}

#[test]
fn strangers_and_impostors_are_told_apart() {
    with_lab("strangers_and_impostors_are_told_apart", async |_, lab| {
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
