//! Writes tar streams byte by byte, hostile ones too.

use std::io::Write as _;

/// A tar stream that grows.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tape(Vec<u8>);

/// One header, with everything that an honest program would write.
#[derive(Debug, Clone)]
pub(crate) struct Head<'a> {
    pub(crate) kind: u8,
    pub(crate) name: &'a [u8],
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: u64,
    /// What the header says; the data may be another length.
    pub(crate) size: u64,
}

impl<'a> Head<'a> {
    pub(crate) fn new(kind: u8, name: &'a [u8]) -> Self {
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        Self { kind, name, link: b"", mode, owner: (0, 0), mtime: 1_700_000_000, size: 0 }
    }
}

impl Tape {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn folder(self, name: &str) -> Self {
        self.entry(&Head::new(b'5', name.as_bytes()), b"")
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(&Head { size: data.len() as u64, ..Head::new(b'0', name.as_bytes()) }, data)
    }

    pub(crate) fn symlink(self, name: &str, to: &str) -> Self {
        self.entry(&Head { link: to.as_bytes(), ..Head::new(b'2', name.as_bytes()) }, b"")
    }

    pub(crate) fn hard_link(self, name: &str, to: &str) -> Self {
        self.entry(&Head { link: to.as_bytes(), ..Head::new(b'1', name.as_bytes()) }, b"")
    }

    pub(crate) fn special(self, kind: u8, name: &str) -> Self {
        self.entry(&Head::new(kind, name.as_bytes()), b"")
    }

    /// An extended header for the next entry.
    pub(crate) fn extended(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
            let fits = |n: &usize| n.to_string().len() + body.len() == *n;
            let length = (body.len()..body.len() + 10).find(fits).unwrap();
            write!(bytes, "{length}").unwrap();
            bytes.extend_from_slice(&body);
        }
        self.entry(&Head { size: bytes.len() as u64, ..Head::new(b'x', b"pax") }, &bytes)
    }

    /// A header and data, padded. Names that do not fit get a GNU long name first.
    pub(crate) fn entry(mut self, head: &Head<'_>, data: &[u8]) -> Self {
        for (text, kind) in [(head.name, b'L'), (head.link, b'K')] {
            if text.len() > 100 {
                let long = Head { size: text.len() as u64, ..Head::new(kind, b"././@LongLink") };
                self = self.entry(&long, text);
            }
        }
        let mut header = tar::Header::new_gnu();
        let old = header.as_old_mut();
        let name = &head.name[..head.name.len().min(100)];
        old.name[..name.len()].copy_from_slice(name);
        let link = &head.link[..head.link.len().min(100)];
        old.linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(tar::EntryType::new(head.kind));
        header.set_mode(head.mode);
        header.set_uid(head.owner.0.into());
        header.set_gid(head.owner.1.into());
        header.set_mtime(head.mtime);
        header.set_size(head.size);
        header.set_cksum();
        self.raw(header.as_bytes()).raw(data)
    }

    /// Any bytes, padded to a block.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        let padded = self.0.len().next_multiple_of(512);
        self.0.resize(padded, 0);
        self
    }

    /// The stream with its end marker.
    pub(crate) fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }

    /// The stream as it is.
    pub(crate) fn cut(self) -> Vec<u8> {
        self.0
    }
}
