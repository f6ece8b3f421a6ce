//! Debian's `docker-registry` on a free port of loopback, filled with skopeo.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use boxherd_testkit::programs_or_skip;
use tempfile::TempDir;

use super::images::{Image, Made};

/// A registry that ends with the value.
pub(crate) struct Registry {
    server: Child,
    folder: TempDir,
    pub(crate) port: u16,
}

impl Registry {
    /// `None`, said aloud, when a program is missing.
    pub(crate) fn start_or_skip(test: &str) -> Option<Self> {
        Self::start(test, None)
    }

    /// One that lets in only those that `users` names.
    pub(crate) fn start_locked_or_skip(test: &str, users: &str) -> Option<Self> {
        Self::start(test, Some(users))
    }

    fn start(test: &str, users: Option<&str>) -> Option<Self> {
        if !programs_or_skip(test, &["docker-registry", "skopeo"]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let auth = users.map_or_else(String::new, |users| {
            let file = folder.path().join("users");
            fs::write(&file, users).unwrap();
            format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.display())
        });
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n{auth}",
            folder.path().join("data").display()
        );
        fs::write(&config, text).unwrap();
        let server = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { server, folder, port };
        registry.wait();
        Some(registry)
    }

    /// Puts `image` into the registry as `name`, such as `app:1`.
    pub(crate) fn push(&self, image: &Image, name: &str) -> Made {
        let layout = tempfile::tempdir().unwrap();
        let made = image.write(layout.path(), "tag");
        self.push_layout(layout.path(), name);
        made
    }

    /// Puts what `tag` names in the OCI layout at `folder`, an index with all its images, into the
    /// registry.
    pub(crate) fn push_layout(&self, folder: &Path, name: &str) {
        let source = format!("oci:{}:tag", folder.display());
        let target = format!("docker://127.0.0.1:{}/{name}", self.port);
        let copied = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false"])
            .args(["--preserve-digests", &source, &target])
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    }

    /// The name under which the store pulls what was pushed as `name`.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// Where the registry keeps a blob.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "the registry does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.kill().expect("the registry is ours");
        self.server.wait().expect("the registry is ours");
    }
}
