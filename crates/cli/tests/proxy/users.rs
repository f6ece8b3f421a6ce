//! Users have one zone together, and nothing else.

use boxherd_boxd_api as api;

use crate::server::Web;

#[test]
fn two_users_with_a_box_of_one_name_are_reached_apart() {
    let Some(web) = Web::open("two_users_with_a_box_of_one_name") else { return };
    let (alice, bob) = (web.user("alice"), web.user("bob"));
    let (hers, her_host) = alice.web_box("web");
    let (his, his_host) = bob.web_box("web");
    assert_eq!(her_host, "web.localhost");
    assert_ne!(his_host, her_host);
    assert!(his_host.starts_with("web-") && his_host.ends_with(".localhost"), "{his_host}");
    for (id, host) in [(&hers, &her_host), (&his, &his_host)] {
        web.lab.boxherd(&["exec", id, "--", "sh", "-c", "echo > /srv/mark"]).ok();
        assert_eq!(web.get("/whoami", host).status, 200, "{host}");
    }
    // A box of hers that goes is not followed by his under her name.
    let gone = api::DestroyVmRequest { vm_id: hers };
    alice.call::<api::DestroyVmResponse>("DestroyVm", &gone).expect("it is hers");
    assert_eq!(web.get("/whoami", &her_host).status, 404);
    assert_eq!(web.get("/whoami", &his_host).status, 200);
}

#[test]
fn what_is_anothers_is_not_there() {
    let Some(web) = Web::open("what_is_anothers_is_not_there") else { return };
    let (alice, bob) = (web.user("alice"), web.user("bob"));
    let (id, _) = alice.web_box("web");
    let domain = "app.example.com".to_owned();
    let bind = api::BindDomainRequest { domain: domain.clone(), vm_id: id.clone() };
    assert_eq!(bob.call::<api::BindDomainResponse>("BindDomain", &bind).err(), Some(5));
    alice.call::<api::BindDomainResponse>("BindDomain", &bind).expect("it is hers");
    let refused = [
        bob.call::<api::ListProxiesResponse>(
            "ListProxies",
            &api::ListProxiesRequest { vm: id.clone(), ..Default::default() },
        )
        .err(),
        bob.call::<api::CreateProxyResponse>(
            "CreateProxy",
            &api::CreateProxyRequest { name: "a".into(), vm: id.clone(), ..Default::default() },
        )
        .err(),
        bob.call::<api::SetProxyPortResponse>(
            "SetProxyPort",
            &api::SetProxyPortRequest { port: "1".into(), vm: id.clone(), ..Default::default() },
        )
        .err(),
        bob.call::<api::UnbindDomainResponse>(
            "UnbindDomain",
            &api::UnbindDomainRequest { domain: domain.clone() },
        )
        .err(),
    ];
    assert_eq!(refused, [Some(5); 4]);
    let his: api::ListDomainsResponse =
        bob.call("ListDomains", &api::ListDomainsRequest {}).expect("a list");
    assert!(his.domains.is_empty());
    // The name of a domain is one for all.
    let (other, _) = bob.web_box("other");
    let bind = api::BindDomainRequest { domain: domain.clone(), vm_id: other };
    assert_eq!(bob.call::<api::BindDomainResponse>("BindDomain", &bind).err(), Some(6));
    assert_eq!(web.get("/whoami", &domain).status, 200);
}

#[test]
fn a_private_proxy_wants_a_token_of_somebody_who_sees_the_box() {
    let Some(web) = Web::open("a_private_proxy_wants_a_token") else { return };
    let (alice, bob) = (web.user("alice"), web.user("bob"));
    let (id, host) = alice.web_box("web");
    web.lab.boxherd(&["proxy", "set", &id, "--private"]).ok();
    crate::wait::until("the proxy is private", || {
        (web.get("/whoami", &host).status == 401).then_some(())
    });
    let ask = |token: &str| {
        web.client().ask("GET /told", &host, &format!("Authorization: Bearer {token}\r\n"))
    };
    let told = ask(&alice.token);
    assert_eq!(told.status, 200);
    assert!(!told.text().contains("authorization"), "the box saw the token");
    assert_eq!(ask(&bob.token).status, 404);
    assert_eq!(ask("eyJhbGciOiJub25lIn0.e30.").status, 401);
    let log = std::fs::read_to_string(web.lab.data().join("audit.jsonl")).expect("a log");
    let denied = log.lines().filter(|line| line.contains("proxy.visit") && line.contains(&id));
    assert_eq!(denied.count(), 2, "bob's token, and the forged one: {log}");
    let asked = web.get("/told", &host);
    assert_eq!(asked.header("www-authenticate"), Some("Bearer"));
    web.lab.boxherd(&["stop", "--grace", "0s", &id]).ok();
    assert_eq!(web.get("/told", &host).status, 401, "strangers learn nothing of the box");
    web.lab.boxherd(&["proxy", "set", &id, "--public"]).ok();
}
