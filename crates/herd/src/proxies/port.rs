//! To which port of a box a proxy leads: pure.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU16;

/// Where an automatic proxy looks first, best first.
const LIKELY: [u16; 7] = [80, 443, 8080, 8000, 3000, 5000, 5173];
/// Where the default proxy of a box leads until it is set.
const DEFAULT: NonZeroU16 = NonZeroU16::new(8000).expect("not zero");

/// A port of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Port {
    /// This one.
    Fixed(NonZeroU16),
    /// One on which something listens, found anew as the box changes.
    Auto,
}

impl Default for Port {
    fn default() -> Self {
        Self::Fixed(DEFAULT)
    }
}

impl Port {
    /// As a number: 0 is [`Port::Auto`].
    #[must_use]
    pub fn from_number(number: u16) -> Self {
        NonZeroU16::new(number).map_or(Self::Auto, Self::Fixed)
    }

    /// The number, 0 for [`Port::Auto`].
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Fixed(port) => port.get(),
            Self::Auto => 0,
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(port) => write!(f, "{port}"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

/// The one of the ports on which something listens that is most likely meant.
#[must_use]
pub fn likeliest(listening: impl IntoIterator<Item = u16>) -> Option<u16> {
    let listening: BTreeSet<u16> = listening.into_iter().collect();
    let likely = LIKELY.into_iter().find(|port| listening.contains(port));
    likely.or_else(|| listening.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_web_listens_on_comes_first_and_then_the_lowest() {
        assert_eq!(likeliest([22, 5000, 3000, 9999]), Some(3000));
        assert_eq!(likeliest([8080, 80]), Some(80));
        assert_eq!(likeliest([9999, 1234]), Some(1234));
        assert_eq!(likeliest([]), None);
    }

    #[test]
    fn zero_is_auto() {
        assert_eq!(Port::from_number(0), Port::Auto);
        assert_eq!(Port::from_number(80).number(), 80);
        assert_eq!(Port::default().to_string(), "8000");
        assert_eq!(Port::Auto.to_string(), "auto");
    }
}
