//! Why the image store refused.

use std::io;
use std::path::{Path, PathBuf};

use boxherd_model::ImageRef;

use crate::digest::Digest;
use crate::unpack::UnpackError;

/// Why an image could not be had: a variant per thing a caller can do something about.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The store has no image of that name.
    #[error("there is no image `{image}` here")]
    NoSuchImage {
        /// What was asked for.
        image: ImageRef,
    },
    /// The name does not say where the image comes from, or names `host`.
    #[error("`{image}` cannot be {verb}: {reason}")]
    BadName {
        /// What was asked for.
        image: ImageRef,
        /// `pulled`, `imported` or `removed`.
        verb: &'static str,
        /// What is wrong with the name.
        reason: String,
    },
    /// The registry has no such image.
    #[error("`{image}` is not in its registry: {reason}")]
    NotInRegistry {
        /// What was asked for.
        image: ImageRef,
        /// What the registry said.
        reason: String,
    },
    /// The registry wants credentials, or other ones.
    #[error("the registry of `{image}` refuses access")]
    Unauthorized {
        /// What was asked for.
        image: ImageRef,
    },
    /// Nobody who is trusted vouches for the registry.
    #[error("the certificate of the registry of `{image}` is not trusted")]
    Untrusted {
        /// What was asked for.
        image: ImageRef,
        /// What is wrong with the certificate.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registry does not speak TLS, and is not on this machine.
    #[error("the registry of `{image}` does not speak HTTPS")]
    NoTls {
        /// What was asked for.
        image: ImageRef,
    },
    /// The registry could not be talked to, tried again as often as makes sense.
    #[error("cannot {action} of `{image}`")]
    Registry {
        /// What was tried, such as `fetch the manifest`.
        action: String,
        /// What was asked for.
        image: ImageRef,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A layer or a document has another digest than it should: damaged, cut off or forged.
    #[error("`{image}` is damaged: {what} should be `{expected}` and is `{found}`")]
    Corrupt {
        /// The image it belongs to.
        image: ImageRef,
        /// What is damaged, such as `blob sha256:…`.
        what: String,
        /// The digest it should have.
        expected: String,
        /// The digest it has.
        found: String,
    },
    /// Its documents make no image that this machine can use.
    #[error("`{image}` cannot be used: {reason}")]
    BadImage {
        /// What was asked for.
        image: ImageRef,
        /// What is wrong.
        reason: String,
    },
    /// A layer cannot be unpacked.
    #[error("layer `{layer}` of `{image}` cannot be unpacked")]
    Layer {
        /// The image it belongs to.
        image: ImageRef,
        /// Its digest, or the name of its file.
        layer: String,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// A file that is imported is nothing that can be.
    #[error("`{path}` cannot be imported: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A program is not installed.
    #[error("`{program}` is not installed")]
    NoProgram {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// mmdebstrap gave up.
    #[error("`{image}` could not be built: {reason}")]
    Build {
        /// What was asked for.
        image: ImageRef,
        /// The last lines that it wrote.
        reason: String,
    },
    /// The disk is full.
    #[error("no space is left for `{path}`")]
    NoSpace {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the store cannot be read or written.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried, such as `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A record of the store is not what this program writes.
    #[error("`{path}` is not a record of the image store")]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl ImageError {
    /// What to do, when it is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchImage { image } if *image == ImageRef::host() => {
                Some("`host` is this machine's own files, which need no store".to_owned())
            }
            Self::NoSuchImage { image } => Some(format!(
                "`boxherd image ls` lists what is here, `boxherd image pull {image}` fetches"
            )),
            Self::NotInRegistry { image, .. } => Some(format!(
                "check name and tag of `{image}`; registries answer the same for what they hide"
            )),
            Self::Unauthorized { .. } => Some(
                "`docker login` or `skopeo login --authfile` leaves credentials that are used; \
                 credential helpers are not"
                    .to_owned(),
            ),
            Self::Untrusted { .. } => Some(
                "put the certificate of its authority in `/usr/local/share/ca-certificates` and run \
                 `update-ca-certificates`, or name a file with it in `SSL_CERT_FILE`"
                    .to_owned(),
            ),
            Self::NoTls { .. } => Some(
                "plain HTTP is spoken with registries on `localhost` and loopback addresses only"
                    .to_owned(),
            ),
            Self::Corrupt { .. } => Some(
                "what was fetched of it is thrown away; if another try ends the same, the copy in \
                 the registry or archive is damaged"
                    .to_owned(),
            ),
            Self::Registry { .. } => {
                Some("what was fetched is kept: the next pull goes on from there".to_owned())
            }
            Self::NoProgram { package, .. } => Some(format!("`apt-get install {package}`")),
            Self::NoSpace { .. } => {
                Some("free some space, or `boxherd image rm` what is not needed".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the disk is full, so that a caller can say so in its own terms.
    #[must_use]
    pub const fn is_full_disk(&self) -> bool {
        matches!(self, Self::NoSpace { .. })
    }

    /// Whether the work was given up on purpose.
    pub(crate) const fn is_cancelled(&self) -> bool {
        matches!(self, Self::Layer { source: UnpackError::Cancelled, .. })
    }

    /// A blob whose digest is another.
    pub(crate) fn corrupt(image: &ImageRef, expected: &Digest, found: &Digest) -> Self {
        Self::Corrupt {
            image: image.clone(),
            what: format!("layer `{}`", expected.short()),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// A layer that cannot be unpacked into the folder `into`.
    pub(crate) fn unpacking(
        image: &ImageRef,
        layer: &str,
        into: &Path,
        source: UnpackError,
    ) -> Self {
        match source {
            UnpackError::Write { action, source, .. } if is_full(&source) => {
                Self::io(action, into, source)
            }
            source => Self::layer(image, layer, source),
        }
    }

    /// A layer that cannot be unpacked.
    pub(crate) fn layer(image: &ImageRef, layer: &str, source: UnpackError) -> Self {
        Self::Layer { image: image.clone(), layer: layer.to_owned(), source }
    }

    /// A document that makes no image.
    pub(crate) fn bad_image(image: &ImageRef, reason: &dyn std::fmt::Display) -> Self {
        Self::BadImage { image: image.clone(), reason: reason.to_string() }
    }

    /// Wraps a failed system call on a file of the store.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        if is_full(&source) {
            Self::NoSpace { path, source }
        } else {
            Self::Io { action, path, source }
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
