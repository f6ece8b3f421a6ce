//! Where images come from that a server does not have itself: remotes with instances or without.

use crate::client::Remote;
use crate::config::{Config, Flavour};
use crate::error::{Error, Result};

/// What `config.yml` says of a remote that only has images.
const SIMPLESTREAMS: &str = "simplestreams";

/// The image servers that `lxc` knows without being told.
const OF_LXC: [(&str, &str); 5] = [
    ("images", "https://images.lxd.canonical.com"),
    ("ubuntu", "https://cloud-images.ubuntu.com/releases"),
    ("ubuntu-daily", "https://cloud-images.ubuntu.com/daily"),
    ("ubuntu-minimal", "https://cloud-images.ubuntu.com/minimal/releases"),
    ("ubuntu-minimal-daily", "https://cloud-images.ubuntu.com/minimal/daily"),
];

/// Those of `incus`. It leaves out those of Ubuntu, whose images it can use nevertheless.
const OF_INCUS: [(&str, &str); 3] = [
    ("images", "https://images.linuxcontainers.org"),
    ("ubuntu", "https://cloud-images.ubuntu.com/releases"),
    ("ubuntu-daily", "https://cloud-images.ubuntu.com/daily"),
];

/// A remote, as one to take images from.
#[derive(Clone, Debug)]
pub enum ImageRemote {
    /// It only has images, in the form `simplestreams`.
    Streams {
        /// Its URL.
        url: String,
    },
    /// Another server.
    Server(Box<Remote>),
}

impl Config {
    /// The remote `name` as one to take images from: what the configuration says of it, or else what
    /// `lxc` and `incus` know without one.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when nobody knows it, and what [`Config::remote`] may fail with.
    pub fn image_remote(&self, name: &str) -> Result<ImageRemote> {
        let entry = self.remotes().find(|(known, _)| *known == name).map(|(_, entry)| entry);
        match entry {
            Some(entry) if entry.protocol == SIMPLESTREAMS => {
                Ok(ImageRemote::Streams { url: entry.addr.clone() })
            }
            Some(_) => self.remote(name).map(|remote| ImageRemote::Server(Box::new(remote))),
            None => {
                let known = known(self.flavour()).iter().find(|(known, _)| *known == name);
                let url = known
                    .map(|(_, url)| (*url).to_owned())
                    .ok_or_else(|| Error::NotFound { message: format!("remote `{name}`") })?;
                Ok(ImageRemote::Streams { url })
            }
        }
    }

    /// The names of all that [`Config::image_remote`] knows.
    #[must_use]
    pub fn image_remotes(&self) -> Vec<String> {
        let built_in = known(self.flavour()).iter().map(|(name, _)| *name);
        let mut names: Vec<_> = self.remotes().map(|(name, _)| name).chain(built_in).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(str::to_owned).collect()
    }
}

fn known(flavour: Flavour) -> &'static [(&'static str, &'static str)] {
    match flavour {
        Flavour::Lxd => &OF_LXC,
        Flavour::Incus => &OF_INCUS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Locations;

    fn config(text: &str, flavour: Flavour) -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.yml"), text).unwrap();
        let (folders, sockets) = (vec![folder.path().to_owned()], vec!["/run/socket".into()]);
        let config = Config::load(&Locations { flavour, folders, sockets }).unwrap();
        (folder, config)
    }

    const TEXT: &str = "\
remotes:
  images: {addr: 'https://mirror.example', protocol: simplestreams, public: true}
  lab: {addr: 'https://lab.example:8443', protocol: lxd}
";

    #[test]
    fn what_is_written_down_wins_over_what_everybody_knows() {
        let (_folder, config) = config(TEXT, Flavour::Lxd);
        let url = |name: &str| match config.image_remote(name) {
            Ok(ImageRemote::Streams { url }) => url,
            other => panic!("{other:?}"),
        };
        assert_eq!(url("images"), "https://mirror.example");
        assert!(url("ubuntu").ends_with("/releases") && url("ubuntu-daily").ends_with("/daily"));
        assert!(config.image_remote("nonesuch").unwrap_err().is_not_found());
        let names = config.image_remotes();
        for name in ["images", "lab", "local", "ubuntu"] {
            assert_eq!(names.iter().filter(|known| *known == name).count(), 1, "{names:?}");
        }
    }

    #[test]
    fn other_servers_are_asked_as_they_are_otherwise() {
        let (folder, config) = config(TEXT, Flavour::Lxd);
        let unpinned = config.image_remote("lab").unwrap_err();
        assert!(unpinned.to_string().contains("not pinned"), "{unpinned}");
        let (certificate, _) = crate::Identity::generate("lab").unwrap();
        std::fs::create_dir(folder.path().join("servercerts")).unwrap();
        std::fs::write(folder.path().join("servercerts/lab.crt"), certificate).unwrap();
        let lab = config.image_remote("lab").unwrap();
        assert!(matches!(lab, ImageRemote::Server(remote) if remote.server_certificate.is_some()));
        assert!(matches!(config.image_remote("local").unwrap(), ImageRemote::Server(_)));
    }

    #[test]
    fn each_kind_of_server_has_images_made_for_it() {
        let url = |flavour| match config("", flavour).1.image_remote("images") {
            Ok(ImageRemote::Streams { url }) => url,
            other => panic!("{other:?}"),
        };
        assert_ne!(url(Flavour::Lxd), url(Flavour::Incus));
    }
}
