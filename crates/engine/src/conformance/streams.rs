//! A lot of input and output, and readers that do not keep up.

use std::time::Duration;

use boxherd_link::{ExecEvent, ExitStatus};
use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use super::stage::{line, to_end};
use super::{Outcome, Stage, theme};

theme! { "streams":
    both_outputs_at_once_and_large,
    ten_megabytes_of_input,
    input_and_output_at_once,
    a_slow_reader_loses_nothing,
    a_reader_that_stops_stops_the_writer,
    a_blocked_command_does_not_block_others,
    a_blocked_input_does_not_block_others,
    input_in_small_pieces_arrives_in_order,
    input_after_the_end_is_refused,
    input_that_had_ended_goes_along_with_the_request,
    output_of_many_small_writes,
    output_beyond_the_limit_is_counted_as_truncated,
}

const MIB: usize = 1 << 20;

/// `count` bytes that tell where they were.
fn pattern(count: usize) -> Bytes {
    (0..count / 8).flat_map(|number| (number as u64).to_le_bytes()).collect::<Vec<u8>>().into()
}

async fn both_outputs_at_once_and_large(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let line = "head -c 20000000 /dev/zero & head -c 20000000 /dev/zero | tr '\\0' x >&2; wait";
    let done = guest.collect(guest.shell(line), b"").await?;
    assert_eq!(done.status, ExitStatus::Code(0));
    assert!(done.stdout.len() == 20_000_000 && done.stdout.iter().all(|byte| *byte == 0));
    assert!(done.stderr.len() == 20_000_000 && done.stderr.iter().all(|byte| *byte == b'x'));
    Ok(())
}

async fn ten_megabytes_of_input(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let mut request = guest.shell("cksum");
    request.stdin = true;
    let input = pattern(10 * MIB);
    let done = guest.collect(request, &input).await?;
    guest.put("same", input).await?;
    assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), guest.sh("cksum < same").await?);
    Ok(())
}

async fn input_and_output_at_once(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let mut request = guest.shell("cat");
    request.stdin = true;
    let input = pattern(10 * MIB);
    let done = guest.collect(request, &input).await?;
    assert!(done.stdout == input);
    Ok(())
}

async fn a_slow_reader_loses_nothing(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut exec = link.exec(guest.shell("seq 300000")).await?;
    let mut output = Vec::new();
    loop {
        // The slowness is the subject of the case, not a wait for something.
        tokio::time::sleep(Duration::from_millis(1)).await;
        match exec.next().await? {
            ExecEvent::Stdout(bytes) => output.extend_from_slice(&bytes),
            ExecEvent::Stderr(bytes) => panic!("{bytes:?}"),
            ExecEvent::Exit(status) => break assert!(status.success()),
        }
    }
    let expected: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert!(output == expected.as_bytes());
    Ok(())
}

async fn a_reader_that_stops_stops_the_writer(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    // `written` grows only as long as the output is taken.
    let writer = "head -c 8 /dev/zero; for i in $(seq 1000); do
        head -c 1000000 /dev/zero; echo $i > written; done";
    let mut exec = link.exec(guest.shell(writer)).await?;
    assert!(matches!(exec.next().await?, ExecEvent::Stdout(_)));
    let blocked = guest
        .sh("while a=$(cat written 2>/dev/null); sleep 0.3; b=$(cat written 2>/dev/null);
             test \"$a\" != \"$b\"; do :; done; cat written 2>/dev/null || echo 0")
        .await?;
    assert!(blocked.parse::<u32>()? < 20, "{blocked} MB were written and nobody read them");
    exec.control().cancel();
    Ok(())
}

async fn a_blocked_command_does_not_block_others(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let blocked = link.exec(guest.shell("exec cat /dev/zero")).await?;
    for _ in 0..20 {
        let mut other = link.exec(guest.shell("echo here")).await?;
        assert_eq!(to_end(&mut other).await?.0, "here\n");
    }
    drop(blocked);
    Ok(())
}

async fn a_blocked_input_does_not_block_others(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut request = guest.shell("echo ready; exec sleep 1000");
    request.stdin = true;
    let mut deaf = link.exec(request).await?;
    assert_eq!(line(&mut deaf).await?, "ready\n");
    let mut stdin = deaf.stdin().ok_or("it has input")?;
    let feeding = stdin.send(pattern(10 * MIB));
    let others = async {
        for _ in 0..20 {
            let mut other = link.exec(guest.shell("echo here")).await?;
            assert_eq!(to_end(&mut other).await?.0, "here\n");
        }
        Outcome::Ok(())
    };
    tokio::select! {
        fed = feeding => Err(format!("nobody reads, and yet: {fed:?}").into()),
        done = others => done,
    }
}

async fn input_in_small_pieces_arrives_in_order(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut request = guest.shell("cat");
    request.stdin = true;
    let mut exec = link.exec(request).await?;
    let mut stdin = exec.stdin().ok_or("it has input")?;
    let mut expected = String::new();
    for number in 0..500 {
        let piece = format!("{number} ");
        stdin.write_all(piece.as_bytes()).await?;
        expected.push_str(&piece);
    }
    stdin.shutdown().await?;
    assert_eq!(to_end(&mut exec).await?, (expected, ExitStatus::Code(0)));
    Ok(())
}

async fn input_after_the_end_is_refused(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut request = guest.shell("true");
    request.stdin = true;
    let mut exec = link.exec(request).await?;
    let mut stdin = exec.stdin().ok_or("it has input")?;
    assert!(exec.stdin().is_none());
    assert_eq!(to_end(&mut exec).await?.1, ExitStatus::Code(0));
    let refused = stdin.write_all(&pattern(MIB)).await;
    assert!(refused.is_err());
    Ok(())
}

async fn input_that_had_ended_goes_along_with_the_request(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    for _ in 0..3 {
        let mut request = guest.shell("cat; echo at the end");
        (request.stdin, request.ended) = (true, true);
        let mut exec = link.exec(request).await?;
        assert!(exec.stdin().is_none(), "nothing can be added");
        assert_eq!(to_end(&mut exec).await?, ("at the end\n".to_owned(), ExitStatus::Code(0)));
    }
    Ok(())
}

async fn output_of_many_small_writes(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let line = "i=0; while [ $i -lt 5000 ]; do echo $i; i=$((i + 1)); done";
    let done = guest.collect(guest.shell(line), b"").await?;
    let expected: String = (0..5000).map(|number| format!("{number}\n")).collect();
    assert!(done.stdout == expected);
    Ok(())
}

async fn output_beyond_the_limit_is_counted_as_truncated(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let exec = link.exec(guest.shell("head -c 1000000 /dev/zero; exit 4")).await?;
    let done = exec.collect(Bytes::new(), 1000).await?;
    assert_eq!((done.stdout.len(), done.truncated), (1000, true));
    assert_eq!(done.status, ExitStatus::Code(4));
    Ok(())
}
