//! Pulls from a registry that speaks TLS, with a certificate of an authority that the test makes, and
//! under a name that means this machine for the test alone.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::lab::{Lab, Said};

/// An authority, and a certificate of it for `registry.test`.
const CERTIFY: &str = r#"
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-authority \
        -keyout authority.key -out authority.pem
    openssl req -newkey rsa:2048 -nodes -subj /CN=registry.test -keyout key.pem -out request.pem
    printf 'subjectAltName=DNS:registry.test' > names
    openssl x509 -req -in request.pem -CA authority.pem -CAkey authority.key -CAcreateserial \
        -days 2 -extfile names -out certificate.pem
"#;

/// Gives this machine two more names, as seen by the rest of the arguments only.
const NAMED: &str = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";

struct Registry {
    server: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Registry {
    fn start(tls: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path();
        run(Command::new("sh").args(["-ec", CERTIFY]).current_dir(at));
        fs::write(at.join("hosts"), "127.0.0.1 localhost registry.test other.test\n")
            .expect("hosts");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let place = at.display();
        let tls = match tls {
            true => {
                format!(", tls: {{certificate: {place}/certificate.pem, key: {place}/key.pem}}")
            }
            false => String::new(),
        };
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '127.0.0.1:{port}'{tls}}}\n\
             storage: {{filesystem: {{rootdirectory: {place}/data}}}}\n",
        );
        fs::write(at.join("config.yml"), config).expect("the configuration");
        let server = Command::new("docker-registry")
            .arg("serve")
            .arg(at.join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry runs");
        let registry = Self { server, folder, port };
        crate::wait::until("the registry is up", || TcpStream::connect(("127.0.0.1", port)).ok());
        registry
    }

    fn push(&self, image: &Path) {
        run(Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
            .arg(format!("oci-archive:{}", image.display()))
            .arg(format!("docker://127.0.0.1:{}/app:1", self.port)));
    }

    /// Pulls what was pushed from `host`, trusting whom the file `authorities` names.
    fn pull(&self, lab: &Lab, host: &str, authorities: Option<&str>) -> Said {
        let pull = lab.command(&["image", "pull", &format!("{host}:{}/app:1", self.port)]);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", NAMED, "sh"]);
        command.arg(self.folder.path().join("hosts"));
        command.arg(pull.get_program()).args(pull.get_args()).stdin(Stdio::null());
        if let Some(authorities) = authorities {
            command.env("SSL_CERT_FILE", self.folder.path().join(authorities));
        }
        command.output().expect("unshare runs").into()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.kill().expect("the registry is ours");
        self.server.wait().expect("the registry is ours");
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn lab(test: &str) -> Option<Lab> {
    let programs = ["docker-registry", "skopeo", "openssl", "unshare"];
    boxherd_testkit::programs_or_skip(test, &programs).then(|| Lab::open(test)).flatten()
}

/// Refused at once, with both texts in what is said.
fn refused(said: &Said, error: &str, hint: &str) {
    assert_eq!(said.code, Some(1), "{said:?}");
    let (message, rest) = said.err.split_once("\nhint: ").unwrap_or_else(|| panic!("{said:?}"));
    assert!(message.contains(error) && rest.contains(hint), "{said:?}");
}

#[test]
fn a_registry_whose_authority_is_trusted_is_pulled_from() {
    let Some(lab) = lab("a_registry_whose_authority_is_trusted") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let image = crate::images::archive(folder.path());
    let registry = Registry::start(true);
    registry.push(&image);

    let said = registry.pull(&lab, "registry.test", None);
    refused(&said, "certificate", "SSL_CERT_FILE");
    // An authority that is trusted, and a name that it has not vouched for.
    let said = registry.pull(&lab, "other.test", Some("authority.pem"));
    refused(&said, "certificate", "SSL_CERT_FILE");
    assert_eq!(lab.boxherd(&["image", "ls", "-q"]).ok(), "");

    registry.pull(&lab, "registry.test", Some("authority.pem")).ok();
    let name = format!("registry.test:{}/app:1", registry.port);
    lab.create("one", &["--image", &name]);
    assert_eq!(lab.sh("one", "echo $OF").ok(), "image\n");
}

#[test]
fn nobody_but_this_machine_is_talked_to_in_plain() {
    let Some(lab) = lab("nobody_but_this_machine_is_talked_to_in_plain") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let image = crate::images::archive(folder.path());
    let registry = Registry::start(false);
    registry.push(&image);
    let said = registry.pull(&lab, "registry.test", None);
    refused(&said, "registry.test", "plain HTTP");
    registry.pull(&lab, "localhost", None).ok();
}
