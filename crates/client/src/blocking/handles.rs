//! What a client has: one line for each method, which does nothing but wait.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::reading::FromThread;
use super::wait::Wait;
use super::{Incoming, Logs, Outgoing, Reader, Running};
use crate::{
    BoxInfo, Checkpoint, Command, Disk, Domain, Entry, Error, ExposedPort, Grant, Image, ImageStep,
    Key, Network, NewBox, NewKey, NewToken, Output, Proxy, Quota, Resized, Scope, Sizes, Snapshot,
    SpecUpdate, SpecUpdated, Template, Token, Usage, User, UserChange, Variable,
};

macro_rules! handles {
    ($($Type:ident {
        $(fn $name:ident(&self $(, $arg:ident: $Arg:ty)*) -> $Out:ty;)*
    })*) => {$(
        #[doc = concat!("[`", stringify!($Type), "`](crate::", stringify!($Type), "), waited for.")]
        #[derive(Debug, Clone)]
        pub struct $Type {
            inner: crate::$Type,
            wait: Wait,
        }

        impl $Type {
            pub(super) fn new(inner: crate::$Type, wait: Wait) -> Self {
                Self { inner, wait }
            }

            $(
                #[doc = concat!(
                    "As [`", stringify!($Type), "::", stringify!($name), "`](crate::",
                    stringify!($Type), "::", stringify!($name), "), waited for."
                )]
                pub fn $name(&self $(, $arg: $Arg)*) -> Result<$Out, Error> {
                    self.wait.until(self.inner.$name($($arg),*))
                }
            )*
        }
    )*};
}

handles! {
    Boxes {
        fn create(&self, new: NewBox) -> BoxInfo;
        fn get(&self, of: &str) -> BoxInfo;
        fn list(&self) -> Vec<BoxInfo>;
        fn list_where(&self, selectors: &[&str]) -> Vec<BoxInfo>;
        fn start(&self, of: &str) -> ();
        fn stop(&self, of: &str) -> ();
        fn stop_within(&self, of: &str, grace: Duration) -> ();
        fn restart(&self, of: &str) -> ();
        fn restart_within(&self, of: &str, grace: Duration) -> ();
        fn suspend(&self, of: &str) -> ();
        fn resume(&self, of: &str) -> ();
        fn hibernate(&self, of: &str) -> ();
        fn wake(&self, of: &str) -> ();
        fn destroy(&self, of: &str) -> ();
        fn rename(&self, of: &str, new: &str) -> ();
        fn fork(&self, of: &str, new: Option<&str>) -> BoxInfo;
        fn fork_live(&self, of: &str, new: Option<&str>) -> BoxInfo;
        fn fork_as(&self, of: &str, copy: NewBox) -> BoxInfo;
        fn suggest_name(&self) -> String;
        fn run(&self, of: &str, command: Command) -> Output;
        fn wait_until_ready(&self, of: &str, patience: Duration) -> ();
        fn label(&self, of: &str, set: &[(&str, &str)], remove: &[&str])
            -> BTreeMap<String, String>;
        fn replace_labels(&self, of: &str, labels: &[(&str, &str)]) -> BTreeMap<String, String>;
        fn resize(&self, of: &str, cpus: Option<u32>, memory: Option<u64>) -> Resized;
        fn set_networks(&self, of: &str, networks: &[&str]) -> Vec<String>;
        fn set_egress(&self, of: &str, allowed: &[&str]) -> Vec<String>;
        fn update_spec(&self, of: &str, patch: &str, how: SpecUpdate) -> SpecUpdated;
        fn suspend_after(&self, of: &str, idle: Option<Duration>) -> ();
        fn hibernate_after(&self, of: &str, idle: Option<Duration>) -> ();
        fn delete_after(&self, of: &str, time: Option<Duration>) -> Option<i64>;
        fn delete_by_cron(&self, of: &str, expression: &str) -> Option<i64>;
        fn ignore_outbound(&self, of: &str, ignored: bool) -> ();
        fn usage(&self, of: &str, since: Option<i64>, until: Option<i64>) -> Usage;
        fn usages(&self, since: Option<i64>, until: Option<i64>) -> Vec<Usage>;
    }

    Files {
        fn read(&self, path: &str) -> Bytes;
        fn write(&self, path: &str, content: impl Into<Bytes>) -> ();
        fn list(&self, path: &str) -> Vec<Entry>;
        fn mkdir(&self, path: &str) -> ();
        fn remove(&self, path: &str) -> ();
        fn rename(&self, from: &str, to: &str) -> ();
        fn copy(&self, from: &str, to: &str) -> ();
        fn put_tree(&self, from: impl AsRef<Path>, to: &str) -> ();
        fn get_tree(&self, from: &str, to: impl AsRef<Path>) -> ();
    }

    Proxies {
        fn create(&self, name: &str, port: Option<u16>) -> Proxy;
        fn list(&self) -> Vec<Proxy>;
        fn set_port(&self, name: &str, port: Option<u16>) -> ();
        fn set_private(&self, name: &str, private: bool) -> ();
        fn remove(&self, name: &str) -> ();
    }

    Ports {
        fn expose(&self, port: u16, protocol: &str) -> ExposedPort;
        fn unexpose(&self, port: u16) -> ();
        fn list(&self) -> Vec<ExposedPort>;
    }

    Checkpoints {
        fn create(&self, name: &str) -> Checkpoint;
        fn list(&self) -> Vec<Checkpoint>;
        fn restore(&self, name: &str) -> ();
        fn remove(&self, name: &str) -> ();
    }

    Snapshots {
        fn create(&self, of: &str, name: &str) -> Snapshot;
        fn list(&self) -> Vec<Snapshot>;
        fn get(&self, name: &str) -> Snapshot;
        fn create_box(&self, snapshot: &str, name: Option<&str>, labels: &[(&str, &str)])
            -> BoxInfo;
        fn remove(&self, name: &str) -> ();
    }

    Templates {
        fn create(&self, name: &str, image: &str, sizes: Sizes) -> Template;
        fn list(&self) -> Vec<Template>;
        fn create_box(&self, template: &str, name: Option<&str>) -> BoxInfo;
        fn remove(&self, template: &str) -> ();
    }

    Disks {
        fn create(&self, name: &str, size: u64) -> Disk;
        fn list(&self) -> Vec<Disk>;
        fn attach(&self, disk: &str, of: &str, path: &str, read_only: bool) -> ();
        fn detach(&self, disk: &str, of: &str) -> ();
        fn remove(&self, disk: &str) -> ();
    }

    Domains {
        fn bind(&self, domain: &str, of: &str) -> Domain;
        fn list(&self) -> Vec<Domain>;
        fn unbind(&self, domain: &str) -> ();
    }

    Networks {
        fn create(&self, name: &str) -> String;
        fn list(&self) -> Vec<Network>;
    }

    Variables {
        fn set(&self, name: &str, value: &str, scope: &Scope) -> ();
        fn list(&self) -> Vec<Variable>;
        fn remove(&self, name: &str, scope: &Scope) -> ();
        fn rescope(&self, name: &str, from: &Scope, to: &Scope) -> ();
    }

    Secrets {
        fn set(&self, name: &str, value: &str, scope: &Scope) -> ();
        fn list(&self) -> Vec<Variable>;
        fn remove(&self, name: &str, scope: &Scope) -> ();
        fn rescope(&self, name: &str, from: &Scope, to: &Scope) -> ();
    }

    Tokens {
        fn create(&self, life: Option<Duration>) -> NewToken;
        fn list(&self) -> Vec<Token>;
        fn revoke(&self, id: &str) -> ();
    }

    Keys {
        fn create(&self, name: &str, life: Option<Duration>) -> NewKey;
        fn create_for(&self, user: &str, name: &str, life: Option<Duration>) -> NewKey;
        fn list(&self) -> Vec<Key>;
        fn list_of(&self, user: &str) -> Vec<Key>;
        fn remove(&self, id: &str) -> ();
    }

    Users {
        fn create(&self, name: &str, admin: bool, quota: Quota) -> User;
        fn list(&self) -> Vec<User>;
        fn change(&self, name: &str, change: UserChange) -> User;
        fn grant(&self, user: &str, grant: &Grant) -> ();
        fn revoke(&self, user: &str, grant: &Grant) -> ();
        fn grants(&self, user: &str) -> Vec<Grant>;
    }

    Images {
        fn list(&self) -> Vec<Image>;
        fn pull(&self, image: &str, told: impl FnMut(ImageStep) + Send) -> Image;
        fn import(&self, name: &str, file: impl AsRef<Path>, told: impl FnMut(ImageStep) + Send)
            -> Image;
        fn import_split(
            &self,
            name: &str,
            metadata: impl AsRef<Path>,
            rootfs: impl AsRef<Path>,
            told: impl FnMut(ImageStep) + Send
        ) -> Image;
        fn remove(&self, image: &str) -> ();
    }
}

impl Images {
    /// As [`Images::on`](crate::Images::on).
    #[must_use]
    pub fn on(&self, engine: &str) -> Self {
        Self { inner: self.inner.on(engine), wait: self.wait.clone() }
    }
}

impl Disks {
    /// As [`Disks::on`](crate::Disks::on).
    #[must_use]
    pub fn on(&self, engine: &str) -> Self {
        Self { inner: self.inner.on(engine), wait: self.wait.clone() }
    }
}

// What answers with something to wait for again.

impl Boxes {
    /// As [`Boxes::exec`](crate::Boxes::exec), waited for.
    pub fn exec(&self, of: &str, command: Command) -> Result<Running, Error> {
        let running = self.wait.until(self.inner.exec(of, command))?;
        Ok(Running::new(running, self.wait.clone()))
    }

    /// As [`Boxes::logs`](crate::Boxes::logs), waited for.
    pub fn logs(&self, of: &str, follow: bool) -> Result<Logs, Error> {
        let logs = self.wait.until(self.inner.logs(of, follow))?;
        Ok(Logs::new(logs, self.wait.clone()))
    }
}

impl Ports {
    /// As [`Ports::dial`](crate::Ports::dial), waited for.
    pub fn dial(&self, port: u16) -> Result<(Incoming, Outgoing), Error> {
        let (incoming, outgoing) = self.wait.until(self.inner.dial(port))?;
        let wait = &self.wait;
        Ok((Incoming::new(incoming, wait.clone()), Outgoing::new(outgoing, wait.clone())))
    }
}

impl Files {
    /// As [`Files::reader`](crate::Files::reader), waited for.
    pub fn reader(&self, path: &str) -> Result<Reader, Error> {
        let reader = self.wait.until(self.inner.reader(path))?;
        Ok(Reader::new(reader, self.wait.clone()))
    }

    /// As [`Files::write_from`](crate::Files::write_from), waited for. `content` is read in a thread
    /// of its own.
    pub fn write_from(
        &self,
        path: &str,
        size: u64,
        content: impl Read + Send + 'static,
    ) -> Result<(), Error> {
        self.wait.until(self.inner.write_from(path, size, FromThread::new(content)))
    }
}
