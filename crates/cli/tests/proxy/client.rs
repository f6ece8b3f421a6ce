//! HTTP/1.1, byte by byte.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// No answer takes longer than that, or the test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to the proxy.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// An answer whose body was read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Client {
    pub(crate) fn to(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the proxy listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("the proxy reads");
    }

    /// Asks, with header lines that each end in `\r\n`.
    pub(crate) fn ask(&mut self, what: &str, host: &str, more: &str) -> Answer {
        self.send(format!("{what} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"));
        let (status, headers) = self.head();
        let mut answer = Answer { status, headers, body: Vec::new() };
        if what.starts_with("HEAD ") {
            return answer;
        }
        answer.body = match answer.header("content-length").map(str::to_owned) {
            Some(length) => self.bytes(length.parse().expect("a number")),
            None if answer.header("transfer-encoding").is_some() => self.all_chunks(),
            None => Vec::new(),
        };
        answer
    }

    /// The first line and the headers of an answer.
    pub(crate) fn head(&mut self) -> (u16, Vec<(String, String)>) {
        let status = self.line().split(' ').nth(1).expect("a status").parse().expect("a number");
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { return (status, headers) };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        assert!(line.ends_with("\r\n"), "the answer ends in the middle: `{line}`");
        line.truncate(line.len() - 2);
        line
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).expect("as many bytes as were announced");
        bytes
    }

    /// The next chunk of a body; empty at its end.
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        let size = usize::from_str_radix(&self.line(), 16).expect("a size in hex");
        let chunk = self.bytes(size);
        assert_eq!(self.line(), "");
        chunk
    }

    fn all_chunks(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let chunk = self.chunk();
            if chunk.is_empty() {
                return all;
            }
            all.extend(chunk);
        }
    }

    /// Reads until the other side has closed.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("an end");
        rest
    }

    pub(crate) fn end_writing(&mut self) {
        self.stream.get_mut().shutdown(std::net::Shutdown::Write).expect("a socket");
    }
}
