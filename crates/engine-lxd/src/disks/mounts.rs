//! What is mounted in a box that runs, as it says itself, and how it is unmounted there.

use boxherd_engine::EngineError;
use boxherd_lxd_client::{Error, ExecRequest, Instance, Recorded};
use boxherd_model::DiskId;

use super::volume::digits;
use crate::error::failed;
use crate::native::like_a_shell;

/// Of what a program says, in bytes.
const MOST_SAID: usize = 1 << 20;
/// Unmounts what is mounted at its first argument, once it is written where that can be waited for.
const UNMOUNT: &str = r#"sync -f "$0" 2>/dev/null; exec umount "$0""#;
/// Says which processes have something mounted that its first argument is in the name of.
const ELSEWHERE: &str = r#"grep -ls "$0" /proc/[0-9]*/mountinfo"#;

/// One mount: see `/proc/PID/mountinfo` in proc(5).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: String,
    /// All that is said of it.
    line: String,
}

/// Where something is mounted.
pub(super) async fn points(instance: &Instance) -> Result<Vec<String>, EngineError> {
    Ok(mounts(instance).await?.into_iter().map(|mount| mount.point).collect())
}

/// Unmounts a disk wherever it is, and tells where that was, unless a process uses it. Its mounts tell the volume by its name; where
/// the pool has other names for it, it is what is mounted at `by_path`.
pub(super) async fn unmount(
    instance: &Instance,
    disk: DiskId,
    by_path: Option<&String>,
) -> Result<Vec<String>, EngineError> {
    let name = digits(disk);
    let is_it = |mount: &Mount| mount.line.contains(&name) || by_path == Some(&mount.point);
    let all = mounts(instance).await?.into_iter().filter(is_it).map(|mount| mount.point);
    let points: Vec<_> = all.collect();
    // The latest first: one may be on top of another.
    for point in points.iter().rev() {
        let Recorded { code, stderr, .. } = run(instance, &["sh", "-c", UNMOUNT, point]).await?;
        let said = String::from_utf8_lossy(&stderr).trim().to_owned();
        if code != 0 && said.contains("busy") {
            return Err(in_use(disk, "a process of the box uses it"));
        }
        if code != 0 {
            return Err(cannot("unmount the disk in the box", said));
        }
    }
    match run(instance, &["sh", "-c", ELSEWHERE, &name]).await?.stdout.is_empty() {
        true => Ok(points),
        false => Err(in_use(disk, "a process of the box has it mounted elsewhere")),
    }
}

fn in_use(disk: DiskId, reason: &str) -> EngineError {
    EngineError::DiskInUse { disk, reason: reason.to_owned() }
}

async fn mounts(instance: &Instance) -> Result<Vec<Mount>, EngineError> {
    let Recorded { code, stdout, stderr, .. } =
        run(instance, &["cat", "/proc/1/mountinfo"]).await?;
    match code {
        0 => Ok(String::from_utf8_lossy(&stdout).lines().filter_map(parse).collect()),
        _ => {
            let said = String::from_utf8_lossy(&stderr).trim().to_owned();
            Err(cannot("look at the mounts of the box", said))
        }
    }
}

async fn run(instance: &Instance, words: &[&str]) -> Result<Recorded, EngineError> {
    let words = words.iter().map(|word| (*word).to_owned());
    let mut request = ExecRequest { cwd: "/".to_owned(), ..ExecRequest::new(words) };
    request.environment.insert("LC_ALL".to_owned(), "C".to_owned());
    let step = format!("run `{}` in the box", request.command[0]);
    match instance.exec_recorded(&request, MOST_SAID).await {
        Ok(ran) => Ok(ran),
        Err(Error::OperationFailed { message, .. }) if like_a_shell(&message).is_some() => {
            Err(cannot(&step, message))
        }
        Err(error) => Err(failed(step)(error)),
    }
}

fn cannot(step: &str, said: String) -> EngineError {
    EngineError::Refused {
        step: step.to_owned(),
        source: said.into(),
        hint: Some("a box that is stopped needs no programs for it: stop it first".to_owned()),
    }
}

/// `ID PARENT DEVICE ROOT POINT OPTIONS … - KIND SOURCE OPTIONS`.
fn parse(line: &str) -> Option<Mount> {
    let point = unescape(line.split(' ').nth(4)?);
    Some(Mount { point, line: line.to_owned() })
}

/// Blanks and the like are a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\').then(|| after.get(..3)).flatten();
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_says_where_it_is() {
        let line = r"62 101 0:53 /custom/default_boxherd-ab /srv/my\040data\134 rw,relatime shared:25 - btrfs /dev/loop1 rw";
        let mount = parse(line).unwrap();
        assert_eq!(mount.point, r"/srv/my data\");
        assert!(mount.line.contains("boxherd-ab"));
        assert_eq!(parse("garbage"), None);
        assert_eq!(unescape(r"\9"), r"\9");
    }
}
