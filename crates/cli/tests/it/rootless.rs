//! Boxes of an ordinary user, without any set-up.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use boxherd_testkit::{Ids, USER};

use crate::lab::Lab;

#[test]
fn a_command_runs_in_a_box() {
    let Some(lab) = Lab::of_user("a_command_runs_in_a_box", Ids::One) else { return };
    let said = lab.boxherd(&[
        "run",
        "--",
        "sh",
        "-c",
        "id -u; tr '\\0' '\\n' < /proc/1/cmdline; hostname",
    ]);
    let lines: Vec<String> = said.ok().lines().map(str::to_owned).collect();
    assert_eq!((lines[0].as_str(), lines[1].as_str()), ("0", "boxherd-agent"), "{lines:?}");
    assert_eq!(lab.boxherd(&["run", "--", "sh", "-c", "exit 7"]).code, Some(7));
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "");
}

#[test]
fn files_go_in_and_out() {
    let Some(lab) = Lab::of_user("files_go_in_and_out", Ids::One) else { return };
    lab.boxherd(&["create", "web"]).ok();
    let data = lab.data();
    let folder = data.parent().unwrap();
    let here = folder.join("here");
    fs::write(&here, "hello\n").unwrap();
    let there = folder.join("there");
    fs::create_dir(&there).unwrap();
    std::os::unix::fs::chown(&there, Some(USER), Some(USER)).unwrap();
    lab.boxherd(&["cp", here.to_str().unwrap(), "web:/root/a"]).ok();
    lab.boxherd(&["cp", "web:/root/a", there.join("a").to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(there.join("a")).unwrap(), "hello\n");
    assert_eq!(fs::metadata(there.join("a")).unwrap().uid(), USER);
}

#[test]
fn a_running_box_is_forked_with_files_nobody_may_read() {
    let name = "a_running_box_is_forked_with_files_nobody_may_read";
    for ids in [Ids::One, Ids::Many] {
        let Some(lab) = Lab::of_user(name, ids) else { return };
        lab.boxherd(&["create", "web"]).ok();
        lab.sh("web", "mkdir -m 0 /root/d; echo secret > /root/d/f; chmod 0 /root/d/f").ok();
        lab.boxherd(&["fork", "web", "copy"]).ok();
        assert_eq!(lab.sh("copy", "cat /root/d/f; hostname").ok(), "secret\ncopy\n");
        lab.sh("web", "kill -0 1").ok();
    }
}

#[test]
fn a_port_is_reached_through_the_link() {
    let Some(lab) = Lab::of_user("a_port_is_reached_through_the_link", Ids::One) else { return };
    lab.boxherd(&["create", "web"]).ok();
    let serve = "use Socket; socket(S,PF_INET,SOCK_STREAM,0); setsockopt(S,SOL_SOCKET,SO_REUSEADDR,1); \
         bind(S,sockaddr_in(80,INADDR_ANY)); listen(S,5); print \"up\\n\"; close STDOUT; \
         while(accept(C,S)){print C \"hello\\n\"; close C}";
    let mut server = lab.command(&["exec", "web", "--", "perl", "-e", &format!("$|=1; {serve}")]);
    let mut server = server.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let mut forward = lab.command(&["port", "web", "0:80"]);
    let mut forward = forward.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(forward.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hello\n");
    forward.kill().and_then(|()| forward.wait()).unwrap();
    lab.boxherd(&["rm", "--force", "web"]).ok();
    server.wait().unwrap();
}

#[test]
fn a_shell_reads_what_is_typed() {
    let Some(lab) = Lab::of_user("a_shell_reads_what_is_typed", Ids::One) else { return };
    lab.boxherd(&["create", "web"]).ok();
    let mut shell = lab.command(&["shell", "web"]);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(b"echo $((6 * 7)); exit 3\n").unwrap();
    let output = shell.wait_with_output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.status.code()), (b"42\n".as_slice(), Some(3)));
}

#[test]
fn what_needs_more_is_refused_by_name() {
    let Some(lab) = Lab::of_user("what_needs_more_is_refused_by_name", Ids::One) else { return };
    lab.boxherd(&["create", "web"]).ok();
    let asked: [(&[&str], &str); 6] = [
        (&["exec", "-u", "nobody", "web", "--", "id"], "uids"),
        (&["create", "x", "--memory", "64M"], "memory-limit"),
        (&["create", "x", "--disk", "64M"], "disk-limit"),
        (&["create", "x", "--isolated"], "network"),
        (&["create", "x", "--nesting"], "nesting"),
        (&["suspend", "web"], "suspend"),
    ];
    for (args, capability) in asked {
        let said = lab.boxherd(args);
        said.refused();
        assert!(said.err.contains(capability), "{args:?}: {said:?}");
    }
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "web\n");
    assert!(lab.boxherd(&["show", "web"]).ok().contains("loopback only"));
}

#[test]
fn ids_of_subuid_are_those_of_other_users() {
    let Some(lab) = Lab::of_user("ids_of_subuid_are_those_of_other_users", Ids::Many) else {
        return;
    };
    lab.boxherd(&["create", "web"]).ok();
    let said = lab.boxherd(&["exec", "-u", "www-data", "web", "--", "id", "-u"]);
    assert_eq!(said.ok(), "33\n");
    assert_eq!(lab.sh("web", "chown 1000:1000 /srv; stat -c %u:%g /srv").ok(), "1000:1000\n");
}
