//! Traces by OTLP over gRPC, as collectors of OpenTelemetry take them.

use axum::http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;

use super::BoxedLayer;
use crate::failure::Failure;

/// Sends spans.
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends to the collector at `url`. One that is not there costs nothing but its spans.
    pub(super) fn begin(url: &str) -> Result<Self, Failure> {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(url).build();
        let exporter = exporter.map_err(|error| {
            let failure = Failure::usage(format!("`--otlp {url}` cannot be used: {error}"));
            failure.hint("write `http://HOST:4317`, or `https://HOST:4317`")
        })?;
        let resource = Resource::builder()
            .with_service_name("boxherd")
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                env!("CARGO_PKG_VERSION"),
            ))
            .build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource);
        Ok(Self(provider.build()))
    }

    /// Sends what is left.
    pub(super) fn end(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }

    /// Our own spans; those of libraries go on inside of them unseen.
    pub(super) fn layer(&self) -> BoxedLayer {
        let spans = tracing_opentelemetry::layer().with_tracer(self.0.tracer("boxherd"));
        spans.with_filter(Targets::new().with_target("boxherd", Level::DEBUG)).boxed()
    }
}

/// Makes `span` a part of what the client does, if its headers say so (`traceparent`, W3C Trace
/// Context).
pub(super) fn join(span: &Span, headers: &HeaderMap) {
    let parent = TraceContextPropagator::new().extract(&Headers(headers));
    // Only a span that nobody looks at has no parent to be given.
    let _ = span.set_parent(parent);
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}
