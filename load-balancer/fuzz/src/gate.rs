//! The request gate: however bytes are cut it says the same, and what it lets pass a second reader sees as the same requests.

use load_balancer::error::Kind;
use load_balancer::listener::{Gate, Passed};

use super::input::byte;

/// Cuts at most; each takes two bytes of the input.
const CUTS_MOST: usize = 7;
/// Fields that the second reader takes, as many as httparse is given by hyper.
const FIELDS_MOST: usize = 100;
/// A line that only a gate before a request's head refuses for its target.
const PROBE: &[u8] = b"GET /a#b HTTP/1.1\r\n";
/// What no trailer may be called (RFC 9110, 6.5.1), some of it.
const NO_TRAILERS: [&str; 5] =
    ["content-length", "transfer-encoding", "host", "authorization", "x-forwarded-for"];

/// The input begins with the number of cuts and where they are.
pub fn run(data: &[u8]) {
    let (count, rest) = byte(data);
    let count = usize::from(count) % (CUTS_MOST + 1);
    let (positions, bytes) = rest.split_at((2 * count).min(rest.len()));
    let mut cuts: Vec<usize> = positions
        .chunks(2)
        .map(|two| two.iter().fold(0, |n, &b| n << 8 | usize::from(b)) % (bytes.len() + 1))
        .collect();
    cuts.sort_unstable();

    let whole = judge(&[bytes]);
    let cut = judge(&pieces(bytes, &cuts));
    assert_eq!(whole.map(|(_, kind)| kind), cut.map(|(_, kind)| kind), "cut at {cuts:?}");
    if let (Some((at, _)), Some((later, _))) = (whole, cut) {
        // A line's beginning may have passed before its end came; nothing before that line, nothing behind it.
        assert!(
            at <= later && !bytes[at..later].contains(&b'\n'),
            "refused at {at}, or at {later} cut at {cuts:?}"
        );
    }
    let passed = &bytes[..whole.map_or(bytes.len(), |(at, _)| at)];
    for end in requests(passed) {
        let probed = judge(&[&passed[..end], PROBE]);
        assert_eq!(probed, Some((end, Kind::BadTarget)), "the second reader sees a request end at {end}");
    }
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let starts = [0].into_iter().chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([bytes.len()]);
    starts.zip(ends).map(|(start, end)| &bytes[start..end]).collect()
}

/// What is found in `pieces`, and at which byte of all of them. Every upgrade fails here.
fn judge(pieces: &[&[u8]]) -> Option<(usize, Kind)> {
    let (mut gate, mut before) = (Gate::default(), 0);
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let taken = match gate.pass(rest) {
                Passed::All => rest.len(),
                Passed::Kept(at) => at,
                Passed::Until(at, fault) => {
                    let again = gate.pass(b"GET / HTTP/1.1\r\n");
                    assert_eq!(again, Passed::Until(0, fault), "something passes behind a fault");
                    return Some((before + at, fault.kind));
                }
            };
            assert!(taken > 0 || gate.waits(), "neither taken nor refused");
            before += taken;
            rest = &rest[taken..];
            gate.resume();
        }
    }
    None
}

/// Where requests end, as httparse and RFC 9112 see them. Panics at a framing that could be read in two ways.
fn requests(bytes: &[u8]) -> Vec<usize> {
    let (mut ends, mut at) = (Vec::new(), 0);
    while let Some(length) = request(&bytes[at..]) {
        at += length;
        ends.push(at);
    }
    ends
}

/// The length of the request that bytes begin with; `None` where it is not whole, or hyper would refuse its head.
fn request(bytes: &[u8]) -> Option<usize> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MOST];
    let mut read = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(head)) = read.parse(bytes) else { return None };
    let values = |name: &str| -> Vec<&[u8]> {
        let named = read.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value).collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    match (&lengths[..], &codings[..]) {
        ([], []) => Some(head),
        ([length], []) => {
            assert!(
                !length.is_empty() && length.iter().all(u8::is_ascii_digit),
                "a length that is no number has passed"
            );
            let length = length
                .iter()
                .try_fold(0_u64, |n, digit| n.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
            let length = length.unwrap_or_else(|| panic!("a length beyond 64 bits has passed"));
            let body = usize::try_from(length).ok().filter(|&body| body <= bytes.len() - head)?;
            Some(head + body)
        }
        ([], [coding]) => {
            assert!(
                coding.eq_ignore_ascii_case(b"chunked") && read.version == Some(1),
                "a coding that hides has passed"
            );
            chunks(&bytes[head..]).map(|body| head + body)
        }
        _ => panic!("{} lengths and {} codings have passed", lengths.len(), codings.len()),
    }
}

/// The length of a body in chunks.
fn chunks(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        if !bytes[at..].contains(&b'\n') {
            // A line without an end is nobody's yet.
            return None;
        }
        let Ok(size) = httparse::parse_chunk_size(&bytes[at..]) else {
            panic!("a chunk that httparse refuses has passed")
        };
        let httparse::Status::Complete((line, size)) = size else { return None };
        at += line;
        if size == 0 {
            return trailers(&bytes[at..]).map(|length| at + length);
        }
        at = usize::try_from(size)
            .ok()
            .and_then(|size| at.checked_add(size))
            .filter(|&end| end + 2 <= bytes.len())?;
        let line = &bytes[at..];
        assert!(line.starts_with(b"\r\n") || !line.contains(&b'\n'), "a chunk that is not closed has passed");
        at += 2;
    }
}

fn trailers(bytes: &[u8]) -> Option<usize> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MOST];
    let Ok(httparse::Status::Complete((length, read))) = httparse::parse_headers(bytes, &mut fields) else {
        return None;
    };
    for field in read {
        let forbidden = NO_TRAILERS.iter().any(|name| field.name.eq_ignore_ascii_case(name));
        assert!(!forbidden, "the trailer {} has passed", field.name);
    }
    Some(length)
}
