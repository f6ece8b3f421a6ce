//! What was left out of a layer or could not be kept, counted.

use std::collections::BTreeMap;

/// Counts of what a layer does not have although its stream had it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// Device nodes below `dev/`.
    pub(super) devices: u64,
    /// Entries whose owner is not the user, unpacked without root.
    pub(super) owners: u64,
    /// Bookkeeping of aufs and global extended headers.
    pub(super) bookkeeping: u64,
    /// Extended attributes, by name.
    pub(super) xattrs: BTreeMap<String, u64>,
}

impl Notes {
    /// One sentence for each kind of thing.
    pub(super) fn sentences(&self) -> Vec<String> {
        let counted = [
            (self.devices, "device nodes below `dev/` were skipped"),
            (self.owners, "entries belong to the user instead of their own owner"),
            (self.bookkeeping, "entries of bookkeeping were skipped"),
        ];
        let counted = counted.iter().filter(|(count, _)| *count > 0);
        let counted = counted.map(|(count, what)| format!("{count} {what}"));
        let xattrs = self.xattrs.iter();
        let xattrs =
            xattrs.map(|(name, n)| format!("attribute `{name}` of {n} entries was dropped"));
        counted.chain(xattrs).collect()
    }
}
