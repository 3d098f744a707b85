//! What is to be sent, and the message that follows from it.
//!
//! How it fails: everything that can be said about a plan before the first request is said then, with the remedy; what
//! goes wrong later is a record.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use http::{HeaderName, HeaderValue, Method, Uri};

use super::arrivals::Arrivals;
use super::template::Template;
use crate::results::{Loop, Sending};

/// Requests at once in a closed loop, unless told otherwise.
const CONCURRENCY: usize = 50;
/// Connections in an open loop, unless told otherwise: enough that only a server that answers nothing uses them up.
const CONNECTIONS: usize = 2_000;
/// The most requests at once: more than Linux lets one process open unless its `fs.nr_open` is raised (1,048,576).
const CONCURRENCY_MOST: usize = 1_000_000;
/// How long an answer is waited for, unless told otherwise: what the balancer itself allows a request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Chooses the balancer's algorithm.
const ALGORITHM: HeaderName = HeaderName::from_static("x-lb-algo");

/// Who decides when the next request is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Pace {
    /// The answer to an earlier one.
    #[default]
    Closed,
    /// A clock, so many times a second.
    Open {
        /// Requests a second.
        rate: f64,
        /// The gaps between them.
        arrivals: Arrivals,
    },
}

/// A run that is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The run's id; drawn from the time where there is none.
    pub(crate) id: Option<String>,
    /// What a person calls it.
    pub(crate) title: Option<String>,
    /// Where to; `{n}`, `{random}` and `{random:N}` are filled in for each request.
    pub(crate) url: String,
    /// GET and its like.
    pub(crate) method: String,
    /// Names and values; filled in like the URL.
    pub(crate) headers: Vec<(String, String)>,
    /// Sent as it is with each request.
    pub(crate) body: Vec<u8>,
    /// What `{n}` begins with.
    pub(crate) first: u64,
    /// Ends after so many requests, or not by their number.
    pub(crate) requests: Option<u64>,
    /// Sends nothing after this time, or not by time.
    pub(crate) duration: Option<Duration>,
    /// Who decides when the next request is sent.
    pub(crate) pace: Pace,
    /// Requests at once (closed loop), the most connections (open loop).
    pub(crate) concurrency: Option<usize>,
    /// Whether connections are used again.
    pub(crate) keep_alive: bool,
    /// From when a request is due to when it is given up.
    pub(crate) timeout: Duration,
    /// What arrivals and `{random}` are drawn from.
    pub(crate) seed: u64,
    /// The algorithm to ask the balancer for.
    pub(crate) algorithm: Option<String>,
    /// Where the clients are, for the records alone.
    pub(crate) region: Option<String>,
}

/// What is sent, ready to be filled in and written.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Host, without the brackets of an IPv6 address.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
    /// Whether answers have no body whatever they say.
    pub(crate) to_head: bool,
    /// Request line and fields.
    pub(crate) head: Template,
    /// What follows them.
    pub(crate) body: Vec<u8>,
}

impl Plan {
    /// `requests` GETs in a closed loop.
    pub(crate) fn new(url: &str, requests: u64) -> Self {
        Self {
            id: None,
            title: None,
            url: url.to_owned(),
            method: Method::GET.to_string(),
            headers: Vec::new(),
            body: Vec::new(),
            first: 0,
            requests: Some(requests),
            duration: None,
            pace: Pace::Closed,
            concurrency: None,
            keep_alive: true,
            timeout: TIMEOUT,
            seed: 1,
            algorithm: None,
            region: None,
        }
    }

    /// Requests at once, or connections.
    pub(crate) fn concurrency(&self) -> usize {
        let usual = match self.pace {
            Pace::Closed => CONCURRENCY,
            Pace::Open { .. } => CONNECTIONS,
        };
        let most = usize::try_from(self.requests.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        self.concurrency.unwrap_or(usual).min(most)
    }

    /// How the results describe it.
    pub(crate) fn sending(&self) -> Sending {
        let (kind, rate) = match self.pace {
            Pace::Closed => (Loop::Closed, None),
            Pace::Open { rate, arrivals: Arrivals::Poisson } => (Loop::OpenPoisson, Some(rate)),
            Pace::Open { rate, arrivals: Arrivals::Constant } => (Loop::OpenConstant, Some(rate)),
        };
        Sending {
            kind,
            method: self.method.clone(),
            concurrency: self.concurrency(),
            rate,
            seed: Some(self.seed),
            keep_alive: self.keep_alive,
            algorithm: self.algorithm.clone(),
        }
    }

    /// Checks everything, and makes the message.
    pub(crate) fn message(&self) -> Result<Message> {
        ensure!(
            self.requests.is_some() || self.duration.is_some(),
            "say N, or a duration: it would never end"
        );
        ensure!(self.requests != Some(0), "N is 0: there is nothing to send");
        ensure!(self.concurrency != Some(0), "the concurrency is 0: nothing would be sent");
        let most = self.concurrency();
        ensure!(most <= CONCURRENCY_MOST, "the concurrency is {most}: at most {CONCURRENCY_MOST}");
        ensure!(
            self.duration.is_none_or(|duration| !duration.is_zero()),
            "the duration is 0: nothing would be sent"
        );
        ensure!(!self.timeout.is_zero(), "the timeout is 0: every request would fail");
        if let Pace::Open { rate, .. } = self.pace {
            ensure!(rate.is_finite() && rate > 0.0, "the rate is {rate}: give requests a second, above 0");
        }
        let method = Method::from_bytes(self.method.as_bytes());
        let method = method.with_context(|| format!("method {:?}: GET, POST and its like", self.method))?;
        ensure!(method != Method::CONNECT, "CONNECT opens a tunnel; that is nothing to measure here");
        let uri = address(&self.url)?;
        let host = uri.host().unwrap_or_default();
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        let fields = self.fields(&method)?;
        if !fields.iter().any(|(name, _)| *name == http::header::HOST) {
            let authority = uri.authority().map_or(host, |authority| authority.as_str());
            head.push_str(&format!("host: {authority}\r\n"));
        }
        for (name, value) in &fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Ok(Message {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
            to_head: method == Method::HEAD,
            head: Template::new(&head),
            body: self.body.clone(),
        })
    }

    fn fields(&self, method: &Method) -> Result<Vec<(HeaderName, String)>> {
        let mut fields = Vec::new();
        for (name, value) in &self.headers {
            let told = format!("{name}: {value}");
            let name = HeaderName::from_bytes(name.as_bytes()).with_context(|| format!("header {told:?}"))?;
            HeaderValue::from_str(value).with_context(|| format!("header {told:?}"))?;
            match name {
                http::header::CONNECTION => {
                    bail!("header {told:?}: say whether connections are kept instead")
                }
                http::header::CONTENT_LENGTH | http::header::TRANSFER_ENCODING => {
                    bail!("header {told:?}: the body's length is told without it");
                }
                http::header::EXPECT => bail!("header {told:?}: bodies are sent at once here"),
                _ => fields.push((name, value.clone())),
            }
        }
        if let Some(algorithm) = &self.algorithm {
            HeaderValue::from_str(algorithm).with_context(|| format!("algorithm {algorithm:?}"))?;
            fields.push((ALGORITHM, algorithm.clone()));
        }
        if !self.body.is_empty() || matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
            fields.push((http::header::CONTENT_LENGTH, self.body.len().to_string()));
        }
        if !self.keep_alive {
            fields.push((http::header::CONNECTION, "close".to_owned()));
        }
        Ok(fields)
    }
}

/// The URL's parts, if it is one that can be sent to.
fn address(url: &str) -> Result<Uri> {
    let fix = "give one such as http://127.0.0.1:5000/home";
    let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL; {fix}"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            bail!("{url:?}: TLS is not spoken here; give the http:// address of the same server")
        }
        Some(_) | None => bail!("{url:?} does not begin with http://; {fix}"),
    }
    ensure!(uri.host().is_some_and(|host| !host.is_empty()), "{url:?} names no host; {fix}");
    let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    ensure!(!user, "the URL has a user; send the header Authorization instead");
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(plan: &Plan) -> String {
        plan.message().unwrap().head.fill(plan.seed, 5).0
    }

    #[test]
    fn a_message_has_what_it_needs_and_nothing_twice() {
        let plan = Plan::new("http://127.0.0.1:5000/a?b={n}#c", 1);
        assert_eq!(head(&plan), "GET /a?b=5 HTTP/1.1\r\nhost: 127.0.0.1:5000\r\n\r\n");
        let message = Plan::new("http://[::1]", 1).message().unwrap();
        assert_eq!((message.host.as_str(), message.port), ("::1", 80));
        let full = Plan {
            method: "POST".to_owned(),
            headers: vec![
                ("Host".to_owned(), "b.example".to_owned()),
                ("X-Id".to_owned(), "i{n}".to_owned()),
            ],
            body: b"{n}".to_vec(),
            keep_alive: false,
            algorithm: Some("random".to_owned()),
            ..plan
        };
        assert_eq!(
            head(&full),
            "POST /a?b=5 HTTP/1.1\r\nhost: b.example\r\nx-id: i5\r\nx-lb-algo: random\r\ncontent-length: 3\r\n\
             connection: close\r\n\r\n"
        );
        assert_eq!(full.message().unwrap().body, b"{n}");
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_the_remedy() {
        let good = Plan::new("http://127.0.0.1/", 1);
        let header = |name: &str, value: &str| Plan {
            headers: vec![(name.to_owned(), value.to_owned())],
            ..good.clone()
        };
        let open = |rate| Plan { pace: Pace::Open { rate, arrivals: Arrivals::Poisson }, ..good.clone() };
        for (plan, says) in [
            (Plan::new("https://127.0.0.1/", 1), "TLS is not spoken"),
            (Plan::new("127.0.0.1:5000", 1), "http://127.0.0.1:5000/home"),
            (Plan::new("ftp://x/", 1), "does not begin with http://"),
            (Plan::new("http://me:pw@x/", 1), "Authorization"),
            (Plan::new("http://x/\n", 1), "no URL"),
            (Plan::new("http://x/", 0), "N is 0"),
            (Plan { requests: None, ..good.clone() }, "never end"),
            (Plan { concurrency: Some(0), ..good.clone() }, "concurrency is 0"),
            (
                Plan { concurrency: Some(CONCURRENCY_MOST + 1), ..Plan::new("http://x/", u64::MAX) },
                "at most 1000000",
            ),
            (Plan { duration: Some(Duration::ZERO), ..good.clone() }, "duration is 0"),
            (Plan { timeout: Duration::ZERO, ..good.clone() }, "timeout is 0"),
            (Plan { method: "G T".to_owned(), ..good.clone() }, "method"),
            (Plan { algorithm: Some("a\r\nb".to_owned()), ..good.clone() }, "algorithm"),
            (open(0.0), "rate is 0"),
            (open(f64::NAN), "rate is NaN"),
            (header("a b", "c"), "header \"a b: c\""),
            (header("a", "b\r\nc: d"), "header"),
            (header("Content-Length", "3"), "length is told without it"),
            (header("connection", "close"), "kept instead"),
        ] {
            let error = format!("{:#}", plan.message().unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn there_are_never_more_at_once_than_there_are_at_all() {
        assert_eq!(Plan::new("http://x/", 7).concurrency(), 7);
        assert_eq!(Plan::new("http://x/", 700).concurrency(), CONCURRENCY);
    }
}
