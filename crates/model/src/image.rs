//! What a box boots from.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::text::text_newtype;

/// The image of a box, as the user wrote it: `host`, `debian:bookworm`, an OCI reference such as
/// `localhost:5000/team/app:1@sha256:…`, or the name an import was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef(String);

/// One image of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// What it is called here.
    pub name: ImageRef,
    /// `sha256:…` of its manifest, or of its tar stream when it has none.
    pub digest: String,
    /// Bytes of its layers as they lie on disk.
    pub size: u64,
    /// When it was pulled, imported or built.
    pub created: Timestamp,
    /// What it says is to be run when no command is given: its entrypoint and then its command, as
    /// one argv. Empty when it says nothing.
    #[serde(default)]
    pub program: Vec<String>,
}

impl ImageInfo {
    /// Whether [`program`](Self::program) is more than a shell to be in.
    #[must_use]
    pub fn has_a_program(&self) -> bool {
        const SHELLS: [&str; 6] = ["sh", "bash", "ash", "dash", "zsh", "login"];
        match self.program.split_first() {
            None => false,
            Some((first, rest)) => {
                let name = first.rsplit('/').next().unwrap_or(first);
                !SHELLS.contains(&name) || rest.iter().any(|argument| argument == "-c")
            }
        }
    }
}

/// Where an [`ImageRef`] points, read from its form alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageSource<'a> {
    /// The host's own `/usr`, read-only; it has no digest.
    Host,
    /// `debian:CODENAME`, built by mmdebstrap when no registry has been asked for.
    Debian {
        /// The release, such as `bookworm`.
        codename: &'a str,
    },
    /// A reference with a registry host in it: something with `.` or `:` before the first `/`, or
    /// `localhost/`.
    Registry(&'a str),
    /// A name in the local image store.
    Local(&'a str),
}

/// Why an image reference was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageRefError {
    /// Nothing was given.
    #[error("the image is empty")]
    Empty,
    /// Longer than 512 bytes.
    #[error("the image has {0} bytes, at most 512 are allowed")]
    TooLong(usize),
    /// A character that no reference has.
    #[error("the image has {0:?}, only letters, digits and `.-_:/@` are allowed")]
    BadCharacter(char),
    /// An empty part, `.`, or `..`.
    #[error("the image has an empty part or a part that is `.` or `..`")]
    BadPart,
}

const MAX_REFERENCE: usize = 512;

impl ImageRef {
    /// The default image: the host's own files.
    #[must_use]
    pub fn host() -> Self {
        Self("host".to_owned())
    }

    /// The digest that the reference pins, if it pins one.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.0.split_once('@').map(|(_, digest)| digest)
    }

    /// The reference pinned to `digest`, which is `ALGORITHM:HEX`.
    ///
    /// # Errors
    ///
    /// When that is no reference, or too long a one.
    pub fn at_digest(&self, digest: &str) -> Result<Self, ImageRefError> {
        let name = self.0.split_once('@').map_or(self.0.as_str(), |(name, _)| name);
        format!("{name}@{digest}").parse()
    }

    /// Where the reference points.
    #[must_use]
    pub fn source(&self) -> ImageSource<'_> {
        let text = self.0.as_str();
        if text == "host" {
            return ImageSource::Host;
        }
        if let Some(codename) = text.strip_prefix("debian:")
            && !codename.contains(['/', '@', ':'])
        {
            return ImageSource::Debian { codename };
        }
        match text.split_once('/') {
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => {
                ImageSource::Registry(text)
            }
            _ => ImageSource::Local(text),
        }
    }
}

impl FromStr for ImageRef {
    type Err = ImageRefError;

    fn from_str(text: &str) -> Result<Self, ImageRefError> {
        if text.is_empty() {
            return Err(ImageRefError::Empty);
        }
        if text.len() > MAX_REFERENCE {
            return Err(ImageRefError::TooLong(text.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:/@".contains(c);
        if let Some(character) = text.chars().find(|c| !allowed(*c)) {
            return Err(ImageRefError::BadCharacter(character));
        }
        if text.split(['/', ':', '@']).any(|part| matches!(part, "" | "." | "..")) {
            return Err(ImageRefError::BadPart);
        }
        Ok(Self(text.to_owned()))
    }
}

text_newtype!(ImageRef);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_tells_the_source() {
        for (text, source) in [
            ("host", ImageSource::Host),
            ("debian:bookworm", ImageSource::Debian { codename: "bookworm" }),
            ("localhost/app", ImageSource::Registry("localhost/app")),
            ("127.0.0.1:5000/a/b:1", ImageSource::Registry("127.0.0.1:5000/a/b:1")),
            ("my-rootfs", ImageSource::Local("my-rootfs")),
            ("team/app:2", ImageSource::Local("team/app:2")),
        ] {
            let image: ImageRef = text.parse().unwrap();
            assert_eq!(image.source(), source);
        }
    }

    #[test]
    fn a_reference_is_pinned_to_a_digest() {
        let image: ImageRef = "team/app:2".parse().unwrap();
        let pinned = image.at_digest("sha256:ab").unwrap();
        assert_eq!(pinned.to_string(), "team/app:2@sha256:ab");
        assert_eq!((image.digest(), pinned.digest()), (None, Some("sha256:ab")));
        assert_eq!(pinned.at_digest("sha256:cd").unwrap().to_string(), "team/app:2@sha256:cd");
        assert!(image.at_digest("../x").is_err());
    }

    #[test]
    fn nothing_that_climbs_is_an_image() {
        for text in ["", "../x", "a//b", "a/../b", "a b", "a:", "/etc"] {
            assert!(text.parse::<ImageRef>().is_err(), "{text}");
        }
    }
}
