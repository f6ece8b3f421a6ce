//! Where the output of `cmd` goes: a ring in a file that the host made.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use boxherd_link::console_ring::{DEFAULT_SIZE, HEADER, Writer};

use crate::lock;

/// The console of a box. Cheap to clone. Without a file it swallows what is written.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    ring: Option<Arc<(File, Mutex<Writer>)>>,
}

impl Console {
    /// Goes on with the ring in `file`, or begins one of `size` bytes, 0 for the default.
    pub(crate) fn new(file: Option<File>, size: u64) -> io::Result<Self> {
        let Some(file) = file else { return Ok(Self { ring: None }) };
        let mut existing = [0; HEADER as usize];
        let count = file.read_at(&mut existing, 0)?;
        let size = if size == 0 { DEFAULT_SIZE } else { size };
        let writer = Writer::new(&existing[..count], size);
        Ok(Self { ring: Some(Arc::new((file, Mutex::new(writer)))) })
    }

    /// Appends. A full disk loses the console and nothing else.
    pub(super) fn write(&self, bytes: &[u8]) {
        let Some((file, writer)) = self.ring.as_deref() else { return };
        let written = lock(writer).append(bytes, |offset, bytes| file.write_all_at(bytes, offset));
        // There is nowhere to say that there is nowhere to say anything.
        drop(written);
    }
}
