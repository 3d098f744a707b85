//! The table of hostile requests: each ends as it says, and what arrives at a backend is one request or none.

use std::collections::BTreeMap;

use tokio::io::{AsyncRead, AsyncWrite};

use super::support::{Authority, Lb, Script, Wire};
use super::tls::serving;

const TABLE: &str = include_str!("../hostile/requests.txt");

/// Reasons that stand behind `any`: which is noticed first says nothing.
const MALFORMED: [&str; 5] = ["bad_request", "ambiguous_framing", "bad_chunk", "bad_target", "bad_host"];

/// One line of the table.
struct Row<'a> {
    line: usize,
    status: u16,
    reason: &'a str,
    bytes: Vec<u8>,
}

fn rows() -> Vec<Row<'static>> {
    let written = TABLE.lines().zip(1..).filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    let row = |(text, line): (&'static str, usize)| {
        let [status, reason, bytes] = text.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("line {line}")
        };
        Row { line, status: status.parse().unwrap(), reason, bytes: unescaped(bytes) }
    };
    written.map(row).collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        out.push(match byte {
            b'\\' => match rest.next().unwrap() {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'x' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            },
            plain => plain,
        });
    }
    out
}

/// Reasons and how often.
async fn aborts(lb: &Lb) -> BTreeMap<String, f64> {
    let scrape = lb.settled().await;
    let reasons = MALFORMED.iter().chain(&["forbidden_trailer", "unknown_coding", "method_not_allowed"]);
    reasons.map(|reason| ((*reason).to_owned(), scrape.aborts(reason))).filter(|(_, n)| *n > 0.0).collect()
}

/// Sends a row's bytes in `pieces` and says nothing more: the status of the first answer. Whoever is refused is heard to the
/// end of the connection, so that whatever follows from what was sent has followed.
async fn sent<S: AsyncRead + AsyncWrite + Unpin>(mut wire: Wire<S>, pieces: &[&[u8]]) -> Option<u16> {
    for piece in pieces {
        // Who is refused in the middle need not be heard to the end.
        if wire.try_send(piece).await.is_err() {
            break;
        }
    }
    let line = wire.upto(b"\r\n").await?;
    let status = std::str::from_utf8(line.get(9..12)?).ok()?.parse().ok()?;
    if status == 200 {
        wire.upto(b"\r\n\r\nok").await?;
    } else {
        wire.gone().await;
    }
    Some(status)
}

async fn hold(authority: Option<Authority>, cut: impl Fn(&[u8]) -> usize) {
    let backend = Script::named("ok").await;
    let lb = match &authority {
        None => Lb::over(&[backend.address], &[]).await,
        Some(authority) => serving(&backend, &[&authority.issue("lb", &["lb.test"])], &[]).await,
    };
    let mut wrong = Vec::new();
    let (mut before, mut seen) = (BTreeMap::new(), 0);
    for row in rows() {
        let (first, second) = row.bytes.split_at(cut(&row.bytes));
        let status = match &authority {
            None => sent(lb.connect().await, &[first, second]).await,
            Some(authority) => {
                sent(authority.trust().connect(lb.tls(), "lb.test").await, &[first, second]).await
            }
        };
        let now = aborts(&lb).await;
        let counted = |reason: &str| now.get(reason).unwrap_or(&0.0) - before.get(reason).unwrap_or(&0.0);
        let expected = match row.reason {
            "-" => MALFORMED.iter().map(|reason| counted(reason)).sum::<f64>() == 0.0,
            "any" => MALFORMED.iter().any(|reason| counted(reason) == 1.0),
            reason => counted(reason) == 1.0,
        };
        let arrived: Vec<String> =
            backend.requests().into_iter().skip(seen).map(|r| r.target().to_owned()).collect();
        let as_meant = match row.status {
            200 => arrived.len() == 1 && arrived[0].starts_with("/p"),
            _ => arrived.is_empty(),
        };
        if status != Some(row.status) || !expected || !as_meant {
            let news: Vec<_> =
                now.iter().filter(|(reason, _)| counted(reason) > 0.0).map(|(r, _)| r).collect();
            wrong.push(format!("line {}: {status:?} {news:?}, arrived: {arrived:?}", row.line));
        }
        (before, seen) = (now, seen + arrived.len());
    }
    assert!(wrong.is_empty(), "{} lines:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn every_line_ends_as_it_says() {
    assert!(rows().len() > 200);
    hold(None, |_| 0).await;
}

/// Each piece is a record of its own: what stands before a cut is judged before the rest is there.
#[tokio::test]
async fn and_so_does_each_by_tls() {
    hold(Some(Authority::new()), |bytes| bytes.len() / 2).await;
}

#[tokio::test]
async fn and_so_does_each_cut_in_two() {
    // Where a cut does most harm: within the line that ends the head.
    hold(None, |bytes| bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(bytes.len() / 2, |at| at + 1))
        .await;
}

#[tokio::test]
async fn and_so_does_each_cut_behind_its_head() {
    // Before a bare LF, if there is one: what came before it has been believed by then. Else in the middle of the body.
    hold(None, |bytes| {
        let bare = bytes.windows(2).position(|w| w[1] == b'\n' && w[0] != b'\r');
        let body = bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
        bare.map_or(body + (bytes.len() - body) / 2, |at| at + 1)
    })
    .await;
}

#[tokio::test]
async fn what_follows_an_upgrade_that_failed_is_judged() {
    let good = "GET /p2 HTTP/1.1\r\nHost: h\r\n\r\n";
    let bad =
        "POST /p3 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    for (path, settings, status) in
        [("/p1", &[][..], 200), ("/nope", &[("pool.allowed_paths", "[\"/p2\", \"/p3\"]")][..], 400)]
    {
        let backend = Script::named("ok").await;
        let lb = Lb::over(&[backend.address], settings).await;
        let mut wire = lb.connect().await;
        let upgrade = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        // Together, and one by one.
        wire.send([&upgrade, good, &upgrade].concat()).await;
        assert_eq!(wire.reply().await.status(), status);
        assert_eq!(wire.reply().await.status(), 200);
        assert_eq!(wire.reply().await.status(), status);
        wire.send([&upgrade, bad].concat()).await;
        assert_eq!(wire.reply().await.status(), status);
        assert_eq!(wire.reply().await.status(), 400);
        assert!(wire.gone().await.is_empty());
        lb.settled().await;
        assert!(backend.requests().iter().all(|request| request.target() != "/p3"));
    }
}
