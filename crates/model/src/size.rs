//! Sizes in bytes, as people write them.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;

/// A number of bytes. Written `512M`, `10GiB`, `1500kB` or `4096`: `K M G T` and `KiB MiB GiB TiB`
/// are powers of 1024, `kB MB GB TB` are powers of 1000. No fractions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Why a size was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No digits at the start.
    #[error("`{0}` does not begin with a whole number")]
    NoNumber(String),
    /// The suffix is not one of the known units.
    #[error(
        "`{0}` is not a unit, use `K`, `M`, `G`, `T`, `KiB`, `MiB`, `GiB`, `TiB`, `kB`, `MB`, `GB` or `TB`"
    )]
    UnknownUnit(String),
    /// More than `u64::MAX` bytes.
    #[error("`{0}` is more than 16 EiB")]
    Overflow(String),
}

const KIB: u64 = 1024;
const KB: u64 = 1000;

/// Units from the largest down, so that `Display` picks the largest that divides.
const BINARY: [(&str, u64); 4] =
    [("TiB", KIB * KIB * KIB * KIB), ("GiB", KIB * KIB * KIB), ("MiB", KIB * KIB), ("KiB", KIB)];

impl ByteSize {
    /// `bytes` bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// `count` MiB; saturates at `u64::MAX` bytes.
    #[must_use]
    pub const fn from_mib(count: u64) -> Self {
        Self(count.saturating_mul(KIB * KIB))
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

fn unit(suffix: &str) -> Option<u64> {
    Some(match suffix {
        "" | "B" => 1,
        "k" | "K" | "KiB" => KIB,
        "m" | "M" | "MiB" => KIB * KIB,
        "g" | "G" | "GiB" => KIB * KIB * KIB,
        "t" | "T" | "TiB" => KIB * KIB * KIB * KIB,
        "kB" => KB,
        "MB" => KB * KB,
        "GB" => KB * KB * KB,
        "TB" => KB * KB * KB * KB,
        _ => return None,
    })
}

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, suffix) = text.split_at(end);
        if digits.is_empty() {
            return Err(SizeError::NoNumber(text.to_owned()));
        }
        let unit = unit(suffix).ok_or_else(|| SizeError::UnknownUnit(suffix.to_owned()))?;
        let number: u64 = digits.parse().map_err(|_| SizeError::Overflow(text.to_owned()))?;
        number.checked_mul(unit).map(Self).ok_or_else(|| SizeError::Overflow(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    /// The largest binary unit that divides the size exactly, so that printing and parsing agree.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = BINARY.iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        match exact {
            Some((name, unit)) => f.pad(&format!("{}{name}", self.0 / unit)),
            None => f.pad(&self.0.to_string()),
        }
    }
}

serde_as_text!(ByteSize);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_units_people_write() {
        for (text, bytes) in [
            ("0", 0),
            ("512M", 512 << 20),
            ("10GiB", 10 << 30),
            ("1MB", 1_000_000),
            ("7kB", 7_000),
            ("16777215T", 16_777_215 << 40),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        assert!(matches!("".parse::<ByteSize>(), Err(SizeError::NoNumber(_))));
        assert!(matches!("-1".parse::<ByteSize>(), Err(SizeError::NoNumber(_))));
        assert!(matches!("1.5G".parse::<ByteSize>(), Err(SizeError::UnknownUnit(_))));
        assert!(matches!("5 G".parse::<ByteSize>(), Err(SizeError::UnknownUnit(_))));
        assert!(matches!("16777216T".parse::<ByteSize>(), Err(SizeError::Overflow(_))));
        assert!(matches!("99999999999999999999".parse::<ByteSize>(), Err(SizeError::Overflow(_))));
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(bytes: u64) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _: Result<ByteSize, _> = text.parse();
        }
    }
}
