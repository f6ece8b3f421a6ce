//! What boxes used over time: counted here, kept by the store as sums by day.
//!
//! A server counts while it looks after boxes. Every change of state that it makes or sees is a reading
//! of the box's meter, in memory; readings go to the store soon after a change and every minute, so
//! that a server that is killed knows all but the last seconds. What passed while none ran counts as
//! the state a box is found in.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

use boxherd_model::usage::{DAY, Meter, Sums, Taken, day};
use boxherd_model::{Address, BoxId, BoxState, BoxStatus, Timestamp, UserId};
use boxherd_store::{BoxRecord, UsageRecord};
use parking_lot::Mutex;

use crate::herd::status;
use crate::{Herd, HerdError};

/// How long what was counted may be in memory only, in milliseconds.
const KEPT_BACK: i64 = 60_000;
/// Days after which what was used is forgotten.
const LONGEST: i64 = 366;
/// Sums that are kept altogether.
const MOST: u32 = 1_000_000;

/// The meters of the boxes that this process has seen. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meters {
    entries: Arc<Mutex<HashMap<BoxId, Entry>>>,
    /// One reads meters into the store at a time.
    reading: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Clone)]
struct Entry {
    meter: Meter,
    owner: Option<UserId>,
    name: String,
    created: Timestamp,
    /// When this process first saw it.
    seen: Timestamp,
    /// Whether the store was asked up to when it was counted.
    synced: bool,
    /// Whether it changed since it was last read into the store.
    changed: bool,
}

/// What one box used.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// The box.
    pub id: BoxId,
    /// Its name, or the last one it had.
    pub name: String,
    /// Whose it is.
    pub owner: Option<UserId>,
    /// The box as it is now; `None` of one that was deleted.
    pub now: Option<BoxStatus>,
    /// From when on; days are counted whole.
    pub from: Timestamp,
    /// Up to when.
    pub to: Timestamp,
    /// How much.
    pub sums: Sums,
}

impl Meters {
    /// Reads the meters of boxes as they are written down now.
    pub(crate) fn saw(&self, records: &[BoxRecord], now: Timestamp) {
        let mut entries = self.entries.lock();
        for record in records {
            let entry = entries.entry(record.id).or_insert_with(|| Entry::new(record, now));
            entry.name = record.spec.name.to_string();
            let cpu_millis = cpus(record);
            if entry.meter.state != record.state || entry.meter.taken.cpu_millis != cpu_millis {
                entry.meter.advance(now);
                entry.meter.state = record.state;
                entry.meter.taken.cpu_millis = cpu_millis;
                entry.changed = true;
            }
        }
    }

    /// Reads the meters of boxes that are gone for the last time.
    pub(crate) fn ended(&self, removed: &[BoxId], now: Timestamp) {
        let mut entries = self.entries.lock();
        for id in removed {
            if let Some(entry) = entries.get_mut(id) {
                entry.end(now);
            }
        }
    }

    /// The same for all that are not among `records`, which were asked for at `asked`.
    fn ended_but_for(&self, records: &[BoxRecord], asked: Timestamp) {
        let there: HashSet<_> = records.iter().map(|record| record.id).collect();
        let mut entries = self.entries.lock();
        let gone =
            entries.iter_mut().filter(|(id, entry)| !there.contains(id) && entry.seen < asked);
        gone.for_each(|(_, entry)| entry.end(asked));
    }

    /// Those whose reading the store should have by now.
    fn due(&self, now: Timestamp) -> Vec<BoxId> {
        let old = |entry: &Entry| now.millis() - entry.meter.from.millis() >= KEPT_BACK;
        let entries = self.entries.lock();
        let due = entries.iter().filter(|(_, entry)| entry.changed || old(entry));
        due.map(|(id, _)| *id).collect()
    }
}

impl Entry {
    fn new(record: &BoxRecord, now: Timestamp) -> Self {
        let taken = Taken { cpu_millis: cpus(record), ..Taken::default() };
        Self {
            meter: Meter::new(record.created, record.state, taken),
            owner: record.owner,
            name: record.spec.name.to_string(),
            created: record.created,
            seen: now,
            synced: false,
            changed: true,
        }
    }

    fn end(&mut self, now: Timestamp) {
        if self.meter.state != BoxState::Gone {
            self.meter.advance(now);
            self.meter.state = BoxState::Gone;
            self.changed = true;
        }
    }

    fn days(&self, id: BoxId, days: impl IntoIterator<Item = (i64, Sums)>) -> Vec<UsageRecord> {
        let record = |(day, sums)| {
            let (owner, name) = (self.owner, self.name.clone());
            UsageRecord { id, owner, name, day, sums }
        };
        days.into_iter().map(record).collect()
    }
}

impl Herd {
    /// Puts what was counted into the store, of the boxes of which it is due.
    pub(crate) async fn count_usage(&self, records: &[BoxRecord], asked: Timestamp) {
        self.meters.saw(records, asked);
        self.meters.ended_but_for(records, asked);
        for id in self.meters.due(self.now()) {
            if let Err(error) = self.read_meter(id).await {
                tracing::warn!(%error, "what boxes used is put down later");
                return;
            }
        }
        let today = day(asked);
        if self.metered_day.swap(today, Ordering::Relaxed) != today
            && let Err(error) = self.store.forget_used(today - LONGEST, MOST).await
        {
            tracing::warn!(%error, "what boxes used long ago is still written down");
        }
    }

    /// Puts what was counted of a box into the store.
    async fn read_meter(&self, id: BoxId) -> Result<(), HerdError> {
        let _alone = self.meters.reading.lock().await;
        self.sync_meter(id).await?;
        let measured = self.measure(id).await;
        let now = self.now();
        let (entry, from, days) = {
            let mut entries = self.meters.entries.lock();
            let Some(entry) = entries.get_mut(&id) else { return Ok(()) };
            if let Some((memory, disk)) = measured {
                entry.meter.taken.memory = memory;
                entry.meter.taken.disk = disk;
            }
            if entry.meter.state != BoxState::Gone {
                entry.meter.advance(now);
            }
            let from = entry.meter.from;
            entry.changed = false;
            (entry.clone(), from, entry.meter.take())
        };
        let to = entry.meter.at;
        let counted = self.store.count(id, from, to, &entry.days(id, days.clone())).await;
        let mut entries = self.meters.entries.lock();
        let Some(entry) = entries.get_mut(&id) else { return Ok(()) };
        match counted {
            Ok(_) if entry.meter.state == BoxState::Gone => drop(entries.remove(&id)),
            Ok(true) => {}
            // Another server counted that time.
            Ok(false) => entry.synced = false,
            Err(error) => {
                entry.meter.from = from;
                for (day, sums) in days {
                    *entry.meter.days.entry(day).or_default() += sums;
                }
                entry.changed = true;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Goes on from where the store says that a box was counted to.
    async fn sync_meter(&self, id: BoxId) -> Result<(), HerdError> {
        let entry = self.meters.entries.lock().get(&id).cloned();
        let Some(entry) = entry.filter(|entry| !entry.synced) else { return Ok(()) };
        let counted = self.store.counted(id, entry.created).await?;
        let mut entries = self.meters.entries.lock();
        let Some(entry) = entries.get_mut(&id) else { return Ok(()) };
        entry.synced = true;
        if counted != entry.meter.from {
            let until = entry.meter.at;
            entry.meter = Meter::new(counted, entry.meter.state, entry.meter.taken);
            if entry.meter.state == BoxState::Gone {
                entry.meter.at = until.max(counted);
            }
        }
        Ok(())
    }

    /// Memory and disk of a box, where its engine can say.
    async fn measure(&self, id: BoxId) -> Option<(u64, u64)> {
        let record = self.store.box_by_id(id).await.ok().flatten()?;
        let usage = self.engine_of(&record).ok()?.usage(id).await.ok()?;
        Some((usage.memory.unwrap_or(0), usage.disk.unwrap_or(0)))
    }

    /// What a box used, by its id or name; of one that was deleted too. Times are rounded to whole
    /// days, UTC. `None` is from when it was made, at most a year ago, and up to now.
    pub async fn used_by(
        &self,
        text: &str,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Used, HerdError> {
        let none = || HerdError::NoSuch { what: "box", name: text.chars().take(80).collect() };
        let address: Address = text.parse().map_err(|_| none())?;
        match self.find(&address).await {
            Ok(record) => {
                let all = self.used_of(record.owner, since, until).await?;
                all.into_iter().find(|used| used.id == record.id).ok_or_else(none)
            }
            Err(HerdError::NoSuchBox(_)) => {
                let mut found = self.used_of(self.caller.user(), since, until).await?;
                found.retain(|used| used.id.to_string() == text || used.name == text);
                let ids: Vec<_> = found.iter().map(|used| used.id.to_string()).collect();
                match ids.len() {
                    0 | 1 => found.pop().ok_or_else(none),
                    _ => Err(HerdError::Ambiguous { name: text.to_owned(), of: ids }),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// What every box of the caller used, deleted ones too, by id.
    pub async fn used(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Vec<Used>, HerdError> {
        self.used_of(self.caller.user(), since, until).await
    }

    async fn used_of(
        &self,
        owner: Option<UserId>,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Vec<Used>, HerdError> {
        let now = self.now();
        let oldest = Timestamp::from_millis(now.millis() - LONGEST * DAY);
        let since = since.unwrap_or(oldest).max(oldest);
        let until = until.unwrap_or(now).min(now);
        if since > until {
            let reason = "it is later than `until`, or than now".to_owned();
            return Err(HerdError::Invalid { field: "since", reason });
        }
        let mut records = self.store.boxes().await?;
        records.retain(|record| record.owner == owner);
        self.meters.saw(&records, now);
        let counted: Vec<_> = {
            let entries = self.meters.entries.lock();
            entries.iter().filter(|(_, e)| e.owner == owner).map(|(id, _)| *id).collect()
        };
        for id in counted {
            self.read_meter(id).await?;
        }
        let rows = self.store.used(owner, day(since)..=day(until)).await?;
        let mut used: Vec<Used> = Vec::new();
        for row in rows {
            match used.last_mut().filter(|used| used.id == row.id) {
                Some(used) => {
                    used.sums += row.sums;
                    used.name = row.name;
                    used.to = end_of(row.day).min(now);
                }
                None => used.push(Used {
                    id: row.id,
                    name: row.name,
                    owner: row.owner,
                    now: None,
                    from: Timestamp::from_millis(row.day * DAY),
                    to: end_of(row.day).min(now),
                    sums: row.sums,
                }),
            }
        }
        for record in records {
            let Some(used) = used.iter_mut().find(|used| used.id == record.id) else { continue };
            used.from = used.from.max(record.created);
            used.name = record.spec.name.to_string();
            used.now = Some(status(record));
        }
        Ok(used)
    }
}

fn end_of(day: i64) -> Timestamp {
    Timestamp::from_millis((day + 1).saturating_mul(DAY))
}

/// A box without a limit has every processor of the host.
fn cpus(record: &BoxRecord) -> u32 {
    // Asked once: it reads the files of this process's control groups.
    static HOST: LazyLock<u32> = LazyLock::new(|| {
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        u32::try_from(count).unwrap_or(u32::MAX).saturating_mul(1000)
    });
    record.spec.limits.cpus.map_or_else(|| *HOST, |cpus| cpus.millis())
}
