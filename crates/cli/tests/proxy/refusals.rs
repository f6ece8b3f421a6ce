//! What is answered when there is no answer from a box: always something, and soon.

use crate::server::Web;

#[test]
fn what_leads_nowhere_says_so() {
    let Some(web) = Web::open("what_leads_nowhere_says_so") else { return };
    web.host_box("web", &["8000"]);
    for host in ["none.localhost", "api.web.localhost", "localhost", "127.0.0.1", "other.example"] {
        let answer = web.get("/", host);
        assert_eq!(answer.status, 404, "{host}");
        assert_eq!(answer.text(), "no box answers to this name\n");
    }
    let mut client = web.client();
    let page = client.ask("GET /", "none.localhost", "Accept: text/html,*/*;q=0.8\r\n");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("<h1>404 Not Found</h1>"));
    assert_eq!(client.ask("HEAD /", "none.localhost", "").status, 404);
    assert_eq!(client.ask("GET /whoami", "web.localhost", "").status, 200);
    let mut two = web.client();
    assert_eq!(two.ask("GET /", "web.localhost", "Host: other.localhost\r\n").status, 400);
}

#[test]
fn a_box_that_sleeps_wakes_and_one_that_is_stopped_does_not() {
    let Some(web) = Web::open("a_box_that_sleeps_wakes") else { return };
    web.host_box("web", &["8000"]);
    let mut client = web.client();
    assert_eq!(client.ask("GET /whoami", "web.localhost", "").status, 200);
    web.lab.boxherd(&["suspend", "web"]).ok();
    assert!(web.lab.state("web").starts_with("suspended"));
    // Over the connection to the box that waited, too.
    assert_eq!(client.ask("GET /whoami", "web.localhost", "").status, 200);
    assert!(web.lab.state("web").starts_with("running"));

    web.lab.boxherd(&["stop", "--grace", "0s", "web"]).ok();
    let answer = client.ask("GET /whoami", "web.localhost", "");
    assert_eq!((answer.status, answer.text().as_str()), (503, "the box is stopped, not running\n"));
    assert!(web.lab.state("web").starts_with("stopped"));

    web.lab.boxherd(&["start", "web"]).ok();
    web.wait_for("web", &["8000"]);
    assert_eq!(client.ask("GET /whoami", "web.localhost", "").status, 200);
    web.lab.boxherd(&["rm", "--force", "web"]).ok();
    assert_eq!(client.ask("GET /whoami", "web.localhost", "").status, 404);
}

#[test]
fn programs_that_do_not_answer_are_answered_for() {
    let Some(web) = Web::open("programs_that_do_not_answer") else { return };
    web.host_box("web", &["8000"]);
    let mut client = web.client();
    for path in ["/silent", "/garbage"] {
        let answer = client.ask(&format!("GET {path}"), "web.localhost", "");
        assert_eq!(answer.status, 502, "{path}");
        assert!(answer.text().starts_with("the program in the box"), "{}", answer.text());
    }
    let said = client.ask("GET /whoami", "web.localhost", "").text();
    assert!(said.starts_with("8000 "), "{said}");
    web.lab.create("empty", &[]);
    let answer = client.ask("GET /", "empty.localhost", "");
    assert_eq!(answer.status, 502);
    assert!(answer.text().starts_with("nothing answers on port 8000 in the box"));
}

#[test]
fn heads_without_end_and_without_measure_are_cut_off() {
    let Some(web) = Web::open("heads_without_end") else { return };
    web.host_box("web", &["8000"]);
    // Who never ends a head is hung up on, and keeps nobody from being served meanwhile.
    let mut slow: Vec<_> = (0..50).map(|_| web.client()).collect();
    for client in &mut slow {
        client.send("GET / HTTP/1.1\r\nHost: web.localhost\r\nX-Slow: ");
    }
    let mut quick = web.client();
    assert_eq!(quick.ask("GET /whoami", "web.localhost", "").status, 200);
    let long = format!("X-Long: {}\r\n", "a".repeat(600_000));
    let mut long_one = web.client();
    assert_eq!(long_one.ask("GET /", "web.localhost", &long).status, 431);
    for mut client in slow {
        let rest = client.rest();
        let text = String::from_utf8_lossy(&rest);
        assert!(rest.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    }
}

#[test]
fn nothing_is_kept_of_clients_that_vanish() {
    let Some(web) = Web::open("nothing_is_kept_of_clients_that_vanish") else { return };
    web.host_box("web", &["8000"]);
    let open = || std::fs::read_dir(format!("/proc/{}/fd", web.pid())).expect("it runs").count();
    assert_eq!(web.get("/whoami", "web.localhost").status, 200);
    let before = open();
    for path in ["/large?100000000", "/events", "/upgrade"] {
        for _ in 0..10 {
            let mut client = web.client();
            client.send(format!(
                "GET {path} HTTP/1.1\r\nHost: web.localhost\r\nConnection: Upgrade\r\n\
                 Upgrade: echo\r\n\r\n"
            ));
            client.head();
        }
    }
    crate::wait::until("their connections are closed", || (open() <= before).then_some(()));
}
