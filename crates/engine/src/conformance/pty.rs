//! Commands on a terminal.

use boxherd_link::{Exec, ExecRequest, ExitStatus, Link, PtySize};
use tokio::io::AsyncWriteExt as _;

use super::stage::{Any, Guest, to_end, until};
use super::{Outcome, Stage, theme};

theme! { "pty":
    a_command_has_a_terminal,
    a_terminal_has_the_size_that_was_asked_for,
    a_new_size_reaches_the_command,
    ctrl_c_interrupts_what_is_in_front,
    ctrl_d_ends_the_input,
    what_is_typed_is_echoed,
    output_and_errors_are_one_stream,
    the_exit_code_of_a_terminal_command,
    closing_the_input_is_not_a_hangup,
    a_cancel_kills_the_whole_session,
    a_large_output_through_a_terminal,
}

const SIZE: PtySize = PtySize { rows: 33, cols: 101 };

fn terminal(guest: &Guest, line: &str) -> ExecRequest {
    let mut request = guest.shell(line);
    request.pty = Some(SIZE);
    request.stdin = true;
    request.env.push(("TERM".to_owned(), "xterm".to_owned()));
    request
}

async fn exec(stage: &Stage, line: &str) -> Result<(Guest, Link, Exec), Any> {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let exec = link.exec(terminal(&guest, line)).await?;
    Ok((guest, link, exec))
}

async fn a_command_has_a_terminal(stage: &Stage) -> Outcome {
    let (_guest, _link, mut exec) =
        exec(stage, "tty; test -t 0 -a -t 1 -a -t 2; echo $? $TERM").await?;
    let (output, _) = to_end(&mut exec).await?;
    assert!(output.starts_with("/dev/") && output.ends_with("0 xterm\r\n"), "{output:?}");
    Ok(())
}

async fn a_terminal_has_the_size_that_was_asked_for(stage: &Stage) -> Outcome {
    let (_guest, _link, mut exec) = exec(stage, "stty size").await?;
    assert_eq!(to_end(&mut exec).await?.0, "33 101\r\n");
    Ok(())
}

async fn a_new_size_reaches_the_command(stage: &Stage) -> Outcome {
    let line = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done";
    let (_guest, _link, mut exec) = exec(stage, line).await?;
    until(&mut exec, "ready").await?;
    exec.control().resize(PtySize { rows: 7, cols: 42 });
    until(&mut exec, "7 42").await?;
    assert_eq!(to_end(&mut exec).await?.1, ExitStatus::Code(0));
    Ok(())
}

async fn ctrl_c_interrupts_what_is_in_front(stage: &Stage) -> Outcome {
    let line = "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.01; done";
    let (_guest, _link, mut exec) = exec(stage, line).await?;
    until(&mut exec, "ready").await?;
    let mut keys = exec.stdin().ok_or("a terminal has input")?;
    keys.write_all(b"\x03").await?;
    until(&mut exec, "interrupted").await?;
    assert_eq!(to_end(&mut exec).await?.1, ExitStatus::Code(3));
    Ok(())
}

async fn ctrl_d_ends_the_input(stage: &Stage) -> Outcome {
    let (_guest, _link, mut exec) = exec(stage, "stty -echo; echo ready; cat; echo ended").await?;
    until(&mut exec, "ready").await?;
    let mut keys = exec.stdin().ok_or("a terminal has input")?;
    keys.write_all(b"hello\n\x04").await?;
    let (output, status) = to_end(&mut exec).await?;
    assert!(output.ends_with("hello\r\nended\r\n"), "{output:?}");
    assert_eq!(status, ExitStatus::Code(0));
    Ok(())
}

async fn what_is_typed_is_echoed(stage: &Stage) -> Outcome {
    let (_guest, _link, mut exec) = exec(stage, "read name; echo \"[$name]\"").await?;
    let mut keys = exec.stdin().ok_or("a terminal has input")?;
    keys.write_all(b"shepherd\n").await?;
    assert_eq!(to_end(&mut exec).await?.0, "shepherd\r\n[shepherd]\r\n");
    Ok(())
}

async fn output_and_errors_are_one_stream(stage: &Stage) -> Outcome {
    let (_guest, _link, mut exec) = exec(stage, "echo out; echo err >&2; echo out").await?;
    assert_eq!(to_end(&mut exec).await?.0, "out\r\nerr\r\nout\r\n");
    Ok(())
}

async fn the_exit_code_of_a_terminal_command(stage: &Stage) -> Outcome {
    let (_guest, _link, mut exec) = exec(stage, "echo last words; exit 9").await?;
    assert_eq!(to_end(&mut exec).await?, ("last words\r\n".to_owned(), ExitStatus::Code(9)));
    Ok(())
}

async fn closing_the_input_is_not_a_hangup(stage: &Stage) -> Outcome {
    let (_guest, _link, mut exec) = exec(stage, "sleep 0.2; echo still here").await?;
    let mut keys = exec.stdin().ok_or("a terminal has input")?;
    keys.shutdown().await?;
    drop(keys);
    let (output, status) = to_end(&mut exec).await?;
    assert!(output.ends_with("still here\r\n"), "{output:?}");
    assert_eq!(status, ExitStatus::Code(0));
    Ok(())
}

async fn a_cancel_kills_the_whole_session(stage: &Stage) -> Outcome {
    let (guest, _link, mut exec) = exec(stage, super::exec::FAMILY).await?;
    until(&mut exec, "ready").await?;
    exec.control().cancel();
    guest.family_ends().await
}

async fn a_large_output_through_a_terminal(stage: &Stage) -> Outcome {
    let (_guest, _link, mut exec) = exec(stage, "stty -onlcr; seq 200000").await?;
    let (output, status) = to_end(&mut exec).await?;
    let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(status, ExitStatus::Code(0));
    assert!(output == expected, "{} of {} bytes", output.len(), expected.len());
    Ok(())
}
