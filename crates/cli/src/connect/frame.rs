//! Frames: four bytes that say, big-endian, how long the header is; the header, a JSON object; and as
//! many raw bytes as its field `body` says, none when it has no such field. Pure.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde_json::{Map, Value};

/// The most raw bytes of one frame.
pub(super) const MAX_BODY: usize = 1 << 20;
/// The longest header, in bytes.
const MAX_HEADER: usize = 1 << 20;
/// The length of the header's length, in bytes.
const PREFIX: usize = 4;

/// The fields of a header.
pub(super) type Header = Map<String, Value>;

/// One frame; its header has no `body` any more.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Frame {
    pub(super) header: Header,
    pub(super) body: Bytes,
}

/// Why what arrives is no frame. Where the next one begins is then unknown.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The header is too long.
    #[error("a header of {length} bytes, at most {MAX_HEADER} are allowed")]
    LongHeader {
        /// As it was announced.
        length: usize,
    },
    /// The header is no JSON object.
    #[error("a header that is no JSON object")]
    Header(#[source] serde_json::Error),
    /// The length of the body is no length.
    #[error("a `body` of {body}, it is a number up to {MAX_BODY}")]
    Body {
        /// What the header says.
        body: Value,
    },
}

/// The bytes of a frame. `body` is at most [`MAX_BODY`] bytes.
pub(super) fn encode(mut header: Header, body: &[u8]) -> Bytes {
    if !body.is_empty() {
        header.insert("body".to_owned(), body.len().into());
    }
    let header = Value::Object(header).to_string();
    let mut bytes = BytesMut::with_capacity(PREFIX + header.len() + body.len());
    // Headers of ours are some hundred bytes, or a list of boxes.
    bytes.put_u32(u32::try_from(header.len()).unwrap_or(u32::MAX));
    bytes.put_slice(header.as_bytes());
    bytes.put_slice(body);
    bytes.freeze()
}

/// Makes frames of bytes as they arrive.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
    /// The header whose body has not arrived, and how long that is.
    begun: Option<(Header, usize)>,
}

impl Decoder {
    /// Takes what arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame that is whole.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.begun.is_none() {
            self.begun = self.header()?;
        }
        match &self.begun {
            Some((_, length)) if self.buffer.len() >= *length => {}
            _ => return Ok(None),
        }
        let Some((header, length)) = self.begun.take() else { return Ok(None) };
        Ok(Some(Frame { header, body: self.buffer.split_to(length).freeze() }))
    }

    fn header(&mut self) -> Result<Option<(Header, usize)>, FrameError> {
        let Some(mut prefix) = self.buffer.get(..PREFIX) else { return Ok(None) };
        let length = usize::try_from(prefix.get_u32()).unwrap_or(usize::MAX);
        if length > MAX_HEADER {
            return Err(FrameError::LongHeader { length });
        }
        let Some(text) = self.buffer.get(PREFIX..PREFIX + length) else { return Ok(None) };
        let mut header: Header = serde_json::from_slice(text).map_err(FrameError::Header)?;
        self.buffer.advance(PREFIX + length);
        let body = header.remove("body").unwrap_or_else(|| 0.into());
        let length = body.as_u64().and_then(|length| usize::try_from(length).ok());
        match length.filter(|length| *length <= MAX_BODY) {
            Some(length) => Ok(Some((header, length))),
            None => Err(FrameError::Body { body }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn frame() -> impl Strategy<Value = Frame> {
        let field = ("[a-z]{1,8}", any::<i64>().prop_map(Value::from));
        (vec(field, 0..4), vec(any::<u8>(), 0..300)).prop_map(|(fields, body)| {
            let mut header: Header = fields.into_iter().collect();
            header.remove("body");
            Frame { header, body: body.into() }
        })
    }

    proptest! {
        #[test]
        fn frames_arrive_as_they_were_sent(frames in vec(frame(), 0..6), cut in 1_usize..50) {
            let sent: Vec<u8> = frames
                .iter()
                .flat_map(|frame| encode(frame.header.clone(), &frame.body))
                .collect();
            let (mut decoder, mut arrived) = (Decoder::default(), Vec::new());
            for piece in sent.chunks(cut) {
                decoder.push(piece);
                while let Some(frame) = decoder.next().unwrap() {
                    arrived.push(frame);
                }
            }
            prop_assert_eq!(arrived, frames);
        }

        #[test]
        fn noise_is_refused_or_waited_for(noise in vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.push(&noise);
            while let Ok(Some(_)) = decoder.next() {}
        }
    }

    fn refused(bytes: &[u8]) -> FrameError {
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        decoder.next().unwrap_err()
    }

    #[test]
    fn what_is_too_much_is_refused_before_it_arrives() {
        assert!(matches!(refused(&[0xff; 4]), FrameError::LongHeader { .. }));
        let header = br#"{"body":1048577}"#;
        let mut bytes = vec![0, 0, 0, 16];
        bytes.extend_from_slice(header);
        assert!(matches!(refused(&bytes), FrameError::Body { .. }));
        assert!(matches!(refused(b"\0\0\0\x02[]"), FrameError::Header(_)));
    }
}
