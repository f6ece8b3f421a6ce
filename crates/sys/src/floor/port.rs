//! A pair of network devices with an address and a way out, as bytes for `NETLINK_ROUTE`.
//!
//! Layouts: `linux/netlink.h`, `linux/rtnetlink.h`, `linux/if_link.h`, `linux/veth.h`; numbers are
//! those that `libc` lacks.

/// How many messages there are in [`messages`], each of which is answered.
pub(super) const MESSAGES: usize = 5;

const VETH_INFO_PEER: u16 = 1;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
/// The number that `eth0` gets; loopback has 1.
const ETH0: i32 = 10;
const ADDRESS: [u8; 4] = [10, 64, 0, 2];
const NEW: libc::c_int = libc::NLM_F_CREATE | libc::NLM_F_EXCL;

/// Makes the pair, both ends up, and gives one an address and the default route.
pub(super) fn messages() -> Vec<u8> {
    let up = libc::IFF_UP as u32;
    let name = |name: &[u8]| attribute(libc::IFLA_IFNAME, name);
    let peer = [link(0, 0), name(b"port\0")].concat();
    let pair = [
        attribute(IFLA_INFO_KIND, b"veth"),
        attribute(IFLA_INFO_DATA, &attribute(VETH_INFO_PEER, &peer)),
    ]
    .concat();
    let eth0 = [link(ETH0, up), name(b"eth0\0"), attribute(libc::IFLA_LINKINFO, &pair)].concat();
    // Which the kernel cannot open before it has its other end.
    let port = [link(0, up), name(b"port\0")].concat();
    let address = [
        vec![libc::AF_INET as u8, 32, 0, 0],
        ETH0.to_ne_bytes().to_vec(),
        attribute(libc::IFA_LOCAL, &ADDRESS),
    ]
    .concat();
    let main = libc::RT_TABLE_MAIN;
    let (by, scope) = (libc::RTPROT_STATIC, libc::RT_SCOPE_LINK);
    let route = [
        vec![libc::AF_INET as u8, 0, 0, 0, main, by, scope, libc::RTN_UNICAST],
        0_u32.to_ne_bytes().to_vec(),
        attribute(libc::RTA_OIF, &ETH0.to_ne_bytes()),
    ]
    .concat();
    let all: [Vec<u8>; MESSAGES] = [
        message(libc::RTM_NEWLINK, 0, &link(1, up)),
        message(libc::RTM_NEWLINK, NEW, &eth0),
        message(libc::RTM_NEWLINK, 0, &port),
        message(libc::RTM_NEWADDR, NEW, &address),
        message(libc::RTM_NEWROUTE, NEW, &route),
    ];
    all.concat()
}

/// Sends `messages` and waits for what the kernel says to each; less than 0, with the reason in
/// `errno`, when it says no. Makes system calls only.
pub(super) fn exchange(messages: &[u8]) -> libc::c_long {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: makes a descriptor, of numbers alone.
    let socket = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
    if socket < 0 {
        return -1;
    }
    // SAFETY: pointer and length are those of a live slice.
    let sent = unsafe { libc::send(socket, messages.as_ptr().cast(), messages.len(), 0) };
    let mut said = if sent < 0 { -1 } else { 0 };
    for _ in 0..MESSAGES {
        if said == 0 {
            said = answer(socket);
        }
    }
    // SAFETY: opened above, and closed once. The caller has a descriptor table of its own.
    unsafe { libc::close(socket) };
    said
}

fn answer(socket: libc::c_int) -> libc::c_long {
    let mut buffer = [0_u8; 1024];
    let (pointer, length) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: pointer and length are those of a live buffer.
    if unsafe { libc::recv(socket, pointer, length, 0) } < 0 {
        return -1;
    }
    // An error message: a header of 16 bytes, and 0 or a negative number of an error.
    let [a, b, c, d] = [buffer[16], buffer[17], buffer[18], buffer[19]];
    match i32::from_ne_bytes([a, b, c, d]) {
        0 => 0,
        code => {
            // SAFETY: asks for an address, of nothing.
            let number = unsafe { libc::__errno_location() };
            // SAFETY: this thread's own number, which in the child is the parent's, who waits.
            unsafe { *number = -code };
            -1
        }
    }
}

/// `struct ifinfomsg`.
fn link(index: i32, flags: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), flags.to_ne_bytes()].concat()
}

fn message(kind: u16, flags: libc::c_int, body: &[u8]) -> Vec<u8> {
    let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let length = (16 + body.len()) as u32;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Number and sender.
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut attribute = (length as u16).to_ne_bytes().to_vec();
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(length.next_multiple_of(4), 0);
    attribute
}

/// The bytes that [`messages`] are made of are whole messages.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_counted() {
        let mut rest = &messages()[..];
        let mut count = 0;
        while let Some(length) = rest.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)) {
            assert_eq!(length % 4, 0);
            rest = &rest[length as usize..];
            count += 1;
        }
        assert_eq!((count, rest.len()), (MESSAGES, 0));
    }
}
