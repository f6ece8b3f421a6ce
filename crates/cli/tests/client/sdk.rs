//! `boxherd-client` itself.

use std::time::Duration;

use boxherd_client::{Client, Command, Error, Event, NewBox, PtySize};
use futures_util::future::join_all;

use crate::server::with_server;

pub(crate) async fn output(client: &Client, of: &str, line: &str) -> boxherd_client::Output {
    client.boxes().run(of, Command::shell(line)).await.expect("it runs and ends")
}

/// Drops a command that runs while its input is still ours, and waits until it has ended.
async fn dropped(client: &Client, its_input_is_stuck: bool) {
    let boxes = client.boxes();
    boxes.create(NewBox::named("web")).await.unwrap();
    let line = Command::shell("echo started; exec sleep 98765");
    let mut running = boxes.exec("web", line).await.unwrap();
    assert_eq!(running.next().await.unwrap(), Event::Stdout("started\n".into()));
    let mut stdin = running.stdin().unwrap();
    if its_input_is_stuck {
        // Nobody reads it, so that what can be on its way is on its way.
        let full = async {
            loop {
                stdin.send(vec![0; 1 << 20]).await.unwrap();
            }
        };
        let patience = std::time::Duration::from_millis(500);
        assert!(tokio::time::timeout(patience, full).await.is_err());
    }
    running.kill();
    let mut looks = 0;
    while output(client, "web", "pgrep -x sleep").await.code == 0 {
        looks += 1;
        assert!(looks < 500, "the command still runs");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(stdin);
    boxes.destroy("web").await.unwrap();
}

/// Runs commands in a box until there is none. Answers how the last came to nothing.
async fn run_until_gone(client: Client) -> Error {
    loop {
        match client.boxes().run("web", Command::argv(["true"])).await {
            Ok(done) if done.code == 0 => {}
            // It was killed with the box.
            Ok(done) => assert_eq!(done.code, 137, "{done:?}"),
            Err(error) => return error,
        }
    }
}

with_server! {
    commands_of_a_box_that_is_deleted_are_told_so_and_leave_no_failed_box(server) {
        let client = server.client().await;
        let boxes = client.boxes();
        for round in 0..5 {
            boxes.create(NewBox::named("web")).await.unwrap();
            let line = Command::shell("echo begun; sleep 98765");
            let mut long = boxes.exec("web", line).await.unwrap();
            assert_eq!(long.next().await.unwrap(), Event::Stdout("begun\n".into()));
            let short: Vec<_> = (0..4).map(|_| tokio::spawn(run_until_gone(client.clone()))).collect();
            let (deleted, long) = tokio::join!(boxes.destroy("web"), long.output());
            deleted.unwrap();
            let killed = matches!(&long, Ok(done) if done.code == 137);
            let told = matches!(&long, Err(Error::WrongState(_) | Error::NotFound(_) | Error::Busy(_)));
            assert!(killed || told, "round {round}: {long:?}");
            for error in join_all(short).await {
                let error = error.unwrap();
                let told = matches!(error, Error::NotFound(_) | Error::WrongState(_) | Error::Busy(_));
                assert!(told, "round {round}: {error:?}");
            }
            assert!(boxes.list().await.unwrap().is_empty(), "round {round}");
        }
    }

    a_box_lives_and_dies(server) {
        for endpoint in [server.url.clone(), server.socket.clone()] {
            let client = server.builder().endpoint(endpoint).connect().await.unwrap();
            let boxes = client.boxes();
            let made = boxes.create(NewBox::named("web")).await.unwrap();
            assert_eq!((made.name.as_str(), made.status.as_str()), ("web", "running"));
            assert!(made.document.is_some());
            let taken = boxes.create(NewBox::named("web")).await;
            assert!(matches!(taken, Err(Error::Exists(_))), "{taken:?}");
            boxes.stop("web").await.unwrap();
            let exec = boxes.exec("web", Command::argv(["true"])).await;
            assert!(matches!(exec, Err(Error::WrongState(_))), "{exec:?}");
            boxes.start(&made.id).await.unwrap();
            boxes.suspend("web").await.unwrap();
            assert_eq!(boxes.get("web").await.unwrap().status, "suspended");
            boxes.resume("web").await.unwrap();
            boxes.restart("web").await.unwrap();
            boxes.rename("web", "old").await.unwrap();
            let copy = boxes.fork("old", Some("copy")).await.unwrap();
            let mut names: Vec<_> = boxes.list().await.unwrap().into_iter().map(|b| b.name).collect();
            names.sort();
            assert_eq!(names, ["copy", "old"]);
            boxes.destroy(&copy.id).await.unwrap();
            boxes.destroy("old").await.unwrap();
            let gone = boxes.get("old").await;
            assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
        }
    }

    commands_have_input_output_and_an_end(server) {
        let client = server.client().await;
        let boxes = client.boxes();
        boxes.create(NewBox::named("web")).await.unwrap();
        let command = Command::argv(["sh", "-c", "cat; echo \"$A $PWD\" >&2; exit 7"])
            .env("A", "it's $HOME").workdir("/etc");
        let mut running = boxes.exec("web", command).await.unwrap();
        let mut stdin = running.stdin().unwrap();
        let sent = "x".repeat(3 << 20);
        let (told, ended) = tokio::join!(
            async {
                stdin.send(sent.clone()).await.unwrap();
                stdin.close();
            },
            running.output(),
        );
        let ((), ended) = (told, ended.unwrap());
        assert_eq!(ended.code, 7);
        assert!(ended.stdout == sent.as_bytes(), "{} bytes came back", ended.stdout.len());
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "it's $HOME /etc\n");
        assert_eq!(output(&client, "web", "kill -9 $$").await.code, 137);
        let none = boxes.exec("web", Command::argv(["no-such-program"])).await.unwrap();
        assert_eq!(none.output().await.unwrap().code, 127);

        let size = PtySize { rows: 30, cols: 100 };
        let line = "stty size; read go; stty size";
        let mut running = boxes.exec("web", Command::shell(line).pty(size)).await.unwrap();
        let mut seen = String::new();
        let mut stdin = running.stdin().unwrap();
        while let Event::Stdout(bytes) = running.next().await.unwrap() {
            seen.push_str(&String::from_utf8_lossy(&bytes));
            if seen.contains("30 100") && !seen.contains("go") {
                assert!(running.resizer().resize(PtySize { rows: 50, cols: 200 }).await);
                stdin.send("go\n").await.unwrap();
            }
        }
        assert!(seen.contains("50 200"), "{seen}");
        boxes.destroy("web").await.unwrap();
    }

    a_command_of_a_client_that_has_said_everything_ends_with_the_call(server) {
        let client = server.client().await;
        let boxes = client.boxes();
        boxes.create(NewBox::named("web")).await.unwrap();
        let ended = boxes.run("web", Command::shell("cat; echo at the end")).await.unwrap();
        assert_eq!((ended.code, &*ended.stdout), (0, &b"at the end\n"[..]));
        // Nothing was answered yet to a call whose command says nothing, and the call goes.
        let silent = Command::shell("echo $$ > /tmp/new; mv /tmp/new /tmp/pid; exec sleep 1000");
        let begun = async { while output(&client, "web", "test -e /tmp/pid").await.code != 0 {} };
        tokio::select! {
            answered = boxes.run("web", silent) => panic!("{answered:?}"),
            () = begun => {}
        }
        let gone = async {
            while output(&client, "web", "kill -0 $(cat /tmp/pid) 2>&1").await.code == 0 {}
        };
        tokio::time::timeout(Duration::from_secs(60), gone).await.expect("it ends");
        boxes.destroy("web").await.unwrap();
    }

    whoever_makes_a_box_is_told_of_it_as_whoever_asks_for_it(server) {
        let client = server.client().await;
        let made = client.boxes().create(NewBox::named("web")).await.unwrap();
        let copy = client.boxes().fork("web", Some("copy")).await.unwrap();
        for told in [made, copy] {
            let mut asked = client.boxes().get(&told.name).await.unwrap();
            // A box that was just made is not measured.
            asked.document.clone_from(&told.document);
            assert!(told.document.is_some());
            assert_eq!(told, asked);
            client.boxes().destroy(&told.name).await.unwrap();
        }
    }

    a_hundred_commands_at_once(server) {
        let client = server.client().await;
        client.boxes().create(NewBox::named("web")).await.unwrap();
        let lines: Vec<_> = (0..100).map(|n| format!("echo {n}; exit {n}")).collect();
        let ended = join_all(lines.iter().map(|line| output(&client, "web", line))).await;
        for (number, ended) in ended.into_iter().enumerate() {
            assert_eq!(ended.code, i32::try_from(number).unwrap());
            assert_eq!(ended.stdout, format!("{number}\n").into_bytes());
        }
        client.boxes().destroy("web").await.unwrap();
    }

    a_command_that_is_dropped_ends(server) {
        dropped(&server.client().await, false).await;
    }

    a_command_that_is_dropped_ends_though_its_input_is_stuck(server) {
        dropped(&server.client().await, true).await;
    }

    large_files_go_both_ways(server) {
        let client = server.client().await;
        client.boxes().create(NewBox::named("web")).await.unwrap();
        let files = client.files("web");
        let content: Vec<u8> = (0..64u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        files.write("/srv/a/large", content.clone()).await.unwrap();
        let back = files.read("/srv/a/large").await.unwrap();
        assert!(back == content, "{} bytes came back", back.len());
        let size = content.len() as u64;
        files.write_from("/srv/b", size, std::io::Cursor::new(content)).await.unwrap();
        let same = output(&client, "web", "cmp /srv/a/large /srv/b").await;
        assert_eq!(same.code, 0, "{same:?}");

        let short = files.write_from("/srv/b", 10, &b"short"[..]).await;
        assert!(matches!(short, Err(Error::Invalid(_))), "{short:?}");
        assert_eq!(files.list("/srv").await.unwrap().iter().find(|entry| entry.name == "b").unwrap().size, size);
        files.mkdir("/srv/c").await.unwrap();
        files.rename("/srv/b", "/srv/c/b").await.unwrap();
        files.remove("/srv/c").await.unwrap();
        let gone = files.read("/srv/c/b").await;
        assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
        client.boxes().destroy("web").await.unwrap();
    }

    keys_that_are_wrong_or_taken_back_are_refused(server) {
        let wrong = server.builder().api_key("bxd_wrong").connect().await;
        assert!(matches!(wrong, Err(Error::Unauthenticated(_))), "{wrong:?}");
        let made = server.lab.boxherd(&["key", "create", "--user", "other", "-o", "json"]).ok();
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        let key = made["api_key"].as_str().unwrap();
        let client = server.builder().api_key(key).connect().await.unwrap();
        assert!(client.boxes().list().await.unwrap().is_empty());
        server.lab.boxherd(&["key", "rm", made["id"].as_str().unwrap()]).ok();
        let refused = client.boxes().list().await;
        assert!(matches!(refused, Err(Error::Unauthenticated(_))), "{refused:?}");
    }

    a_server_may_go_and_come_back(server) {
        let client = server.client().await;
        client.boxes().create(NewBox::named("web")).await.unwrap();
        server.end();
        let gone = client.boxes().create(NewBox::named("other")).await;
        assert!(matches!(gone, Err(Error::Unavailable { maybe_done: false, .. })), "{gone:?}");
        server.again();
        assert_eq!(output(&client, "web", "echo here").await.stdout, b"here\n");
        assert_eq!(client.boxes().list().await.unwrap().len(), 1);
        client.boxes().destroy("web").await.unwrap();
    }
}
