//! The two ways to the firewall: `nft` for the tables of a network, once, and netlink for the
//! elements of a box (`linux/netfilter/nf_tables.h`).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;

use crate::elements::{Element, SETS};
use crate::names::AnchorName;
use crate::netlink::{Attributes, Batch, Body, CREATE, Failed, Socket};

const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_GETSETELEM: u16 = 13;
const NFT_MSG_DELSETELEM: u16 = 14;

const NFPROTO_INET: u8 = 1;
const NFPROTO_ARP: u8 = 3;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_TIMEOUT: u16 = 4;
const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFTA_DATA_VALUE: u16 = 1;

/// Where distributions put `nft`; the search path of a helper process may lack the first.
const PROGRAMS: [&str; 4] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft"];

/// The `nft` program, if it is installed.
pub(crate) fn program() -> Option<PathBuf> {
    PROGRAMS.iter().map(Path::new).find(|path| path.exists()).map(Path::to_owned)
}

/// Has `nft` load a text as one transaction. On failure, what it wrote.
pub(crate) fn load(program: &Path, text: &str) -> std::io::Result<Result<(), String>> {
    let mut child = Command::new(program)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    // `nft` reads to the end before it says anything, so neither waits for the other.
    let written = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    written?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(if output.status.success() { Ok(()) } else { Err(said) })
}

/// Changes of the elements of a network's sets: all of them or none.
#[derive(Debug)]
pub(crate) struct Transaction {
    table: AnchorName,
    batch: Batch,
}

impl Transaction {
    pub(crate) fn new(table: AnchorName) -> Self {
        let mut batch = Batch::new();
        batch.frame("begin", NFNL_MSG_BATCH_BEGIN, |body| {
            body.fixed(&header(0, NFNL_SUBSYS_NFTABLES));
        });
        Self { table, batch }
    }

    /// Adds elements; those that are there already stay.
    pub(crate) fn add(&mut self, elements: &[Element]) -> &mut Self {
        for element in elements {
            self.change("add to a set", NFT_MSG_NEWSETELEM, CREATE, element);
        }
        self
    }

    /// Removes elements, which must be there.
    pub(crate) fn remove(&mut self, elements: &[Element]) -> &mut Self {
        for element in elements {
            self.change("remove from a set", NFT_MSG_DELSETELEM, 0, element);
        }
        self
    }

    /// Carries out the changes. `ENOENT` means that the table is not there.
    pub(crate) fn commit(self) -> Result<(), Failed> {
        self.commit_by(&open()?)
    }

    /// Like [`commit`](Self::commit), over a socket that is open.
    pub(crate) fn commit_by(mut self, socket: &Socket) -> Result<(), Failed> {
        self.batch.frame("commit", NFNL_MSG_BATCH_END, |body| {
            body.fixed(&header(0, NFNL_SUBSYS_NFTABLES));
        });
        socket.exchange(&self.batch)
    }

    fn change(&mut self, what: &'static str, kind: u16, flags: u16, element: &Element) {
        let table = self.table.to_string();
        let kind = NFNL_SUBSYS_NFTABLES << 8 | kind;
        self.batch.request(what, kind, flags, |body| {
            body.fixed(&header(NFPROTO_INET, 0)).text(NFTA_SET_ELEM_LIST_TABLE, &table);
            body.text(NFTA_SET_ELEM_LIST_SET, element.set);
            body.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
                list.nest(NFTA_LIST_ELEM, |body| describe(body, element));
            });
        });
    }
}

/// Whether both tables of a network are there.
pub(crate) fn tables_exist(table: AnchorName) -> Result<bool, Failed> {
    let name = table.to_string();
    let mut batch = Batch::new();
    for family in [NFPROTO_INET, NFPROTO_ARP] {
        let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE;
        batch.request("look for the tables", kind, 0, |body| {
            body.fixed(&header(family, 0)).text(NFTA_TABLE_NAME, &name);
        });
    }
    match open()?.exchange(&batch) {
        Ok(()) => Ok(true),
        Err(Failed { errno: Errno::NOENT, .. }) => Ok(false),
        Err(failed) => Err(failed),
    }
}

/// The elements of a network's sets that belong to boxes. None when the tables are not there.
pub(crate) fn elements(table: AnchorName) -> Result<Vec<Element>, Failed> {
    let socket = open()?;
    let mut found = Vec::new();
    for set in SETS {
        let mut batch = Batch::new();
        let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM;
        batch.dump("list a set", kind, |body| {
            body.fixed(&header(NFPROTO_INET, 0));
            body.text(NFTA_SET_ELEM_LIST_TABLE, &table.to_string());
            body.text(NFTA_SET_ELEM_LIST_SET, set);
        });
        match socket.converse(&batch, |_, body| found.extend(read(set, body))) {
            Ok(()) | Err(Failed { errno: Errno::NOENT, .. }) => {}
            Err(failed) => return Err(failed),
        }
    }
    Ok(found)
}

/// Reads a piece of the answer to a request for the elements of a set.
fn read(set: &'static str, body: &[u8]) -> Vec<Element> {
    let inside = |kind, bytes| Attributes(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value);
    let list = inside(NFTA_SET_ELEM_LIST_ELEMENTS, body.get(4..).unwrap_or_default());
    let value = |kind, bytes| inside(NFTA_DATA_VALUE, inside(kind, bytes)?).map(<[u8]>::to_vec);
    let element = |bytes| {
        let key = value(NFTA_SET_ELEM_KEY, bytes)?;
        Some(Element { set, key, last: value(NFTA_SET_ELEM_KEY_END, bytes), timeout: None })
    };
    Attributes(list.unwrap_or_default()).filter_map(|(_, bytes)| element(bytes)).collect()
}

fn open() -> Result<Socket, Failed> {
    Socket::netfilter().map_err(|error| Failed {
        what: "open a netfilter socket",
        errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
    })
}

fn describe(body: &mut Body<'_>, element: &Element) {
    body.nest(NFTA_SET_ELEM_KEY, |key| {
        key.attr(NFTA_DATA_VALUE, &element.key);
    });
    if let Some(last) = &element.last {
        body.nest(NFTA_SET_ELEM_KEY_END, |key| {
            key.attr(NFTA_DATA_VALUE, last);
        });
    }
    if let Some(timeout) = element.timeout {
        body.attr(NFTA_SET_ELEM_TIMEOUT, &timeout.to_be_bytes());
    }
}

/// The fixed structure of a netfilter message.
fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}
