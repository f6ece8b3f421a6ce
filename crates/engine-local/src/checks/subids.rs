//! Ids in boxes besides root's, which an ordinary user gets by `newuidmap` from `/etc/subuid`.

use boxherd_engine::Check;

use super::programs::find;
use super::{is_root, missing, works};
use crate::subids;

/// `ids` is how many the helper could map.
pub(super) fn check(ids: Option<u32>) -> Check {
    const NAME: &str = "subordinate ids";
    if is_root() {
        return works(NAME, "not needed by root, who gives every box 65,536 ids of its own");
    }
    let uid = rustix::process::getuid().as_raw();
    let installed = find("newuidmap").is_some() && find("newgidmap").is_some();
    match (ids, subids::of_user(uid)) {
        (None, _) => missing(NAME, "not tried, as something above failed", "mend that first"),
        (Some(ids @ 2..), _) => works(NAME, format!("boxes have {ids} ids")),
        (Some(_), None) => missing(
            NAME,
            format!(
                "`/etc/subuid` and `/etc/subgid` give nothing to user {uid}; boxes have one id"
            ),
            format!(
                "as root: install `uidmap`, and `usermod --add-subuids 100000-165535 --add-subgids \
                 100000-165535 $(id -nu {uid})` with ids that nobody has"
            ),
        ),
        (Some(_), Some(_)) if !installed => missing(
            NAME,
            "`newuidmap` and `newgidmap` are not installed; boxes have one id",
            "as root: install the package `uidmap`",
        ),
        (Some(_), Some(_)) => missing(
            NAME,
            "`newuidmap` or `newgidmap` mapped nothing; boxes have one id",
            "as root: reinstall `uidmap`, whose two programs must be set-user-id root",
        ),
    }
}
