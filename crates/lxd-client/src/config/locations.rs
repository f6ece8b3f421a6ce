//! Where `lxc` and `incus` keep their configuration, and where servers of this machine listen.

use std::ffi::OsString;
use std::path::PathBuf;

/// Whose client's configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// `lxc`.
    Lxd,
    /// `incus`.
    Incus,
}

/// Folders and sockets, of which the first that exists counts.
#[derive(Clone, Debug)]
pub struct Locations {
    /// Whose they are.
    pub flavour: Flavour,
    /// Folders with a `config.yml`; the last one is where a new one is made.
    pub folders: Vec<PathBuf>,
    /// Unix sockets.
    pub sockets: Vec<PathBuf>,
}

impl Locations {
    /// Those of an environment: `variable` returns the value of a variable.
    ///
    /// A folder that a variable names (`LXD_CONF`, `INCUS_CONF`, …) is the only one.
    #[must_use]
    pub fn of(flavour: Flavour, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = path("HOME").unwrap_or_else(|| PathBuf::from("/root"));
        let (conf, folders, server, sockets): (_, Vec<PathBuf>, _, &[&str]) = match flavour {
            Flavour::Lxd => (
                "LXD_CONF",
                vec![home.join("snap/lxd/common/config"), home.join(".config/lxc")],
                "LXD_DIR",
                &["/var/snap/lxd/common/lxd/unix.socket", "/var/lib/lxd/unix.socket"],
            ),
            Flavour::Incus => {
                let base = path("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
                (
                    "INCUS_CONF",
                    vec![base.join("incus")],
                    "INCUS_DIR",
                    &["/run/incus/unix.socket", "/var/lib/incus/unix.socket"],
                )
            }
        };
        let folders = path(conf).map_or(folders, |only| vec![only]);
        let named = match flavour {
            Flavour::Lxd => path("LXD_SOCKET"),
            Flavour::Incus => path("INCUS_SOCKET"),
        };
        let named = named.or_else(|| path(server).map(|folder| folder.join("unix.socket")));
        let sockets =
            named.map_or_else(|| sockets.iter().map(PathBuf::from).collect(), |only| vec![only]);
        Self { flavour, folders, sockets }
    }

    /// The folder with a configuration, or the one where it is to be made.
    #[must_use]
    pub fn folder(&self) -> Option<PathBuf> {
        let found = self.folders.iter().find(|folder| folder.join("config.yml").exists());
        found.or_else(|| self.folders.last()).cloned()
    }

    /// The socket of this machine's server: the first that exists, or else the last.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        let found = self.sockets.iter().find(|socket| socket.exists());
        found.or_else(|| self.sockets.last()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(flavour: Flavour, variables: &[(&str, &str)]) -> Locations {
        Locations::of(flavour, |name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn variables_come_before_homes() {
        let lxd = with(Flavour::Lxd, &[("HOME", "/h"), ("LXD_CONF", "/c"), ("LXD_DIR", "/d")]);
        assert_eq!(lxd.folders, [PathBuf::from("/c")]);
        assert_eq!(lxd.sockets, [PathBuf::from("/d/unix.socket")]);
        let incus = with(Flavour::Incus, &[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]);
        assert_eq!(incus.folder(), Some("/x/incus".into()));
        let plain = with(Flavour::Lxd, &[("HOME", "/h"), ("LXD_CONF", "")]);
        assert_eq!(plain.folder(), Some("/h/.config/lxc".into()));
    }
}
