//! How a server reads requests.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

/// `ProstCodec`, but for what it says of a request that is no such message: that the client made a mistake
/// (`INVALID_ARGUMENT`), where that one says that the server did (`INTERNAL`).
#[derive(Debug)]
pub struct ServerCodec<Answer, Asked>(PhantomData<(Answer, Asked)>);

impl<Answer, Asked> Default for ServerCodec<Answer, Asked> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Answer, Asked> Codec for ServerCodec<Answer, Asked>
where
    Answer: Message + Send + 'static,
    Asked: Message + Default + Send + 'static,
{
    type Encode = Answer;
    type Decode = Asked;
    type Encoder = ProstEncoder<Answer>;
    type Decoder = Reader<Asked>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Reader(PhantomData)
    }
}

/// Reads requests.
#[derive(Debug)]
pub struct Reader<Asked>(PhantomData<Asked>);

impl<Asked: Message + Default> Decoder for Reader<Asked> {
    type Item = Asked;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Asked>, Status> {
        let unreadable = |error| Status::invalid_argument(format!("not readable: {error}"));
        Asked::decode(buffer).map(Some).map_err(unreadable)
    }
}
