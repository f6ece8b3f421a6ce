//! When boxes are to be deleted, as a time.

use boxherd_model::{Address, BoxStatus, Deadline, Timers, Timestamp};
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;

use crate::{Herd, HerdError};

/// The longest cron expression that is read, in bytes.
const LONGEST: usize = 256;

impl Herd {
    /// Sets when a box is deleted, whatever state it is in then, instead of what was set before;
    /// `None` is never. [`BoxStatus`] has the time that came of it.
    pub async fn set_deadline(
        &self,
        address: &Address,
        deadline: Option<Deadline>,
    ) -> Result<BoxStatus, HerdError> {
        // A box that is not there is not there, whatever else is asked.
        self.find(address).await?;
        let end = deadline.as_ref().map(|deadline| time_of(deadline, self.now())).transpose()?;
        let change = self.change_timers(address, |timers, _| {
            timers.delete_at = end;
            timers.deadline = deadline;
        });
        change.await
    }
}

/// Counts anew from `now`, for a copy that is made then.
pub(crate) fn rearm(timers: &mut Timers, now: Timestamp) -> Result<(), HerdError> {
    if let Some(deadline) = &timers.deadline {
        timers.delete_at = Some(time_of(deadline, now)?);
    }
    Ok(())
}

fn time_of(deadline: &Deadline, now: Timestamp) -> Result<Timestamp, HerdError> {
    match deadline {
        Deadline::In(seconds) => Ok(later(now, *seconds)),
        Deadline::Cron(expression) => next_match(expression, now),
    }
}

/// A time that is further away than there are numbers for never comes.
fn later(now: Timestamp, seconds: u64) -> Timestamp {
    let millis = i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.millis().saturating_add(millis))
}

/// The first match after `now`, UTC.
fn next_match(expression: &str, now: Timestamp) -> Result<Timestamp, HerdError> {
    let invalid = |reason: String| HerdError::Invalid { field: "delete_after_cron", reason };
    if expression.len() > LONGEST {
        return Err(invalid(format!("a cron expression has at most {LONGEST} bytes")));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(expression).map_err(|error| {
        let shown: String = expression.chars().take(80).collect();
        invalid(format!("`{shown}` is no cron expression such as `0 18 * * *`: {error}"))
    })?;
    let now = jiff::Timestamp::from_millisecond(now.millis());
    let now = now.map_err(|error| invalid(error.to_string()))?;
    let next = cron.find_next_occurrence(&now.to_zoned(TimeZone::UTC), false);
    let next = next.map_err(|error| invalid(format!("it never comes: {error}")))?;
    Ok(Timestamp::from_millis(next.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2023-11-14 22:13:20 UTC, a Tuesday.
    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);
    const DAY: i64 = 24 * 3600 * 1000;
    const MIDNIGHT: i64 = 1_699_920_000_000;

    #[test]
    fn times_have_edges() {
        let now = Timestamp::from_millis(1_000);
        assert_eq!(later(now, 1).millis(), 2_000);
        assert_eq!(later(now, u64::MAX).millis(), i64::MAX);
    }

    #[test]
    fn the_next_match_of_an_expression_is_found() {
        let next = |text: &str| next_match(text, NOW).unwrap().millis();
        assert_eq!(next("0 18 * * *"), MIDNIGHT + DAY + 18 * 3600 * 1000);
        assert_eq!(next("14 22 * * *"), MIDNIGHT + 22 * 3600 * 1000 + 14 * 60 * 1000);
        assert_eq!(next("@daily"), MIDNIGHT + DAY);
        assert_eq!(next("0 0 * * FRI"), MIDNIGHT + 3 * DAY);
        // A match is later than now, never now.
        let noon = next_match("0 12 * * *", Timestamp::from_millis(MIDNIGHT)).unwrap();
        assert_eq!(next_match("0 12 * * *", noon).unwrap().millis(), noon.millis() + DAY);
    }

    #[test]
    fn what_is_no_expression_or_never_comes_is_refused() {
        let long = "1,".repeat(200);
        for text in ["", "daily", "* * * *", "0 0 18 * * *", "61 * * * *", "0 0 30 2 *", &long] {
            let refused = next_match(text, NOW).unwrap_err();
            let named = matches!(refused, HerdError::Invalid { field: "delete_after_cron", .. });
            assert!(named, "`{text}`: {refused}");
        }
    }
}
