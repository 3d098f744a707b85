//! Between the workers and the exporting thread: bounded, and never waited for.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use prometheus::IntCounter;
use tokio::sync::mpsc::Sender;

/// Where ended spans go. What does not fit is counted and gone: the SDK's own processor counts too, but keeps the count
/// to itself.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) waiting: Sender<SpanData>,
    pub(super) dropped: IntCounter,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _cx: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.waiting.try_send(span).is_err() {
            self.dropped.inc();
        }
    }

    /// Flushing is the exporting thread's business.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
