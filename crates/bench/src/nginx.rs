//! nginx: the program in the box that is asked, and the hop that ours is compared with.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// What Debian calls the program, and the package.
pub(crate) const NAME: &str = "nginx";
/// What an answer to `/` says.
const WORD: &str = "hello from the box\\n";
/// Requests after which a connection is closed: the defaults close it every thousand.
const ENDLESS: u32 = 1_000_000_000;

/// The program in a box: it answers `/` with few bytes, and anything else from the files of `folder`.
/// It is in the background when `nginx` returns, and listens then.
pub(crate) fn app(folder: &str, port: u16) -> String {
    let server = format!(
        "server {{
             listen 0.0.0.0:{port} backlog=4096;
             root {folder};
             location = / {{ default_type text/plain; return 200 \"{WORD}\"; }}
         }}"
    );
    config(folder, "daemon on; user root;", &server)
}

/// One hop to `app`, as somebody would set it up who wants it fast: connections to it stay open, and
/// a large answer is not written to the disk on its way.
fn hop(folder: &str, here: SocketAddr, app: SocketAddr) -> String {
    let server = format!(
        "upstream app {{ server {app}; keepalive 64; keepalive_requests {ENDLESS}; }}
         server {{
             listen {here} backlog=4096;
             location / {{
                 proxy_pass http://app;
                 proxy_http_version 1.1;
                 proxy_set_header Connection \"\";
                 proxy_set_header Host $host;
                 proxy_set_header X-Forwarded-For $remote_addr;
                 proxy_max_temp_file_size 0;
             }}
         }}"
    );
    config(folder, "daemon off;", &server)
}

fn config(folder: &str, main: &str, servers: &str) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .concat();
    format!(
        "{main}
         worker_processes auto;
         pid {folder}/nginx.pid;
         events {{ worker_connections 4096; }}
         http {{
             access_log off;
             sendfile on;
             tcp_nopush on;
             keepalive_requests {ENDLESS};
             {temporary}
             {servers}
         }}\n"
    )
}

/// nginx on the host. Dropped, it ends with its workers.
#[derive(Debug)]
pub(crate) struct Hop {
    child: Child,
    pub(crate) place: SocketAddr,
}

impl Hop {
    /// Starts it, with everything it needs in `folder`; it listens when this returns.
    pub(crate) fn start(folder: &Path, app: SocketAddr) -> anyhow::Result<Self> {
        let text = folder.to_str().context("a path that is no text")?;
        let place = free_port()?;
        let config = folder.join("hop.conf");
        fs::write(&config, hop(text, place, app))?;
        // It says that it has begun, and what is wrong.
        let directive = "error_log stderr notice;";
        let child = Command::new(NAME)
            .args(["-e", "stderr", "-g", directive, "-c"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start nginx")?;
        let mut this = Self { child, place };
        let mut said = String::new();
        let mut lines = BufReader::new(this.child.stderr.take().context("no output")?).lines();
        loop {
            let line = lines.next().with_context(|| format!("nginx has ended: {said}"))??;
            if line.contains("start worker process ") {
                break;
            }
            said = line;
        }
        // Read on, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(this)
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        // Not by SIGKILL, after which its workers would stay. When it has ended already, there is
        // nothing to end.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        drop(self.child.wait());
    }
}

/// A port that was free a moment ago: nginx cannot be asked to choose one.
fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_listens_until_it_is_dropped() {
        if !boxherd_testkit::programs_or_skip("a_hop_listens_until_it_is_dropped", &[NAME]) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let hop = Hop::start(folder.path(), free_port().unwrap()).unwrap();
        let place = hop.place;
        std::net::TcpStream::connect(place).unwrap();
        drop(hop);
        assert!(std::net::TcpStream::connect(place).is_err(), "it listens on");
    }

    #[test]
    fn a_hop_that_cannot_be_started_says_why() {
        if !boxherd_testkit::programs_or_skip("a_hop_that_cannot_be_started_says_why", &[NAME]) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        // Where a file of its own should be, there is a folder.
        fs::create_dir(folder.path().join("nginx.pid")).unwrap();
        let error = Hop::start(folder.path(), free_port().unwrap()).unwrap_err();
        assert!(format!("{error:#}").contains("nginx.pid"), "{error:#}");
    }
}
