//! How a stream is compressed, told by its first bytes: media types are sometimes wrong.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

impl Compression {
    pub(crate) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            _ => Self::None,
        }
    }
}

/// Decompresses `stream`, whatever it is compressed with.
pub(crate) fn decompressed<'a>(mut stream: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let unknown = |name: &str| {
        let text = format!("compressed with {name}; recompress it with gzip or zstd");
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    };
    match Compression::of(stream.fill_buf()?) {
        Compression::None => Ok(Box::new(stream)),
        Compression::Gzip => Ok(Box::new(MultiGzDecoder::new(stream))),
        Compression::Zstd => Ok(Box::new(zstd::Decoder::with_buffer(stream)?)),
        Compression::Xz => unknown("xz"),
        Compression::Bzip2 => unknown("bzip2"),
    }
}
