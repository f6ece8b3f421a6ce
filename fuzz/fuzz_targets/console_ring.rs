//! What the host makes of a console file that the box wrote as it pleased.

#![no_main]

use boxherd_link::console_ring::read;
use libfuzzer_sys::fuzz_target;

const MAX: usize = 4096;

fuzz_target!(|input: (u64, &[u8])| {
    let (from, file) = input;
    let read_at = |at: u64, buffer: &mut [u8]| {
        let rest = usize::try_from(at).ok().and_then(|at| file.get(at..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    };
    let chunk = read(read_at, from, MAX).expect("reading this file cannot fail");
    assert!(chunk.data.len() <= MAX);
});
