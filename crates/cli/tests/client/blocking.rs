//! The SDK without an event loop: one look at each noun.

use std::io::Cursor;
use std::time::Duration;

use boxherd_client::blocking::{Client, Running};
use boxherd_client::{Command, Error, Event, NewBox, PtySize, Scope, Sizes};

use crate::server::{KEY, Server};
use crate::wait;

#[test]
fn everything_works_without_an_event_loop() {
    let Some(server) = Server::open("everything_works_without_an_event_loop") else { return };
    let client = Client::connect(&server.url, KEY).unwrap();
    let boxes = client.boxes();
    boxes.create(NewBox::named("web")).unwrap();
    boxes.wait_until_ready("web", Duration::from_secs(60)).unwrap();
    commands(&client);
    files(&client);
    nouns(&client);
    boxes.suspend("web").unwrap();
    boxes.wake("web").unwrap();
    let copy = boxes.fork("web", None).unwrap();
    boxes.destroy(&copy.id).unwrap();
    // What was made of a client works on when the client has gone.
    drop(client);
    boxes.destroy("web").unwrap();
    let gone = boxes.get("web");
    assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
}

fn commands(client: &Client) {
    let boxes = client.boxes();
    let mut running = boxes.exec("web", Command::argv(["sort"])).unwrap();
    let mut stdin = running.stdin().unwrap();
    stdin.send("b\na\n").unwrap();
    stdin.close();
    let events: Vec<_> = running.events().collect::<Result<_, _>>().unwrap();
    assert_eq!(events.last(), Some(&Event::Exit(0)));
    assert_eq!(events.first(), Some(&Event::Stdout("a\nb\n".into())));
    let size = PtySize { rows: 24, cols: 80 };
    let mut running = boxes.exec("web", Command::shell("read a; stty size").pty(size)).unwrap();
    assert!(running.resizer().resize(PtySize { rows: 40, cols: 90 }));
    running.stdin().unwrap().send("\n").unwrap();
    let output = running.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("40 90"), "{output:?}");
    boxes.exec("web", Command::argv(["sleep", "98765"])).unwrap().kill();
    let late = Command::argv(["sleep", "98764"]).timeout(Duration::from_millis(200));
    let late = boxes.exec("web", late).and_then(Running::output);
    assert!(matches!(late, Err(Error::TimedOut(_))), "{late:?}");
    let kept = Command::argv(["sleep", "98764"]).keep(Duration::from_secs(60));
    drop(boxes.exec("web", kept).unwrap());
    wait::until("the command is ended", || {
        let look = boxes.exec("web", Command::argv(["pgrep", "-f", "sleep 9876[4]"])).unwrap();
        (look.output().unwrap().code == 1).then_some(())
    });
    let mut logs = boxes.logs("web", false).unwrap();
    while logs.next().unwrap().is_some() {}
}

fn files(client: &Client) {
    let files = client.files("web");
    let content: Vec<u8> = (0..5_000_000u32).map(|n| (n % 253) as u8).collect();
    files.write_from("/srv/a", content.len() as u64, Cursor::new(content.clone())).unwrap();
    let (mut reader, mut back) = (files.reader("/srv/a").unwrap(), Vec::new());
    while let Some(piece) = reader.next().unwrap() {
        back.extend_from_slice(&piece);
    }
    assert!(back == content, "{} bytes came back", back.len());
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("note"), "hello").unwrap();
    files.put_tree(here.path(), "/srv/tree").unwrap();
    assert_eq!(files.read("/srv/tree/note").unwrap(), "hello");
    files.get_tree("/srv/tree", here.path().join("back")).unwrap();
    assert!(here.path().join("back/note").exists());
}

fn nouns(client: &Client) {
    assert_eq!(client.whoami().unwrap().name, "admin");
    assert_eq!(client.config().unwrap().zone, "localhost");
    client.checkpoints("web").create("one").unwrap();
    client.checkpoints("web").remove("one").unwrap();
    client.proxies("web").create("api", Some(8080)).unwrap();
    assert_eq!(client.proxies("web").list().unwrap().len(), 2);
    assert!(client.ports("web").list().unwrap().is_empty());
    let template = client.templates().create("small", "host", Sizes::default()).unwrap();
    client.templates().remove(&template.id).unwrap();
    assert!(client.snapshots().list().unwrap().is_empty());
    assert!(client.disks().list().unwrap().is_empty());
    client.domains().bind("www.example.com", "web").unwrap();
    client.domains().unbind("www.example.com").unwrap();
    assert!(!client.networks().list().unwrap().is_empty());
    client.variables().set("A", "1", &Scope::All).unwrap();
    client.variables().remove("A", &Scope::All).unwrap();
    client.secrets().set("B", "2", &Scope::All).unwrap();
    client.secrets().remove("B", &Scope::All).unwrap();
    let key = client.keys().create("ci", None).unwrap();
    client.keys().remove(&key.id).unwrap();
    client.tokens().create(None).unwrap();
    let token = client.tokens().list().unwrap().remove(0);
    client.tokens().revoke(&token.id).unwrap();
}
