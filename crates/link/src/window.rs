//! How much of a bulk transfer is under way at once, beyond a new stream's window. Pure.
//!
//! A sender waits for credit once a window is under way, so that no transfer is faster than a window per
//! round trip. Near, a small one is fastest (what is under way stays in the processor's caches);
//! far, it has to hold what the network takes in a round trip.

use std::time::Duration;

/// What is enough on one machine, in bytes: few, large frames make a bulk transfer fast.
pub const NEAR: u32 = 768 * 1024;
/// The most that is under way for one transfer into a box, in bytes: it waits in the memory of its agent,
/// which is the box's.
pub const MOST_IN: u32 = 8 * 1024 * 1024;
/// The most that is under way for one out of it, in bytes: it waits in the host's memory.
pub const MOST_OUT: u32 = 16 * 1024 * 1024;
/// What a transfer over a distance is to reach at least, in bytes per second.
const RATE: u64 = 500_000_000;

/// The window for a round trip of that time, at most `most`; of one that is not known yet, the small one.
#[must_use]
pub fn of_round_trip(time: Option<Duration>, most: u32) -> u32 {
    let Some(time) = time else { return NEAR };
    let bytes = u128::from(RATE) * time.as_micros() / 1_000_000;
    u32::try_from(bytes).unwrap_or(most).clamp(NEAR, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_the_distance_and_has_an_end() {
        let of = |millis| of_round_trip(Some(Duration::from_millis(millis)), MOST_IN);
        assert_eq!((of_round_trip(None, MOST_IN), of(0), of(1)), (NEAR, NEAR, NEAR));
        assert_eq!((of(5), of(10), of(27)), (2_500_000, 5_000_000, MOST_IN));
        assert_eq!((of(1000), of(u64::MAX)), (MOST_IN, MOST_IN));
        let out = of_round_trip(Some(Duration::from_millis(27)), MOST_OUT);
        assert_eq!(out, 13_500_000);
    }
}
