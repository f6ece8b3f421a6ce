//! What unpacking makes of a layer: no panic, nothing outside of its folder, no more than it may write.

#![no_main]

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use boxherd_image::unpack::{Limits, unpack};
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 512;
const LIMITS: Limits = Limits { entries: 500, bytes: 1 << 20 };

fuzz_target!(|input: &[u8]| {
    let mut stream = input.to_vec();
    stream.chunks_exact_mut(BLOCK).for_each(sign);
    let outside = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let inside = outside.path().join("inside");
    fs::create_dir(&inside).expect("a folder");
    fs::write(outside.path().join("kept"), "kept").expect("a file");
    let unpacked = unpack(stream.as_slice(), &inside, LIMITS, &AtomicBool::new(false));
    assert_eq!(entries(outside.path()), ["inside", "kept"]);
    assert_eq!(fs::read(outside.path().join("kept")).expect("it is kept"), b"kept");
    if let Ok(unpacked) = unpacked {
        assert!(unpacked.entries <= LIMITS.entries);
        // In whole blocks of 4 KiB.
        assert!(unpacked.size <= LIMITS.bytes + LIMITS.entries * 4096);
    }
});

/// Gives a header the checksum that it should have: random bytes would hardly ever have it.
fn sign(block: &mut [u8]) {
    if &block[257..262] == b"ustar" {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
