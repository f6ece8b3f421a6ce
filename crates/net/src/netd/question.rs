//! What is answered to a DNS message: pure, from bytes and leases to a plan.
//!
//! The networks of boxes carry IPv4 only, so nobody is told an IPv6 address. A name of one label is
//! a box of the same network or nothing. A box with an egress list is answered only what is on it,
//! and only addresses.

use std::net::Ipv4Addr;

use boxherd_model::EgressHost;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, rdata};

use crate::{Lease, rules};

/// How long a box may keep the address of another one, in seconds: names change hands.
const BOX_TTL: u32 = 5;
/// How long an address may be kept that an egress list depends on, in seconds.
const MAX_TTL: u32 = 86_400;
/// The most addresses of one answer that are pinned.
const MAX_PINS: usize = 32;
/// The most aliases between a name and its addresses.
const MAX_ALIASES: usize = 16;

/// A question that was understood.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// The asker's number for it.
    pub(super) id: u16,
    /// The name, the type and the class, as they were asked.
    pub(super) query: Query,
    /// The longest datagram that the asker takes, in bytes.
    pub(super) payload: u16,
    recursion: bool,
}

/// An address that a box may reach from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) to: Ipv4Addr,
    pub(super) port: Option<u16>,
    /// For how many seconds the box may believe the answer.
    pub(super) ttl: u32,
}

/// What becomes of a question.
#[derive(Debug)]
pub(super) enum Plan {
    /// This is said, once the pins are in the firewall.
    Answer(Message, Vec<Pin>),
    /// The host's name servers are asked.
    Forward,
}

/// Reads a message; `None` when it is not a question, since silence cannot be abused, and a message
/// when the question is one that is refused.
pub(super) fn read(bytes: &[u8]) -> Option<Result<Question, Message>> {
    let message = Message::from_vec(bytes).ok()?;
    if message.metadata.message_type != MessageType::Query {
        return None;
    }
    let refuse =
        |code| Some(Err(Message::error_msg(message.metadata.id, message.metadata.op_code, code)));
    if message.metadata.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    let [query] = message.queries.as_slice() else { return refuse(ResponseCode::FormErr) };
    if query.query_class() != DNSClass::IN {
        return refuse(ResponseCode::Refused);
    }
    Some(Ok(Question {
        id: message.metadata.id,
        query: query.clone(),
        payload: message.max_payload(),
        recursion: message.metadata.recursion_desired,
    }))
}

/// Decides what to do with a question of the box that holds `asker`; `find` looks for a box of the
/// same network by its name.
pub(super) fn plan(
    question: &Question,
    asker: &Lease,
    find: impl FnOnce(&str) -> Option<Ipv4Addr>,
) -> Plan {
    let name = plain(question.query.name());
    let kind = question.query.query_type();
    let nothing = || Plan::Answer(question.answer(ResponseCode::NoError), Vec::new());
    let unknown = || Plan::Answer(question.answer(ResponseCode::NXDomain), Vec::new());
    let ports = ports(asker, &name);
    if ports.as_ref().is_some_and(Vec::is_empty) {
        return unknown();
    }
    if !name.contains('.') {
        return match find(&name) {
            Some(address) if kind == RecordType::A => local(question, address, ports),
            Some(_) => nothing(),
            None => unknown(),
        };
    }
    if kind == RecordType::AAAA || (ports.is_some() && kind != RecordType::A) {
        return nothing();
    }
    Plan::Forward
}

fn local(question: &Question, address: Ipv4Addr, ports: Option<Vec<Option<u16>>>) -> Plan {
    let mut answer = question.answer(ResponseCode::NoError);
    let data = RData::A(rdata::A(address));
    answer.add_answer(Record::from_rdata(question.query.name().clone(), BOX_TTL, data));
    let pins = ports.unwrap_or_default().into_iter();
    Plan::Answer(answer, pins.map(|port| Pin { to: address, port, ttl: BOX_TTL }).collect())
}

/// What a box with an egress list is told of an answer from outside: the addresses of the name and
/// the aliases that lead to them, without those that no name may lead to.
pub(super) fn narrow(question: &Question, asker: &Lease, found: &Message) -> (Message, Vec<Pin>) {
    let mut answer = question.answer(found.metadata.response_code);
    let ports = ports(asker, &plain(question.query.name())).unwrap_or_default();
    let mut pins = Vec::new();
    for record in chain(question.query.name(), &found.answers) {
        let ttl = record.ttl.min(MAX_TTL);
        if let RData::A(rdata::A(address)) = record.data {
            if misleads(asker, address) || pins.len() >= MAX_PINS {
                continue;
            }
            pins.extend(ports.iter().map(|port| Pin { to: address, port: *port, ttl }));
        }
        let name = record.name.clone();
        answer.add_answer(Record::from_rdata(name, ttl, record.data.clone()));
    }
    (answer, pins)
}

/// Addresses that a name from outside must not open: another box, or what nobody may reach.
fn misleads(asker: &Lease, address: Ipv4Addr) -> bool {
    rules::never(address) || asker.subnet.holds(address)
}

/// The records that lead from a name to its addresses.
fn chain<'a>(name: &Name, records: &'a [Record]) -> Vec<&'a Record> {
    let mut kept = Vec::new();
    let mut name = name.clone();
    for _ in 0..MAX_ALIASES {
        let own = || records.iter().filter(|r| r.name.eq_ignore_root_case(&name));
        kept.extend(own().filter(|record| matches!(record.data, RData::A(_))));
        let alias = own().find_map(|record| match &record.data {
            RData::CNAME(target) => Some((record, target.0.clone())),
            _ => None,
        });
        let Some((record, target)) = alias else { break };
        kept.push(record);
        name = target;
    }
    kept
}

/// The ports on which a box with an egress list may reach a name, `None` standing for all of them;
/// no ports when the name is not listed. `None` when the box has no list.
fn ports(asker: &Lease, name: &str) -> Option<Vec<Option<u16>>> {
    let rules = asker.egress.as_ref()?;
    let listed = |host: &EgressHost| matches!(host, EgressHost::Name(listed) if listed == name);
    let mut ports: Vec<_> = rules.iter().filter(|r| listed(&r.host)).map(|r| r.port).collect();
    if ports.contains(&None) {
        ports = vec![None];
    }
    Some(ports)
}

/// A name as people write it: in lower case, without the dot at the end.
fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

impl Question {
    /// An answer without records.
    pub(super) fn answer(&self, code: ResponseCode) -> Message {
        let mut message = Message::response(self.id, OpCode::Query);
        message.metadata.recursion_desired = self.recursion;
        message.metadata.recursion_available = true;
        message.metadata.response_code = code;
        message.add_query(self.query.clone());
        message
    }

    /// Whether a message from a name server answers the question that was passed on as `id`.
    pub(super) fn is_answered_by(&self, id: u16, message: &Message) -> bool {
        let same = |query: &Query| {
            query.query_type() == self.query.query_type()
                && query.query_class() == self.query.query_class()
                && query.name().eq_ignore_root_case(self.query.name())
        };
        message.metadata.id == id
            && message.metadata.message_type == MessageType::Response
            && matches!(message.queries.as_slice(), [query] if same(query))
    }
}

#[cfg(test)]
mod tests;
