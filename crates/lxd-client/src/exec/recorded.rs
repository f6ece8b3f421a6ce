//! A command whose output the server records: no websocket, but output only at its end.
//!
//! The server keeps what it recorded for ever. It is deleted here, whatever happens: a task of its
//! own sees to it, also when the caller stops waiting.

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use hyper::Method;
use serde_json::Value;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::exec::live::exit_code;
use crate::exec::{ExecRequest, Wire};
use crate::instances::Instance;
use crate::operations::Operation;
use crate::transport::Call;
use crate::url::Url;

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its exit code, as [`crate::LiveExec::wait`] tells it.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: Bytes,
    /// What it wrote to standard error.
    pub stderr: Bytes,
    /// Whether there was more of one than the caller wanted.
    pub truncated: bool,
}

impl Instance {
    /// Runs a command without input to its end. Of each output at most `keep` bytes are fetched.
    ///
    /// # Errors
    ///
    /// [`Error::BadRequest`] when the instance does not run, and whatever a call and an operation may
    /// fail with.
    pub async fn exec_recorded(&self, request: &ExecRequest, keep: usize) -> Result<Recorded> {
        let wire = Wire::recorded(request);
        let operation = self.start_exec(&wire).await?;
        let record = Record { instance: self.clone(), operation, keep };
        let finished = tokio::spawn(record.finish()).await;
        finished.map_err(|error| Error::protocol("exec", error))?
    }
}

struct Record {
    instance: Instance,
    operation: Operation,
    keep: usize,
}

impl Record {
    async fn finish(self) -> Result<Recorded> {
        let ended = self.operation.wait().await;
        let result = match &ended {
            Ok(metadata) => self.fetch(metadata).await,
            Err(_) => Err(Error::protocol("exec", "never shown: the operation's error is")),
        };
        let deleted = self.delete(ended.as_ref().unwrap_or(&Value::Null)).await;
        ended?;
        let recorded = result?;
        deleted?;
        Ok(recorded)
    }

    async fn fetch(&self, metadata: &Value) -> Result<Recorded> {
        let code = exit_code(metadata)?;
        let ((stdout, more_out), (stderr, more_err)) =
            tokio::try_join!(self.output(metadata, "1"), self.output(metadata, "2"))?;
        Ok(Recorded { code, stdout, stderr, truncated: more_out || more_err })
    }

    async fn output(&self, metadata: &Value, stream: &str) -> Result<(Bytes, bool)> {
        let path = metadata["output"][stream]
            .as_str()
            .ok_or_else(|| Error::protocol("exec", "an exec that recorded nothing"))?;
        let client = self.instance.client();
        let call = Call::new(Method::GET, client.scoped(Url::given(path)));
        beginning(client, call, self.keep).await
    }

    /// Deletes both outputs. After a failure it is not known whether and where there are any.
    async fn delete(&self, metadata: &Value) -> Result<()> {
        let urls =
            [("1", "stdout"), ("2", "stderr")].map(|(stream, name)| {
                match metadata["output"][stream].as_str() {
                    Some(path) => vec![self.instance.client().scoped(Url::given(path))],
                    None => self.guessed(name),
                }
            });
        let deletions = urls.into_iter().flatten().map(|url| self.delete_one(url));
        join_all(deletions).await.into_iter().collect()
    }

    async fn delete_one(&self, url: Url) -> Result<()> {
        match self.instance.client().sync(Call::new(Method::DELETE, url)).await {
            // A guess may also be no name of a log at all.
            Ok(_) | Err(Error::NotFound { .. } | Error::BadRequest { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Where LXD and Incus keep what they recorded of this command.
    fn guessed(&self, stream: &str) -> Vec<Url> {
        let file = format!("exec_{}.{stream}", self.operation.id());
        vec![self.instance.url(["logs", &file]), self.instance.url(["logs", "exec-output", &file])]
    }
}

/// The first `keep` bytes of what a call is answered with, and whether there are more.
async fn beginning(client: &Client, call: Call, keep: usize) -> Result<(Bytes, bool)> {
    let name = call.name();
    let mut body = client.stream(call).await?.into_body();
    let mut kept = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| client.broken(&name, error))?;
        let Ok(data) = frame.into_data() else { continue };
        if kept.len() + data.len() > keep {
            kept.extend_from_slice(&data[..keep - kept.len()]);
            return Ok((kept.freeze(), true));
        }
        kept.extend_from_slice(&data);
    }
    Ok((kept.freeze(), false))
}
