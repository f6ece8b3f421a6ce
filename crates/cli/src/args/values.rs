//! The forms of single arguments. Pure.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use boxherd_herd::Volume;
use boxherd_model::{Address, BoxName, EngineName, Isolation, MountPath, NameError};

/// What a box that is to be made is called, and on which engine: `NAME` or `ENGINE:NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewName {
    pub(crate) engine: Option<EngineName>,
    pub(crate) name: BoxName,
}

impl std::str::FromStr for NewName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (engine, name) = match text.split_once(':') {
            None => (None, text),
            Some((engine, name)) => (Some(engine.parse()?), name),
        };
        Ok(Self { engine, name: name.parse()? })
    }
}

/// `KEY=VALUE`, or `KEY` for a variable of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvVar {
    pub(crate) key: String,
    pub(crate) value: Option<String>,
}

impl FromStr for EnvVar {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        if key.is_empty() || text.contains('\0') {
            return Err("a variable is written `KEY=VALUE` or `KEY`".to_owned());
        }
        Ok(Self { key: key.to_owned(), value })
    }
}

/// A limit, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quantity<T>(pub(crate) Option<T>);

/// `none`, or a limit.
pub(crate) fn limit<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<Quantity<T>, String> {
    match text {
        "none" => Ok(Quantity(None)),
        text => text
            .parse()
            .map(|limit| Quantity(Some(limit)))
            .map_err(|error: T::Err| error.to_string()),
    }
}

/// `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err("a label is written `KEY=VALUE`".to_owned()),
        }
    }
}

/// `KEY=VALUE`, or `KEY` for any value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LabelSelector {
    key: String,
    value: Option<String>,
}

impl LabelSelector {
    /// Whether `labels` have it.
    pub(crate) fn selects(&self, labels: &boxherd_model::Labels) -> bool {
        let found = labels.get(&self.key);
        found.is_some_and(|found| self.value.as_ref().is_none_or(|value| value == found))
    }
}

impl FromStr for LabelSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let EnvVar { key, value } =
            text.parse().map_err(|_| "a label is written `KEY=VALUE` or `KEY`".to_owned())?;
        Ok(Self { key, value })
    }
}

/// `KEY=VALUE` sets, `KEY-` removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LabelChange {
    Set(String, String),
    Remove(String),
}

impl FromStr for LabelChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(Label { key, value }) = text.parse() {
            return Ok(Self::Set(key, value));
        }
        match text.strip_suffix('-') {
            Some(key) if !key.is_empty() => Ok(Self::Remove(key.to_owned())),
            _ => Err("write `KEY=VALUE` to set and `KEY-` to remove".to_owned()),
        }
    }
}

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CopyEnd {
    /// A path on this machine.
    Here(PathBuf),
    /// A path in a box.
    InBox(Address, PathBuf),
    /// Standard input or output.
    Stream,
}

impl FromStr for CopyEnd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self::Stream);
        }
        if text.is_empty() {
            return Err("the path is empty".to_owned());
        }
        let colon = text.find(':').filter(|colon| !text[..*colon].contains('/'));
        if colon.is_none() {
            return Ok(Self::Here(text.into()));
        }
        let (address, path) = text
            .find(":/")
            .map(|split| (&text[..split], &text[split + 1..]))
            .ok_or("write a path in a box as `NAME:/PATH`, and one here as `./PATH`")?;
        let address: Address = address.parse().map_err(|error| format!("{error}"))?;
        Ok(Self::InBox(address, path.into()))
    }
}

/// A disk that a new box mounts: `DISK:PATH`, or `DISK:PATH:ro`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeArg {
    pub(crate) disk: String,
    pub(crate) path: MountPath,
    pub(crate) read_only: bool,
}

impl FromStr for VolumeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, read_only) = match text.strip_suffix(":ro") {
            Some(text) => (text, true),
            None => (text.strip_suffix(":rw").unwrap_or(text), false),
        };
        let parts = text.split_once(':').filter(|(disk, _)| !disk.is_empty());
        let (disk, path) = parts.ok_or("a volume is written `DISK:PATH` or `DISK:PATH:ro`")?;
        let path = path.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { disk: disk.to_owned(), path, read_only })
    }
}

impl From<VolumeArg> for Volume {
    fn from(given: VolumeArg) -> Self {
        Self { disk: given.disk, path: given.path, read_only: given.read_only }
    }
}

/// A port here that leads to one in a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forward {
    /// 0: any that is free.
    pub(crate) local: u16,
    pub(crate) remote: u16,
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| text.parse::<u16>().map_err(|_| format!("`{text}` is not a port"));
        let (local, remote) = match text.split_once(':') {
            Some(("", remote)) => (0, port(remote)?),
            Some((local, remote)) => (port(local)?, port(remote)?),
            None => (port(text)?, port(text)?),
        };
        if remote == 0 {
            return Err("the port in the box is 1 to 65535".to_owned());
        }
        Ok(Self { local, remote })
    }
}

/// `90` (seconds), `1.5s`, `500ms`, `10m`, `2h`, `1d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is not a duration, use such as `500ms`, `90s`, `10m`, `2h`");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(refused()),
    };
    let number: f64 = number.parse().map_err(|_| refused())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| refused())
}

/// `namespaces` or `gvisor`.
pub(crate) fn isolation(text: &str) -> Result<Isolation, String> {
    match text {
        "namespaces" => Ok(Isolation::Namespaces),
        "gvisor" => Ok(Isolation::Gvisor),
        _ => Err("use `namespaces` or `gvisor`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_ends_are_told_apart() {
        let end = |text: &str| text.parse::<CopyEnd>();
        assert_eq!(end("-"), Ok(CopyEnd::Stream));
        assert_eq!(end("a/b"), Ok(CopyEnd::Here("a/b".into())));
        assert_eq!(end("./a:/b"), Ok(CopyEnd::Here("./a:/b".into())));
        assert_eq!(end("web:/etc"), Ok(CopyEnd::InBox("web".parse().unwrap(), "/etc".into())));
        let local = "local:web".parse().unwrap();
        assert_eq!(end("local:web:/a:/b"), Ok(CopyEnd::InBox(local, "/a:/b".into())));
        assert!(end("web:etc").is_err());
        assert!(end("WEB:/etc").is_err());
        assert!(end("").is_err());
    }

    #[test]
    fn volumes_may_be_read_only() {
        let volume = |text: &str| text.parse::<VolumeArg>();
        let read = volume("data:/srv:ro").unwrap();
        assert_eq!((read.disk.as_str(), read.path.to_string().as_str()), ("data", "/srv"));
        assert!(read.read_only && !volume("data:/srv").unwrap().read_only);
        assert!(!volume("data:/srv:rw").unwrap().read_only);
        for text in ["data", ":/srv", "data:", "data:srv", ""] {
            assert!(volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for text in ["", "s", "1x", "-1s", "1e400", "99999999999999999999d", "..s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn forwards_choose_a_port_when_none_is_given() {
        let forward = |text: &str| text.parse::<Forward>();
        assert_eq!(forward("80"), Ok(Forward { local: 80, remote: 80 }));
        assert_eq!(forward("8080:80"), Ok(Forward { local: 8080, remote: 80 }));
        assert_eq!(forward(":80"), Ok(Forward { local: 0, remote: 80 }));
        for text in ["0", "80:0", "x", "70000", "1:2:3", ""] {
            assert!(forward(text).is_err(), "{text}");
        }
    }

    #[test]
    fn labels_are_set_removed_and_selected() {
        let change = |text: &str| text.parse::<LabelChange>();
        assert_eq!(change("a=b-"), Ok(LabelChange::Set("a".into(), "b-".into())));
        assert_eq!(change("a-"), Ok(LabelChange::Remove("a".into())));
        assert!(change("a").is_err());
        assert!(change("-").is_err());
        let labels = [("tier".to_owned(), "web".to_owned())].into();
        let selects = |text: &str| text.parse::<LabelSelector>().unwrap().selects(&labels);
        assert!(selects("tier") && selects("tier=web"));
        assert!(!selects("tier=db") && !selects("other"));
    }
}
