//! On which TCP ports something listens, from `/proc/net/tcp` and `/proc/net/tcp6`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use boxherd_link::Listener;

/// The state LISTEN, as the kernel writes it.
const LISTEN: &str = "0A";

/// All listening ports, each address once, in order. At most as many as fit an answer.
pub(crate) fn listening() -> io::Result<Vec<Listener>> {
    let mut all = parse(&fs::read_to_string("/proc/net/tcp")?);
    match fs::read_to_string("/proc/net/tcp6") {
        Ok(text) => all.extend(parse(&text)),
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(all.into_iter().take(MOST).collect())
}

/// An answer holds this many with room to spare.
const MOST: usize = 2000;

fn parse(text: &str) -> BTreeSet<Listener> {
    text.lines().skip(1).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Listener> {
    let mut fields = line.split_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok().filter(|port| *port != 0)?;
    Some(Listener { port, address: parse_address(address)? })
}

/// Addresses are words of the machine's byte order, in hex.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (i, slot) in bytes.chunks_exact_mut(4).enumerate() {
                slot.copy_from_slice(&word(i * 8)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue
   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000
";

    #[test]
    fn only_listening_sockets_are_listed() {
        let listed: Vec<_> = parse(TCP).into_iter().collect();
        let any = Listener { port: 22, address: Ipv4Addr::UNSPECIFIED.into() };
        let loopback = Listener { port: 8080, address: Ipv4Addr::LOCALHOST.into() };
        assert_eq!(listed, [any, loopback]);
    }

    #[test]
    fn addresses_of_both_families_are_read() {
        let loopback = Listener { port: 80, address: Ipv6Addr::LOCALHOST.into() };
        assert_eq!(parse(TCP6).into_iter().collect::<Vec<_>>(), [loopback]);
    }

    #[test]
    fn a_port_of_this_test_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(listening().unwrap().iter().any(|l| l.port == port));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*", line in "[ 0-9A-F:é]{0,80}") {
            parse(&text);
            parse_line(&line);
        }
    }
}
