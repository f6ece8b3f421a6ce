//! TCP ports on which something in a box listens.

use boxherd_link::{Exec, Link, LinkError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::stage::{Any, Guest, line};
use super::{Outcome, Stage, theme};

theme! { "ports":
    a_port_answers,
    a_port_that_nobody_listens_on_is_an_error,
    half_of_a_connection_can_be_closed,
    the_end_of_the_other_side_is_seen,
    a_lot_of_data_both_ways,
    many_connections_at_once,
    ports_are_listed_while_they_listen,
    a_dropped_connection_is_closed_in_the_box,
}

/// A program that listens on a free port, prints it, and calls `$serve` for each connection `$c`
/// in a process of its own. `perl-base` is essential on Debian.
fn server(serve: &str) -> String {
    format!(
        "exec perl -MIO::Socket::INET -e '
            $SIG{{CHLD}} = \"IGNORE\"; $| = 1;
            $s = IO::Socket::INET->new(Listen => 128, LocalAddr => \"127.0.0.1\") or die $!;
            print $s->sockport . \"\\n\";
            while (1) {{
                $c = $s->accept or next;
                unless (fork) {{ {serve} exit }}
                close $c;
            }}'"
    )
}

const ECHO: &str = "while (sysread($c, $b, 65536)) { $w = 0;
    $w += syswrite($c, $b, 65536, $w) while $w < length $b }";

async fn serve(guest: &Guest, how: &str) -> Result<(Link, Exec, u16), Any> {
    let link = guest.link().await?;
    let mut exec = link.exec(guest.shell(server(how))).await?;
    let port = line(&mut exec).await?.trim().parse()?;
    Ok((link, exec, port))
}

async fn a_port_answers(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let (link, _server, port) = serve(&guest, ECHO).await?;
    let mut stream = link.dial(port).await?;
    stream.write_all(b"hello").await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"hello");
    Ok(())
}

async fn a_port_that_nobody_listens_on_is_an_error(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    // Reserved for nobody's use (RFC 6335 §6), and free by convention.
    let refused = guest.link().await?.dial(1).await;
    let expected = matches!(refused, Err(LinkError::Dial { port: 1, errno: libc::ECONNREFUSED }));
    assert!(expected, "{refused:?}");
    Ok(())
}

async fn half_of_a_connection_can_be_closed(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let answer_at_the_end = "1 while sysread($c, $b, 9, length $b); print $c \"got $b\";";
    let (link, _server, port) = serve(&guest, answer_at_the_end).await?;
    let mut stream = link.dial(port).await?;
    stream.write_all(b"everything").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert_eq!(answer, "got everything");
    Ok(())
}

async fn the_end_of_the_other_side_is_seen(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let (link, _server, port) = serve(&guest, "print $c \"bye\";").await?;
    let mut answer = String::new();
    link.dial(port).await?.read_to_string(&mut answer).await?;
    assert_eq!(answer, "bye");
    Ok(())
}

async fn a_lot_of_data_both_ways(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let (link, _server, port) = serve(&guest, ECHO).await?;
    let (mut reader, mut writer) = tokio::io::split(link.dial(port).await?);
    let data: Vec<u8> = (0..=255).cycle().take(10 << 20).collect();
    let send = async {
        writer.write_all(&data).await?;
        writer.shutdown().await
    };
    let mut echoed = Vec::with_capacity(data.len());
    let (sent, received) = tokio::join!(send, reader.read_to_end(&mut echoed));
    sent?;
    received?;
    assert!(echoed == data);
    Ok(())
}

async fn many_connections_at_once(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let (link, _server, port) = serve(&guest, ECHO).await?;
    let one = |number: u32| {
        let link = link.clone();
        async move {
            let mut stream = link.dial(port).await?;
            let text = format!("connection {number}");
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await?;
            let mut echoed = String::new();
            stream.read_to_string(&mut echoed).await?;
            assert_eq!(echoed, text);
            Ok::<_, Any>(())
        }
    };
    futures_util::future::try_join_all((0..50).map(one)).await?;
    Ok(())
}

async fn ports_are_listed_while_they_listen(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let (link, server, port) = serve(&guest, ECHO).await?;
    let listed = |found: &[boxherd_link::Listener]| {
        found.iter().any(|l| l.port == port && l.address == std::net::Ipv4Addr::LOCALHOST)
    };
    assert!(listed(&link.listening().await?));
    drop(server);
    while listed(&link.listening().await?) {
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn a_dropped_connection_is_closed_in_the_box(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let until_closed = "1 while sysread($c, $b, 9); open(F, \">closed\");";
    let (link, _server, port) = serve(&guest, until_closed).await?;
    drop(link.dial(port).await?);
    guest.sh("until test -e closed; do sleep 0.01; done").await?;
    Ok(())
}
