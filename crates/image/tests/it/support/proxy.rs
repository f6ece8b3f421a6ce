//! A line to a registry that can be cut, and that remembers what was asked for.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// What happens to what the registry sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// It arrives.
    Good,
    /// Each connection ends after so many bytes.
    CutEvery(usize),
    /// Every connection together lets so many bytes through; then each one ends at once.
    DeadAfter(usize),
    /// Like that, but connections stay open and nothing comes.
    SilentAfter(usize),
}

/// A TCP proxy in front of a registry.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    line: Mutex<Line>,
    changed: Condvar,
    /// Everything that clients sent.
    asked: Mutex<Vec<u8>>,
    /// Bytes sent to clients.
    passed: Mutex<usize>,
}

impl Proxy {
    pub(crate) fn start(to: u16, line: Line) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            line: Mutex::new(line),
            changed: Condvar::new(),
            asked: Mutex::default(),
            passed: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        // Ends with the test's process; a connection ends with either of its ends.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.serve(client, to));
            }
        });
        Self { port, shared }
    }

    pub(crate) fn name(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    pub(crate) fn set(&self, line: Line) {
        *self.shared.line.lock().unwrap() = line;
        self.shared.changed.notify_all();
    }

    /// Bytes that came through to clients.
    pub(crate) fn passed(&self) -> usize {
        *self.shared.passed.lock().unwrap()
    }

    /// Headers of the requests for the blob, each in lower case.
    pub(crate) fn requests(&self, digest: &str) -> Vec<String> {
        let asked = String::from_utf8_lossy(&self.shared.asked.lock().unwrap()).to_lowercase();
        let requests = asked.split("\r\n\r\n").map(str::to_owned);
        requests.filter(|request| request.contains(&format!("/blobs/{digest}"))).collect()
    }
}

impl Shared {
    fn serve(self: Arc<Self>, client: TcpStream, to: u16) -> Option<()> {
        let server = TcpStream::connect(("127.0.0.1", to)).ok()?;
        let (mut from, mut into) = (client.try_clone().ok()?, server.try_clone().ok()?);
        let asking = Arc::clone(&self);
        thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                asking.asked.lock().unwrap().extend_from_slice(&buffer[..count]);
                if into.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            shut(&into);
        });
        // Either end may be gone already; then there is nothing more to pass on.
        let ended = self.answer(server, &client);
        shut(&client);
        ended.ok()
    }

    fn answer(&self, mut server: TcpStream, mut client: &TcpStream) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        let mut here = 0;
        loop {
            let count = server.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            let allowed = self.allowed(here, count);
            client.write_all(&buffer[..allowed])?;
            here += allowed;
            *self.passed.lock().unwrap() += allowed;
            if allowed < count {
                return Ok(());
            }
        }
    }

    /// How much of `count` bytes may pass on a connection that has passed `here`.
    fn allowed(&self, here: usize, count: usize) -> usize {
        let mut line = self.line.lock().unwrap();
        loop {
            let passed = *self.passed.lock().unwrap();
            match *line {
                Line::Good => return count,
                Line::CutEvery(every) => return count.min(every.saturating_sub(here)),
                Line::DeadAfter(limit) => return count.min(limit.saturating_sub(passed)),
                Line::SilentAfter(limit) if passed < limit => return count,
                Line::SilentAfter(_) => line = self.changed.wait(line).unwrap(),
            }
        }
    }
}

fn shut(stream: &TcpStream) {
    // Already shut by the other end, which is as good.
    stream.shutdown(Shutdown::Both).unwrap_or_default();
}
