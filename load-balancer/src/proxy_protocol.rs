//! The PROXY protocol, versions 1 and 2 (haproxy.org, `proxy-protocol.txt`): who the client is, said by a proxy in front of
//! the connection's own bytes.
//!
//! Pure: [`parse`] looks at what has come so far and says what the header is and where it ends, that more is needed, or what
//! is wrong; [`header`] writes one. Nothing is repaired: a header that is not exactly one of the two is [`Malformed`], since whoever reads its end
//! elsewhere reads another request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, its CR LF included: by the specification.
const V1_MOST: usize = 107;
/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of a header of version 2 in front of its addresses.
const V2_FIXED: usize = 16;
/// Longest header taken, in bytes: addresses come to 232, TLVs with a certificate to some thousand.
pub const MOST: usize = 4_096;
/// The TLV with the header's CRC-32C.
const CRC32C: u8 = 0x03;

/// Where a connection comes from and where it went to, before proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub client: SocketAddr,
    /// What the client connected to.
    pub server: SocketAddr,
}

/// A header that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Nobody, where the proxy speaks for itself (LOCAL: its health checks) or does not know (UNKNOWN, UNSPEC, not TCP).
    pub ends: Option<Ends>,
    /// Its bytes: the connection's own begin behind them.
    pub len: usize,
}

/// Which of the two is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

/// The header that says whose a connection is; without `ends` that the proxy speaks for itself (its health checks).
#[must_use]
pub fn header(version: Version, ends: Option<Ends>) -> Vec<u8> {
    let ends = ends.map(one_family);
    match (version, ends) {
        (Version::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
        (Version::V1, Some(Ends { client, server })) => {
            let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (client.port(), server.port());
            format!("PROXY {family} {} {} {from} {to}\r\n", client.ip(), server.ip()).into_bytes()
        }
        (Version::V2, None) => [&SIGNATURE[..], &[0x20, 0x00, 0, 0]].concat(),
        (Version::V2, Some(Ends { client, server })) => {
            let mut addresses = Vec::with_capacity(36);
            for ip in [client.ip(), server.ip()] {
                match ip {
                    IpAddr::V4(ip) => addresses.extend(ip.octets()),
                    IpAddr::V6(ip) => addresses.extend(ip.octets()),
                }
            }
            addresses.extend(client.port().to_be_bytes());
            addresses.extend(server.port().to_be_bytes());
            let kind = if client.is_ipv4() { 0x11 } else { 0x21 };
            [&SIGNATURE[..], &[0x21, kind, 0, addresses.len() as u8], &addresses].concat()
        }
    }
}

/// Both addresses of one family, as a header needs them: IPv4 where both are, else IPv6.
fn one_family(Ends { client, server }: Ends) -> Ends {
    let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let wide = |end: SocketAddr| match end.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), end.port()),
        IpAddr::V6(_) => end,
    };
    let (client, server) = (plain(client), plain(server));
    if client.is_ipv4() == server.is_ipv4() {
        Ends { client, server }
    } else {
        Ends { client: wide(client), server: wide(server) }
    }
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// The header at the beginning of `bytes`; `None` where more of it is needed to tell.
///
/// # Errors
/// [`Malformed`] as soon as no header can begin like this.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let begins = |with: &[u8]| {
        let both = bytes.len().min(with.len());
        bytes[..both] == with[..both]
    };
    if begins(&SIGNATURE) {
        return v2(bytes);
    }
    if begins(b"PROXY ") {
        return v1(bytes);
    }
    Err(Malformed("it does not begin with a PROXY protocol header"))
}

fn v1(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let seen = &bytes[..bytes.len().min(V1_MOST)];
    let Some(end) = seen.iter().position(|&byte| byte == b'\n') else {
        let full = seen.len() == V1_MOST;
        return if full { Err(Malformed("version 1 without CR LF in 107 bytes")) } else { Ok(None) };
    };
    let line = seen[..end].strip_suffix(b"\r").ok_or(Malformed("version 1 ends without CR"))?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed("version 1 is no text"))?;
    let mut words = line.split(' ').skip(1);
    let ends = match words.next() {
        Some("UNKNOWN") => None,
        Some(family @ ("TCP4" | "TCP6")) => {
            let mut next = || words.next().ok_or(Malformed("version 1 lacks a field"));
            let (client, server) = (address(family, next()?)?, address(family, next()?)?);
            let (from, to) = (port(next()?)?, port(next()?)?);
            if words.next().is_some() {
                return Err(Malformed("version 1 has a field too many"));
            }
            Some(Ends { client: SocketAddr::new(client, from), server: SocketAddr::new(server, to) })
        }
        _ => return Err(Malformed("version 1 names no known protocol")),
    };
    Ok(Some(Header { ends, len: end + 1 }))
}

fn address(family: &str, word: &str) -> Result<IpAddr, Malformed> {
    let ip = match family {
        "TCP4" => word.parse::<Ipv4Addr>().map(IpAddr::V4),
        _ => word.parse::<Ipv6Addr>().map(IpAddr::V6),
    };
    ip.map_err(|_| Malformed("version 1 has an address that is none of its family"))
}

fn port(word: &str) -> Result<u16, Malformed> {
    let plain = word == "0" || (word.bytes().all(|b| b.is_ascii_digit()) && !word.starts_with('0'));
    let port = plain.then(|| word.parse().ok()).flatten();
    port.ok_or(Malformed("version 1 has a port that is no number up to 65535"))
}

fn v2(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    // Judged as soon as they are there: who gets these wrong would be waited for in vain.
    let local = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(Malformed("version 2 with another version or command")),
    };
    let Some(&[kind, high, low]) = bytes.get(13..V2_FIXED) else { return Ok(None) };
    let len = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if len > MOST {
        return Err(Malformed("version 2 is longer than 4096 bytes"));
    }
    let Some(header) = bytes.get(..len) else { return Ok(None) };
    let header = Header { ends: if local { None } else { ends(kind, header)? }, len };
    Ok(Some(header))
}

/// What a whole header with the command PROXY says.
fn ends(kind: u8, header: &[u8]) -> Result<Option<Ends>, Malformed> {
    let addresses = match kind {
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err(Malformed("version 2 with an unknown family or protocol")),
    };
    let Some((said, _)) = header[V2_FIXED..].split_at_checked(addresses) else {
        return Err(Malformed("version 2 is shorter than its addresses"));
    };
    tlvs(header, V2_FIXED + addresses)?;
    Ok(match kind {
        0x11 => v4(said),
        0x21 => v6(said),
        // Datagrams do not come over TCP, and a Unix socket has no address to tell.
        _ => None,
    })
}

fn v4(body: &[u8]) -> Option<Ends> {
    let ip = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(body.get(at..at + 4)?).ok()?));
    pair(body, 8, ip(0)?, ip(4)?)
}

fn v6(body: &[u8]) -> Option<Ends> {
    let ip = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(body.get(at..at + 16)?).ok()?));
    pair(body, 32, ip(0)?, ip(16)?)
}

fn pair(body: &[u8], at: usize, client: IpAddr, server: IpAddr) -> Option<Ends> {
    let port = |at: usize| Some(u16::from_be_bytes(<[u8; 2]>::try_from(body.get(at..at + 2)?).ok()?));
    let (from, to) = (port(at)?, port(at + 2)?);
    Some(Ends { client: SocketAddr::new(client, from), server: SocketAddr::new(server, to) })
}

/// Passes over what else is said, from `at` on, and holds the header against its checksum, where it has one.
fn tlvs(header: &[u8], mut at: usize) -> Result<(), Malformed> {
    while at < header.len() {
        let cut = Malformed("version 2 has a field that is longer than the header");
        let Some(&[kind, high, low]) = header.get(at..at + 3) else { return Err(cut) };
        let (start, len) = (at + 3, usize::from(u16::from_be_bytes([high, low])));
        let value = header.get(start..start + len).ok_or(cut)?;
        if kind == CRC32C {
            let said = <[u8; 4]>::try_from(value).map_err(|_| Malformed("a CRC-32C has four bytes"))?;
            // As if those four were zero.
            let (before, after) = (&header[..start], &header[start + len..]);
            let bytes = before.iter().chain(&[0; 4]).chain(after);
            if crc32c(bytes.copied()) != u32::from_be_bytes(said) {
                return Err(Malformed("version 2 does not match its CRC-32C"));
            }
        }
        at = start + len;
    }
    Ok(())
}

/// CRC-32C (Castagnoli), a bit at a time: a header is short, and few have one.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests;
