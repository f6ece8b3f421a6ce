//! Why a tar stream was not unpacked.

use std::io;

/// Why a tar stream was not unpacked. Names are as the stream has them, escaped.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// An entry that no layer may have.
    #[error("entry `{name}` is refused: {fault}")]
    Refused {
        /// The entry.
        name: String,
        /// What is wrong with it.
        fault: EntryFault,
    },
    /// The stream is no tar stream at this place.
    #[error("not a tar stream at byte {offset}: {reason}")]
    Malformed {
        /// Where the header begins.
        offset: u64,
        /// What was found.
        reason: &'static str,
    },
    /// More than the limits allow.
    #[error("more than {limit} {what}, which is the limit for one layer")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// The stream could not be read or decompressed to its end.
    #[error("cannot read the stream")]
    Read(#[source] io::Error),
    /// A file could not be written.
    #[error("cannot {action} `{name}`")]
    Write {
        /// What was tried, such as `create`.
        action: &'static str,
        /// The entry.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The caller no longer wants it.
    #[error("cancelled")]
    Cancelled,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// It begins with `/`.
    #[error("its path is absolute")]
    Absolute,
    /// It has a part that is `..`.
    #[error("its path climbs with `..`")]
    Climbs,
    /// A zero byte in the middle.
    #[error("its path has a zero byte")]
    ZeroByte,
    /// No path at all, or one that only a folder may have.
    #[error("its path is empty")]
    Empty,
    /// Longer than the kernel takes.
    #[error("its path is longer than 4096 bytes or a part of it longer than 255")]
    TooLong,
    /// A device node outside `dev/`.
    #[error("device nodes are only skipped below `dev/`, nowhere else")]
    Device,
    /// A kind of entry that is no file of any sort.
    #[error("its type {0:?} is unknown")]
    UnknownType(char),
    /// A name that is kept for whiteouts.
    #[error("names that begin with `.wh.` are kept for whiteouts")]
    ReservedName,
    /// What should be a folder is none, or is a link that leads nowhere.
    #[error("a part of its path is not a folder")]
    NotAFolder,
    /// The target of a hard link is not in this layer.
    #[error("its hard link leads to nothing in this layer")]
    NoTarget,
    /// The target of a hard link is a folder or a device.
    #[error("its hard link leads to something that is not a file")]
    BadTarget,
    /// The target of a link is empty or has a zero byte.
    #[error("its link target is empty or has a zero byte")]
    BadLink,
    /// An owner that no kernel has.
    #[error("its owner is not a 32-bit id")]
    BadOwner,
    /// A map of a sparse file that contradicts itself.
    #[error("its sparse map contradicts itself")]
    BadSparseMap,
    /// The entry would replace the root folder itself.
    #[error("the root of a layer must be a folder")]
    RootNotFolder,
}

impl UnpackError {
    pub(super) fn refused(name: &[u8], fault: EntryFault) -> Self {
        Self::Refused { name: printable(name), fault }
    }

    pub(super) fn write(action: &'static str, name: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Write { action, name: printable(name), source: source.into() }
    }
}

/// At most 200 bytes of a name, with everything escaped that could upset a terminal.
pub(super) fn printable(name: &[u8]) -> String {
    const LONGEST: usize = 200;
    let shown = name[..name.len().min(LONGEST)].escape_ascii().to_string();
    if name.len() > LONGEST { shown + "…" } else { shown }
}
