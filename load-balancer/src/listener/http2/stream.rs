//! The task of one stream: a request with a deadline of its own, and its response in pieces that the client takes in.
//!
//! The library makes a future of each stream; here it gets the timer that an HTTP/1.1 connection has once. Dropping the
//! future resets the stream, and with it the attempt at a backend.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::link::Link;
use crate::error::Kind;
use crate::forward::{Body, Broken};
use crate::listener::client::{Client, Phase, Timer};

/// Most that is handed to the library at once, bytes: it keeps what it was handed until the client takes it in, and a
/// client that opens many streams and reads none must not make us keep much.
const PIECE: usize = 16 << 10;

/// Spawns the futures of a connection's streams, each with its client.
#[derive(Clone)]
pub(super) struct Streams(pub(super) Rc<Link>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, future: F) {
        let Some(client) = self.0.next.take() else {
            tokio::task::spawn_local(future);
            return;
        };
        let timer = Timer::new(&self.0.worker.shared.clock, client.deadline());
        let open = Open::new(&self.0, &client);
        tokio::task::spawn_local(Stream { future: Some(Box::pin(future)), client, timer, open });
    }
}

/// A stream being counted.
pub(super) struct Open {
    link: Rc<Link>,
    client: Rc<Client>,
}

impl Open {
    pub(super) fn new(link: &Rc<Link>, client: &Rc<Client>) -> Self {
        link.opened();
        Open { link: Rc::clone(link), client: Rc::clone(client) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // What was found out about where the client is holds for the connection's next request.
        self.link.client.place.set(self.client.place.get());
        self.link.closed();
    }
}

/// One stream.
struct Stream<F> {
    future: Option<Pin<Box<F>>>,
    client: Rc<Client>,
    timer: Timer,
    open: Open,
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let worker = &this.open.link.worker;
        loop {
            let Some(future) = &mut this.future else { return Poll::Ready(()) };
            if future.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            ready!(this.timer.poll(cx, &worker.shared.clock, this.client.deadline()));
            match this.client.phase() {
                Phase::Waiting => this.client.expire(),
                _ if this.client.goes_on(worker) => {}
                _ => {
                    this.client.cut.set(Some(Kind::CUT));
                    this.future = None;
                }
            }
        }
    }
}

/// A response's body, never more than [`PIECE`] at once.
pub(super) struct Pieces {
    body: Body,
    client: Rc<Client>,
    rest: Bytes,
}

impl Pieces {
    pub(super) fn new(body: Body, client: &Rc<Client>) -> Self {
        Pieces { body, client: Rc::clone(client), rest: Bytes::new() }
    }

    fn cut(&mut self, mut data: Bytes) -> Frame<Bytes> {
        // It is asked for when what came before is on its way.
        self.client.moved.set(true);
        self.rest = data.split_off(data.len().min(PIECE));
        Frame::data(data)
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        if !this.rest.is_empty() {
            let rest = std::mem::take(&mut this.rest);
            return Poll::Ready(Some(Ok(this.cut(rest))));
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(data) => this.cut(data),
                Err(trailers) => trailers,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked before the first piece, for the length of the whole.
        self.body.size_hint()
    }
}
