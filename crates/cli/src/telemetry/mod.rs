//! What the program tells of its own work: a log on standard error, and traces for those who watch
//! servers.

mod lasting;
#[cfg(feature = "otel")]
mod otlp;

use std::io::IsTerminal as _;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing::{Instrument as _, info_span};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

use self::lasting::Lasting;
use crate::args::ServeArgs;
use crate::failure::Failure;

/// How the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// An object a line
    Json,
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// What has to be ended at the end.
pub(crate) struct Telemetry {
    #[cfg(feature = "otel")]
    traces: Option<otlp::Traces>,
}

impl Telemetry {
    /// Sends what has not been sent yet.
    pub(crate) fn end(self) {
        #[cfg(feature = "otel")]
        self.traces.into_iter().for_each(otlp::Traces::end);
    }
}

/// Begins to tell. A server says what it does; a command only when it is asked to. To be called on an
/// event loop, which sends the traces.
pub(crate) fn begin(verbose: u8, serve: Option<&ServeArgs>) -> Result<Telemetry, Failure> {
    let level = match verbose {
        0 if serve.is_some() => LevelFilter::INFO,
        0 => LevelFilter::OFF,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let mut layers: Vec<BoxedLayer> = Vec::new();
    if level != LevelFilter::OFF {
        let format = serve.map_or(LogFormat::Text, |args| args.log_format);
        layers.push(log(format).with_filter(level).boxed());
    }
    let telemetry = traces(serve.and_then(|args| args.otlp.as_deref()), &mut layers)?;
    tracing_subscriber::registry().with(layers).init();
    Ok(telemetry)
}

fn log(format: LogFormat) -> BoxedLayer {
    let log = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).boxed(),
    }
}

#[cfg(feature = "otel")]
fn traces(collector: Option<&str>, layers: &mut Vec<BoxedLayer>) -> Result<Telemetry, Failure> {
    let traces = collector.map(otlp::Traces::begin).transpose()?;
    layers.extend(traces.as_ref().map(otlp::Traces::layer));
    Ok(Telemetry { traces })
}

#[cfg(not(feature = "otel"))]
fn traces(collector: Option<&str>, _: &mut Vec<BoxedLayer>) -> Result<Telemetry, Failure> {
    if collector.is_none() {
        return Ok(Telemetry {});
    }
    let message = "this `boxherd` was built without traces, so that `--otlp` is not honoured";
    let hint = "build it with `cargo build --release --features otel`, or leave it out";
    Err(Failure::usage(message).hint(hint))
}

/// Names what is asked for in all that is told of it. The traces of who asks go on with what is done
/// for them.
pub(crate) fn spanned(router: Router) -> Router {
    router.layer(middleware::from_fn(span))
}

async fn span(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let span = info_span!("request", path, otel.name = path, otel.kind = "server");
    #[cfg(feature = "otel")]
    otlp::join(&span, request.headers());
    let answer = next.run(request).instrument(span.clone()).await;
    if span.is_disabled() {
        return answer;
    }
    // What is asked for lasts until the last of the answer, as a command until it has ended.
    answer.map(|body| Body::new(Lasting { body, span }))
}
