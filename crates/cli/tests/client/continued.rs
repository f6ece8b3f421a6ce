//! Commands that outlive the call over which they were begun, and the server, which is killed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use boxherd_client::{Client, Command, Event, NewBox, PtySize, Running};

use crate::server::with_server;
use crate::wait::until;

const MINUTE: Duration = Duration::from_secs(60);

async fn with_box(client: &Client) {
    client.boxes().create(NewBox::named("web")).await.unwrap();
}

/// Output until there are so many bytes of it.
async fn read(running: &mut Running, length: usize) -> String {
    let mut read = Vec::new();
    while read.len() < length {
        match running.next().await.unwrap() {
            Event::Stdout(bytes) => read.extend_from_slice(&bytes),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&read)),
        }
    }
    String::from_utf8(read).unwrap()
}

async fn processes(client: &Client, name: &str) -> usize {
    let line = format!("ps -o args= -e | grep -c '^{name}' || true");
    let said = client.boxes().exec("web", Command::shell(line)).await.unwrap();
    let said = said.output().await.unwrap().stdout;
    String::from_utf8(said).unwrap().trim().parse().unwrap()
}

with_server! {
    a_command_goes_on_after_the_server_was_killed(server) {
        let client = server.client().await;
        with_box(&client).await;
        let line = "while read line; do echo \"got $line\"; done; echo over; exit 7";
        let mut running =
            client.boxes().exec("web", Command::shell(line).keep(MINUTE)).await.unwrap();
        let mut stdin = running.stdin().unwrap();
        stdin.send("one\n").await.unwrap();
        assert_eq!(read(&mut running, 8).await, "got one\n");
        server.kill();
        // While there is no server, and after.
        stdin.send("two\n").await.unwrap();
        server.again();
        assert_eq!(read(&mut running, 8).await, "got two\n");
        stdin.send("three\n").await.unwrap();
        assert_eq!(read(&mut running, 10).await, "got three\n");
        // One that goes in good order ends no such command either.
        server.end();
        server.again();
        stdin.send("four\n").await.unwrap();
        stdin.close();
        let rest = running.output().await.unwrap();
        assert_eq!((String::from_utf8(rest.stdout).unwrap(), rest.code), ("got four\nover\n".into(), 7));
        client.boxes().destroy("web").await.unwrap();
    }

    // Nothing of what goes through is lost or comes twice, however often the server dies.
    much_goes_in_and_out_while_servers_die(server) {
        const BYTES: u32 = 32 << 20;
        let client = server.client().await;
        with_box(&client).await;
        let mut running =
            client.boxes().exec("web", Command::argv(["cat"]).keep(MINUTE)).await.unwrap();
        let mut stdin = running.stdin().unwrap();
        let sending = tokio::spawn(async move {
            for at in (0..BYTES).step_by(64 << 10) {
                let piece: Vec<u8> = (at..at + (64 << 10)).step_by(4).flat_map(u32::to_le_bytes).collect();
                stdin.send(piece).await.unwrap();
            }
        });
        let (mut expected, mut word, mut deaths) = (0_u32, Vec::new(), 0);
        loop {
            match running.next().await.unwrap() {
                Event::Stdout(bytes) => {
                    for byte in bytes {
                        word.push(byte);
                        if let Ok(whole) = <[u8; 4]>::try_from(word.as_slice()) {
                            assert_eq!(u32::from_le_bytes(whole), expected);
                            expected += 4;
                            word.clear();
                        }
                    }
                    if deaths < 4 && expected > (deaths + 1) * (BYTES / 5) {
                        deaths += 1;
                        server.kill();
                        server.again();
                    }
                }
                Event::Stderr(bytes) => panic!("{:?}", String::from_utf8_lossy(&bytes)),
                Event::Exit(code) => break assert_eq!(code, 0),
            }
        }
        assert_eq!((expected, word.len(), deaths), (BYTES, 0, 4));
        sending.await.unwrap();
        client.boxes().destroy("web").await.unwrap();
    }

    a_terminal_goes_on(server) {
        let client = server.client().await;
        with_box(&client).await;
        let size = PtySize { rows: 24, cols: 80 };
        let command = Command::shell("stty -echo; cat; stty size").pty(size).keep(MINUTE);
        let mut running = client.boxes().exec("web", command).await.unwrap();
        let mut stdin = running.stdin().unwrap();
        stdin.send("one\n").await.unwrap();
        while !read(&mut running, 1).await.contains("one") {}
        server.kill();
        server.again();
        stdin.send("two\n").await.unwrap();
        while !read(&mut running, 1).await.contains("two") {}
        // Its size and the end of its input are those of a terminal over the second call as well.
        assert!(running.resizer().resize(PtySize { rows: 30, cols: 100 }).await);
        stdin.close();
        let rest = running.output().await.unwrap();
        let rest = (String::from_utf8_lossy(&rest.stdout).into_owned(), rest.code);
        assert!(rest.0.contains("30 100"), "{rest:?}");
        assert_eq!(rest.1, 0);
        client.boxes().destroy("web").await.unwrap();
    }

    a_command_that_is_kept_ends_when_it_is_dropped_or_nobody_comes(server) {
        let client = server.client().await;
        with_box(&client).await;
        let command = Command::argv(["sleep", "1000"]).keep(MINUTE);
        let running = client.boxes().exec("web", command.clone()).await.unwrap();
        assert_eq!(processes(&client, "sleep").await, 1);
        drop(running);
        while processes(&client, "sleep").await > 0 {}
        // One whose client is gone is ended by the box itself.
        let short = Command::argv(["sleep", "1000"]).keep(Duration::from_secs(1));
        let forgotten = client.boxes().exec("web", short).await.unwrap();
        assert_eq!(processes(&client, "sleep").await, 1);
        std::mem::forget(forgotten);
        server.kill();
        server.again();
        while processes(&client, "sleep").await > 0 {}
        client.boxes().destroy("web").await.unwrap();
    }

    the_command_line_goes_on_with_its_command(server) {
        server.boxherd(&["create", "web"]).ok();
        let mut cat = server
            .command(&["exec", "-i", "web", "--", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = cat.stdin.take().unwrap();
        let mut stdout = BufReader::new(cat.stdout.take().unwrap());
        let mut line = String::new();
        stdin.write_all(b"one\n").unwrap();
        stdout.read_line(&mut line).unwrap();
        server.kill();
        server.again();
        stdin.write_all(b"two\n").unwrap();
        drop(stdin);
        stdout.read_to_string(&mut line).unwrap();
        assert_eq!((line.as_str(), cat.wait().unwrap().code()), ("one\ntwo\n", Some(0)));

        // A program that is interrupted takes its command with it.
        let mut sleep = server.command(&["exec", "web", "--", "sleep", "1000"]).spawn().unwrap();
        let client = server.client().await;
        while processes(&client, "sleep").await == 0 {}
        let pid = rustix::process::Pid::from_child(&sleep);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        until("it ends", || sleep.try_wait().unwrap());
        while processes(&client, "sleep").await > 0 {}
        server.boxherd(&["rm", "--force", "web"]).ok();
    }
}
