//! Whether there is room for more boxes: under a user's quota, and on the host. Pure.

use std::fmt;

use crate::{BoxSpec, BoxState, ByteSize, Limits, Quota};

/// The memory limit of a box that names none, of a user with a quota of memory.
const MEMORY: ByteSize = ByteSize::from_mib(1024);
/// The disk limit of a box that names none, of a user with a quota of disk.
const DISK: ByteSize = ByteSize::from_mib(10 * 1024);

/// What boxes take together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Boxes in any state.
    pub boxes: u32,
    /// Memory limits of those that have processes, in bytes.
    pub memory: u64,
    /// Disk limits, in bytes.
    pub disk: u64,
}

/// What an engine has for boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Memory for all boxes together, in bytes.
    pub memory: u64,
    /// Disk that is free now, in bytes.
    pub disk: u64,
}

/// What there would be too much of, and how much is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Boxes of the user.
    Boxes(u32),
    /// Memory of the user.
    Memory(u64),
    /// Disk of the user.
    Disk(u64),
    /// Memory of the host.
    HostMemory(u64),
    /// Free disk of the host.
    HostDisk(u64),
}

impl Holdings {
    /// What a box takes in that state.
    #[must_use]
    pub fn of(limits: &Limits, state: BoxState) -> Self {
        let memory = if has_processes(state) { bytes(limits.memory) } else { 0 };
        Self { boxes: 1, memory, disk: bytes(limits.disk) }
    }

    /// What a box takes when it is started that had no processes.
    #[must_use]
    pub fn of_start(spec: &BoxSpec) -> Self {
        Self { memory: bytes(spec.limits.memory), ..Self::default() }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            boxes: self.boxes.saturating_add(other.boxes),
            memory: self.memory.saturating_add(other.memory),
            disk: self.disk.saturating_add(other.disk),
        }
    }
}

/// Whether a box in that state has processes, which use memory.
#[must_use]
pub const fn has_processes(state: BoxState) -> bool {
    matches!(
        state,
        BoxState::Pending | BoxState::Starting | BoxState::Running | BoxState::Suspended
    )
}

fn bytes(size: Option<ByteSize>) -> u64 {
    size.map_or(0, ByteSize::bytes)
}

impl Quota {
    /// Gives a box that names no limit one that counts, where there is a quota.
    pub fn fill_in(&self, spec: &mut BoxSpec) {
        let limits = &mut spec.limits;
        limits.memory = limits.memory.or(self.memory.map(|quota| quota.min(MEMORY)));
        limits.disk = limits.disk.or(self.disk.map(|quota| quota.min(DISK)));
    }

    /// Whether somebody who has `has` may have `more`.
    ///
    /// # Errors
    ///
    /// What there would be too much of. What is not asked for more of never is.
    pub fn admit(&self, has: Holdings, more: Holdings) -> Result<(), Excess> {
        let sum = has.and(more);
        let over = |limit: Option<u64>, more: u64, sum: u64| {
            limit.filter(|limit| more > 0 && sum > *limit)
        };
        let boxes = over(self.boxes.map(u64::from), more.boxes.into(), sum.boxes.into());
        if let (Some(_), Some(limit)) = (boxes, self.boxes) {
            return Err(Excess::Boxes(limit));
        }
        if let Some(limit) = over(self.memory.map(ByteSize::bytes), more.memory, sum.memory) {
            return Err(Excess::Memory(limit));
        }
        over(self.disk.map(ByteSize::bytes), more.disk, sum.disk)
            .map_or(Ok(()), |limit| Err(Excess::Disk(limit)))
    }
}

impl Room {
    /// Whether `more` has room beside boxes that take `has`.
    ///
    /// # Errors
    ///
    /// What there is too little of.
    pub fn admit(self, has: Holdings, more: Holdings) -> Result<(), Excess> {
        match has.and(more) {
            sum if more.memory > 0 && sum.memory > self.memory => {
                Err(Excess::HostMemory(self.memory))
            }
            _ if more.disk > self.disk => Err(Excess::HostDisk(self.disk)),
            _ => Ok(()),
        }
    }
}

impl Excess {
    /// The name of the quota.
    #[must_use]
    pub const fn quota(self) -> &'static str {
        match self {
            Self::Boxes(_) => "boxes",
            Self::Memory(_) => "memory",
            Self::Disk(_) => "disk",
            Self::HostMemory(_) => "memory of the host",
            Self::HostDisk(_) => "disk of the host",
        }
    }
}

/// How much is allowed.
impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boxes(limit) => write!(f, "{limit}"),
            Self::Memory(limit)
            | Self::Disk(limit)
            | Self::HostMemory(limit)
            | Self::HostDisk(limit) => write!(f, "{}", ByteSize::from_bytes(*limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holdings() -> impl Strategy<Value = Holdings> {
        (0u32..20, 0u64..20, 0u64..20).prop_map(|(boxes, memory, disk)| Holdings {
            boxes,
            memory,
            disk,
        })
    }

    fn quota() -> impl Strategy<Value = Quota> {
        let limit = || proptest::option::of(0u64..20);
        (proptest::option::of(0u32..20), limit(), limit()).prop_map(|(boxes, memory, disk)| Quota {
            boxes,
            memory: memory.map(ByteSize::from_bytes),
            disk: disk.map(ByteSize::from_bytes),
            execs: None,
        })
    }

    fn within(quota: &Quota, has: Holdings) -> bool {
        quota.boxes.is_none_or(|limit| has.boxes <= limit)
            && quota.memory.is_none_or(|limit| has.memory <= limit.bytes())
            && quota.disk.is_none_or(|limit| has.disk <= limit.bytes())
    }

    proptest! {
        #[test]
        fn nobody_comes_to_have_more_than_the_quota(
            quota in quota(),
            wishes in proptest::collection::vec(holdings(), 0..10),
        ) {
            let mut has = Holdings::default();
            for more in wishes {
                match quota.admit(has, more) {
                    Ok(()) => has = has.and(more),
                    Err(excess) => {
                        prop_assert!(!within(&quota, has.and(more)), "{}", excess.quota());
                    }
                }
                prop_assert!(within(&quota, has));
            }
        }

        #[test]
        fn whoever_has_too_much_may_have_no_more_of_it_and_more_of_the_rest(
            quota in quota(), has in holdings(), more in holdings(),
        ) {
            let untouched = Quota { boxes: quota.boxes.filter(|_| more.boxes > 0),
                memory: quota.memory.filter(|_| more.memory > 0),
                disk: quota.disk.filter(|_| more.disk > 0), ..quota };
            prop_assert_eq!(quota.admit(has, more).is_ok(), within(&untouched, has.and(more)));
        }

        #[test]
        fn the_host_gives_no_more_than_it_has(
            memory in 0u64..40, disk in 0u64..40, has in holdings(), more in holdings(),
        ) {
            let admitted = Room { memory, disk }.admit(has, more).is_ok();
            let fits = (more.memory == 0 || has.memory + more.memory <= memory)
                && more.disk <= disk;
            prop_assert_eq!(admitted, fits);
        }
    }

    #[test]
    fn without_a_quota_there_is_no_limit() {
        let much = Holdings { boxes: u32::MAX, memory: u64::MAX, disk: u64::MAX };
        assert_eq!(Quota::default().admit(much, much), Ok(()));
    }

    #[test]
    fn boxes_that_name_no_limit_get_one_that_counts() {
        let mut spec = BoxSpec::new("web".parse().unwrap());
        Quota::default().fill_in(&mut spec);
        assert_eq!(spec.limits, crate::Limits::default());
        let memory = Some(ByteSize::from_mib(512));
        Quota { memory, disk: Some(ByteSize::from_mib(1 << 20)), ..Quota::default() }
            .fill_in(&mut spec);
        assert_eq!(spec.limits.memory, memory);
        assert_eq!(spec.limits.disk, Some(DISK));
        assert_eq!(Holdings::of(&spec.limits, BoxState::Running).memory, 512 << 20);
        assert_eq!(Holdings::of(&spec.limits, BoxState::Stopped).memory, 0);
    }
}
