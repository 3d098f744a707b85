//! The exporting thread: takes spans out of the queue in batches and sends them, one batch at a time.
//!
//! Where the receiver is slow or gone, spans wait in the queue, and what does not fit there is dropped; both are counted
//! (`lb_trace_spans_total`), and the reason is logged once a minute.

use std::fmt;
use std::sync::mpsc::{self as std_mpsc};
use std::time::Duration;

use lb_core::Tick;
use opentelemetry_otlp::{SpanExporter as Otlp, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use prometheus::IntCounter;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};

use super::super::metrics::Metrics;
use super::super::seldom::Seldom;
use super::queue::Queue;
use super::{Destination, http};

/// Spans in one export: OpenTelemetry's own default.
const BATCH: usize = 512;
/// How long the first span of a batch waits for company.
const LINGER: Duration = Duration::from_secs(1);

/// An order to send what waits; answered when that is done.
type Flush = std_mpsc::Sender<()>;

/// The running thread.
pub(super) struct Exporting {
    orders: UnboundedSender<Flush>,
}

impl fmt::Debug for Exporting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporting").finish_non_exhaustive()
    }
}

impl Exporting {
    /// Has everything sent that waits; false where that took longer than `patience`.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let (done, wait) = std_mpsc::channel();
        self.orders.send(done).is_ok() && wait.recv_timeout(patience).is_ok()
    }
}

/// Starts the thread. It ends when nobody can end a span any more.
pub(super) fn start(
    to: &Destination,
    resource: &Resource,
    metrics: &Metrics,
    now: impl Fn() -> Tick + Send + 'static,
) -> Result<(Queue, Exporting), String> {
    let (waiting, spans) = channel(to.queue);
    let (orders, inbox) = unbounded_channel();
    let count = |result: &str| metrics.trace_spans.with_label_values(&[result]);
    let (exported, failed) = (count("exported"), count("failed"));
    let (to, resource) = (to.clone(), resource.clone());
    let (made, making) = std_mpsc::channel();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let ready = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
            // gRPC's channel looks for a runtime when it is made.
            let entered = runtime.enter();
            let exporter = exporter(&to, &resource)?;
            drop(entered);
            Ok((runtime, exporter))
        });
        let (runtime, exporter) = match ready {
            Ok(ready) => ready,
            // Whoever starts us waits for this.
            Err(reason) => return drop(made.send(Err(reason))),
        };
        let _ = made.send(Ok(()));
        let endpoint = to.endpoint;
        let trouble = Seldom::default();
        let mut export = Export { exporter, exported, failed, endpoint, trouble, now: Box::new(now) };
        runtime.block_on(export.run(spans, inbox));
    };
    std::thread::Builder::new().name("traces".to_owned()).spawn(run).map_err(|error| error.to_string())?;
    making.recv().map_err(|_| "the exporting thread ended".to_owned())??;
    Ok((Queue { waiting, dropped: count("dropped") }, Exporting { orders }))
}

fn exporter(to: &Destination, resource: &Resource) -> Result<Otlp, String> {
    let exporter = if to.grpc {
        Otlp::builder().with_tonic().with_endpoint(&to.endpoint).with_timeout(to.timeout).build()
    } else {
        let client = reqwest::Client::builder().timeout(to.timeout).no_proxy().build();
        let client = http::Client(client.map_err(|error| error.to_string())?);
        let builder = Otlp::builder().with_http().with_http_client(client);
        builder.with_endpoint(&to.endpoint).with_timeout(to.timeout).build()
    };
    let mut exporter = exporter.map_err(|error| error.to_string())?;
    exporter.set_resource(resource);
    Ok(exporter)
}

/// What the thread works with.
struct Export {
    exporter: Otlp,
    exported: IntCounter,
    failed: IntCounter,
    endpoint: String,
    trouble: Seldom,
    now: Box<dyn Fn() -> Tick + Send>,
}

impl Export {
    async fn run(&mut self, mut spans: Receiver<SpanData>, mut orders: UnboundedReceiver<Flush>) {
        loop {
            let mut batch = Vec::new();
            let flush = tokio::select! {
                more = gather(&mut spans, &mut batch) => {
                    if !more && batch.is_empty() {
                        return;
                    }
                    None
                }
                // Where nobody is left to order anything, spans still come.
                Some(order) = orders.recv() => Some(order),
            };
            self.send(batch).await;
            let Some(flush) = flush else { continue };
            let mut left = spans.len();
            while left > 0 {
                let mut batch = Vec::new();
                left -= spans.recv_many(&mut batch, BATCH.min(left)).await.min(left);
                self.send(batch).await;
            }
            // Who ordered it may have lost patience.
            let _ = flush.send(());
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let spans = batch.len() as u64;
        if spans == 0 {
            return;
        }
        match self.exporter.export(batch).await {
            Ok(()) => self.exported.inc_by(spans),
            Err(error) => {
                self.failed.inc_by(spans);
                if self.trouble.due((self.now)()) {
                    tracing::warn!(%error, spans, endpoint = self.endpoint, "spans cannot be exported");
                }
            }
        }
    }
}

/// Waits for a span, then a moment for others; false where there will be none. Cancelled, it leaves in `batch` what came.
async fn gather(spans: &mut Receiver<SpanData>, batch: &mut Vec<SpanData>) -> bool {
    if spans.recv_many(batch, BATCH).await == 0 {
        return false;
    }
    let company =
        async { while batch.len() < BATCH && spans.recv_many(batch, BATCH - batch.len()).await > 0 {} };
    // What comes later is the next batch's.
    let _ = tokio::time::timeout(LINGER, company).await;
    true
}
