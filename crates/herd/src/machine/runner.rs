//! Runs the commands of machine specs, in order, in boxes that run.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use boxherd_link::{ExecRequest, ExitStatus};
use boxherd_model::{Address, BoxId, BoxState, Caller, Timestamp};
use boxherd_store::{BoxRecord, ThingKind};
use bytes::Bytes;
use parking_lot::Mutex;

use super::{Machine, Package, PackageState, packages};
use crate::belongings::read;
use crate::herd::lock_error;
use crate::{Herd, HerdError, locks};

/// How long a command may take.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// Bytes of its output that are kept.
const TAIL: usize = 4096;
/// After so many looks the store is asked again what is to be run: another server may have died.
const LOOKS: u32 = 30;

/// Writes what `$1` says to the log in the box, and the end of it to its output.
const RUN: &str = r#"
    log=/var/log/boxd/packages.log
    mkdir -p /var/log/boxd && touch "$log" || exit 126
    printf '$ %s\n' "$1" >>"$log"
    start=$(wc -c <"$log")
    sh -c "$1" >>"$log" 2>&1 </dev/null
    code=$?
    tail -c +$((start + 1)) "$log" | tail -c 4096
    exit $code
"#;

/// Which boxes have commands to run. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runners(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    wanted: Mutex<HashSet<BoxId>>,
    running: Mutex<HashSet<BoxId>>,
    looks: AtomicU32,
}

/// One runs the commands of a box until this is dropped.
struct Turn {
    runners: Runners,
    id: BoxId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.runners.0.running.lock().remove(&self.id);
    }
}

impl Herd {
    /// Begins to run what is to be run in every box, in the background.
    pub(crate) async fn run_packages(&self) -> Result<(), HerdError> {
        if self.runners.0.looks.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOKS) {
            for thing in self.store.things(ThingKind::Machine).await? {
                let machine: Machine = read(&thing)?;
                let open = packages::next(&machine.packages).is_some();
                self.runners.0.wanted.lock().extend(thing.of.filter(|_| open));
            }
        }
        let wanted: Vec<_> = self.runners.0.wanted.lock().iter().copied().collect();
        wanted.into_iter().for_each(|id| self.start_packages(id));
        Ok(())
    }

    /// Begins to run what is to be run in a box, in the background.
    pub(crate) fn start_packages(&self, id: BoxId) {
        self.runners.0.wanted.lock().insert(id);
        if !self.runners.0.running.lock().insert(id) {
            return;
        }
        // They are run for whoever wrote the spec, whoever looks after the box.
        let herd = self.acting_for(Caller::Host);
        let turn = Turn { runners: self.runners.clone(), id };
        tokio::spawn(async move {
            if let Err(error) = herd.run_packages_alone(turn.id).await {
                tracing::warn!(%error, id = %turn.id, "packages are installed later");
            }
        });
    }

    /// Does nothing while another server runs what is to be run in the box.
    async fn run_packages_alone(&self, id: BoxId) -> Result<(), HerdError> {
        let name = format!("packages-{id}");
        let held = locks::try_hold(&self.config.locks, &name)
            .map_err(|error| lock_error(&self.config.locks.join(&name), error))?;
        match held {
            Some(_held) => self.run_packages_in(id).await,
            None => Ok(()),
        }
    }

    /// Runs what is to be run in a box, until that is done, fails, or the box does not run.
    async fn run_packages_in(&self, id: BoxId) -> Result<(), HerdError> {
        loop {
            let Some(record) = self.store.box_by_id(id).await? else {
                self.runners.0.wanted.lock().remove(&id);
                return Ok(());
            };
            // It is looked at again.
            if record.state != BoxState::Running {
                return Ok(());
            }
            let now = self.now();
            let begun = self.edit_machine(&record, |machine| Ok(begin_next(machine, now)));
            let Some(command) = begun.await?.flatten() else {
                self.runners.0.wanted.lock().remove(&id);
                return Ok(());
            };
            let ended = self.run_package(&record, &command).await;
            let lost = ended.is_err();
            self.end_package(&record, &command, ended).await?;
            // The box, or this server, is ending: the next look finds out.
            if lost {
                return Ok(());
            }
        }
    }

    async fn end_package(
        &self,
        record: &BoxRecord,
        command: &str,
        ended: Result<(Result<i32, String>, String), HerdError>,
    ) -> Result<(), HerdError> {
        loop {
            let now = self.now();
            let written = self.edit_machine(record, |machine| {
                let package = machine.packages.iter_mut().find(|p| p.command == command);
                match (package, &ended) {
                    (Some(package), Ok((exit, output))) => {
                        package.end(exit.clone(), output.clone(), now);
                    }
                    (Some(package), Err(_)) => package.interrupt(now),
                    (None, _) => {}
                }
                Ok(())
            });
            match written.await {
                // Somebody has worked on the box for long, and will be done.
                Err(HerdError::Busy { .. }) => {}
                written => return written.map(drop),
            }
        }
    }

    /// How a command ended, and the end of what it said. An error is the box's, not the command's.
    async fn run_package(
        &self,
        record: &BoxRecord,
        command: &str,
    ) -> Result<(Result<i32, String>, String), HerdError> {
        let address: Address = crate::herd::status(record.clone()).address();
        let _used = self.in_use(record.id);
        let mut request = ExecRequest::argv(["/bin/sh", "-c", RUN, "sh", command]);
        request.user = Some("root".to_owned());
        request.env = vec![("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned())];
        request.timeout = Some(LONGEST);
        let exec = match self.exec(&address, request).await {
            Err(error @ HerdError::NotBegun { .. }) => {
                return Ok((Err(error.with_causes()), String::new()));
            }
            exec => exec?,
        };
        let name = record.spec.name.to_string();
        let done = exec.collect(Bytes::new(), 2 * TAIL).await;
        let done = done.map_err(|source| HerdError::Link { name, source })?;
        let exit = match done.status {
            ExitStatus::TimedOut => Err("its time, 30 minutes, was up".to_owned()),
            status => Ok(status.shell_code()),
        };
        let said = [done.stdout, done.stderr].concat();
        let mut said = String::from_utf8_lossy(&said).into_owned();
        for (name, value) in self.secrets_in(record).await? {
            said = said.replace(&value, &format!("[secret {name}]"));
        }
        Ok((exit, said))
    }
}

/// The command that runs from now on. Nobody else runs any: whoever did is gone.
fn begin_next(machine: &mut Machine, now: Timestamp) -> Option<String> {
    let running = |package: &&mut Package| package.state == PackageState::Running;
    machine.packages.iter_mut().filter(running).for_each(|package| package.interrupt(now));
    let next = packages::next(&machine.packages)?;
    machine.packages[next].begin(now);
    Some(machine.packages[next].command.clone())
}
