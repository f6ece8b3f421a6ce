//! What boxes have that are machines on a server: profiles, a member of a cluster, user data.

use std::fmt;
use std::str::FromStr;

use crate::text::{serde_as_text, text_newtype};

/// The longest name of a thing on a server, in bytes.
const MAX_NAME: usize = 190;
/// The most user data, in bytes.
const MAX_USER_DATA: usize = 256 << 10;

/// The name of a profile on a server of LXD or Incus: no `/`, no space, not `.` or `..`, at most 190
/// bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileName(String);

/// A member of a cluster, or `@GROUP` for whichever of a group; the same rules as [`ProfileName`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberName(String);

/// Why a name of a thing on a server was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerNameError {
    /// Nothing was given.
    #[error("the name is empty")]
    Empty,
    /// Longer than any server takes.
    #[error("the name has {0} bytes, at most 190 are allowed")]
    TooLong(usize),
    /// A character that no such name has.
    #[error("the name has {0:?}, which no name of a server's things has")]
    BadCharacter(char),
    /// It would be a path.
    #[error("the name is `.` or `..`")]
    Dots,
}

fn validate(text: &str) -> Result<String, ServerNameError> {
    let bad = |c: &char| *c == '/' || c.is_whitespace() || c.is_control();
    match text {
        "" | "@" => Err(ServerNameError::Empty),
        "." | ".." => Err(ServerNameError::Dots),
        _ if text.len() > MAX_NAME => Err(ServerNameError::TooLong(text.len())),
        _ => match text.chars().find(bad) {
            Some(character) => Err(ServerNameError::BadCharacter(character)),
            None => Ok(text.to_owned()),
        },
    }
}

macro_rules! server_name {
    ($name:ident) => {
        text_newtype!($name);

        impl FromStr for $name {
            type Err = ServerNameError;

            fn from_str(text: &str) -> Result<Self, ServerNameError> {
                validate(text).map(Self)
            }
        }
    };
}

server_name!(ProfileName);
server_name!(MemberName);

/// User data for cloud-init of the image, which it reads at its first start: a script or one of
/// cloud-init's own formats, at most 256 KiB.
///
/// It often holds secrets, so that it is not in the `Debug` form.
#[derive(Clone, PartialEq, Eq)]
pub struct CloudInit(String);

/// Why user data were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudInitError {
    /// Nothing was given.
    #[error("the user data are empty")]
    Empty,
    /// More than 256 KiB.
    #[error("the user data have {0} bytes, at most 262144 are allowed")]
    TooLong(usize),
    /// cloud-init goes by how they begin, and ignores what it does not know.
    #[error(
        "the user data begin with nothing that cloud-init knows, such as `#cloud-config`, `#!`, \
         `#include` or the head of a multipart message"
    )]
    UnknownFormat,
    /// A byte that no text has.
    #[error("the user data have a NUL")]
    Nul,
}

/// How user data begin; cloud-init's documentation, "User-data formats".
const BEGINNINGS: [&str; 8] = [
    "#cloud-config",
    "#cloud-boothook",
    "#part-handler",
    "#include",
    "#!",
    "## template:",
    "Content-Type: multipart/",
    "MIME-Version:",
];

impl FromStr for CloudInit {
    type Err = CloudInitError;

    fn from_str(text: &str) -> Result<Self, CloudInitError> {
        let head = |beginning: &&str| {
            let start = text.get(..beginning.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(beginning))
        };
        match text {
            _ if text.trim().is_empty() => Err(CloudInitError::Empty),
            _ if text.len() > MAX_USER_DATA => Err(CloudInitError::TooLong(text.len())),
            _ if text.contains('\0') => Err(CloudInitError::Nul),
            _ if !BEGINNINGS.iter().any(head) => Err(CloudInitError::UnknownFormat),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl CloudInit {
    /// The text as it was validated.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CloudInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Its size alone.
impl fmt::Debug for CloudInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.len();
        f.debug_struct("CloudInit").field("bytes", &bytes).finish_non_exhaustive()
    }
}

serde_as_text!(CloudInit);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_a_servers_things_are_wider_than_those_of_boxes_and_no_paths() {
        for text in ["default", "Web_1.2", "n1", "größe"] {
            assert_eq!(text.parse::<ProfileName>().unwrap().as_str(), text);
        }
        assert_eq!("@ssd".parse::<MemberName>().unwrap().as_str(), "@ssd");
        for text in ["", ".", "..", "a/b", "a b", "a\0", "a\n", "@"] {
            assert!(text.parse::<MemberName>().is_err(), "{text:?}");
        }
        assert!("a".repeat(190).parse::<ProfileName>().is_ok());
        assert!("a".repeat(191).parse::<ProfileName>().is_err());
    }

    #[test]
    fn user_data_begin_with_what_cloud_init_knows() {
        for text in [
            "#cloud-config\npackages: []\n",
            "#!/bin/sh\ntrue\n",
            "#include\nhttps://host/file\n",
            "## template: jinja\n#cloud-config\n",
            "Content-Type: multipart/mixed; boundary=\"x\"\n",
            "content-type: Multipart/mixed; boundary=\"x\"\n",
        ] {
            assert_eq!(text.parse::<CloudInit>().unwrap().as_str(), text);
        }
        let of = |text: &str| text.parse::<CloudInit>().unwrap_err();
        assert_eq!(of(""), CloudInitError::Empty);
        assert_eq!(of(" \n"), CloudInitError::Empty);
        assert_eq!(of("packages: []\n"), CloudInitError::UnknownFormat);
        assert_eq!(of("\n#cloud-config\n"), CloudInitError::UnknownFormat);
        assert_eq!(of("#cloud-config\0"), CloudInitError::Nul);
        let long = format!("#!{}", "x".repeat(MAX_USER_DATA));
        assert_eq!(of(&long), CloudInitError::TooLong(long.len()));
    }

    #[test]
    fn what_user_data_hold_is_not_in_their_debug_form() {
        let data: CloudInit = "#cloud-config\npassword: hidden\n".parse().unwrap();
        assert_eq!(format!("{data:?}"), "CloudInit { bytes: 31, .. }");
    }

    proptest! {
        #[test]
        fn whatever_parses_is_as_it_was(text in "\\PC{0,200}") {
            if let Ok(name) = text.parse::<ProfileName>() {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(!text.contains('/'));
            }
            if let Ok(data) = text.parse::<CloudInit>() {
                prop_assert_eq!(data.as_str(), text);
            }
        }
    }
}
