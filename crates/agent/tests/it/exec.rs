//! Commands: what they are given, what they give, how they end.

use boxherd_link::{ExecEvent, ExecRequest, ExitStatus, LinkError, PtySize};
use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use crate::{collect, link, shell, within};

fn argv(list: &[&str]) -> ExecRequest {
    ExecRequest::argv(list.iter().copied())
}

#[tokio::test]
async fn output_and_errors_are_apart_and_come_before_the_exit() {
    let ran = shell(&link().await, "echo out; echo err >&2; exit 7").await;
    assert_eq!((&ran.stdout[..], &ran.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(ran.status, ExitStatus::Code(7));
}

#[tokio::test]
async fn arguments_arrive_as_they_were_sent() {
    let odd = ["printf", "%s|", "", " a  b ", "'\"$x`", "*", "\n", "-n", "é"];
    let ran = collect(&link().await, argv(&odd)).await;
    assert_eq!(ran.stdout, "| a  b |'\"$x`|*|\n|-n|é|");
}

#[tokio::test]
async fn a_signal_is_told_from_a_code() {
    let link = link().await;
    assert_eq!(shell(&link, "kill -TERM $$").await.status, ExitStatus::Signal(15));
    assert_eq!(shell(&link, "exit 143").await.status, ExitStatus::Code(143));
}

#[tokio::test]
async fn what_cannot_run_ends_as_in_a_shell() {
    let link = link().await;
    let missing = collect(&link, argv(&["no-such-program-here"])).await;
    assert_eq!(missing.status, ExitStatus::Code(127));
    assert_eq!(missing.stderr, "no-such-program-here: not found\n");
    let data = collect(&link, argv(&["/etc/passwd"])).await;
    assert_eq!(data.status, ExitStatus::Code(126));
    assert_eq!(data.stderr, "/etc/passwd: permission denied\n");
    assert_eq!(collect(&link, argv(&[""])).await.status, ExitStatus::Code(127));
}

#[tokio::test]
async fn what_cannot_even_be_tried_is_refused_with_a_reason() {
    let link = link().await;
    let mut request = argv(&["true"]);
    request.user = Some("nobody-of-this-name".to_owned());
    let refused = link.exec(request).await.unwrap_err().to_string();
    assert!(refused.contains("nobody-of-this-name"), "{refused}");
    let mut request = argv(&["true"]);
    request.workdir = Some("/no/such/directory".to_owned());
    let refused = link.exec(request).await.unwrap_err();
    assert!(matches!(refused, LinkError::Refused { .. }), "{refused}");
    assert!(refused.to_string().contains("/no/such/directory"), "{refused}");
}

#[tokio::test]
async fn environment_and_directory_are_those_asked_for() {
    let mut request = ExecRequest::shell("pwd; echo $A; echo $USER $LOGNAME $HOME");
    request.env = vec![("A".to_owned(), "b c".to_owned())];
    request.workdir = Some("/usr".to_owned());
    let ran = collect(&link().await, request).await;
    assert_eq!(ran.stdout, "/usr\nb c\nroot root /root\n");
}

#[tokio::test]
async fn a_command_runs_as_the_user_asked_for() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let mut request = ExecRequest::shell("id -u; id -g; echo $HOME; pwd");
    request.user = Some("12345:54321".to_owned());
    let ran = collect(&link().await, request).await;
    assert_eq!(ran.stdout, "12345\n54321\n/\n/\n");
}

#[tokio::test]
async fn without_input_it_reads_nothing() {
    assert_eq!(shell(&link().await, "cat; echo done").await.stdout, "done\n");
}

#[tokio::test]
async fn ten_megabytes_go_in_and_come_out_unchanged() {
    let mut request = argv(&["cat"]);
    request.stdin = true;
    let input: Vec<u8> = (0..10 << 20).map(|i: u32| ((i * 31) >> 7) as u8).collect();
    let input = Bytes::from(input);
    let exec = link().await.exec(request).await.unwrap();
    let ran = within(exec.collect(input.clone(), usize::MAX)).await.unwrap();
    assert!(ran.stdout == input, "{} bytes came back", ran.stdout.len());
    assert_eq!(ran.status, ExitStatus::Code(0));
}

#[tokio::test]
async fn the_end_of_input_is_not_a_kill() {
    let mut request = ExecRequest::shell("cat >/dev/null; echo after; exit 3");
    request.stdin = true;
    let mut exec = link().await.exec(request).await.unwrap();
    exec.stdin().unwrap().shutdown().await.unwrap();
    assert_eq!(within(exec.next()).await.unwrap(), ExecEvent::Stdout("after\n".into()));
    assert_eq!(within(exec.next()).await.unwrap(), ExecEvent::Exit(ExitStatus::Code(3)));
}

#[tokio::test]
async fn input_that_nobody_reads_is_no_error() {
    let mut request = argv(&["true"]);
    request.stdin = true;
    let exec = link().await.exec(request).await.unwrap();
    let ran = within(exec.collect(Bytes::from(vec![0; 4 << 20]), 10)).await.unwrap();
    assert_eq!(ran.status, ExitStatus::Code(0));
}

#[tokio::test]
async fn big_outputs_on_both_streams_do_not_block_each_other() {
    let line = "head -c 3000000 /dev/zero & head -c 3000000 /dev/zero >&2; wait";
    let ran = shell(&link().await, line).await;
    assert_eq!((ran.stdout.len(), ran.stderr.len()), (3_000_000, 3_000_000));
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_writer() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = format!(
        "for i in $(seq 100); do head -c 65536 /dev/zero; echo $i >> {}; done",
        file.path().display()
    );
    let mut exec = link().await.exec(ExecRequest::shell(line)).await.unwrap();
    // Everything that can be on its way: the window, the pipe, and what is being written.
    let written = || std::fs::read_to_string(file.path()).unwrap().lines().count();
    let mut seen = 0;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let now = written();
        if now > 0 && now == seen {
            break;
        }
        seen = now;
    }
    assert!(seen <= 8, "{seen} pieces of 64 KiB were written without a reader");
    let mut total = 0;
    loop {
        match within(exec.next()).await.unwrap() {
            ExecEvent::Stdout(bytes) => total += bytes.len(),
            ExecEvent::Stderr(bytes) => panic!("{bytes:?}"),
            ExecEvent::Exit(status) => break assert!(status.success()),
        }
    }
    assert_eq!(total, 100 * 65536);
}

#[tokio::test]
async fn what_is_left_in_the_background_does_not_hold_the_exit_up() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display();
    // It writes after the exit, and must not be killed for it.
    let line = format!("(sleep 1; echo late; echo alive > {path}) & echo now; exit 4");
    let ran = shell(&link().await, &line).await;
    assert_eq!((&ran.stdout[..], ran.status), (&b"now\n"[..], ExitStatus::Code(4)));
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "", "the exit waited");
    within(async {
        while std::fs::read_to_string(file.path()).unwrap() != "alive\n" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_timeout_kills_the_whole_group() {
    let marker = "sleep 4343";
    let mut request = ExecRequest::shell(format!("{marker} & echo $!; {marker}"));
    request.timeout = Some(std::time::Duration::from_millis(200));
    let ran = collect(&link().await, request).await;
    assert_eq!(ran.status, ExitStatus::TimedOut);
    let child: i32 = String::from_utf8_lossy(&ran.stdout).trim().parse().unwrap();
    within(crate::lost::gone(child)).await;
}

#[tokio::test]
async fn signals_go_to_the_group() {
    let mut exec = link()
        .await
        .exec(ExecRequest::shell(
            "trap 'echo got; exit 5' USR1; echo ready; while :; do sleep 0.05; done",
        ))
        .await
        .unwrap();
    assert_eq!(within(exec.next()).await.unwrap(), ExecEvent::Stdout("ready\n".into()));
    exec.control().signal(10);
    let ran = within(exec.collect(Bytes::new(), 100)).await.unwrap();
    assert_eq!((&ran.stdout[..], ran.status), (&b"got\n"[..], ExitStatus::Code(5)));
}

#[tokio::test]
async fn a_terminal_has_a_size_that_can_change() {
    let mut request = ExecRequest::shell("stty size; read x; stty size; echo $TERM");
    request.pty = Some(PtySize { rows: 33, cols: 77 });
    let mut exec = link().await.exec(request).await.unwrap();
    let mut input = exec.stdin().unwrap();
    let control = exec.control();
    let mut seen = Vec::new();
    loop {
        match within(exec.next()).await.unwrap() {
            ExecEvent::Stdout(bytes) => seen.extend_from_slice(&bytes),
            ExecEvent::Stderr(bytes) => panic!("{bytes:?}"),
            ExecEvent::Exit(status) => break assert!(status.success()),
        }
        if seen.ends_with(b"33 77\r\n") {
            control.resize(PtySize { rows: 40, cols: 100 });
            input.write_all(b"x\n").await.unwrap();
        }
    }
    assert_eq!(String::from_utf8_lossy(&seen), "33 77\r\nx\r\n40 100\r\nxterm\r\n");
}

#[tokio::test]
async fn a_terminal_turns_control_c_into_a_signal() {
    let mut request = ExecRequest::shell("echo ready; exec sleep 4344");
    request.pty = Some(PtySize { rows: 24, cols: 80 });
    let mut exec = link().await.exec(request).await.unwrap();
    let mut input = exec.stdin().unwrap();
    assert_eq!(within(exec.next()).await.unwrap(), ExecEvent::Stdout("ready\r\n".into()));
    input.write_all(b"\x03").await.unwrap();
    let ran = within(exec.collect(Bytes::new(), 100)).await.unwrap();
    assert_eq!(ran.status, ExitStatus::Signal(2));
}

#[tokio::test]
async fn the_end_of_input_ends_a_program_on_a_terminal() {
    let mut request = argv(&["cat"]);
    request.pty = Some(PtySize { rows: 24, cols: 80 });
    let exec = link().await.exec(request).await.unwrap();
    let ran = within(exec.collect("hello\n".into(), 100)).await.unwrap();
    assert_eq!((&ran.stdout[..], ran.status), (&b"hello\r\nhello\r\n"[..], ExitStatus::Code(0)));
}

#[tokio::test]
async fn many_commands_run_at_once() {
    let link = link().await;
    let runs = (0..50).map(|i| {
        let link = link.clone();
        tokio::spawn(async move { shell(&link, &format!("echo {i}; exit {i}")).await })
    });
    for (i, run) in runs.collect::<Vec<_>>().into_iter().enumerate() {
        let ran = run.await.unwrap();
        assert_eq!(ran.stdout, format!("{i}\n"));
        assert_eq!(ran.status, ExitStatus::Code(i as i32));
    }
}
