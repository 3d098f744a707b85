//! Each row is judged whole, and cut in two at every byte: how TCP cuts a request must never matter.

use lb_core::Rng;

use super::*;

/// What is found in `pieces`, and at which byte of all of them. Every upgrade fails here.
fn judge(pieces: &[&[u8]]) -> Option<(usize, Kind)> {
    let mut gate = Gate::default();
    let mut before = 0;
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let passed = match gate.pass(rest) {
                Passed::All => rest.len(),
                Passed::Kept(at) => at,
                Passed::Until(at, fault) => return Some((before + at, fault.kind)),
            };
            before += passed;
            rest = &rest[passed..];
            gate.resume();
        }
    }
    None
}

/// The kind of fault, however the bytes are cut; where it is noticed may only differ within one line.
fn found(bytes: &[u8]) -> Option<Kind> {
    let whole = judge(&[bytes]);
    for cut in 0..=bytes.len() {
        let (a, b) = bytes.split_at(cut);
        let halves = judge(&[a, b]);
        assert_eq!(whole.map(|f| f.1), halves.map(|f| f.1), "cut at {cut}: {}", bytes.escape_ascii());
    }
    let each: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(whole.map(|f| f.1), judge(&each).map(|f| f.1), "byte by byte: {}", bytes.escape_ascii());
    whole.map(|f| f.1)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn post(lines: &str, body: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: h\r\n{lines}\r\n{body}")
}

#[test]
fn what_has_one_end_passes_and_the_next_request_is_judged_again() {
    let good = [
        GET.to_owned(),
        format!("\r\n\r\n{GET}"),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        post("Content-Length: 5\r\n", "hello"),
        post("Content-Length:5\r\n", "a\nb\nc"),
        post("content-LENGTH:  0 \r\n", ""),
        post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        post(
            "Transfer-Encoding:\tChunked\r\n",
            "5;x=\"y\"\r\nhe\nlo\r\nA ;q\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n",
        ),
        post("Expect: 100-continue\r\nContent-Length: 1\r\n", "x"),
        post("Contents: 5\r\nContent-Type: t\r\nTe: trailers\r\n", ""),
    ];
    let bad = "GET /x HTTP/1.1\r\nHost: h\n\r\n";
    for first in &good {
        assert_eq!(found(first.as_bytes()), None, "{first}");
        for second in &good {
            assert_eq!(found([first.as_str(), second].concat().as_bytes()), None, "{first}{second}");
        }
        let judged = judge(&[first.as_bytes(), bad.as_bytes()]);
        assert_eq!(judged, Some((first.len() + 17, Kind::AmbiguousFraming)), "behind {first}");
    }
}

#[test]
fn two_ends_or_none_are_ambiguous() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: \u{665}\r\n",
        "Content_Length: 5\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding: chunked\u{c}\r\n",
        "Transfer-Encoding:\r\n",
        "X: 1\nTransfer-Encoding: chunked\r\n",
        "X: 1\rY: 2\r\n",
        "X: 1\r\r\n",
    ] {
        assert_eq!(
            found(post(lines, "5\r\nhello\r\n0\r\n\r\n").as_bytes()),
            Some(Kind::AmbiguousFraming),
            "{lines}"
        );
    }
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(found(old), Some(Kind::AmbiguousFraming));
    assert_eq!(found(b"GET / HTTP/1.1\nHost: h\n\n"), Some(Kind::AmbiguousFraming));
    assert_eq!(found(b"\nGET / HTTP/1.1\r\n\r\n"), Some(Kind::AmbiguousFraming));
}

#[test]
fn codings_that_exist_are_not_implemented() {
    for value in ["gzip, chunked", "deflate,chunked", "compress, x-gzip, Chunked"] {
        let request = post(&format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n");
        assert_eq!(found(request.as_bytes()), Some(Kind::UnknownCoding), "{value}");
    }
}

#[test]
fn chunks_are_sizes_in_hexadecimal_and_so_many_bytes() {
    for body in [
        "x\r\n",
        "\r\n",
        " 5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "5 5\r\nhello\r\n",
        "5\u{b}\r\nhello\r\n",
        "1000000000000000\r\n",
        "5\r\nhello!\r\n",
        "3;a\u{1}b\r\nabc\r\n",
        "00000000000000005\r\nhello\r\n",
    ] {
        let request = post("Transfer-Encoding: chunked\r\n", body);
        assert_eq!(found(request.as_bytes()), Some(Kind::BadChunk), "{body:?}");
    }
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(256));
    assert_eq!(found(post("Transfer-Encoding: chunked\r\n", &extension).as_bytes()), Some(Kind::BadChunk));
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhell\r\n",
        "5;x\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\nX: 1\n\r\n",
    ] {
        let request = post("Transfer-Encoding: chunked\r\n", body);
        assert_eq!(found(request.as_bytes()), Some(Kind::AmbiguousFraming), "{body:?}");
    }
}

#[test]
fn trailers_change_nothing_that_a_head_said() {
    for name in [
        "Content-Length",
        "transfer-encoding",
        "HOST",
        "Authorization",
        "Cookie",
        "X-Forwarded-For",
        "If-Match",
        "x-lb-algo",
        "Content_Length",
        "Forwarded",
        "X_Forwarded_For",
    ] {
        let body = format!("0\r\n{name}: 1\r\n\r\n");
        let request = post("Transfer-Encoding: chunked\r\n", &body);
        assert_eq!(found(request.as_bytes()), Some(Kind::ForbiddenTrailer), "{name}");
    }
}

#[test]
fn targets_are_escaped_and_have_no_fragment() {
    for target in ["/a#b", "/\u{e9}", "/\u{7f}", "/a\tb", "#"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(found(request.as_bytes()), Some(Kind::BadTarget), "{target:?}");
    }
}

#[test]
fn behind_an_upgrade_nothing_passes_until_it_has_failed() {
    let upgrade = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    let mut gate = Gate::default();
    assert_eq!((gate.pass(upgrade), gate.waits()), (Passed::All, true));
    assert_eq!(gate.pass(b"\x81\x05hello"), Passed::Kept(0));
    gate.resume();
    assert!(matches!(gate.pass(b"\n"), Passed::Until(0, _)), "the next request is judged");
    let mut gate = Gate::default();
    assert_eq!(gate.pass(&[&upgrade[..], b"early"].concat()), Passed::Kept(upgrade.len()));
}

#[test]
fn a_fault_is_final() {
    let mut gate = Gate::default();
    assert!(matches!(gate.pass(b"\nx"), Passed::Until(0, _)));
    assert!(matches!(gate.pass(GET.as_bytes()), Passed::Until(0, _)));
}

#[test]
fn any_bytes_end_in_a_fault_or_not_at_all() {
    let mut rng = Rng::seeded(7);
    let pieces = [
        "GET / HTTP/1.1\r\n",
        "Host: h\r\n",
        "\r\n",
        "\n",
        "\r",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "3\r\n",
        "abc",
        "\r\n0\r\n",
        "Upgrade: x\r\n",
        ";x",
        "\0",
        ":",
        " ",
        "ffffffffffffffff",
    ];
    for _ in 0..20_000 {
        let count = 1 + rng.below(12);
        let text: String = (0..count).map(|_| pieces[rng.below(pieces.len() as u32) as usize]).collect();
        found(text.as_bytes());
    }
}
