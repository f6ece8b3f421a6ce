//! Who a name or a number is, by the box's own `/etc/passwd` and `/etc/group`. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A user to run a program as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name; the number when the box knows no name for it.
    pub name: Vec<u8>,
    /// The number.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// All groups, the primary one first.
    pub groups: Vec<u32>,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell.
    pub shell: Vec<u8>,
}

struct Account<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
    shell: &'a [u8],
}

struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok().filter(|n| *n != u32::MAX)
}

fn fields<const N: usize>(line: &[u8]) -> Option<[&[u8]; N]> {
    let mut fields = [&line[..0]; N];
    let mut parts = line.split(|b| *b == b':');
    for field in &mut fields {
        *field = parts.next()?;
    }
    Some(fields)
}

fn accounts(passwd: &[u8]) -> impl Iterator<Item = Account<'_>> {
    passwd.split(|b| *b == b'\n').filter_map(|line| {
        let [name, _, uid, gid, _, home, shell] = fields(line)?;
        Some(Account { name, uid: number(uid)?, gid: number(gid)?, home, shell })
    })
}

fn groups(group: &[u8]) -> impl Iterator<Item = Group<'_>> {
    group.split(|b| *b == b'\n').filter_map(|line| {
        let [name, _, gid, members] = fields(line)?;
        Some(Group { name, gid: number(gid)?, members })
    })
}

/// Finds `NAME`, `UID`, `NAME:GROUP` or `UID:GID` in the texts of `/etc/passwd` and `/etc/group`.
/// A number needs no entry. The error is a sentence for the user.
pub fn find_user(text: &str, passwd: &[u8], group: &[u8]) -> Result<User, String> {
    let (who, which) = match text.split_once(':') {
        Some((who, which)) => (who, Some(which)),
        None => (text, None),
    };
    let mut user = match account(who, passwd) {
        Some(account) => from_account(&account, group),
        None => match number(who.as_bytes()) {
            Some(uid) => nameless(uid),
            None => return Err(format!("no user `{who}` in the box's /etc/passwd")),
        },
    };
    if let Some(which) = which {
        let named = groups(group).find(|g| g.name == which.as_bytes()).map(|g| g.gid);
        let gid = named.or_else(|| number(which.as_bytes()));
        user.gid = gid.ok_or_else(|| format!("no group `{which}` in the box's /etc/group"))?;
        user.groups = vec![user.gid];
    }
    Ok(user)
}

/// A name goes before a number, as in `chown(1)`.
fn account<'a>(who: &str, passwd: &'a [u8]) -> Option<Account<'a>> {
    let by_name = accounts(passwd).find(|a| a.name == who.as_bytes());
    by_name.or_else(|| {
        let uid = number(who.as_bytes())?;
        accounts(passwd).find(|a| a.uid == uid)
    })
}

fn from_account(account: &Account<'_>, group: &[u8]) -> User {
    let is_member =
        |g: &Group<'_>| g.members.split(|b| *b == b',').any(|member| member == account.name);
    let mut all = vec![account.gid];
    all.extend(groups(group).filter(is_member).map(|g| g.gid).filter(|gid| *gid != account.gid));
    let or = |field: &[u8], otherwise: &[u8]| match field {
        b"" => otherwise.to_vec(),
        field => field.to_vec(),
    };
    User {
        name: account.name.to_vec(),
        uid: account.uid,
        gid: account.gid,
        groups: all,
        home: OsStr::from_bytes(&or(account.home, b"/")).into(),
        shell: or(account.shell, b"/bin/sh"),
    }
}

fn nameless(uid: u32) -> User {
    let (name, home) = match uid {
        0 => (b"root".to_vec(), "/root"),
        _ => (uid.to_string().into_bytes(), "/"),
    };
    User { name, uid, gid: 0, groups: vec![0], home: home.into(), shell: b"/bin/sh".to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
        broken line\n\
        web:x:33:44::/srv/web:\n\
        web2:x:33:45::/srv/web2:/bin/sh\n";
    const GROUP: &[u8] = b"root:x:0:\nwww:x:44:\nlogs:x:50:root,web\nall:x:51:web\n";

    #[test]
    fn a_name_has_its_groups() {
        let web = find_user("web", PASSWD, GROUP).unwrap();
        assert_eq!((web.uid, web.gid, web.groups), (33, 44, vec![44, 50, 51]));
        assert_eq!((web.home.to_str(), &web.shell[..]), (Some("/srv/web"), &b"/bin/sh"[..]));
    }

    #[test]
    fn a_number_is_its_first_name() {
        assert_eq!(find_user("33", PASSWD, GROUP).unwrap().name, b"web");
    }

    #[test]
    fn a_number_needs_no_name() {
        let user = find_user("4242", PASSWD, GROUP).unwrap();
        assert_eq!((user.uid, user.gid, &user.name[..]), (4242, 0, &b"4242"[..]));
    }

    #[test]
    fn a_group_replaces_all_groups() {
        let user = find_user("web:logs", PASSWD, GROUP).unwrap();
        assert_eq!((user.gid, user.groups), (50, vec![50]));
        assert_eq!(find_user("1:2", PASSWD, GROUP).unwrap().gid, 2);
    }

    #[test]
    fn strangers_are_named() {
        let refused = find_user("nobody-here", PASSWD, GROUP).unwrap_err();
        assert_eq!(refused, "no user `nobody-here` in the box's /etc/passwd");
        assert!(find_user("web:nogroup", PASSWD, GROUP).unwrap_err().contains("`nogroup`"));
        assert!(find_user("4294967295", PASSWD, GROUP).is_err(), "-1 means `leave` to the kernel");
        assert!(find_user("", PASSWD, GROUP).is_err());
    }
}
