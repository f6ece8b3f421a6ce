//! An agent that a test plays: a listener in the place of the agent's socket.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;

use boxherd_link::frame::{FLAG_END, HEADER, Header, Kind, PREFACE};
use boxherd_link::proto::{Answer, Hello, PROTOCOL, Reply, Started};
use prost::Message as _;

use crate::lab::Lab;

/// What an agent does with a connection.
pub(crate) type Play = fn(UnixStream);

/// Puts a listener of ours in the place of the agent's, which goes on with the test's process.
pub(crate) fn replace_agent(lab: &Lab, play: Play) {
    let socket = folder(lab).join("link.sock");
    fs::remove_file(&socket).expect("the agent listens");
    let listener = UnixListener::bind(&socket).expect("bind");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || play(stream));
        }
    });
}

/// The folder of the only box.
pub(crate) fn folder(lab: &Lab) -> PathBuf {
    let mut boxes = fs::read_dir(lab.data().join("boxes")).expect("boxes").flatten();
    boxes.next().expect("a box").path()
}

pub(crate) fn frame(kind: Kind, flags: u8, channel: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small");
    [&Header { length, kind, flags, channel, stream }.encode()[..], payload].concat()
}

/// The answer that ends a stream.
pub(crate) fn last_words(stream: u32, answer: Answer) -> Vec<u8> {
    frame(Kind::Message, FLAG_END, 0, stream, &Reply { answer: Some(answer) }.encode_to_vec())
}

/// Says that the command of the first stream has started.
pub(crate) fn started() -> Vec<u8> {
    let started = Answer::Started(Started { id: 7, stdin: 0, stdin_open: false });
    frame(Kind::Message, 0, 0, 1, &Reply { answer: Some(started) }.encode_to_vec())
}

/// Greets, says `words[N - 1]` when stream N is opened, and listens until the host hangs up.
pub(crate) fn answers(stream: UnixStream, words: &[Vec<u8>]) {
    // The host hangs up when it likes, which is an error here and what is tested there.
    drop(try_answers(stream, words));
}

fn try_answers(mut stream: UnixStream, words: &[Vec<u8>]) -> io::Result<()> {
    let hello = Hello { protocol: PROTOCOL, oldest_protocol: PROTOCOL, ..Hello::default() };
    stream.write_all(&PREFACE)?;
    stream.write_all(&frame(Kind::Hello, 0, 0, 0, &hello.encode_to_vec()))?;
    stream.read_exact(&mut [0; PREFACE.len()])?;
    loop {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header)?;
        let header = Header::decode(&header).expect("it is whole");
        stream.read_exact(&mut vec![0; header.length as usize])?;
        if header.kind == Kind::Open
            && let Some(words) = words.get(header.stream as usize - 1)
        {
            stream.write_all(words)?;
        }
    }
}
