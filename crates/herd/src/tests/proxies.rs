//! Names by which browsers reach boxes.

use boxherd_model::{Caller, Quota};

use super::*;

async fn users(herd: &Herd) -> [Herd; 2] {
    let mut made = Vec::new();
    for name in ["alice", "bob"] {
        let user = herd.add_user(name.parse().unwrap(), false, Quota::default()).await.unwrap();
        made.push(herd.acting_for(Caller::User(user.id)));
    }
    made.try_into().unwrap()
}

fn named(label: &str) -> Host {
    Host::parse(&format!("{label}.zone.example"), "zone.example").unwrap()
}

async fn leads_to(herd: &Herd, label: &str) -> Option<boxherd_model::BoxId> {
    herd.route(&named(label)).await.ok().map(|route| route.of)
}

#[tokio::test]
async fn every_box_has_a_default_proxy_and_named_ones_beside_it() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let made = herd.create(spec("web").into()).await.unwrap();
    let default = herd.route(&named("web")).await.unwrap();
    assert_eq!(default, Route { of: made.id, port: Port::default(), private: false });
    assert_eq!(herd.route(&named("api.web")).await.unwrap_err().code(), "no-such");

    herd.add_proxy(&at("web"), "api", Port::Auto).await.unwrap();
    assert_eq!(herd.route(&named("api.web")).await.unwrap().port, Port::Auto);
    let again = herd.add_proxy(&at("web"), "api", Port::Auto).await.unwrap_err();
    assert_eq!(again.code(), "taken");
    for none in ["", "UPPER", "a.b", "-a"] {
        let refused = herd.add_proxy(&at("web"), none, Port::Auto).await.unwrap_err();
        assert_eq!(refused.code(), "invalid", "{none}");
    }
    let version = herd.routes_version();
    let change = ProxyChange { port: Some(Port::from_number(80)), private: Some(true) };
    herd.change_proxy(&at("web"), "", change).await.unwrap();
    herd.change_proxy(&at("web"), "", ProxyChange::default()).await.unwrap();
    assert_ne!(herd.routes_version(), version, "whoever keeps ways is told");
    let told: Vec<_> = herd.proxies(&at("web")).await.unwrap();
    let told: Vec<_> = told.iter().map(|p| (p.host.as_str(), p.port.number(), p.private)).collect();
    assert_eq!(told, [("web", 80, true), ("api.web", 0, false)]);

    assert_eq!(herd.remove_proxy(&at("web"), "").await.unwrap_err().code(), "invalid");
    herd.remove_proxy(&at("web"), "api").await.unwrap();
    assert_eq!(herd.remove_proxy(&at("web"), "api").await.unwrap_err().code(), "no-such");
    assert_eq!(leads_to(&herd, "api.web").await, None);
    herd.delete(&at("web")).await.unwrap();
    assert_eq!(leads_to(&herd, "web").await, None);
    // What was said of a box is not said of the next one of its name.
    herd.create(spec("web").into()).await.unwrap();
    assert_eq!(herd.route(&named("web")).await.unwrap().port, Port::default());
}

#[tokio::test]
async fn who_comes_first_keeps_a_name_and_a_rename_takes_none_over() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let [alice, bob] = users(&herd).await;
    let old = bob.create(spec("old").into()).await.unwrap();
    let hers = alice.create(spec("web").into()).await.unwrap();
    let his = bob.create(spec("web").into()).await.unwrap();
    assert_eq!(leads_to(&herd, "web").await, Some(hers.id));
    let label = bob.label_of(his.id).await.unwrap();
    assert!(label.starts_with("web-"), "{label}");
    assert_eq!(leads_to(&herd, &label).await, Some(his.id));
    assert_eq!(alice.label_of(his.id).await.unwrap_err().code(), "no-such");

    // An older box that comes to the name later is later.
    bob.rename(&at("web"), "site".parse().unwrap()).await.unwrap();
    assert_eq!(bob.label_of(his.id).await.unwrap(), "site");
    assert_eq!(leads_to(&herd, &label).await, None, "the label went with the name");
    bob.rename(&at("old"), "web".parse().unwrap()).await.unwrap();
    assert_eq!(leads_to(&herd, "web").await, Some(hers.id));
    let label = bob.label_of(old.id).await.unwrap();
    assert_eq!(leads_to(&herd, &label).await, Some(old.id));

    // It keeps its label when the first one goes: nobody inherits a name unasked.
    alice.delete(&at("web")).await.unwrap();
    assert_eq!(leads_to(&herd, "web").await, None);
    assert_eq!(leads_to(&herd, &label).await, Some(old.id));
    // Ids lead to boxes whatever they are called.
    assert_eq!(leads_to(&herd, &old.id.to_string()).await, Some(old.id));
    // A label cannot be had as a name.
    let sly = alice.create(spec(&label).into()).await.unwrap();
    assert_eq!(leads_to(&herd, &label).await, Some(old.id));
    assert_ne!(alice.label_of(sly.id).await.unwrap(), label);
}

#[tokio::test]
async fn a_name_that_was_refused_leaves_the_old_one() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let [alice, bob] = users(&herd).await;
    alice.create(spec("web").into()).await.unwrap();
    let his = bob.create(spec("web").into()).await.unwrap();
    let other = bob.create(spec("other").into()).await.unwrap();
    assert_eq!(
        bob.rename(&at("other"), "web".parse().unwrap()).await.unwrap_err().code(),
        "name-taken"
    );
    assert_eq!(bob.label_of(other.id).await.unwrap(), "other");
    assert_eq!(leads_to(&herd, "other").await, Some(other.id));
    lab.faults().next("rename", Trouble::Refuse);
    let label = bob.label_of(his.id).await.unwrap();
    bob.rename(&at("web"), "site".parse().unwrap()).await.unwrap_err();
    assert_eq!(bob.label_of(his.id).await.unwrap(), label);
}

#[tokio::test]
async fn copies_have_names_of_their_own() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let [alice, bob] = users(&herd).await;
    alice.create(spec("copy").into()).await.unwrap();
    bob.create(spec("web").into()).await.unwrap();
    let fork = Fork { names: vec!["copy".parse().unwrap()], live: false };
    let copies = bob.fork(&at("web"), fork).await.unwrap();
    let label = bob.label_of(copies[0].id).await.unwrap();
    assert_eq!(leads_to(&herd, &label).await, Some(copies[0].id));
    assert_ne!(label, "copy");
}

#[tokio::test]
async fn a_domain_leads_to_one_box_over_all_users() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let [alice, bob] = users(&herd).await;
    let hers = alice.create(spec("web").into()).await.unwrap();
    bob.create(spec("web").into()).await.unwrap();
    let bind = async |who: &Herd, address: &str, domain: &str| {
        who.bind_domain(&address.parse().unwrap(), domain, "zone.example").await
    };
    bind(&alice, "web", "App.Example.com.").await.unwrap();
    bind(&alice, "web", "app.example.com").await.unwrap();
    assert_eq!(bind(&bob, "web", "APP.example.com").await.unwrap_err().code(), "taken");
    let theirs = bind(&bob, &hers.id.to_string(), "b.example.com").await.unwrap_err();
    assert_eq!(theirs.code(), "no-such-box");
    let app = Host::parse("app.example.com:443", "zone.example").unwrap();
    assert_eq!(herd.route(&app).await.unwrap().of, hers.id);
    assert_eq!(bob.domains().await.unwrap(), []);
    let told: Vec<_> = alice.domains().await.unwrap().into_iter().map(|d| d.name).collect();
    assert_eq!(told, ["app.example.com"]);
    assert_eq!(bob.unbind_domain("app.example.com").await.unwrap_err().code(), "no-such");
    alice.unbind_domain("APP.example.com").await.unwrap();
    bind(&bob, "web", "app.example.com").await.unwrap();
    bob.delete(&at("web")).await.unwrap();
    assert_eq!(herd.route(&app).await.unwrap_err().code(), "no-such");
    bind(&alice, "web", "app.example.com").await.unwrap();
}

#[tokio::test]
async fn a_visit_wakes_a_box_and_a_stopped_one_has_none() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let made = herd.create(spec("web").into()).await.unwrap();
    herd.suspend(&at("web")).await.unwrap();
    herd.visit(made.id).await.unwrap();
    assert_eq!(herd.show(&at("web")).await.unwrap().state, BoxState::Running);
    let version = herd.routes_version();
    herd.stop(&at("web"), Duration::ZERO).await.unwrap();
    assert_ne!(herd.routes_version(), version, "whoever keeps visits is told");
    assert_eq!(herd.visit(made.id).await.unwrap_err().code(), "not-running");
    let awake = herd.in_use(made.id);
    assert_eq!(herd.activity.of(made.id, herd.now()).open, 1);
    drop(awake);
    assert_eq!(herd.activity.of(made.id, herd.now()).open, 0);
}

#[tokio::test]
async fn a_box_of_the_host_takes_no_name_of_a_users() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let [alice, _] = users(&herd).await;
    let hers = alice.create(spec("web").into()).await.unwrap();
    let hosts = herd.create(spec("web").into()).await.unwrap();
    assert_eq!(leads_to(&herd, "web").await, Some(hers.id));
    assert_eq!(alice.label_of(hers.id).await.unwrap(), "web");
    assert_eq!(herd.label_of(hosts.id).await.unwrap(), hosts.id.to_string());
    alice.delete(&at("web")).await.unwrap();
    assert_eq!(herd.label_of(hosts.id).await.unwrap(), "web");
}
