//! Every request passes here once: it is counted, timed, and made to suffer the faults; then the router answers.
//!
//! Why not a middleware stack: counting has to last until the answer's last byte, whoever drops it, so the count
//! lives in a guard ([`Flight`]) inside the response body. A client that leaves early drops the guard too, so
//! in-flight never leaks and each request is counted exactly once. `/heartbeat` and `/home` are answered before the
//! router, since load tests call them thousands of times a second.
//! How it fails: it does not; errors are answers.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;
use crate::clock;
use crate::fault::{Faults, Outcome};
use crate::reply;
use crate::routes::row_a;

/// The service that each connection is given.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    app: Arc<App>,
    router: TowerToHyperService<Router>,
}

/// One request, from its head to its answer's last byte.
#[derive(Debug)]
struct Flight {
    app: Arc<App>,
    begun: Instant,
    code: Option<StatusCode>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.app.meters.end(self.code, self.begun.elapsed());
    }
}

/// The answer's body, with the flight that ends when it does.
#[derive(Debug)]
pub(crate) struct Tracked {
    body: Body,
    _flight: Flight,
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Front {
    /// In front of `router`.
    #[must_use]
    pub(crate) fn new(app: Arc<App>, router: Router) -> Self {
        Self { app, router: TowerToHyperService::new(router) }
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Tracked> {
        let begun = clock::tick();
        self.app.meters.begin();
        let mut flight = Flight { app: self.app.clone(), begun, code: None, _place: None };
        let response = match &self.app.faults {
            Some(faults) => match suffer(faults, request.uri().path()).await {
                Outcome::Serve(place) => {
                    flight._place = place;
                    self.serve(request).await
                }
                Outcome::Fail(place) => {
                    flight._place = place;
                    reply::error(StatusCode::INTERNAL_SERVER_ERROR, "made to fail by /fault")
                }
            },
            None => self.serve(request).await,
        };
        flight.code = Some(response.status());
        response.map(|body| Tracked { body, _flight: flight })
    }

    async fn serve(&self, request: Request<Incoming>) -> Response {
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            match request.uri().path() {
                "/heartbeat" => return row_a::heartbeat(),
                "/home" => return row_a::home(&self.app),
                _ => {}
            }
        }
        match self.router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// `/fault` itself never suffers, else nobody could switch it off; telemetry is only held by a stall, so that the
/// other faults stay visible from outside.
async fn suffer(faults: &Faults, path: &str) -> Outcome {
    match path {
        "/fault" => Outcome::Serve(None),
        "/metrics" | "/stats" => {
            faults.stalled().await;
            Outcome::Serve(None)
        }
        _ => faults.suffer().await,
    }
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<Tracked>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let front = self.clone();
        Box::pin(async move { Ok(front.answer(request).await) })
    }
}
