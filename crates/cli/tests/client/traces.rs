//! Traces, as a collector gets them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use boxherd_client::NewBox;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::{Request, Response, Status};

use crate::sdk::output;
use crate::server::{KEY, Server};

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans = request.into_inner().resource_spans.into_iter();
        let spans = spans.flat_map(|of| of.scope_spans).flat_map(|of| of.spans);
        self.0.lock().unwrap().extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn listen(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = TraceServiceServer::new(self.clone());
        let router = tonic::service::Routes::new(service).into_axum_router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn called(&self, name: &str) -> Span {
        let spans = self.0.lock().unwrap();
        let found = spans.iter().find(|span| span.name == name);
        let names = || spans.iter().map(|span| span.name.clone()).collect::<Vec<_>>();
        found.unwrap_or_else(|| panic!("no span `{name}` among {:?}", names())).clone()
    }
}

#[test]
fn a_collector_is_told_where_the_time_went_and_no_secrets() {
    let test = "a_collector_is_told_where_the_time_went_and_no_secrets";
    // The server waits for the collector when it ends.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let collector = Collector::default();
    let place = format!("http://{}", runtime.block_on(collector.listen()));
    let Some(mut server) = Server::open_with(test, &["--otlp", &place]) else { return };
    runtime.block_on(async {
        let client = server.client().await;
        client.boxes().create(NewBox::named("one")).await.unwrap();
        output(&client, "one", "sleep 0.3").await;
    });
    // As a program does that is traced itself: version, trace, span, flags.
    let header = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    assert_eq!(server.get_with("/healthz", header).0, 200);
    server.end();

    let create = collector.called("/boxd.api.v1.BoxdApi/CreateVm");
    let herd = collector.called("create");
    let engine = collector.called("engine.launch");
    assert_eq!(herd.parent_span_id, create.span_id);
    assert_eq!(engine.parent_span_id, herd.span_id);
    assert_eq!([&herd.trace_id, &engine.trace_id], [&create.trace_id; 2]);
    assert_eq!(collector.called("write").trace_id.len(), 16);
    let phases = format!("{:?}", herd.attributes);
    assert!(phases.contains("rootfs") && phases.contains(" ms, "), "{phases}");

    // A command is traced until it has ended.
    let exec = collector.called("/boxd.api.v1.BoxdApi/Exec");
    let lasted = Duration::from_nanos(exec.end_time_unix_nano - exec.start_time_unix_nano);
    assert!(lasted >= Duration::from_millis(300), "{lasted:?}");

    let health = collector.called("/healthz");
    assert_eq!(health.parent_span_id, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
    let all = format!("{:?}", collector.0.lock().unwrap());
    assert!(!all.contains(KEY), "a key is in the traces");

    // The collector is gone, and the server works all the same.
    drop(runtime);
    server.again();
    assert_eq!(server.boxherd(&["ls", "-o", "name"]).ok(), "one\n");
}
