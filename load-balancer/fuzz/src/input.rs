//! From any bytes to what a target takes: numbers from the front, header fields from lines, heads as hyper makes them.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Uri, Version};
use load_balancer::config::Config;

/// Header fields that are read of a head: as many as hyper reads by default.
const FIELDS_MOST: usize = 100;

/// The first byte and the rest; zero and nothing where there is none.
pub fn byte(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

/// A configuration of one backend, with `more` behind it.
pub fn configuration(more: &str) -> Config {
    let text = format!("[[pool.backend]]\nname = \"b1\"\naddress = \"127.0.0.1:8001\"\n{more}");
    Config::parse(&text, std::iter::empty()).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Where connections come from: a stranger, or one of the networks that targets trust.
pub fn peer(choice: u8) -> SocketAddr {
    const PEERS: [&str; 4] = ["203.0.113.9:4711", "10.0.0.1:4711", "[::1]:4711", "[::ffff:10.0.0.1]:4711"];
    PEERS[usize::from(choice) % PEERS.len()].parse().unwrap()
}

/// Header fields from lines `name: value`; what could be no field is left out, as hyper refuses it.
pub fn fields(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|&b| b == b'\n').take(FIELDS_MOST) {
        let colon = line.iter().position(|&b| b == b':');
        let Some((name, value)) = colon.map(|at| (&line[..at], line[at + 1..].trim_ascii())) else {
            continue;
        };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// A request's head as hyper makes it out of these bytes, and how many they are; `None` where it is not whole, or refused.
pub fn head(bytes: &[u8]) -> Option<(Parts, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MOST];
    let mut read = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = read.parse(bytes) else { return None };
    let version = if read.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.version = version;
    parts.method = Method::from_bytes(read.method?.as_bytes()).ok()?;
    parts.uri = read.path?.parse::<Uri>().ok()?;
    for field in read.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        parts.headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some((parts, length))
}

/// The tokens of a list in all fields of a name, in lower case, whatever else is in these fields.
pub fn tokens(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let tokens = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|&b| b == b','));
    tokens.map(|token| String::from_utf8_lossy(token.trim_ascii()).to_ascii_lowercase()).collect()
}

/// An address as a proxy may write it, read by another route than the balancer's.
pub fn address(text: &str) -> Option<IpAddr> {
    let inside = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let ip = match inside {
        Some((inside, "")) => inside.parse().ok()?,
        Some((inside, port)) => {
            number(port.strip_prefix(':')?)?;
            // A zone may stand there, and means nothing elsewhere.
            let (ip, zone) = inside.split_once('%').unwrap_or((inside, "0"));
            zone.bytes().all(|b| b.is_ascii_digit()).then(|| zone.parse::<u32>().ok())??;
            IpAddr::V6(ip.parse().ok()?)
        }
        None => match text.parse() {
            Ok(ip) => ip,
            Err(_) => {
                let (ip, port) = text.rsplit_once(':')?;
                number(port)?;
                IpAddr::V4(ip.parse().ok()?)
            }
        },
    };
    Some(ip.to_canonical())
}

/// A port's number.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
