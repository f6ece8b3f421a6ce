//! Names for boxes that were given none.

use boxherd_model::BoxName;

const ADJECTIVES: [&str; 32] = [
    "amber", "brave", "brisk", "calm", "clear", "crisp", "deft", "eager", "fair", "fleet", "fond",
    "glad", "keen", "kind", "light", "lively", "lucid", "mellow", "merry", "neat", "noble",
    "plain", "proud", "quick", "quiet", "ready", "sharp", "spry", "still", "swift", "warm", "wise",
];
const NOUNS: [&str; 32] = [
    "alder", "badger", "beech", "birch", "cedar", "crane", "falcon", "fern", "finch", "fox",
    "gull", "hare", "hazel", "heron", "ibex", "jay", "lark", "linden", "lynx", "maple", "marten",
    "otter", "owl", "plover", "raven", "robin", "rowan", "seal", "stoat", "swan", "willow", "wren",
];

/// An adjective, a noun and four hex digits, all taken from `random`.
pub(crate) fn from_random(random: u64) -> BoxName {
    let adjective = ADJECTIVES[(random & 31) as usize];
    let noun = NOUNS[(random >> 5 & 31) as usize];
    let name = format!("{adjective}-{noun}-{:04x}", random >> 10 & 0xffff);
    name.parse().expect("made of lower-case letters, digits and inner hyphens")
}

/// The name of the `n`th copy of `of`, shortened where it would be too long.
pub(crate) fn of_copy(of: &BoxName, random: u64) -> BoxName {
    let suffix = format!("-{:06x}", random & 0xff_ffff);
    let kept = of.as_str().len().min(63 - suffix.len());
    let name = format!("{}{suffix}", of.as_str()[..kept].trim_end_matches('-'));
    name.parse().expect("the beginning of a name and a hex suffix")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_random_number_gives_a_name(random: u64, of in "[a-z]([a-z0-9-]{0,61}[a-z0-9])?") {
            from_random(random);
            let of: BoxName = of.parse().unwrap();
            prop_assert_ne!(of_copy(&of, random), of);
        }
    }
}
