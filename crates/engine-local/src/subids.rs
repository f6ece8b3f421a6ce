//! Which ids an ordinary user may give to boxes besides the own: `/etc/subuid` and `/etc/subgid`.

use std::fs;

use crate::uids::COUNT;

/// A share of the ids of a user, of both kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubIds {
    user: u32,
    group: u32,
    first_uid: u32,
    first_gid: u32,
    /// How many there are, of either kind.
    count: u32,
}

/// The share of the user with the number `uid`, who is in their own group. `None` without.
pub(crate) fn of_user(uid: u32) -> Option<SubIds> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let group = rustix::process::getgid().as_raw();
    share(uid, group, &read("/etc/passwd"), &read("/etc/subuid"), &read("/etc/subgid"))
}

fn share(user: u32, group: u32, passwd: &str, subuid: &str, subgid: &str) -> Option<SubIds> {
    let number = user.to_string();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then_some(name)
    });
    let range = |text: &str| {
        text.lines().find_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let first = fields.next()?.parse::<u32>().ok()?;
            let count = fields.next()?.parse::<u32>().ok().filter(|count| *count > 0)?;
            (owner == number || Some(owner) == name).then_some((first, count))
        })
    };
    let (first_uid, uids) = range(subuid)?;
    let (first_gid, gids) = range(subgid)?;
    let count = uids.min(gids).min(COUNT - 1);
    Some(SubIds { user, group, first_uid, first_gid, count })
}

impl SubIds {
    /// What maps the ids of the process `pid`: its own to 0, the others from 1 on.
    pub(crate) fn commands(self, pid: u32) -> [Vec<String>; 2] {
        let Self { user, group, first_uid, first_gid, count } = self;
        let command = |program: &str, own: u32, first: u32| {
            let numbers = [pid, 0, own, 1, 1, first, count].map(|number| number.to_string());
            std::iter::once(program.to_owned()).chain(numbers).collect()
        };
        [command("newuidmap", user, first_uid), command("newgidmap", group, first_gid)]
    }
}

/// How many ids there are in the text of `/proc/PID/uid_map`.
pub(crate) fn count(map: &str) -> u32 {
    let counts = map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u32>().ok());
    counts.fold(0, u32::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";

    #[test]
    fn a_range_is_found_by_name_and_by_number() {
        let by_name = share(1000, 1000, PASSWD, "bob:1:2\nalice:100000:65536\n", "alice:7:9\n");
        let by_number = share(1000, 1000, "", "1000:100000:65536\n", "1000:7:9\n");
        assert_eq!(by_name, by_number);
        let commands = by_name.unwrap().commands(42);
        assert_eq!(commands[0].join(" "), "newuidmap 42 0 1000 1 1 100000 9");
        assert_eq!(commands[1].join(" "), "newgidmap 42 0 1000 1 1 7 9");
    }

    #[test]
    fn without_both_ranges_there_is_none() {
        assert_eq!(share(1000, 1000, PASSWD, "alice:100000:65536\n", ""), None);
        assert_eq!(share(1000, 1000, PASSWD, "alice:x:1\nalice:5:0\n", "alice:5:1\n"), None);
        assert_eq!(share(1001, 1001, PASSWD, "alice:5:1\n", "alice:5:1\n"), None);
    }

    #[test]
    fn no_box_has_more_than_its_share() {
        let ids = share(1000, 1000, PASSWD, "alice:1:4000000\n", "alice:1:4000000\n").unwrap();
        assert_eq!(ids.count, COUNT - 1);
    }

    #[test]
    fn maps_are_counted() {
        assert_eq!(
            count("         0       1000          1\n         1     100000      65535\n"),
            65536
        );
        assert_eq!(count("         0          0 4294967295\n"), u32::MAX);
        assert_eq!(count(""), 0);
    }
}
