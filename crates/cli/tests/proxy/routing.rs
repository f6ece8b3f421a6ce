//! Which name leads where.

use std::process::Command;

use boxherd_boxd_api as api;

use crate::server::Web;

fn port_of(answer: &crate::client::Answer) -> String {
    answer.text().split(' ').next().expect("a port").to_owned()
}

#[test]
fn a_box_is_reached_by_its_name_however_it_is_written_and_by_its_id() {
    let Some(web) = Web::open("a_box_is_reached_by_its_name") else { return };
    web.host_box("web", &["8000"]);
    web.host_box("other", &["8000"]);
    for host in ["web.localhost", "WEB.LocalHost:1234", "web.localhost."] {
        assert_eq!(web.get("/whoami", host).status, 200, "{host}");
    }
    let shown = web.lab.boxherd(&["show", "web", "-o", "json"]).ok();
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let id = shown["id"].as_str().expect("an id");
    assert_eq!(web.get("/whoami", &format!("{id}.localhost")).status, 200);
    web.lab.boxherd(&["rename", "web", "site"]).ok();
    assert_eq!(web.get("/whoami", "site.localhost").status, 200);
    crate::wait::until("the old name leads nowhere", || {
        (web.get("/whoami", "web.localhost").status == 404).then_some(())
    });
}

#[test]
fn named_proxies_ports_and_domains_are_made_changed_and_removed() {
    let Some(web) = Web::open("named_proxies_and_domains") else { return };
    let admin = web.admin();
    let cmd = ["/usr/bin/python3", "-c", include_str!("app.py"), "3000", "9000"];
    let proxies = vec![api::ProxyEntry { name: "api".to_owned(), port: 9000 }];
    let network = Some(api::NetworkConfig { ssh: true, proxies });
    let asked = api::CreateVmRequest {
        name: "web".to_owned(),
        cmd: cmd.map(str::to_owned).to_vec(),
        config: Some(api::VmConfig { network, ..Default::default() }),
        ..Default::default()
    };
    let made: api::CreateVmResponse = admin.call("CreateVm", &asked).expect("a box");
    web.wait_for(&made.vm_id, &["3000", "9000"]);
    assert_eq!(made.url, format!("http://web.localhost:{}", web.port));
    assert_eq!(port_of(&web.get("/whoami", "api.web.localhost")), "9000");

    // Nothing listens on the port that the default proxy has from the start.
    assert_eq!(web.get("/whoami", "web.localhost").status, 502);
    let set = |name: &str, port: &str| {
        let asked = api::SetProxyPortRequest {
            name: name.to_owned(),
            vm: "web".to_owned(),
            port: port.to_owned(),
            ..Default::default()
        };
        admin.call::<api::SetProxyPortResponse>("SetProxyPort", &asked)
    };
    set("", "auto").expect("a change");
    assert_eq!(port_of(&web.get("/whoami", "web.localhost")), "3000");
    set("", "9000").expect("a change");
    assert_eq!(port_of(&web.get("/whoami", "web.localhost")), "9000");
    assert_eq!(set("", "http").err(), Some(3));
    assert_eq!(set("", "65536").err(), Some(3));
    assert_eq!(set("none", "80").err(), Some(5));

    let listed = api::ListProxiesRequest { vm: "web".to_owned(), ..Default::default() };
    let listed: api::ListProxiesResponse = admin.call("ListProxies", &listed).expect("proxies");
    let told: Vec<_> = listed.proxies.iter().map(|p| (p.domain.as_str(), p.port)).collect();
    assert_eq!(told, [("web.localhost", 9000), ("api.web.localhost", 9000)]);
    assert_eq!(listed.proxies.iter().filter(|proxy| proxy.is_default).count(), 1);

    let bind = |domain: &str| {
        let asked = api::BindDomainRequest { domain: domain.to_owned(), vm_id: made.vm_id.clone() };
        admin.call::<api::BindDomainResponse>("BindDomain", &asked)
    };
    bind("App.Example.com").expect("a domain");
    assert_eq!(port_of(&web.get("/whoami", "app.example.com:80")), "9000");
    for none in ["web.localhost", "localhost", "10.0.0.1", "a b.com", "", "x.com:80"] {
        assert_eq!(bind(none).err(), Some(3), "{none}");
    }
    let unbind = api::UnbindDomainRequest { domain: "app.example.com".to_owned() };
    admin.call::<api::UnbindDomainResponse>("UnbindDomain", &unbind).expect("it is bound");
    assert_eq!(web.get("/whoami", "app.example.com").status, 404);

    let delete = api::DeleteProxyRequest {
        name: "api".to_owned(),
        vm: "web".to_owned(),
        ..Default::default()
    };
    admin.call::<api::DeleteProxyResponse>("DeleteProxy", &delete).expect("it is there");
    assert_eq!(web.get("/whoami", "api.web.localhost").status, 404);
}

#[test]
fn an_automatic_port_follows_the_program() {
    let Some(web) = Web::open("an_automatic_port_follows_the_program") else { return };
    web.host_box("web", &["9999", "5000"]);
    web.lab.boxherd(&["proxy", "set", "web", "--port", "auto"]).ok();
    let answered = || Some(port_of(&web.get("/whoami", "web.localhost")));
    crate::wait::until("the proxy is automatic", || answered().filter(|port| port == "5000"));
    web.lab.boxherd(&["restart", "web", "--grace", "0s"]).ok();
    web.wait_for("web", &["9999", "5000"]);
    assert_eq!(answered().as_deref(), Some("5000"));
}

#[test]
fn programs_are_told_who_asks_and_nothing_that_others_made_up() {
    let Some(web) = Web::open("programs_are_told_who_asks") else { return };
    web.host_box("web", &["8000"]);
    let lies = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: gopher\r\nForwarded: for=6.6.6.6\r\n\
                Connection: X-Secret, keep-alive\r\nX-Secret: 1\r\nX-Kept: yes\r\n\
                Proxy-Authorization: Basic eDp5\r\nAuthorization: Basic eDp5\r\n";
    let told = web.client().ask("GET /told?a=b%20c", "Web.localhost:80", lies);
    let told: serde_json::Value = serde_json::from_str(&told.text()).expect("JSON");
    assert_eq!(told["path"], "/told?a=b%20c");
    let expected = serde_json::json!({
        "authorization": "Basic eDp5",
        "host": "Web.localhost:80",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-host": "Web.localhost:80",
        "x-forwarded-proto": "http",
        "x-kept": "yes",
    });
    assert_eq!(told["headers"], expected);
}

#[test]
fn http2_is_spoken_too() {
    let Some(web) = Web::open("http2_is_spoken_too") else { return };
    web.host_box("web", &["8000"]);
    let url = format!("http://127.0.0.1:{}/told", web.port);
    let asked = Command::new("curl")
        .args(["-sS", "--max-time", "60", "--http2-prior-knowledge", "-w", "\n%{http_version}"])
        .args(["-H", "Host: web.localhost", "-H", "Cookie: a=1", &url])
        .output()
        .expect("curl runs");
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    let (told, version) = said.rsplit_once('\n').expect("two lines");
    assert_eq!(version, "2");
    let told: serde_json::Value = serde_json::from_str(told).expect("JSON");
    assert_eq!(told["headers"]["host"], "web.localhost");
    assert_eq!(told["headers"]["cookie"], "a=1");
}

#[test]
fn connections_to_boxes_are_used_again() {
    let Some(web) = Web::open("connections_to_boxes_are_used_again") else { return };
    web.host_box("web", &["8000"]);
    let mut client = web.client();
    let first = client.ask("GET /whoami", "web.localhost", "").text();
    let again = client.ask("GET /whoami", "web.localhost", "").text();
    assert_eq!(first, again, "the program saw two connections");
}

#[test]
fn over_tls_every_name_has_a_certificate_that_the_authority_vouches_for() {
    let Some(web) = Web::open_with("over_tls_every_name_has_a_certificate", &["--tls-dev"]) else {
        return;
    };
    web.host_box("web", &["8000"]);
    web.lab.boxherd(&["proxy", "create", "web", "api", "8000"]).ok();
    for (name, version) in [("web.localhost", "2"), ("api.web.localhost", "1.1")] {
        let asked = Command::new("curl")
            .args(["-sS", "--max-time", "60", "-w", "\n%{http_version}", "--cacert"])
            .arg(web.lab.data().join("tls/ca.pem"))
            .arg(if version == "2" { "--http2" } else { "--http1.1" })
            .args(["--resolve", &format!("{name}:{}:127.0.0.1", web.port)])
            .arg(format!("https://{name}:{}/told", web.port))
            .output()
            .expect("curl runs");
        let said = String::from_utf8_lossy(&asked.stdout).into_owned();
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        let (told, spoken) = said.rsplit_once('\n').expect("two lines");
        assert_eq!(spoken, version);
        let told: serde_json::Value = serde_json::from_str(told).expect("JSON");
        assert_eq!(told["headers"]["x-forwarded-proto"], "https");
    }
}

#[test]
fn what_listens_on_ipv6_alone_is_reached_through_the_agent() {
    const TEST: &str = "what_listens_on_ipv6_alone_is_reached_through_the_agent";
    if !std::path::Path::new("/proc/net/if_inet6").exists() {
        return boxherd_testkit::skip(TEST, "this kernel has no IPv6");
    }
    let Some(web) = Web::open(TEST) else { return };
    let serve = ["--", "/usr/bin/python3", "-m", "http.server", "--bind", "::1", "8000"];
    web.lab.create("six", &serve);
    let answer = crate::wait::until("the program answers", || {
        let answer = web.get("/", "six.localhost");
        (answer.status == 200).then_some(answer)
    });
    assert!(answer.text().contains("Directory listing"), "{}", answer.text());
}
