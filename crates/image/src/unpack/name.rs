//! Where an entry goes, decided from its name alone.

use super::error::EntryFault;

const LONGEST_PATH: usize = 4096;
const LONGEST_PART: usize = 255;

/// What an entry does, by its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The root folder itself.
    Root,
    /// An ordinary entry: `parent` is empty or `a/b`, `name` is one part.
    At(Target),
    /// `.wh.NAME`: hides `NAME` of the layers below.
    Whiteout(Target),
    /// `.wh..wh..opq`: hides everything of the layers below in this folder.
    Opaque { folder: Vec<u8> },
    /// Bookkeeping of aufs, `.wh..wh.*`, which means nothing here.
    Bookkeeping,
}

/// A name in a folder, both clean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) parent: Vec<u8>,
    pub(super) name: Vec<u8>,
}

impl Target {
    /// `parent/name`.
    pub(super) fn path(&self) -> Vec<u8> {
        if self.parent.is_empty() {
            self.name.clone()
        } else {
            [&self.parent[..], b"/", &self.name].concat()
        }
    }
}

/// Reads the name of an entry.
pub(super) fn place(raw: &[u8]) -> Result<Place, EntryFault> {
    if raw.first() == Some(&b'/') {
        return Err(EntryFault::Absolute);
    }
    let parts = parts(raw)?;
    let Some((name, parent)) = parts.split_last() else {
        return if raw.is_empty() { Err(EntryFault::Empty) } else { Ok(Place::Root) };
    };
    if parts.iter().any(|part| part.starts_with(b".wh..wh.") && *part != b".wh..wh..opq") {
        return Ok(Place::Bookkeeping);
    }
    if parent.iter().any(|part| part.starts_with(b".wh.")) {
        return Err(EntryFault::ReservedName);
    }
    let parent = parent.join(&b'/');
    if *name == b".wh..wh..opq" {
        return Ok(Place::Opaque { folder: parent });
    }
    match name.strip_prefix(b".wh.") {
        Some(b"" | b"." | b"..") => Err(EntryFault::ReservedName),
        Some(hidden) => Ok(Place::Whiteout(Target { parent, name: hidden.to_owned() })),
        None => Ok(Place::At(Target { parent, name: name.to_vec() })),
    }
}

/// Reads the target of a hard link: a path from the root of the layer, whether it says so with a
/// leading `/` or not.
pub(super) fn hard_link_target(raw: &[u8]) -> Result<Target, EntryFault> {
    let parts = parts(raw)?;
    let (name, parent) = parts.split_last().ok_or(EntryFault::BadLink)?;
    Ok(Target { parent: parent.join(&b'/'), name: name.to_vec() })
}

fn parts(raw: &[u8]) -> Result<Vec<&[u8]>, EntryFault> {
    if raw.contains(&0) {
        return Err(EntryFault::ZeroByte);
    }
    let parts: Vec<&[u8]> =
        raw.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) {
        return Err(EntryFault::Climbs);
    }
    if raw.len() > LONGEST_PATH || parts.iter().any(|part| part.len() > LONGEST_PART) {
        return Err(EntryFault::TooLong);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(parent: &str, name: &str) -> Target {
        Target { parent: parent.into(), name: name.into() }
    }

    #[test]
    fn names_say_where_entries_go() {
        assert_eq!(place(b"./"), Ok(Place::Root));
        assert_eq!(place(b"./usr//bin/./sh"), Ok(Place::At(at("usr/bin", "sh"))));
        assert_eq!(place(b"etc/.wh.motd"), Ok(Place::Whiteout(at("etc", "motd"))));
        assert_eq!(place(b".wh..wh..opq"), Ok(Place::Opaque { folder: vec![] }));
        assert_eq!(place(b"a/b/.wh..wh..opq"), Ok(Place::Opaque { folder: b"a/b".to_vec() }));
        assert_eq!(place(b".wh..wh.plnk/7.9"), Ok(Place::Bookkeeping));
        assert_eq!(place(b"..."), Ok(Place::At(at("", "..."))));
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        for (raw, fault) in [
            (&b"/etc/passwd"[..], EntryFault::Absolute),
            (b"../x", EntryFault::Climbs),
            (b"a/../../x", EntryFault::Climbs),
            (b"a/..", EntryFault::Climbs),
            (b"a\0b", EntryFault::ZeroByte),
            (b"", EntryFault::Empty),
            (b"a/.wh.", EntryFault::ReservedName),
            (b".wh...", EntryFault::ReservedName),
            (b".wh.a/b", EntryFault::ReservedName),
            (&[b'a'; 256], EntryFault::TooLong),
        ] {
            assert_eq!(place(raw), Err(fault), "{}", raw.escape_ascii());
        }
        assert_eq!(hard_link_target(b"/etc/shadow"), Ok(at("etc", "shadow")));
        assert_eq!(hard_link_target(b"../etc/shadow"), Err(EntryFault::Climbs));
    }

    proptest! {
        #[test]
        fn no_place_leads_out(raw in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Place::At(target) | Place::Whiteout(target)) = place(&raw) {
                let path = target.path();
                prop_assert!(!path.starts_with(b"/"));
                prop_assert!(path.split(|b| *b == b'/').all(|part| !matches!(part, b"" | b"." | b"..")));
            }
        }
    }
}
