//! The one door to the clock.

use std::time::{Duration, SystemTime};

use boxherd_model::Timestamp;

/// Now.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

/// How long ago something was, in its largest unit, such as `3m`. Nothing is in the future.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = (now.millis().saturating_sub(then.millis()) / 1000).max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

/// A point in time as RFC 3339 writes it, in UTC.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    // Out of range only for a store that was written by someone else; shown as what it holds.
    jiff::Timestamp::from_millisecond(time.millis())
        .map_or_else(|_| time.millis().to_string(), |time| time.to_string())
}

/// Milliseconds with two decimals.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let age_of =
            |seconds: i64| age(Timestamp::from_millis(0), Timestamp::from_millis(seconds * 1000));
        assert_eq!(age_of(0), "0s");
        assert_eq!(age_of(59), "59s");
        assert_eq!(age_of(60), "1m");
        assert_eq!(age_of(7200), "2h");
        assert_eq!(age_of(3 * 86400), "3d");
        assert_eq!(age_of(-5), "0s");
    }
}
