//! Certificates for domains, from a real authority: pebble, with a DNS server for which every name is
//! this machine.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use boxherd_client::{Command as InBox, NewBox};
use boxherd_testkit::programs_or_skip;

use crate::server::Server;
use crate::wait::until;

/// A process that is killed when this is dropped.
struct Helper(Child);

impl Helper {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("it starts"))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // One that has ended already is waited for all the same.
        let _ended = self.0.kill();
        self.0.wait().expect("it is ours");
    }
}

/// Ports that nobody has at this moment.
fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    held.map(|listener| listener.local_addr().expect("an address").port())
}

fn openssl(folder: &Path, arguments: &str) {
    let done = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .expect("openssl runs");
    assert!(done.status.success(), "{done:?}");
}

/// What curl says of a page, if it likes the certificate.
fn page(port: u16, host: &str, root: &Path) -> Result<String, String> {
    let done = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "10", "--cacert"])
        .arg(root)
        .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
        .arg(format!("https://{host}:{port}/"))
        .output()
        .expect("curl runs");
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_has_a_certificate_of_an_authority() {
    let test = "a_domain_has_a_certificate_of_an_authority";
    let needed = ["pebble", "pebble-challtestsrv", "openssl", "curl", "python3"];
    if !programs_or_skip(test, &needed) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let [directory, management, proofs, web, dns, dns_management] = free_ports();
    let request = "[req]\ndistinguished_name = name\nx509_extensions = more\n[name]\n\
                   [more]\nbasicConstraints = CA:FALSE\nsubjectAltName = IP:127.0.0.1\n";
    fs::write(home.path().join("request"), request).unwrap();
    openssl(
        home.path(),
        "req -x509 -config request -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
         -subj /CN=pebble -keyout key.pem -out cert.pem",
    );
    let config = format!(
        r#"{{"pebble": {{"listenAddress": "127.0.0.1:{directory}",
            "managementListenAddress": "127.0.0.1:{management}",
            "certificate": "cert.pem", "privateKey": "key.pem",
            "httpPort": {proofs}, "tlsPort": {web}, "ocspResponderURL": ""}}}}"#
    );
    fs::write(home.path().join("config.json"), config).unwrap();
    let _names = Helper::start(Command::new("pebble-challtestsrv").args([
        "-defaultIPv4=127.0.0.1",
        "-defaultIPv6=",
        "-http01=",
        "-https01=",
        "-tlsalpn01=",
        &format!("-dns01=127.0.0.1:{dns}"),
        &format!("-management=127.0.0.1:{dns_management}"),
    ]));
    let pebble = Helper::start(
        Command::new("pebble")
            .args(["-config", "config.json", "-dnsserver", &format!("127.0.0.1:{dns}")])
            .current_dir(home.path())
            .env("PEBBLE_VA_NOSLEEP", "1"),
    );
    until("names are answered", || TcpStream::connect(("127.0.0.1", dns)).ok());
    let cert = home.path().join("cert.pem");
    let issuer = home.path().join("issuer.pem");
    until("the authority answers", || {
        let roots = format!("https://127.0.0.1:{management}/roots/0");
        let mut ask = Command::new("curl");
        let ask = ask.args(["--silent", "--fail", "--cacert"]).arg(&cert).arg("--output");
        let done = ask.arg(&issuer).arg(roots).status().expect("curl runs");
        done.success().then_some(())
    });

    let more = [
        "--proxy-listen",
        &format!("127.0.0.1:{web}"),
        "--acme",
        "--acme-directory",
        &format!("https://127.0.0.1:{directory}/dir"),
        "--acme-root",
        &cert.display().to_string(),
        "--acme-listen",
        &format!("127.0.0.1:{proofs}"),
        "--acme-contact",
        "ops@example.com",
    ];
    let Some(mut server) = Server::open_with(test, &more) else { return };
    let client = server.builder().endpoint(&server.socket).connect().await.unwrap();
    client.boxes().create(NewBox::named("web")).await.unwrap();
    let serve = InBox::shell("echo hello > index.html && exec python3 -m http.server 8000");
    let _running = client.boxes().exec("web", serve).await.unwrap();
    client.domains().bind("app.example.com", "web").await.unwrap();
    let said = until("a certificate", || page(web, "app.example.com", &issuer).ok());
    assert_eq!(said, "hello\n");

    // A name that nobody has bound has none of the authority.
    assert!(page(web, "other.example.com", &issuer).is_err());
    let own = server.lab.data().join("tls/ca.pem");
    assert!(page(web, "other.example.com", &own).is_ok(), "it is told that there is no such box");
    // Whoever comes without TLS is sent to where it is.
    let sent = Command::new("curl")
        .args(["--silent", "--header", "Host: app.example.com", "--output", "/dev/null"])
        .args(["--write-out", "%{redirect_url}", &format!("http://127.0.0.1:{proofs}/x")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&sent.stdout), format!("https://app.example.com:{web}/x"));

    // What was obtained is there after a restart, without the authority.
    drop(pebble);
    server.end();
    server.again();
    let client = server.builder().endpoint(&server.socket).connect().await.unwrap();
    assert!(page(web, "app.example.com", &issuer).is_ok());
    let kept = server.lab.data().join("tls/acme/app.example.com.pem");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(kept).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    client.boxes().destroy("web").await.unwrap();
}
