//! Spans over OTLP, as a receiver gets them: whose children they are, what they say, and that nothing that happens to them
//! touches a request.

use std::net::SocketAddr;
use std::time::Duration;

use fake_opentelemetry_collector::FakeCollectorServer;

use load_balancer::control::Source;

use super::support::{
    Conn, Lb, Receiver, Script, Span, addresses, ok, refusing, replicas, request, variables, within,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

fn traceparent(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{CLIENT}-{flags}")
}

/// A balancer that sends every request's spans to `endpoint`.
async fn traced(backends: &[SocketAddr], endpoint: &str, more: &[(&str, &str)]) -> Lb {
    let settings = [("traces.endpoint", endpoint), ("traces.sample", "1.0"), ("traces.parent", "always")];
    Lb::over(backends, &[&settings[..], more].concat()).await
}

fn one(spans: &[Span], kind: i32) -> &Span {
    let all: Vec<_> = spans.iter().filter(|span| span.kind == kind).collect();
    assert_eq!(all.len(), 1, "{spans:#?}");
    all[0]
}

#[tokio::test]
async fn client_server_client_backend_are_one_chain() {
    let receiver = Receiver::start().await;
    let backend = Script::named("hello").await;
    let more = [("traces.service", "edge"), ("pool.algorithm", "least_connections")];
    let lb = traced(&[backend.address], &receiver.endpoint(), &more).await;
    let headers = [&traceparent("01"), "tracestate: vendor=1", "x-request-id: id-1"];
    assert_eq!(lb.get_with("/a/b?token=secret", &headers).await.text(), "hello");
    let spans = receiver.spans(2).await;
    let (server, client) = (one(&spans, 2), one(&spans, 3));
    assert_eq!((&*server.trace, &*server.parent), (TRACE, CLIENT));
    assert_eq!((&*client.trace, &client.parent), (TRACE, &server.id));
    let seen = backend.request();
    assert_eq!(seen.header("traceparent"), Some(&*format!("00-{TRACE}-{}-01", client.id)));
    assert_eq!(seen.header("tracestate"), Some("vendor=1"));
    assert!(server.start <= client.start && client.end <= server.end);

    let port = backend.address.port().to_string();
    for (span, key, value) in [
        (server, "http.request.method", "GET"),
        (server, "url.scheme", "http"),
        (server, "url.path", "/a/b"),
        (server, "http.response.status_code", "200"),
        (server, "client.address", "127.0.0.1"),
        (server, "server.address", "lab"),
        (server, "lb.pool", "default"),
        (server, "lb.algorithm", "least_connections"),
        (server, "lb.backend", "b1"),
        (server, "lb.request_id", "id-1"),
        (server, "lb.attempts", "1"),
        (client, "server.address", "127.0.0.1"),
        (client, "server.port", &port),
        (client, "url.full", &format!("http://127.0.0.1:{port}/a/b")),
        (client, "http.response.status_code", "200"),
        (client, "lb.backend", "b1"),
        (client, "lb.weight", "1"),
        (client, "lb.decision.reason", "picked"),
        (client, "http.request.resend_count", ""),
    ] {
        assert_eq!(span.of(key), value, "{key} of {span:#?}");
    }
    for span in [server, client] {
        assert_eq!((&*span.name, &*span.service, span.error), ("GET", "edge", false));
        assert!(!format!("{span:?}").contains("secret"), "a query is nobody's business: {span:#?}");
        let noise = |key: &&String| {
            ["code.", "thread.", "busy_ns", "idle_ns", "target"].iter().any(|n| key.starts_with(n))
        };
        assert_eq!(span.attributes.keys().find(noise), None);
    }
    for key in ["lb.total", "lb.connect", "lb.first_byte", "lb.overhead"] {
        assert!(server.of(key).parse::<f64>().unwrap() >= 0.0, "{key} of {server:#?}");
    }
    lb.until("two spans counted", |s| s.sum("lb_trace_spans_total", &[("result", "exported")]) == 2.0).await;
}

#[tokio::test]
async fn each_attempt_has_a_span() {
    let receiver = Receiver::start().await;
    let broken = Script::answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    let (fine, seen) = (Script::named("fine").await, refusing());
    let more = [("pool.algorithm", "round_robin"), ("retry.attempts", "2"), ("retry.backoff", "0")];
    let lb = traced(&[seen, broken.address, fine.address], &receiver.endpoint(), &more).await;
    assert_eq!(lb.get("/").await.text(), "fine");
    let spans = receiver.spans(4).await;
    let server = one(&spans, 2);
    let mut attempts: Vec<_> = spans.iter().filter(|span| span.kind == 3).collect();
    attempts.sort_by_key(|span| span.start);
    let told: Vec<_> = attempts
        .iter()
        .map(|span| {
            [span.of("http.request.resend_count"), span.of("error.type"), span.of("lb.decision.reason")]
        })
        .collect();
    assert_eq!(told, [["", "upstream_connect", "picked"], ["1", "503", "retry"], ["2", "", "retry"]]);
    assert!(attempts.iter().all(|span| span.parent == server.id && span.trace == server.trace));
    assert!(attempts.is_sorted_by(|a, b| a.end <= b.start), "one after the other: {attempts:#?}");
    assert_eq!((server.of("lb.attempts"), &*server.parent, server.error), ("3", "", false));
    assert_eq!(attempts.iter().map(|span| span.error).collect::<Vec<_>>(), [true, true, false]);
    let marks = [broken.request(), fine.request()].map(|r| r.header("traceparent").unwrap().to_owned());
    assert!(marks[0].contains(&attempts[1].id) && marks[1].contains(&attempts[2].id), "{marks:?}");
    assert_eq!(fine.request().header("tracestate"), None, "none where there is none");
}

/// What an outside client claims is not believed: neither does it decide who is traced, nor which trace that is.
#[tokio::test]
async fn only_those_who_are_trusted_decide() {
    let receiver = Receiver::start().await;
    let backend = Script::named("ok").await;
    let sampled = [&*traceparent("01"), "tracestate: vendor=1"];
    // Who is believed, the share, the flag, and whether the request is traced, and as part of the client's trace.
    for (parent, sample, flags, traced_too, continued) in [
        ("trusted", "0", "01", false, false),
        ("trusted", "1", "00", true, false),
        ("ignore", "0", "01", false, false),
        ("always", "0", "01", true, true),
        ("always", "1", "00", false, false),
    ] {
        let before = backend.requests().len();
        let settings = [("traces.parent", parent), ("traces.sample", sample)];
        let lb = traced(&[backend.address], &receiver.endpoint(), &settings).await;
        let headers = [&*traceparent(flags), sampled[1]];
        assert_eq!(lb.get_with("/", &headers).await.status(), 200);
        let seen = backend.requests()[before].clone();
        let got = seen.header("traceparent").unwrap().to_owned();
        assert_eq!(got.contains(TRACE), continued || !traced_too, "{parent} {sample} {flags}: {got}");
        assert_eq!(got.contains(CLIENT), !traced_too, "passed through: {parent} {sample} {flags}: {got}");
        let state = (continued || !traced_too).then_some("vendor=1");
        assert_eq!(seen.header("tracestate"), state, "{parent} {sample} {flags}");
    }
    let settings =
        [("client.trusted_proxies", "[\"127.0.0.1\"]"), ("traces.parent", "trusted"), ("traces.sample", "0")];
    let lb = traced(&[backend.address], &receiver.endpoint(), &settings).await;
    lb.get_with("/", &sampled).await;
    let mark = backend.requests().last().unwrap().header("traceparent").unwrap().to_owned();
    assert!(mark.contains(TRACE) && !mark.contains(CLIENT), "{mark}");
}

#[tokio::test]
async fn without_traces_what_a_client_says_passes_through() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[]).await;
    lb.get_with("/", &[&traceparent("01"), "tracestate: a=1", "tracestate: b=2"]).await;
    let seen = backend.request();
    assert_eq!(seen.all("traceparent"), [format!("00-{TRACE}-{CLIENT}-01")]);
    assert_eq!(seen.all("tracestate"), ["a=1", "b=2"]);
}

#[tokio::test]
async fn failures_say_what_went_wrong() {
    let receiver = Receiver::start().await;
    let broken = Script::start(async |mut conn: Conn| {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    })
    .await;
    let lb = traced(&[broken.address], &receiver.endpoint(), &[]).await;
    for method in ["GET", "BREW"] {
        let mut wire = lb.connect().await;
        wire.send(request(method, "/", &[])).await;
        wire.end().await;
    }
    assert_eq!(lb.get("/?algo=none").await.status(), 400);
    let spans = receiver.spans(5).await;
    let server = |code: &str, method: &str| {
        let fits = |s: &&Span| {
            s.kind == 2 && s.of("http.response.status_code") == code && s.of("http.request.method") == method
        };
        spans.iter().find(fits).unwrap_or_else(|| panic!("{code} {method}: {spans:#?}"))
    };
    let cut = server("200", "GET");
    assert_eq!((cut.of("error.type"), cut.error), ("upstream_reset", true));
    let attempt = spans.iter().find(|s| s.parent == cut.id).unwrap();
    assert_eq!((attempt.of("error.type"), attempt.error), ("upstream_reset", true));
    let refused = server("400", "GET");
    assert_eq!((refused.of("error.type"), refused.error), ("bad_request", false), "the client's own fault");
    assert!(spans.iter().all(|span| span.parent != refused.id), "it never got to a backend");
    let strange = server("200", "_OTHER");
    assert_eq!((&*strange.name, strange.of("http.request.method_original")), ("HTTP", "BREW"));
}

/// A span ends with its response's last byte, or when the client leaves.
#[tokio::test]
async fn spans_end_with_the_exchange() {
    let receiver = Receiver::start().await;
    let endless = Script::start(async |mut conn: Conn| {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
        conn.request().await;
    })
    .await;
    let lb = traced(&[endless.address], &receiver.endpoint(), &[]).await;
    let mut wire = lb.connect().await;
    wire.send(request("GET", "/", &[])).await;
    wire.upto(b"1\r\na\r\n").await.unwrap();
    assert!(receiver.spans(0).await.is_empty());
    drop(wire);
    let spans = receiver.spans(2).await;
    for kind in [2, 3] {
        assert_eq!(one(&spans, kind).of("error.type"), "client_closed");
    }
}

#[tokio::test]
async fn a_receiver_that_is_gone_costs_spans_and_nothing_else() {
    let backends = replicas(1).await;
    let nobody = format!("http://{}", refusing());
    for protocol in ["http", "grpc"] {
        let lb = traced(&addresses(&backends), &nobody, &[("traces.protocol", protocol)]).await;
        for _ in 0..20 {
            assert_eq!(lb.get("/echo").await.status(), 200);
        }
        let failed =
            |s: &super::support::Scrape| s.sum("lb_trace_spans_total", &[("result", "failed")]) == 40.0;
        let scrape = lb.until("spans given up", failed).await;
        assert_eq!(scrape.sum("lb_trace_spans_total", &[]), 40.0);
    }
}

/// A receiver that takes connections and says nothing holds up the exporting thread: the queue fills, and what does not
/// fit is counted. Stopping waits for it a moment, not for ever.
#[tokio::test]
async fn a_full_queue_drops() {
    let silent = Script::start(async |mut conn: Conn| {
        conn.request().await;
        conn.request().await;
    })
    .await;
    let backends = replicas(1).await;
    let more = [("traces.queue", "10"), ("traces.timeout", "20s")];
    let mut lb = traced(&addresses(&backends), &format!("http://{}", silent.address), &more).await;
    let dropped = async |lb: &Lb| lb.scrape().await.sum("lb_trace_spans_total", &[("result", "dropped")]);
    let filling = async {
        while dropped(&lb).await < 10.0 {
            assert_eq!(lb.get("/echo").await.status(), 200);
        }
    };
    within("the queue full", filling).await;
    let scrape = lb.settled().await;
    assert!(scrape.sum("lb_trace_spans_total", &[]) < 2.0 * scrape.requests());
    lb.stopping().await;
}

#[tokio::test]
async fn grpc_receivers_get_the_same() {
    let mut collector = FakeCollectorServer::start().await.unwrap();
    let backend = Script::named("ok").await;
    let lb = traced(&[backend.address], &collector.endpoint(), &[("traces.protocol", "grpc")]).await;
    lb.get_with("/", &[&traceparent("01")]).await;
    let spans = collector.exported_spans(2, Duration::from_secs(20)).await;
    assert_eq!(spans.len(), 2, "{spans:?}");
    let server = spans.iter().find(|span| span.kind == "SPAN_KIND_SERVER").unwrap();
    let client = spans.iter().find(|span| span.kind == "SPAN_KIND_CLIENT").unwrap();
    assert_eq!((&*server.trace_id, &*server.parent_span_id), (TRACE, CLIENT));
    assert_eq!(client.parent_span_id, server.span_id);
    assert!(backend.request().header("traceparent").unwrap().contains(&client.span_id));
}

/// Who is traced may change while running, where spans go may not.
#[tokio::test]
async fn a_reload_changes_the_share_and_refuses_another_endpoint() {
    let receiver = Receiver::start().await;
    let backend = Script::named("ok").await;
    let file = std::env::temp_dir().join(format!("ballast-traces-{}.toml", std::process::id()));
    let write = |endpoint: &str, sample: &str| {
        let pool = format!("[[pool.backend]]\nname = \"b1\"\naddress = \"{}\"\n", backend.address);
        let traces = format!("[traces]\nendpoint = \"{endpoint}\"\nsample = {sample}\n");
        std::fs::write(&file, pool + &traces).unwrap();
    };
    write(&receiver.endpoint(), "0");
    let source = Source { path: file.clone(), env: variables(&[("state.file", "off")]) };
    let lb = Lb::from(source).await;
    lb.get_with("/", &["x-request-id: before"]).await;
    for (endpoint, sample, result) in
        [(receiver.endpoint(), "1", "applied"), ("http://127.0.0.1:9".to_owned(), "0", "refused")]
    {
        write(&endpoint, sample);
        lb.reload();
        lb.until(result, |s| s.sum("lb_config_reloads_total", &[("result", result)]) >= 1.0).await;
        lb.get_with("/", &[&format!("x-request-id: {result}")]).await;
    }
    let spans = receiver.spans(4).await;
    let ids: Vec<_> = spans.iter().filter(|s| s.kind == 2).map(|s| s.of("lb.request_id")).collect();
    assert_eq!(ids, ["applied", "refused"], "the refused file changed nothing");
    let told = lb.admin("/decisions?format=json").await.text();
    assert!(told.contains("traces.endpoint") && told.contains("restart"), "{told}");
    std::fs::remove_file(file).unwrap();
}

/// What waits when the order to stop comes is sent before the balancer is gone.
#[tokio::test]
async fn stopping_sends_what_waits() {
    let receiver = Receiver::start().await;
    let backend = Script::answering(ok("ok")).await;
    let mut lb = traced(&[backend.address], &receiver.endpoint(), &[]).await;
    for _ in 0..100 {
        lb.get("/").await;
    }
    lb.stopping().await;
    assert_eq!(receiver.spans(0).await.len(), 200);
}
