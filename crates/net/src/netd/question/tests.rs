use boxherd_model::BoxId;
use proptest::prelude::*;

use super::*;
use crate::Subnet;
use crate::names::Tag;

const DB: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 9);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn lease(egress: Option<&[&str]>) -> Lease {
    Lease {
        id: BoxId::new(),
        name: "web".parse().unwrap(),
        network: "default".parse().unwrap(),
        tag: Tag::of("1a2b3"),
        index: 0,
        subnet: Subnet::of_pool(0),
        slot: 2,
        mtu: 1500,
        isolated: false,
        egress: egress.map(|rules| rules.iter().map(|rule| rule.parse().unwrap()).collect()),
    }
}

fn question(name: &str, kind: RecordType) -> Question {
    let mut message = Message::query();
    message.add_query(Query::query(name.parse().unwrap(), kind));
    read(&message.to_vec().unwrap()).unwrap().unwrap()
}

fn planned(name: &str, kind: RecordType, egress: Option<&[&str]>) -> Plan {
    plan(&question(name, kind), &lease(egress), |name| (name == "db").then_some(DB))
}

fn answered(plan: Plan) -> (ResponseCode, usize, Vec<Pin>) {
    match plan {
        Plan::Answer(message, pins) => {
            (message.metadata.response_code, message.answers.len(), pins)
        }
        Plan::Forward => panic!("it was passed on"),
    }
}

fn a(name: &str, address: Ipv4Addr) -> Record {
    Record::from_rdata(name.parse().unwrap(), 30, RData::A(rdata::A(address)))
}

fn alias(name: &str, target: &str) -> Record {
    let target = rdata::CNAME(target.parse().unwrap());
    Record::from_rdata(name.parse().unwrap(), 30, RData::CNAME(target))
}

#[test]
fn a_single_label_is_a_box_or_nothing() {
    let (code, answers, pins) = answered(planned("Db.", RecordType::A, None));
    assert_eq!((code, answers, pins.len()), (ResponseCode::NoError, 1, 0));
    let (code, answers, _) = answered(planned("db.", RecordType::AAAA, None));
    assert_eq!((code, answers), (ResponseCode::NoError, 0));
    let (code, ..) = answered(planned("printer.", RecordType::A, None));
    assert_eq!(code, ResponseCode::NXDomain);
    let (code, ..) = answered(planned(".", RecordType::NS, None));
    assert_eq!(code, ResponseCode::NXDomain);
}

#[test]
fn other_names_are_passed_on_but_for_ipv6_addresses() {
    assert!(matches!(planned("example.com.", RecordType::MX, None), Plan::Forward));
    let (code, answers, _) = answered(planned("example.com.", RecordType::AAAA, None));
    assert_eq!((code, answers), (ResponseCode::NoError, 0));
}

#[test]
fn an_egress_list_hides_every_other_name() {
    let list = Some(["example.com:443", "db", "192.0.2.1"].as_slice());
    assert!(matches!(planned("EXAMPLE.com.", RecordType::A, list), Plan::Forward));
    for (name, kind) in [("www.example.com.", RecordType::A), ("web.", RecordType::A)] {
        let (code, ..) = answered(planned(name, kind, list));
        assert_eq!(code, ResponseCode::NXDomain, "{name}");
    }
    let (code, answers, _) = answered(planned("example.com.", RecordType::TXT, list));
    assert_eq!((code, answers), (ResponseCode::NoError, 0), "text could carry anything");
    let (_, _, pins) = answered(planned("db.", RecordType::A, list));
    assert_eq!(pins, [Pin { to: DB, port: None, ttl: BOX_TTL }]);
}

#[test]
fn an_answer_is_narrowed_to_what_was_asked() {
    let asker = lease(Some(&["example.com:443", "example.com:80"]));
    let question = question("example.com.", RecordType::A);
    let mut found = question.answer(ResponseCode::NoError);
    found.answers = vec![
        a("other.test.", Ipv4Addr::new(203, 0, 113, 1)),
        alias("EXAMPLE.com.", "cdn.test."),
        a("cdn.test.", OUTSIDE),
        a("cdn.test.", Ipv4Addr::new(169, 254, 169, 254)),
        a("cdn.test.", DB),
        a("cdn.test.", Ipv4Addr::LOCALHOST),
    ];
    let (answer, pins) = narrow(&question, &asker, &found);
    assert_eq!(answer.answers.len(), 2);
    let ports: Vec<_> = pins.iter().map(|pin| (pin.to, pin.port)).collect();
    assert_eq!(ports, [(OUTSIDE, Some(443)), (OUTSIDE, Some(80))]);
}

#[test]
fn aliases_that_go_round_end() {
    let records = [alias("a.test.", "b.test."), alias("b.test.", "a.test.")];
    assert!(chain(&"a.test.".parse().unwrap(), &records).len() <= MAX_ALIASES);
}

#[test]
fn what_is_no_question_is_not_answered() {
    let mut message = Message::query().into_response();
    assert!(read(&message.to_vec().unwrap()).is_none());
    message = Message::query();
    let refused = read(&message.to_vec().unwrap()).unwrap().unwrap_err();
    assert_eq!(refused.metadata.response_code, ResponseCode::FormErr);
    message.metadata.op_code = OpCode::Status;
    let refused = read(&message.to_vec().unwrap()).unwrap().unwrap_err();
    assert_eq!(refused.metadata.response_code, ResponseCode::NotImp);
    message = Message::query();
    let mut chaos = Query::query("version.bind.".parse().unwrap(), RecordType::TXT);
    chaos.set_query_class(DNSClass::CH);
    message.add_query(chaos);
    let refused = read(&message.to_vec().unwrap()).unwrap().unwrap_err();
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
}

/// What is said at once to any bytes, if something is.
fn reaction(bytes: &[u8]) -> Option<Vec<u8>> {
    let answer = match read(bytes)? {
        Err(refusal) => refusal,
        Ok(question) => match plan(&question, &lease(None), |_| Some(DB)) {
            Plan::Answer(message, _) => message,
            Plan::Forward => return None,
        },
    };
    Some(answer.to_vec().unwrap())
}

/// The most by which an answer made here is longer than its question: one address record with the
/// name in full.
const GROWTH: usize = 255 + 14;

proptest! {
    #[test]
    fn garbage_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let said = reaction(&bytes).unwrap_or_default();
        prop_assert!(said.len() <= bytes.len() + GROWTH);
    }

    #[test]
    fn damaged_questions_are_survived(
        name in "([a-z]{1,20}\\.){1,4}",
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut message = Message::query();
        message.add_query(Query::query(name.parse().unwrap(), RecordType::A));
        let mut bytes = message.to_vec().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let said = reaction(&bytes).unwrap_or_default();
        prop_assert!(said.len() <= bytes.len() + GROWTH);
    }
}
