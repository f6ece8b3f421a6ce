//! The files that tell a box who and where it is. They are written at every start, by the box's
//! first process, inside.
//!
//! Boxes with the image `host` have them in `/run`, and links to them in `/etc`: writing to memory
//! is ten times as fast as writing through an overlay. Other images know of no such links, so that
//! theirs are written to `/etc` itself.

use std::net::IpAddr;

use boxherd_model::{BoxId, BoxName, ImageRef};
use boxherd_net::Lease;

use crate::record::BoxRecord;

/// Where the files of a box with the image `host` are.
pub(crate) const FOLDER: &str = "/run/boxherd";

/// What begins a file that may be written anew. Who removes its line keeps the file.
pub(crate) const OURS: &str = "# Written by boxherd at every start; ";

/// Path and content of each file. `new`: the box must not be mistaken for what it is a copy of.
pub(crate) fn files(
    id: BoxId,
    record: &BoxRecord,
    lease: Option<&Lease>,
    new: bool,
) -> Vec<(String, String)> {
    let name = &record.spec.name;
    let hosts = hosts(name, &lease.map(Lease::addresses).unwrap_or_default());
    let resolv = lease.map(|lease| format!("nameserver {}\n", lease.dns())).unwrap_or_default();
    let in_memory = record.spec.image == ImageRef::host();
    let (folder, keep) = match in_memory {
        true => (FOLDER, "a file in the place of the link is kept."),
        false => ("/etc", "remove this line to keep the file."),
    };
    let mut files = vec![
        (format!("{folder}/hostname"), format!("{name}\n")),
        (format!("{folder}/hosts"), format!("{OURS}{keep}\n{hosts}")),
        (format!("{folder}/resolv.conf"), format!("{OURS}{keep}\n{resolv}")),
    ];
    if in_memory || new {
        files.push((format!("{folder}/machine-id"), format!("{}\n", machine_id(id))));
    }
    files
}

/// Another one for every box, for ever the same for each.
fn machine_id(id: BoxId) -> String {
    id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hosts(name: &BoxName, addresses: &[IpAddr]) -> String {
    let own = addresses.first().map_or("127.0.1.1".to_owned(), IpAddr::to_string);
    format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{own}\t{name}\n")
}

/// Whether what is there now was put there by the box's own administrator.
pub(crate) fn is_kept(present: &str, new: &str) -> bool {
    new.starts_with(OURS) && !present.starts_with(OURS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_our_line_is_kept() {
        let ours = format!("{OURS}remove this line to keep the file.\n");
        assert!(is_kept("10.0.0.1\tdatabase\n", &ours));
        assert!(!is_kept(&ours, &ours));
        assert!(!is_kept("old-name\n", "new-name\n"));
    }

    #[test]
    fn a_machine_id_has_32_digits() {
        let id = BoxId::new();
        assert_eq!(machine_id(id).len(), 32);
        assert_eq!(machine_id(id), id.to_string().replace('-', ""));
    }
}
