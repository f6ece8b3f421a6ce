//! Networks: one is made as for boxes, in a network namespace where nobody sees it, and the host's
//! own firewall is read for what would drop the packets of boxes.

use std::path::Path;
use std::process::Command;

use boxherd_engine::Check;
use boxherd_model::{BoxId, BoxName, NetworkSpec};
use boxherd_net::{NetError, Networks};

use super::{chain, missing, works};

const NAME: &str = "networks";

pub(super) fn all() -> Vec<Check> {
    let thread = std::thread::Builder::new().name("doctor".to_owned()).spawn(try_out);
    let tried = match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(tried)) => tried,
        Ok(Err(_)) => Err(("the trial ended half-way".to_owned(), None)),
        Err(error) => Err((format!("cannot start a thread: {error}"), None)),
    };
    match tried {
        Err((found, fix)) => {
            let fix = fix.unwrap_or("use a kernel with `veth`, `dummy` and `nf_tables`");
            vec![missing(NAME, format!("{found}; boxes have loopback only"), fix)]
        }
        Ok(()) => vec![works(NAME, "nftables, routes and veth do what boxes need"), forwarding()],
    }
}

/// What was found, and the fix.
type Refused = (String, Option<&'static str>);

/// Makes a network and takes it away, in a namespace of this thread's own.
fn try_out() -> Result<(), Refused> {
    let said = |error: NetError| (chain(&error), error.hint());
    let folder = std::env::temp_dir().join(format!("boxherd-doctor-{}", std::process::id()));
    let networks = Networks::open(&folder, "d0c70000000000000000000000000000").map_err(said)?;
    networks.available().map_err(said)?;
    boxherd_sys::unshare::unshare_network()
        .map_err(|error| (format!("cannot make a network namespace: {error}"), None))?;
    // Exclusively, so that nobody who may write there too has put something else in its place.
    std::fs::create_dir(&folder)
        .map_err(|error| (format!("cannot make `{}`: {error}", folder.display()), None))?;
    let tried = made_and_taken_away(&networks).map_err(said);
    let removed = std::fs::remove_dir_all(&folder);
    tried?;
    removed.map_err(|error| (format!("cannot remove `{}`: {error}", folder.display()), None))
}

fn made_and_taken_away(networks: &Networks) -> Result<(), NetError> {
    let name: BoxName = "doctor".parse().unwrap_or_else(|_| unreachable!("a DNS label"));
    networks.reserve(BoxId::new(), &name, &NetworkSpec::default())?;
    networks.dismantle()
}

/// Whether packets of boxes get through the rules of others, as Docker's.
fn forwarding() -> Check {
    const NAME: &str = "way out of networks";
    let nft = ["/usr/sbin/nft", "/sbin/nft"].into_iter().find(|path| Path::new(path).exists());
    let listed = Command::new(nft.unwrap_or("nft")).args(["list", "chains"]).output();
    let text = match listed {
        Ok(output) if output.status.success() => output.stdout,
        Ok(output) => output.stderr,
        Err(error) => error.to_string().into_bytes(),
    };
    match dropping(&String::from_utf8_lossy(&text)).first() {
        None => works(NAME, "no other firewall drops what is forwarded"),
        Some(chain) => {
            let fix = format!(
                "`nft insert rule {chain} iifname \"bh*\" accept` and `nft insert rule {chain} \
                 oifname \"bh*\" ct state established,related accept`"
            );
            missing(NAME, format!("the chain `{chain}` drops what it does not know"), fix)
        }
    }
}

/// The chains of others that drop what is forwarded unless a rule accepts it. Pure.
fn dropping(listed: &str) -> Vec<String> {
    let (mut table, mut chain, mut found) = (String::new(), String::new(), Vec::new());
    for line in listed.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("table ") {
            table = name.trim_end_matches(" {").to_owned();
        } else if let Some(name) = line.strip_prefix("chain ") {
            chain = name.trim_end_matches(" {").to_owned();
        } else if line.contains("hook forward") && line.contains("policy drop") {
            let ours = table.split(' ').next_back().is_some_and(|name| name.starts_with("bh"));
            if !ours {
                found.push(format!("{table} {chain}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_others_that_drops_is_named() {
        let docker = "\
table ip filter {
\tchain INPUT {
\t\ttype filter hook input priority filter; policy drop;
\t}
\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy drop;
\t}
}
table inet bh1a2b3001 {
\tchain forward {
\t\ttype filter hook forward priority filter; policy drop;
\t}
}
";
        assert_eq!(dropping(docker), ["ip filter FORWARD"]);
        assert!(dropping("").is_empty());
        assert!(dropping(&docker.replace("policy drop", "policy accept")).is_empty());
    }
}
