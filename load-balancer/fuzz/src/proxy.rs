//! Headers of the PROXY protocol: the same header however much of the connection is there with it, never two readings of where
//! it ends, and no address that was not said.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

use load_balancer::proxy_protocol::{Ends, Header, MOST, Version, header, parse};

use super::input::byte;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The field with a header's checksum.
const CHECKSUM: u8 = 3;
/// What comes behind a header: it must not matter.
const BEHIND: &[u8] = b"GET / HTTP/1.1\r\n";
/// Bytes of the input that the addresses of a header of ours are made of.
const WRITTEN: usize = 37;

/// The input's first byte says where the bytes are cut once more, and (when odd) that a checksum in them is made right: no
/// fuzzer finds one.
pub fn run(data: &[u8]) {
    let (choice, bytes) = byte(data);
    let mut bytes = bytes.to_vec();
    if choice & 1 == 1 {
        seal(&mut bytes);
    }
    let found = parse(&bytes);
    match found {
        Ok(Some(Header { ends, len })) => {
            assert!((15..=bytes.len().min(MOST)).contains(&len), "{len} of {}", bytes.len());
            let whole = &bytes[..len];
            assert_eq!(read(whole), Some(ends), "{}", whole.escape_ascii());
            assert_eq!(parse(&[whole, BEHIND].concat()), found, "what comes behind it matters");
            assert_eq!(parse(&bytes[..len - 1]), Ok(None), "it was whole without its last byte");
            written(ends);
        }
        // More of it changes nothing.
        Err(_) => assert_eq!(parse(&[&bytes[..], BEHIND].concat()), found),
        Ok(None) => assert!(bytes.len() < MOST && read(&bytes).is_none(), "{}", bytes.escape_ascii()),
    }
    let cut = bytes.len() * usize::from(choice) / 256;
    match parse(&bytes[..cut]) {
        Ok(None) => {}
        early => assert_eq!(early, found, "cut at {cut}"),
    }
    told(data);
}

/// What is told to a backend of these ends is what was heard.
fn written(ends: Option<Ends>) {
    let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    for version in [Version::V1, Version::V2] {
        let bytes = header(version, ends);
        let Ok(Some(again)) = parse(&bytes) else { panic!("{ends:?} is written as nothing") };
        assert_eq!(again.len, bytes.len());
        let pair = |ends: Ends| (plain(ends.client), plain(ends.server));
        assert_eq!(again.ends.map(pair), ends.map(pair), "{version:?}");
    }
}

/// Whatever addresses there are, what we write is read as them.
fn told(data: &[u8]) {
    let Some(bytes) = data.first_chunk::<WRITTEN>() else { return };
    let ip = |at: usize, wide: bool| -> IpAddr {
        let mut all = [0; 16];
        all.copy_from_slice(&bytes[at..at + 16]);
        if wide { Ipv6Addr::from(all).into() } else { Ipv4Addr::new(all[0], all[1], all[2], all[3]).into() }
    };
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let client = SocketAddr::new(ip(1, bytes[0] & 2 == 0), port(33));
    let server = SocketAddr::new(ip(17, bytes[0] & 4 == 0), port(35));
    written(Some(Ends { client, server }));
}

/// The second reading: all of `bytes` as one header; `None` where they are none.
fn read(bytes: &[u8]) -> Option<Option<Ends>> {
    match bytes.strip_prefix(SIGNATURE) {
        Some(rest) => binary(bytes, rest),
        None => line(std::str::from_utf8(bytes).ok()?),
    }
}

fn line(text: &str) -> Option<Option<Ends>> {
    let inside = text.strip_prefix("PROXY ")?.strip_suffix("\r\n")?;
    if text.len() > 107 || inside.contains('\n') {
        return None;
    }
    if inside == "UNKNOWN" || inside.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let words: Vec<&str> = inside.split(' ').collect();
    let [family, from, to, from_port, to_port] = words[..] else { return None };
    let ip = |word: &str| word.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv4() == (family == "TCP4"));
    // Ports in the one way that a number is written in.
    let port = |word: &str| word.parse::<u16>().ok().filter(|port| port.to_string() == word);
    let ends = Ends {
        client: SocketAddr::new(ip(from)?, port(from_port)?),
        server: SocketAddr::new(ip(to)?, port(to_port)?),
    };
    ["TCP4", "TCP6"].contains(&family).then_some(Some(ends))
}

fn binary(all: &[u8], rest: &[u8]) -> Option<Option<Ends>> {
    let (&[command, kind, high, low], body) = rest.split_first_chunk::<4>()?;
    if body.len() != usize::from(high) << 8 | usize::from(low) {
        return None;
    }
    match command {
        0x20 => return Some(None),
        0x21 => {}
        _ => return None,
    }
    let size = match (kind >> 4, kind & 15) {
        (0, 0) => 0,
        (1, 1 | 2) => 12,
        (2, 1 | 2) => 36,
        (3, 1 | 2) => 216,
        _ => return None,
    };
    let (addresses, fields) = body.split_at_checked(size)?;
    let mut checksums = Vec::new();
    if !walk(fields, all.len() - fields.len(), &mut checksums) {
        return None;
    }
    let right = |&(at, length): &(usize, usize)| {
        length == 4 && checksum(all, at).to_be_bytes() == all[at..at + length]
    };
    if !checksums.iter().all(right) {
        return None;
    }
    let end = |ip: &[u8], port: &[u8]| {
        let port = u16::from_be_bytes([port[0], port[1]]);
        match <[u8; 4]>::try_from(ip) {
            Ok(ip) => SocketAddr::from((ip, port)),
            Err(_) => SocketAddr::from((<[u8; 16]>::try_from(ip).unwrap(), port)),
        }
    };
    let of = |a: usize| Ends {
        client: end(&addresses[..a], &addresses[2 * a..2 * a + 2]),
        server: end(&addresses[a..2 * a], &addresses[2 * a + 2..]),
    };
    Some(match kind {
        0x11 => Some(of(4)),
        0x21 => Some(of(16)),
        _ => None,
    })
}

/// Notes where values of checksums are in fields that begin at `at` of a header; false where a field does not end with them.
fn walk(fields: &[u8], at: usize, checksums: &mut Vec<(usize, usize)>) -> bool {
    if fields.is_empty() {
        return true;
    }
    let Some((&[kind, high, low], rest)) = fields.split_first_chunk::<3>() else { return false };
    let length = usize::from(high) << 8 | usize::from(low);
    if kind == CHECKSUM {
        checksums.push((at + 3, length));
    }
    rest.get(length..).is_some_and(|rest| walk(rest, at + 3 + length, checksums))
}

/// CRC-32C by a table, of a header whose checksum at `at` counts as zeros.
fn checksum(all: &[u8], at: usize) -> u32 {
    static TABLE: LazyLock<[u32; 256]> = LazyLock::new(|| {
        std::array::from_fn(|byte| {
            (0..8).fold(byte as u32, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 })
        })
    });
    let mut crc = u32::MAX;
    for (i, &byte) in all.iter().enumerate() {
        let byte = if (at..at + 4).contains(&i) { 0 } else { byte };
        crc = (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)];
    }
    !crc
}

/// Makes the last checksum of a header right.
fn seal(bytes: &mut [u8]) {
    let Some(&[high, low]) = bytes.get(14..16) else { return };
    let end = 16 + (usize::from(high) << 8 | usize::from(low));
    let Some(whole) = bytes.get_mut(..end).filter(|whole| whole.starts_with(SIGNATURE)) else { return };
    let size = [0, 12, 36, 216].get(usize::from(whole[13] >> 4)).copied().unwrap_or(0);
    let mut checksums = Vec::new();
    let walked = walk(whole.get(16 + size..).unwrap_or_default(), 16 + size, &mut checksums);
    if let (true, Some(&(at, 4))) = (walked, checksums.last()) {
        let right = checksum(whole, at).to_be_bytes();
        whole[at..at + 4].copy_from_slice(&right);
    }
}
