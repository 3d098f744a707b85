//! An OTLP receiver over HTTP: keeps every span it gets, as a test wants to look at it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use prost::Message as _;
use tokio::task::JoinHandle;

use super::PATIENCE;

/// One span.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) name: String,
    /// 2 is a server's, 3 a client's.
    pub(crate) kind: i32,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) error: bool,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    /// `service.name`.
    pub(crate) service: String,
}

impl Span {
    /// An attribute as text; empty where there is none.
    pub(crate) fn of(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

/// A receiver on a port of its own.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    serving: JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Receiver {
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let kept = Arc::clone(&spans);
        let take = async move |body: Bytes| {
            let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
            kept.lock().unwrap().extend(spans_of(request));
            StatusCode::OK
        };
        let router = axum::Router::new().route("/v1/traces", axum::routing::post(take));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Receiver { address, spans, serving }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far, once there are `n` at least.
    pub(crate) async fn spans(&self, n: usize) -> Vec<Span> {
        let waiting = async {
            while self.spans.lock().unwrap().len() < n {
                tokio::task::yield_now().await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, waiting).await;
        let spans = self.spans.lock().unwrap().clone();
        assert!(came.is_ok(), "{n} spans never came: {spans:#?}");
        spans
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn spans_of(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut all = Vec::new();
    for resource in request.resource_spans {
        let about = attributes(&resource.resource.unwrap_or_default().attributes);
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            all.push(Span {
                kind: span.kind,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                error: span.status.as_ref().is_some_and(|status| status.code == 2),
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                attributes: attributes(&span.attributes),
                service: about.get("service.name").cloned().unwrap_or_default(),
                name: span.name,
            });
        }
    }
    all
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let value = |pair: &KeyValue| pair.value.as_ref().and_then(|v| v.value.as_ref()).map(text);
    all.iter().map(|pair| (pair.key.clone(), value(pair).unwrap_or_default())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
