//! The agent's program, as bytes: built from `crates/agent` by this crate's `build.rs`, static, for
//! x86-64 Linux, so that `boxherd` is one file and a box needs nothing of the host's libraries.

/// The program: an ELF executable without dependencies.
pub static AGENT: &[u8] = include_bytes!(env!("BOXHERD_AGENT"));

/// The same as gzip, for those who send it far: the content of a tar archive's last entry, padded, and
/// the end of the archive. What goes before it, with the entry's header, may be gzip of its own.
pub static PACKED: &[u8] = include_bytes!(env!("BOXHERD_AGENT_PACKED"));

/// The SHA-256 of [`AGENT`] in hex: the name under which it is kept.
pub const SHA256: &str = env!("BOXHERD_AGENT_SHA256");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_small_static_program() {
        assert_eq!(AGENT[..4], *b"\x7fELF");
        assert!(AGENT.len() <= 2 << 20, "{} bytes", AGENT.len());
        assert!(!has_interpreter(AGENT), "it asks for a dynamic loader");
    }

    #[test]
    fn its_digest_is_its_own() {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(AGENT);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(SHA256, hex);
    }

    #[test]
    fn packed_it_is_the_end_of_an_archive() {
        use std::io::Read as _;
        let mut end = Vec::new();
        flate2::read::GzDecoder::new(PACKED).read_to_end(&mut end).unwrap();
        assert_eq!(end.len() % 512, 0);
        let (content, rest) = end.split_at(AGENT.len());
        assert!(content == AGENT && rest.len() >= 1024 && rest.iter().all(|byte| *byte == 0));
        assert!(PACKED.len() < AGENT.len() * 2 / 3, "{} of {}", PACKED.len(), AGENT.len());
    }

    /// Whether any program header is PT_INTERP.
    fn has_interpreter(elf: &[u8]) -> bool {
        let word = |at: usize, size: usize| {
            elf[at..at + size].iter().rev().fold(0, |n, b| n << 8 | usize::from(*b))
        };
        let (offset, size, count) = (word(32, 8), word(54, 2), word(56, 2));
        (0..count).any(|i| word(offset + i * size, 4) == 3)
    }
}
