//! What boxes used over time, as sums by day.

use std::collections::BTreeMap;

use crate::{BoxState, Timestamp};

/// Milliseconds of a day.
pub const DAY: i64 = 24 * 3600 * 1000;

/// What a box used of one day, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Milliseconds in which it ran.
    pub running: u64,
    /// Milliseconds in which it was suspended.
    pub suspended: u64,
    /// Milliseconds in which it was hibernated.
    pub hibernated: u64,
    /// Milliseconds in which it was stopped or failed.
    pub stopped: u64,
    /// Milliseconds of one processor, while it ran.
    pub cpu: u64,
    /// Milliseconds of one MiB of memory, while it ran or was suspended.
    pub memory: u64,
    /// Milliseconds of one MiB of disk.
    pub disk: u64,
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        let add = |mine: &mut u64, others: u64| *mine = mine.saturating_add(others);
        add(&mut self.running, other.running);
        add(&mut self.suspended, other.suspended);
        add(&mut self.hibernated, other.hibernated);
        add(&mut self.stopped, other.stopped);
        add(&mut self.cpu, other.cpu);
        add(&mut self.memory, other.memory);
        add(&mut self.disk, other.disk);
    }
}

/// What a box takes while time passes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Processors, in thousandths.
    pub cpu_millis: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of disk.
    pub disk: u64,
}

/// Counts what a box uses from one time to another. Pure: the caller says what time it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    /// Where [`days`](Self::days) begin.
    pub from: Timestamp,
    /// How far was counted.
    pub at: Timestamp,
    /// The state since then.
    pub state: BoxState,
    /// What it takes since then.
    pub taken: Taken,
    /// What was counted, by days since 1970-01-01 UTC.
    pub days: BTreeMap<i64, Sums>,
}

impl Meter {
    /// Counts from `from` on.
    #[must_use]
    pub fn new(from: Timestamp, state: BoxState, taken: Taken) -> Self {
        Self { from, at: from, state, taken, days: BTreeMap::new() }
    }

    /// Counts up to `now`. A clock that went back counts nothing until it is where it was.
    pub fn advance(&mut self, now: Timestamp) {
        while self.at < now {
            let day = day(self.at);
            let end = now.millis().min((day + 1).saturating_mul(DAY));
            let millis = u64::try_from(end - self.at.millis()).unwrap_or(0);
            let sums = self.sums(millis);
            *self.days.entry(day).or_default() += sums;
            self.at = Timestamp::from_millis(end);
        }
    }

    /// Gives back what was counted and goes on from there.
    pub fn take(&mut self) -> BTreeMap<i64, Sums> {
        self.from = self.at;
        std::mem::take(&mut self.days)
    }

    fn sums(&self, millis: u64) -> Sums {
        let mib = |bytes: u64| product(bytes, millis, 1 << 20);
        let mut sums = Sums { disk: mib(self.taken.disk), ..Sums::default() };
        match self.state {
            BoxState::Running | BoxState::Starting => {
                sums.running = millis;
                sums.cpu = product(self.taken.cpu_millis.into(), millis, 1000);
                sums.memory = mib(self.taken.memory);
            }
            BoxState::Suspended => {
                sums.suspended = millis;
                sums.memory = mib(self.taken.memory);
            }
            BoxState::Hibernated => sums.hibernated = millis,
            BoxState::Stopped | BoxState::Failed | BoxState::Pending | BoxState::Deleting => {
                sums.stopped = millis;
            }
            BoxState::Gone => return Sums::default(),
        }
        sums
    }
}

/// The day of a time, counted from 1970-01-01 UTC.
#[must_use]
pub fn day(time: Timestamp) -> i64 {
    time.millis().div_euclid(DAY)
}

fn product(amount: u64, millis: u64, unit: u64) -> u64 {
    let product = u128::from(amount) * u128::from(millis) / u128::from(unit);
    u64::try_from(product).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_day_ends_at_midnight() {
        let taken = Taken { cpu_millis: 1500, memory: 2 << 20, disk: 3 << 20 };
        let mut meter = Meter::new(at(DAY - 1000), BoxState::Running, taken);
        meter.advance(at(2 * DAY + 4000));
        let whole = u64::try_from(DAY).unwrap();
        let sums = |millis| Sums {
            running: millis,
            cpu: millis * 3 / 2,
            memory: millis * 2,
            disk: millis * 3,
            ..Sums::default()
        };
        let days = meter.take();
        assert_eq!(days, [(0, sums(1000)), (1, sums(whole)), (2, sums(4000))].into());
        assert_eq!((meter.from, meter.at), (at(2 * DAY + 4000), at(2 * DAY + 4000)));
        meter.advance(at(0));
        assert_eq!(meter.take(), BTreeMap::new(), "a clock that goes back counts nothing");
    }

    #[test]
    fn what_has_no_processes_takes_disk_only() {
        let taken = Taken { cpu_millis: 1000, memory: 1 << 20, disk: 1 << 20 };
        let mut meter = Meter::new(at(0), BoxState::Stopped, taken);
        meter.advance(at(500));
        meter.state = BoxState::Suspended;
        meter.advance(at(600));
        let sums = Sums { stopped: 500, suspended: 100, memory: 100, disk: 600, ..Sums::default() };
        assert_eq!(meter.take(), [(0, sums)].into());
    }

    proptest! {
        #[test]
        fn no_moment_is_lost_or_counted_twice(
            start in 0..3 * DAY,
            steps in prop::collection::vec((0..2 * DAY, 0..BoxState::ALL.len()), 0..20),
        ) {
            let mut meter = Meter::new(at(start), BoxState::Running, Taken::default());
            let (mut now, mut gone) = (start, 0);
            for (step, state) in steps {
                now += step;
                gone += if meter.state == BoxState::Gone { step } else { 0 };
                meter.advance(at(now));
                meter.state = BoxState::ALL[state];
            }
            let mut all = Sums::default();
            meter.take().into_values().for_each(|sums| all += sums);
            let counted = all.running + all.suspended + all.hibernated + all.stopped;
            prop_assert_eq!(i64::try_from(counted).unwrap(), now - start - gone);
        }
    }
}
