//! Traces: who is traced, the spans of a request, and their way out.
//!
//! The balancer decides *before* it makes a span: a request that is not traced costs a look at its headers or one random
//! draw. Spans are `tracing` spans under a dispatcher of their own, so that the log's level does not turn them off, the
//! exporter's own words never become spans, and two balancers in one process do not mix. They end in a bounded queue that
//! a thread of its own empties (`export`); whatever happens there, a request only ever meets a full queue.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lb_core::Tick;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use super::metrics::Metrics;
use export::Exporting;

pub mod context;
mod export;
mod http;
mod queue;
mod spans;

pub use context::{Parent, TRACEPARENT, TRACESTATE};
pub use spans::{Attempt, Spans};

/// The target of request spans: the only one that the exporting layer listens to.
const TARGET: &str = "ballast::request";

/// Where spans go.
#[derive(Debug, Clone, PartialEq)]
pub struct Destination {
    /// The receiver's URL, complete.
    pub endpoint: String,
    /// Over gRPC rather than HTTP.
    pub grpc: bool,
    /// The resource attribute `service.name`.
    pub service: String,
    /// For one export.
    pub timeout: Duration,
    /// Spans that wait; more are dropped.
    pub queue: usize,
}

/// What makes spans and sends them away.
pub struct Traces {
    dispatch: Dispatch,
    exporting: Exporting,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").finish_non_exhaustive()
    }
}

impl Traces {
    /// Begins to export to `to`. `now` is the clock, for how often trouble is told.
    ///
    /// # Errors
    /// Where the exporter cannot be made. That nobody listens at the endpoint is no error: somebody may, later.
    pub fn start(
        to: &Destination,
        metrics: &Metrics,
        now: impl Fn() -> Tick + Send + 'static,
    ) -> Result<Arc<Self>, String> {
        let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource =
            Resource::builder().with_service_name(to.service.clone()).with_attribute(version).build();
        let (queue, exporting) = export::start(to, &resource, metrics, now)?;
        // Who is traced has been decided when a span is made.
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .with_span_processor(queue)
            .with_resource(resource)
            .build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("ballast"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_context_activation(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO));
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
        Ok(Arc::new(Traces { dispatch, exporting }))
    }

    /// Sends what waits, as far as `patience` lasts. Blocks.
    pub fn flush(&self, patience: Duration) {
        if !self.exporting.flush(patience) {
            tracing::warn!("spans are left behind: the receiver did not take them in time");
        }
    }

    /// The spans of a request that is traced.
    #[must_use]
    pub fn begin(&self, method: &'static str, parent: Option<Parent>) -> Spans {
        Spans::begin(&self.dispatch, method, parent)
    }
}
