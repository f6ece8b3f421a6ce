//! A Postgres server of a test's own, in a temporary folder, reached by a socket in it.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::{Client, NoTls};

use crate::skip;

/// Where Debian keeps the versions of Postgres.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The user that Debian makes for it; it refuses to run as root.
const USER: &str = "postgres";
/// What `openssl` is told of its certificate.
const CERTIFICATE: &str = "[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = db.test
[extensions]
subjectAltName = DNS:db.test
basicConstraints = critical, CA:FALSE
";
/// How long it may take to begin.
const BEGIN: Duration = Duration::from_secs(60);

/// A server; it ends when this is dropped.
#[derive(Debug)]
pub struct PostgresServer {
    programs: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    /// `None` after it was killed.
    process: Option<Child>,
}

impl PostgresServer {
    /// Starts a new one; says that `test` is skipped when there is no Postgres here.
    pub async fn start_or_skip(test: &str) -> Option<Self> {
        let Some(programs) = programs() else {
            skip(test, "`postgres` is not installed (Debian package `postgresql`)");
            return None;
        };
        if !crate::programs_or_skip(test, &["setpriv", "unshare"]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let small = folder.path().join("small");
        std::fs::create_dir(&small).unwrap();
        if is_root() {
            let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
            let Some(uid) = uid(&passwd) else {
                skip(test, "there is no user `postgres`");
                return None;
            };
            chown(folder.path(), Some(uid), None).unwrap();
            chown(&small, Some(uid), None).unwrap();
        }
        let initdb = as_user(&programs.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=boxherd", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "--pgdata"])
            .arg(folder.path().join("data"))
            .output()
            .unwrap();
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        let settings = folder.path().join("data/postgresql.auto.conf");
        std::fs::write(settings, "listen_addresses = ''\n").unwrap();
        let process = Some(run(&programs, folder.path()));
        let server = Self { programs, folder, port: 5432, process };
        server.wait().await;
        Some(server)
    }

    /// Starts it again after [`Self::kill`].
    pub async fn start(&mut self) {
        self.process = Some(run(&self.programs, self.folder.path()));
        self.wait().await;
    }

    /// Kills it as it stands.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// The address of the schema, for the store.
    pub fn url(&self, schema: &str) -> String {
        let (folder, port) = (self.folder.path().display(), self.port);
        format!(
            "host={folder} port={port} user=boxherd dbname=postgres \
             options='-c search_path={schema}'"
        )
    }

    /// Has it listen on loopback too, and speak TLS there as `db.test`. Answers its certificate, which
    /// it has signed itself.
    pub async fn serve_tls(&mut self) -> PathBuf {
        let data = self.folder.path().join("data");
        let (config, key) = (data.join("server.cnf"), data.join("server.key"));
        let certificate = data.join("server.crt");
        std::fs::write(&config, CERTIFICATE).unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-config"])
            .arg(&config)
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let owner = std::fs::metadata(&data).unwrap().uid();
        chown(&key, Some(owner), None).unwrap();

        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        for setting in ["ssl TO on", "listen_addresses TO '127.0.0.1'", &format!("port TO {port}")]
        {
            self.run(&format!("ALTER SYSTEM SET {setting}")).await;
        }
        self.kill();
        self.port = port;
        self.start().await;
        certificate
    }

    /// The address at which it speaks TLS.
    pub fn tls_url(&self, name: &str) -> String {
        let port = self.port;
        format!(
            "host={name} hostaddr=127.0.0.1 port={port} user=boxherd dbname=postgres sslmode=require"
        )
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(format!(".s.PGSQL.{}", self.port))
    }

    /// Makes a schema.
    pub async fn schema(&self, name: &str) -> String {
        self.run(&format!("CREATE SCHEMA {name}")).await;
        name.to_owned()
    }

    /// A client of ours.
    pub async fn client(&self, schema: &str) -> Client {
        self.try_client(schema).await.unwrap()
    }

    async fn try_client(&self, schema: &str) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url(schema), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Has it do something.
    pub async fn run(&self, sql: &str) {
        self.client("public").await.batch_execute(sql).await.unwrap();
    }

    /// Cuts every connection but the one that does it.
    pub async fn cut(&self) {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
        self.run(sql).await;
    }

    /// Has tables made on a filesystem of a few megabytes from now on.
    pub async fn small_tablespace(&self) {
        let small = self.folder.path().join("small").display().to_string();
        self.run(&format!("CREATE TABLESPACE small LOCATION '{small}'")).await;
        self.run("ALTER ROLE boxherd SET default_tablespace TO small").await;
    }

    async fn wait(&self) {
        let deadline = Instant::now() + BEGIN;
        while let Err(error) = self.try_client("public").await {
            assert!(Instant::now() < deadline, "postgres does not begin: {error:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // It ends its sessions at once, and takes its shared memory away.
        kill_process(Pid::from_child(&process), Signal::QUIT).expect("a child nobody waited for");
        process.wait().expect("a child can be waited for");
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir(VERSIONS).ok()?;
    let folders = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    folders.filter(|folder| folder.join("postgres").exists()).max()
}

fn uid(passwd: &str) -> Option<u32> {
    let mut lines = passwd.lines().map(|line| line.split(':'));
    lines.find_map(|mut line| (line.next()? == USER).then(|| line.nth(1)?.parse().ok()).flatten())
}

/// A command that runs as an ordinary user, and not longer than the test.
fn as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if is_root() {
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
    }
    command.arg("--").arg(program).current_dir("/");
    command
}

/// Runs the server. For root, in mounts of its own, where `small` is a filesystem of a few megabytes.
fn run(programs: &Path, folder: &Path) -> Child {
    let mut server = as_user(&programs.join("postgres"));
    // No `fsync`: the machine lives longer than the test.
    server.args(["-F", "-D"]).arg(folder.join("data"));
    server.arg("-k").arg(folder);
    let mut command = server;
    if is_root() {
        let mut inside = Command::new("unshare");
        let script =
            "mount -t tmpfs -o size=8m,mode=700,uid=$2 tmpfs \"$1\" && shift 2 && exec \"$@\"";
        let uid = std::fs::metadata(folder).unwrap().uid().to_string();
        inside.args(["--mount", "sh", "-c", script, "sh"]).arg(folder.join("small")).arg(uid);
        inside.arg(command.get_program()).args(command.get_args()).current_dir("/");
        command = inside;
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}
