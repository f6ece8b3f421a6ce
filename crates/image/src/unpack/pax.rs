//! Extended headers: `LENGTH KEY=VALUE\n` records that overrule the header of the next member
//! (POSIX.1-2001, pax). Values are bytes and may hold newlines, as capabilities do.

use super::sparse::Segment;

/// What the records of one extended header say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Sparse,
}

/// The records of the three ways in which GNU tar writes sparse files here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sparse {
    /// `(1, 0)`: the map precedes the data.
    pub(super) version: (u64, u64),
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// The map of versions 0.0 and 0.1.
    pub(super) map: Vec<Segment>,
    offset: Option<u64>,
}

/// Seconds and nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Time {
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
}

/// The record that could not be understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadRecord;

impl Extended {
    /// Reads all records of one header.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, BadRecord> {
        let mut extended = Self::default();
        while !bytes.is_empty() {
            let (key, value, rest) = split_record(bytes).ok_or(BadRecord)?;
            extended.apply(key, value).ok_or(BadRecord)?;
            bytes = rest;
        }
        Ok(extended)
    }

    /// `None` when the value of a known key makes no sense. Unknown keys (comments, access times,
    /// names of owners, other programs' own) say nothing that a layer keeps.
    fn apply(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.push((name.to_owned(), value.to_owned()));
            return Some(());
        }
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.apply(key, value);
        }
        match key {
            b"path" => self.path = Some(value.to_owned()),
            b"linkpath" => self.link = Some(value.to_owned()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            _ => {}
        }
        Some(())
    }
}

impl Sparse {
    fn apply(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"major" => self.version.0 = number(value)?,
            b"minor" => self.version.1 = number(value)?,
            b"name" => self.name = Some(value.to_owned()),
            b"realsize" | b"size" => self.real_size = Some(number(value)?),
            b"offset" => self.offset = Some(number(value)?),
            b"numbytes" => {
                self.map.push(Segment { offset: self.offset.take()?, length: number(value)? });
            }
            b"map" => {
                let numbers =
                    value.split(|byte| *byte == b',').map(number).collect::<Option<Vec<_>>>()?;
                let pairs = numbers.chunks_exact(2);
                pairs.remainder().is_empty().then_some(())?;
                self.map = pairs.map(|p| Segment { offset: p[0], length: p[1] }).collect();
            }
            _ => {}
        }
        Some(())
    }
}

fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&bytes[..space])?).ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &bytes[length..]))
}

/// An unsigned decimal number, digits only.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let text = str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `-12.345`: seconds with a fraction, which is cut off after nanoseconds.
fn time(text: &[u8]) -> Option<Time> {
    let text = str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds = u32::try_from(number(digits.as_bytes())?).ok()?;
    if text.starts_with('-') && nanoseconds > 0 {
        // The fraction of a negative time counts away from zero.
        return Some(Time {
            seconds: seconds.checked_sub(1)?,
            nanoseconds: 1_000_000_000 - nanoseconds,
        });
    }
    Some(Time { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        // The length counts its own digits.
        let length = (1..20).map(|digits| body.len() + digits);
        let length = length.into_iter().find(|n| n.to_string().len() + body.len() == *n).unwrap();
        [length.to_string().as_bytes(), &body].concat()
    }

    #[test]
    fn records_overrule_and_values_may_hold_newlines() {
        let capability = b"\x01\0\0\x02\n\n=\n";
        let bytes = [
            record("path", b"a/very/long/name"),
            record("SCHILY.xattr.security.capability", capability),
            record("comment", b"nobody reads this"),
            record("size", b"8589934593"),
            record("mtime", b"1700000000.5"),
        ]
        .concat();
        let extended = Extended::parse(&bytes).unwrap();
        assert_eq!(extended.path.as_deref(), Some(&b"a/very/long/name"[..]));
        assert_eq!(extended.xattrs, [(b"security.capability".to_vec(), capability.to_vec())]);
        assert_eq!(extended.size, Some(8_589_934_593));
        let half = Time { seconds: 1_700_000_000, nanoseconds: 500_000_000 };
        assert_eq!(extended.mtime, Some(half));
    }

    #[test]
    fn times_before_the_epoch_keep_their_fraction() {
        assert_eq!(time(b"-1.25"), Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
        assert_eq!(time(b"-0.5"), Some(Time { seconds: -1, nanoseconds: 500_000_000 }));
        assert_eq!(time(b"7"), Some(Time { seconds: 7, nanoseconds: 0 }));
        assert_eq!(time(b"x"), None);
        assert_eq!(time(b""), None);
    }

    #[test]
    fn what_lies_about_its_length_is_refused() {
        for bytes in [&b"99 path=x\n"[..], b"6 a=\n", b"x path=y\n", b"0 =\n", b"9 path=xy"] {
            assert_eq!(Extended::parse(bytes), Err(BadRecord), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            // Either answer is right; what is tested is that there is one.
            let answered = Extended::parse(&bytes).map(|_| ()).map_or_else(|_| true, |()| true);
            prop_assert!(answered);
        }

        #[test]
        fn a_path_round_trips(path in proptest::collection::vec(any::<u8>(), 0..300)) {
            let extended = Extended::parse(&record("path", &path)).unwrap();
            prop_assert_eq!(extended.path, Some(path));
        }
    }
}
