//! The table of hostile requests that HTTP/2 can say: each ends as it says, and what arrives at a backend is one request or
//! none.

use tokio::io::{AsyncRead, AsyncWrite};

use super::support::{Authority, Lb, Raw, Scrape, Script, head};
use super::tls::serving;

const TABLE: &str = include_str!("../hostile/http2.txt");

/// A field.
type Field = (Vec<u8>, Vec<u8>);

struct Row {
    line: usize,
    text: &'static str,
    /// `None` where the stream or connection is to end by an error.
    status: Option<u16>,
    reason: &'static str,
    fields: Vec<Field>,
    data: Vec<Vec<u8>>,
    trailers: Vec<Field>,
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        out.extend_from_slice(before.as_bytes());
        out.push(u8::from_str_radix(&after[..2], 16).unwrap());
        rest = &after[2..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// `name=value`: a pseudo-field's own colon is part of its name, and a name may be empty.
fn field(text: &str) -> Field {
    let (name, value) = text.split_once('=').unwrap_or_else(|| panic!("{text:?}"));
    (unescaped(name), unescaped(value))
}

fn row(text: &'static str, line: usize) -> Row {
    let [end, reason, rest] = text.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("line {line}") };
    let mut pseudo: Vec<Field> =
        [":method=GET", ":scheme=http", ":authority=h", ":path=/p"].map(field).into();
    let (mut more, mut data, mut trailers) = (Vec::new(), Vec::new(), Vec::new());
    for part in rest.split(" | ") {
        match part.as_bytes()[0] {
            b'>' => data.push(unescaped(&part[1..])),
            b'^' => trailers.push(field(&part[1..])),
            b'+' => more.push(field(&part[1..])),
            b'-' => pseudo.retain(|(name, _)| *name != part.as_bytes()[1..]),
            b':' => {
                let new = field(part);
                match pseudo.iter_mut().find(|(name, _)| *name == new.0) {
                    Some(old) => *old = new,
                    None => pseudo.push(new),
                }
            }
            _ => more.push(field(part)),
        }
    }
    pseudo.extend(more);
    let status = (end != "refused").then(|| end.parse().unwrap());
    Row { line, text, status, reason, fields: pseudo, data, trailers }
}

fn rows() -> impl Iterator<Item = Row> {
    let written = TABLE.lines().zip(1..).filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    written.map(|(text, line)| row(text, line))
}

/// What came of a row: an answer's first frame, or an error.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Answered,
    Refused,
}

async fn sent<S: AsyncRead + AsyncWrite + Unpin>(mut raw: Raw<S>, row: &Row) -> End {
    let last = |last: bool| if last { Raw::END_STREAM } else { 0 };
    let alone = row.data.is_empty() && row.trailers.is_empty();
    raw.send(Raw::HEADERS, Raw::END_HEADERS | last(alone), 1, &head(&row.fields)).await;
    for (i, piece) in row.data.iter().enumerate() {
        raw.send(Raw::DATA, last(i + 1 == row.data.len() && row.trailers.is_empty()), 1, piece).await;
    }
    if !row.trailers.is_empty() {
        raw.send(Raw::HEADERS, Raw::END_HEADERS | Raw::END_STREAM, 1, &head(&row.trailers)).await;
    }
    match raw.until(&[Raw::HEADERS, Raw::RESET, Raw::GOAWAY]).await {
        Some(head) if head.kind == Raw::HEADERS => {
            // To its end, so that it has been counted.
            let mut frame = head;
            while frame.flags & Raw::END_STREAM == 0 {
                frame = raw.until(&[Raw::DATA, Raw::HEADERS]).await.expect("the rest of the answer");
            }
            End::Answered
        }
        Some(frame) => {
            assert_ne!(frame.code(), 0, "an error has a code");
            End::Refused
        }
        None => panic!("line {}: the connection ended without a word", row.line),
    }
}

/// How often the balancer answered with this status, and how often it gave this reason.
fn counted(scrape: &Scrape, row: &Row) -> (f64, f64) {
    let status = row.status.map_or(0.0, |status| scrape.code(&status.to_string()));
    (status, scrape.aborts(row.reason))
}

#[tokio::test]
async fn every_line_ends_as_it_says() {
    hold(None).await;
}

#[tokio::test]
async fn and_so_does_each_by_tls() {
    hold(Some(Authority::new())).await;
}

async fn hold(authority: Option<Authority>) {
    let backend = Script::start(|mut conn| async move {
        while let Some(request) = conn.request().await {
            let body = if request.method() == "HEAD" { "" } else { "ok" };
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}")).await;
        }
    })
    .await;
    let lb = match &authority {
        None => Lb::over(&[backend.address], &[]).await,
        Some(authority) => serving(&backend, &[&authority.issue("lb", &["lb.test"])], &[]).await,
    };
    let (mut wrong, mut seen, mut all) = (Vec::new(), 0, 0);
    for row in rows() {
        all += 1;
        let before = lb.settled().await;
        let end = match &authority {
            None => sent(Raw::connect(lb.traffic).await, &row).await,
            Some(authority) => {
                let trust = authority.trust().offering(&["h2"]);
                sent(Raw::over(trust.connect(lb.tls(), "lb.test").await).await, &row).await
            }
        };
        let after = lb.settled().await;
        let expected = if row.status.is_some() { End::Answered } else { End::Refused };
        let (was, is) = (counted(&before, &row), counted(&after, &row));
        let status = row.status.is_none() || is.0 - was.0 == 1.0;
        let reason = row.reason == "-" || is.1 - was.1 == 1.0;
        let arrived: Vec<_> = backend.requests().split_off(seen);
        seen += arrived.len();
        let as_meant = match row.status {
            Some(200) => arrived.len() == 1 && arrived[0].target().starts_with("/p"),
            _ => arrived.is_empty(),
        };
        if end != expected || !status || !reason || !as_meant {
            wrong.push(format!("line {}: {}: {end:?}, arrived {arrived:?}", row.line, row.text));
        }
    }
    assert!(all > 100);
    assert!(wrong.is_empty(), "{} lines:\n{}", wrong.len(), wrong.join("\n"));
}
