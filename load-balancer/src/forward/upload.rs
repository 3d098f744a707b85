//! Requests' bodies on their way through: counted, limited and timed, frame by frame.
//!
//! Of a request that may be made again, what the client has sent is kept beside, up to `retry.body_bytes`: the next attempt
//! begins with it and goes on with what the client sends then. It is copied, since a reference would hold hyper's whole
//! buffer: a client sending byte by byte could have thousands of buffers held.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::{HeaderMap, Version};

use super::body::Broken;
use crate::error::Kind;
use crate::listener::{Client, Phase, forbidden_trailer};
use crate::worker::Worker;

/// A client's body on its way to a backend, in one attempt.
pub struct RequestBody(Option<Reader>);

/// A hold on an attempt's body from outside: when it is dropped, whoever reads the body reads no further. An attempt that is
/// over must not go on taking what the client sends.
pub(super) struct Leash(Rc<Tether>);

/// What ties a body to its leash.
#[derive(Default)]
struct Tether {
    cut: Cell<bool>,
    /// Whoever reads the body.
    reader: RefCell<Option<Waker>>,
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.cut.set(true);
        if let Some(reader) = self.0.reader.take() {
            reader.wake();
        }
    }
}

/// The possibility of another attempt with the same body. What is kept is kept as long as it exists.
pub(super) struct Spare(Option<Rc<RefCell<Source>>>);

/// One attempt's position in the body.
struct Reader {
    source: Rc<RefCell<Source>>,
    /// Bytes of what is kept that this attempt has passed on.
    at: usize,
    /// This attempt has passed on everything, trailers included.
    done: bool,
    /// Where somebody may end it from outside.
    tether: Option<Rc<Tether>>,
}

/// The client's end of the body, shared by its attempts: only one reads at a time.
struct Source {
    incoming: Incoming,
    client: Rc<Client>,
    worker: Rc<Worker>,
    left: Option<u64>,
    /// It is of a stream of HTTP/2.
    http2: bool,
    kept: Option<Kept>,
    /// The client has sent everything, trailers included.
    ended: bool,
}

/// Everything that the client has sent so far.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl RequestBody {
    /// Wraps `incoming`; one that is empty costs nothing. With `keep`, it may be sent again.
    #[must_use]
    pub fn new(
        incoming: Incoming,
        version: Version,
        client: &Rc<Client>,
        worker: &Rc<Worker>,
        keep: bool,
    ) -> Self {
        if incoming.is_end_stream() {
            return RequestBody(None);
        }
        client.body_done.set(false);
        let config = worker.config();
        let source = Source {
            incoming,
            client: Rc::clone(client),
            worker: Rc::clone(worker),
            left: config.limits.body_bytes,
            http2: version == Version::HTTP_2,
            kept: (keep && config.retry.body_bytes > 0).then(Kept::default),
            ended: false,
        };
        RequestBody(Some(Reader::new(Rc::new(RefCell::new(source)))))
    }

    /// A leash for it.
    pub(super) fn leash(&mut self) -> Leash {
        let tether = Rc::<Tether>::default();
        if let Some(reader) = &mut self.0 {
            reader.tether = Some(Rc::clone(&tether));
        }
        Leash(tether)
    }

    /// A hold on the body for another attempt.
    pub(super) fn spare(&self) -> Spare {
        Spare(self.0.as_ref().map(|reader| Rc::clone(&reader.source)))
    }
}

impl Spare {
    /// The body from its beginning, where none of it is lost. The attempt before must be over.
    pub(super) fn again(self) -> Option<RequestBody> {
        let Some(source) = self.0 else { return Some(RequestBody(None)) };
        let kept = source.borrow().kept.is_some();
        kept.then(|| RequestBody(Some(Reader::new(source))))
    }
}

impl Reader {
    fn new(source: Rc<RefCell<Source>>) -> Self {
        Reader { source, at: 0, done: false, tether: None }
    }

    /// What an earlier attempt has passed on already, and this one has not.
    fn replay(&mut self) -> Poll<Option<Frame<Bytes>>> {
        let source = self.source.borrow();
        let kept = source.kept.as_ref();
        let frame = if let Some(rest) = kept.and_then(|k| k.bytes.get(self.at..)).filter(|r| !r.is_empty()) {
            self.at += rest.len();
            self.done = source.incoming.is_end_stream();
            Some(Frame::data(Bytes::copy_from_slice(rest)))
        } else if source.ended {
            self.done = true;
            kept.and_then(|k| k.trailers.clone()).map(Frame::trailers)
        } else {
            return Poll::Pending;
        };
        source.client.starving.set(false);
        source.progress(self.done);
        Poll::Ready(frame)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.done {
            return Poll::Ready(None);
        }
        if let Some(tether) = &self.tether {
            if tether.cut.get() {
                return Poll::Ready(Some(Err(Broken::canceled("the attempt is over"))));
            }
            *tether.reader.borrow_mut() = Some(cx.waker().clone());
        }
        if let Poll::Ready(frame) = self.replay() {
            return Poll::Ready(frame.map(Ok));
        }
        if Rc::strong_count(&self.source) == 1 {
            // Nobody will ask for it again.
            self.source.borrow_mut().kept = None;
        }
        let source = &mut *self.source.borrow_mut();
        let frame = ready!(source.poll_frame(cx));
        self.done = source.ended || source.incoming.is_end_stream();
        self.at = source.kept.as_ref().map_or(0, |kept| kept.bytes.len());
        if matches!(frame, None | Some(Ok(_))) {
            source.progress(self.done);
        }
        Poll::Ready(frame)
    }
}

impl Source {
    /// The next frame from the client, counted and kept.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        self.client.starving.set(polled.is_pending());
        let frame = match ready!(polled) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let refused = self.client.refused.get();
                self.client.gone.set(refused.is_none() && broken_off(&error));
                let kind = refused.map_or(Kind::BadRequest, |fault| fault.kind);
                return self.spoilt(kind, "the client's body is malformed or was broken off");
            }
            // An HTTP/2 stream that was reset without an error ends here, too: what came of it is not all of it.
            None if self.http2 && !self.incoming.is_end_stream() => {
                self.client.gone.set(true);
                return self.spoilt(Kind::BadRequest, "the client's body was broken off");
            }
            None => {
                self.ended = true;
                return Poll::Ready(None);
            }
        };
        if let Some(trailers) = frame.trailers_ref()
            && trailers.keys().any(|name| forbidden_trailer(name.as_str().as_bytes()))
        {
            return self.spoilt(Kind::ForbiddenTrailer, "a trailer says what only a head may say");
        }
        if !self.allow(frame.data_ref().map_or(0, |data| data.len() as u64)) {
            return self.spoilt(Kind::BodyTooLarge, "the client's body exceeds limits.body_bytes");
        }
        // Trailers are the last frame, and a chunked body does not know its end before.
        self.ended = frame.is_trailers();
        self.keep(&frame);
        Poll::Ready(Some(Ok(frame)))
    }

    fn spoilt(&mut self, kind: Kind, why: &'static str) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.kept = None;
        self.client.fault.set(Some(kind));
        Poll::Ready(Some(Err(Broken::canceled(why))))
    }

    /// Counts a piece; false where it breaks the limit.
    fn allow(&mut self, bytes: u64) -> bool {
        if let Some(left) = &mut self.left {
            match left.checked_sub(bytes) {
                Some(rest) => *left = rest,
                None => return false,
            }
        }
        self.worker.meters.request_bytes.inc_by(bytes);
        self.client.uploaded.set(self.client.uploaded.get() + bytes);
        true
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(kept) = &mut self.kept else { return };
        if let Some(data) = frame.data_ref() {
            if kept.bytes.len() + data.len() > self.worker.config().retry.body_bytes {
                self.kept = None;
                return;
            }
            kept.bytes.extend_from_slice(data);
        }
        kept.trailers = frame.trailers_ref().cloned();
    }

    /// After each piece: the client has `body_idle` for the next, after the last the backend has `first_byte`.
    fn progress(&self, done: bool) {
        self.client.moved.set(true);
        if self.client.phase() == Phase::Waiting {
            let timeouts = &self.worker.config().timeouts;
            let limit = if done { timeouts.first_byte } else { timeouts.body_idle };
            let now = self.worker.now();
            self.client.arm(limit.map(|t| now.after(t)));
            self.client.sent_at.set(now);
        }
        self.client.body_done.set(done);
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |reader| reader.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|reader| {
            let source = reader.source.borrow();
            reader.done || (source.behind(reader.at) == 0 && source.incoming.is_end_stream())
        })
    }

    /// What is left of the length that the client declared; of a chunked body nothing is known, however much is kept, so
    /// that every attempt has the framing of the first.
    fn size_hint(&self) -> SizeHint {
        let Some(reader) = &self.0 else { return SizeHint::with_exact(0) };
        let source = reader.source.borrow();
        let to_come = source.incoming.size_hint().exact();
        to_come.map_or_else(SizeHint::default, |n| SizeHint::with_exact(n + source.behind(reader.at)))
    }
}

impl Source {
    /// Bytes kept that a reader at `at` has not passed on.
    fn behind(&self, at: usize) -> u64 {
        self.kept.as_ref().map_or(0, |kept| kept.bytes.len().saturating_sub(at) as u64)
    }
}

/// Whether the client's connection ended, rather than its body being malformed.
fn broken_off(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let source = std::error::Error::source(error);
    if let Some(http2) = source.and_then(|e| e.downcast_ref::<h2::Error>()) {
        // What the library itself resets is malformed.
        return http2.is_remote() || http2.is_io();
    }
    let io = source.and_then(|e| e.downcast_ref::<std::io::Error>());
    io.is_some_and(|e| matches!(e.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
}
