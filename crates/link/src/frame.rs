//! The frame: a fixed header of twelve bytes, then the payload.
//!
//! ```text
//!  0        4      5       6         7      8          12
//!  | length | kind | flags | channel | zero | stream   | payload, `length` bytes
//! ```
//!
//! Numbers are little-endian. Pure: bytes in, values out.

/// Bytes of a header.
pub const HEADER: usize = 12;

/// The longest payload, in bytes. A peer that announces more is not believed.
pub const MAX_PAYLOAD: usize = 256 * 1024;

/// What both sides send before their first frame, so that something that is no agent is told apart
/// at once.
pub const PREFACE: [u8; 8] = *b"boxherd\x01";

/// The sender writes nothing more on this channel.
pub const FLAG_FIN: u8 = 1;
/// The stream ends with this frame. Only the side that did not open the stream ends it so.
pub const FLAG_END: u8 = 2;

/// What a frame is for. Numbers never change their meaning; unknown kinds are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// First frame of each side: protobuf `Hello`.
    Hello,
    /// Opens a stream: protobuf `Open`.
    Open,
    /// Raw bytes on a channel of a stream.
    Data,
    /// A control message of a stream: protobuf `Message` to the agent, `Reply` from it.
    Message,
    /// The receiver has room for that many more bytes (u32) on a stream.
    Credit,
    /// The stream is over; what is under way on it is cancelled.
    Reset,
    /// The sender leaves: a client that wants nothing kept, or an agent that was told to stop.
    Goodbye,
    /// A kind that this side does not know. 16 (listen inside the box) and 17 (datagram) are
    /// reserved.
    Unknown(u8),
}

impl Kind {
    /// The kind that has this number.
    #[must_use]
    pub const fn from_u8(number: u8) -> Self {
        match number {
            1 => Self::Hello,
            2 => Self::Open,
            3 => Self::Data,
            4 => Self::Message,
            5 => Self::Credit,
            6 => Self::Reset,
            7 => Self::Goodbye,
            other => Self::Unknown(other),
        }
    }

    /// The number of the kind.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Open => 2,
            Self::Data => 3,
            Self::Message => 4,
            Self::Credit => 5,
            Self::Reset => 6,
            Self::Goodbye => 7,
            Self::Unknown(number) => number,
        }
    }
}

/// A header, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload that follow.
    pub length: u32,
    /// What the frame is for.
    pub kind: Kind,
    /// [`FLAG_FIN`], [`FLAG_END`]; unknown bits are ignored.
    pub flags: u8,
    /// Which byte stream of the stream: see [`crate::channel`].
    pub channel: u8,
    /// Which stream; 0 for the link itself.
    pub stream: u32,
}

impl Header {
    /// The header on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER] {
        let [a, b, c, d] = self.length.to_le_bytes();
        let [s, t, u, v] = self.stream.to_le_bytes();
        [a, b, c, d, self.kind.as_u8(), self.flags, self.channel, 0, s, t, u, v]
    }

    /// Reads a header; `None` when fewer than twelve bytes are there.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        let [a, b, c, d, kind, flags, channel, _, s, t, u, v] = *bytes;
        Some(Self {
            length: u32::from_le_bytes([a, b, c, d]),
            kind: Kind::from_u8(kind),
            flags,
            channel,
            stream: u32::from_le_bytes([s, t, u, v]),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_decode_as_they_were_encoded(
            length: u32, kind: u8, flags: u8, channel: u8, stream: u32,
        ) {
            let header = Header { length, kind: Kind::from_u8(kind), flags, channel, stream };
            prop_assert_eq!(header.kind.as_u8(), kind);
            prop_assert_eq!(Header::decode(&header.encode()), Some(header));
        }

        #[test]
        fn a_short_header_is_no_header(bytes in prop::collection::vec(any::<u8>(), 0..HEADER)) {
            prop_assert_eq!(Header::decode(&bytes), None);
        }
    }
}
