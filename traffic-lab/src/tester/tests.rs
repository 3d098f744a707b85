//! The engine against real sockets: servers of a few lines, each with one behaviour.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A server on a thread of its own, which ends with the test's process; returns its URL.
fn serve<F: Future<Output = ()>>(each: impl Fn(TcpStream, usize) -> F + Send + 'static) -> String {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let each = std::rc::Rc::new(each);
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let each = std::rc::Rc::clone(&each);
                tokio::task::spawn_local(async move { each(stream, number).await });
            }
        });
    });
    format!("http://{}/", told.recv().unwrap())
}

/// Reads a request's head; what was read, or nothing at the end.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    while !text.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut text).await.ok()? == 0 {
            return None;
        }
    }
    String::from_utf8(text).ok()
}

/// Answers each request after `delay`, with the number of its connection as instance.
fn answering(delay: Duration) -> String {
    serve(move |mut stream, number| async move {
        while request(&mut stream).await.is_some() {
            tokio::time::sleep(delay).await;
            let body = format!(r#"{{"instance":"c{number}"}}"#);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    })
}

fn errors(run: &results::Run) -> Vec<(&str, u64)> {
    run.summary.errors.iter().map(|(reason, count)| (reason.as_str(), *count)).collect()
}

#[test]
fn a_closed_loop_has_its_requests_at_once_and_no_more() {
    let run =
        send(&Plan { concurrency: Some(4), ..Plan::new(&answering(Duration::from_millis(50)), 40) }).unwrap();
    assert_eq!((run.summary.requests, run.summary.failed), (40, 0));
    // Four connections, each used ten times; ten turns of 50 ms.
    assert_eq!(run.summary.instances.len(), 4, "{:?}", run.summary.instances);
    assert!(run.summary.seconds >= 0.5, "{}", run.summary.seconds);
    let mut changes: Vec<(f64, i32)> =
        run.records.iter().flat_map(|r| [(r.req_snd_time, 1), (r.resp_rcv_time, -1)]).collect();
    changes.sort_by(|a, b| a.partial_cmp(b).unwrap());
    let most = changes
        .iter()
        .scan(0, |sum, (_, change)| {
            *sum += change;
            Some(*sum)
        })
        .max();
    assert_eq!(most, Some(4));
}

#[test]
fn an_open_loop_sends_when_due_whatever_the_answers_do() {
    let url = answering(Duration::from_millis(300));
    let pace = Pace::Open { rate: 200.0, arrivals: Arrivals::Constant };
    let run = send(&Plan { pace, ..Plan::new(&url, 100) }).unwrap();
    assert_eq!((run.summary.requests, run.summary.failed), (100, 0));
    for (number, record) in run.records.iter().enumerate() {
        assert!((record.due() - run.started - number as f64 / 200.0).abs() < 1e-5, "{number}");
    }
    // A closed loop of one connection would need 30 s.
    assert!(run.summary.seconds < 3.0, "{}", run.summary.seconds);
    // With one connection the wait for it is the client's own queue, and counts as latency: no coordinated omission.
    let narrow = send(&Plan { pace, concurrency: Some(1), ..Plan::new(&url, 10) }).unwrap();
    let last = narrow.records.last().unwrap();
    assert!(last.queued() > 2.5 && last.service() < 1.0 && last.latency() > 2.9, "{last:?}");
    assert_eq!(narrow.summary.instances.len(), 1);
}

#[test]
fn a_duration_ends_either_loop_and_a_stop_does_too() {
    let url = answering(Duration::from_millis(20));
    let timed = Plan { requests: None, duration: Some(Duration::from_millis(300)), ..Plan::new(&url, 1) };
    let closed = send(&Plan { concurrency: Some(2), ..timed.clone() }).unwrap();
    assert!((2..=30).contains(&closed.summary.requests), "{}", closed.summary.requests);
    let pace = Pace::Open { rate: 100.0, arrivals: Arrivals::Constant };
    assert_eq!(send(&Plan { pace, ..timed }).unwrap().summary.requests, 30);
    for pace in [Pace::Closed, Pace::Open { rate: 0.01, arrivals: Arrivals::Poisson }] {
        let watch = Arc::new(Watch::default());
        watch.stop();
        let run = send_watched(&Plan { pace, ..Plan::new(&url, 1_000) }, &watch).unwrap();
        assert_eq!((run.summary.requests, watch.ended()), (0, 0));
    }
}

#[test]
fn what_fails_is_a_record_with_its_reason() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = send(&Plan::new(&format!("http://{gone}/"), 7)).unwrap();
    assert_eq!((errors(&refused), refused.summary.failed), (vec![("refused", 7)], 7));
    assert_eq!(refused.clock, None);

    let timeout = Duration::from_millis(60);
    let silent = answering(Duration::from_secs(3600));
    let waited = send(&Plan { timeout, ..Plan::new(&silent, 3) }).unwrap();
    assert_eq!(errors(&waited), [("timeout", 3)]);
    assert!(waited.records.iter().all(|record| record.latency() >= 0.06));
    let pace = Pace::Open { rate: 1000.0, arrivals: Arrivals::Poisson };
    let narrow = send(&Plan { pace, timeout, concurrency: Some(1), ..Plan::new(&silent, 3) }).unwrap();
    assert_eq!(narrow.summary.failed, 3);

    let leaves = serve(|mut stream, _| async move {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
    });
    assert_eq!(errors(&send(&Plan::new(&leaves, 5)).unwrap()), [("closed", 5)]);
    let no_http = serve(|mut stream, _| async move {
        request(&mut stream).await;
        stream.write_all(b"220 smtp ready\r\n").await.unwrap();
    });
    assert_eq!(errors(&send(&Plan::new(&no_http, 5)).unwrap()), [("nonsense", 5)]);
    let unknown = send(&Plan::new("http://no-such-host.invalid/", 1)).unwrap_err();
    assert!(format!("{unknown:#}").contains("no-such-host.invalid"));
}

/// One has the only connection; the others give up before it is free, and their records are whole all the same.
#[test]
fn a_request_that_found_no_connection_is_known_by_its_number() {
    let silent = answering(Duration::from_secs(3600));
    let pace = Pace::Open { rate: 1e6, arrivals: Arrivals::Constant };
    let plan = Plan {
        pace,
        timeout: Duration::from_millis(60),
        concurrency: Some(1),
        first: 7,
        region: Some("EU".to_owned()),
        ..Plan::new(&format!("{silent}?request_id={{n}}"), 3)
    };
    let run = send(&plan).unwrap();
    assert_eq!(run.summary.failed, 3);
    let keys: Vec<&str> = run.records.iter().filter_map(|record| record.key.as_deref()).collect();
    assert_eq!(keys, ["7", "8", "9"]);
    assert!(run.records.iter().all(|record| record.region.as_deref() == Some("EU")));
}

#[test]
fn connections_are_kept_unless_told_otherwise_and_a_closed_one_is_replaced() {
    let url = answering(Duration::ZERO);
    let kept = Plan { concurrency: Some(1), ..Plan::new(&url, 20) };
    assert_eq!(send(&kept).unwrap().summary.instances.len(), 1);
    assert_eq!(send(&Plan { keep_alive: false, ..kept }).unwrap().summary.instances.len(), 20);
    // Says nothing of closing, and closes.
    let curt = serve(|mut stream, _| async move {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    });
    let pace = Pace::Open { rate: 50.0, arrivals: Arrivals::Constant };
    let run = send(&Plan { pace, concurrency: Some(1), ..Plan::new(&curt, 10) }).unwrap();
    assert_eq!((run.summary.requests, run.summary.failed), (10, 0), "{:?}", run.summary.errors);
}

#[test]
fn a_long_body_goes_out_whole_or_is_answered_before_it_is() {
    let length = 8 << 20;
    let reads = serve(move |mut stream, _| async move {
        let head = request(&mut stream).await.unwrap();
        let mut left = length - (head.len() - head.find("\r\n\r\n").unwrap() - 4);
        let mut buffer = vec![0; 64 << 10];
        while left > 0 {
            left -= stream.read(&mut buffer).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    });
    let plan = Plan { method: "POST".to_owned(), body: vec![b'x'; length], ..Plan::new(&reads, 2) };
    assert_eq!(send(&plan).unwrap().summary.statuses, [(200, 2)].into());
    let refuses = serve(|mut stream, _| async move {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 413 no\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        // Stays, and reads nothing more.
        std::future::pending::<()>().await;
    });
    let run = send(&Plan { url: refuses, ..plan }).unwrap();
    assert_eq!(run.summary.statuses, [(413, 2)].into());
}
