//! Small databases in MaxMind's format, written by hand (<https://maxmind.github.io/MaxMind-DB/>): GeoLite2 itself may not
//! be passed on, and a test wants to know every address in it.

use std::net::IpAddr;

/// Bits of a record, and so half of a node's.
const RECORD_BITS: u16 = 32;
/// Zeros between tree and data.
const SEPARATOR: usize = 16;

/// `{"country": {"iso_code": code}}` among what else such a record has.
pub(crate) fn geolite(code: &str) -> Vec<u8> {
    let country =
        |code| map(&[("geoname_id", uint(6, 2_921_044)), ("iso_code", text(code)), ("names", names())]);
    map(&[
        ("continent", map(&[("code", text("EU")), ("names", names())])),
        ("country", country(code)),
        ("registered_country", country("US")),
    ])
}

/// `{"registered_country": {"iso_code": code}}` alone.
pub(crate) fn registered(code: &str) -> Vec<u8> {
    map(&[("registered_country", map(&[("iso_code", text(code))])), ("traits", map(&[]))])
}

/// `{"country_code": code}`.
pub(crate) fn flat(code: &str) -> Vec<u8> {
    map(&[("country_code", text(code))])
}

/// A database of `kind`, built at `built`, of networks (`address/bits`) and their records; IPv4 lies in it as in `::/96`.
pub(crate) fn mmdb(kind: &str, built: u64, networks: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut nodes: Vec<[Child; 2]> = vec![[Child::Nothing; 2]];
    let mut data: Vec<u8> = Vec::new();
    for (network, record) in networks {
        let (ip, bits) = network.split_once('/').unwrap();
        let (ip, bits): (u128, u32) = match (ip.parse().unwrap(), bits.parse::<u32>().unwrap()) {
            (IpAddr::V4(ip), bits) => (u32::from(ip).into(), 96 + bits),
            (IpAddr::V6(ip), bits) => (ip.into(), bits),
        };
        let bit = |at: u32| (ip >> (127 - at) & 1) as usize;
        let mut node = 0;
        for at in 0..bits - 1 {
            if !matches!(nodes[node][bit(at)], Child::Node(_)) {
                nodes.push([Child::Nothing; 2]);
                nodes[node][bit(at)] = Child::Node(nodes.len() - 1);
            }
            let Child::Node(next) = nodes[node][bit(at)] else { unreachable!() };
            node = next;
        }
        nodes[node][bit(bits - 1)] = Child::Data(data.len());
        data.extend(record);
    }
    let value = |child: &Child| match child {
        Child::Nothing => nodes.len(),
        Child::Node(at) => *at,
        Child::Data(at) => nodes.len() + SEPARATOR + at,
    };
    let mut file: Vec<u8> =
        nodes.iter().flatten().flat_map(|child| (value(child) as u32).to_be_bytes()).collect();
    file.extend([0; SEPARATOR]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    file.extend(map(&[
        ("binary_format_major_version", uint(5, 2)),
        ("binary_format_minor_version", uint(5, 0)),
        ("build_epoch", uint(9, built)),
        ("database_type", text(kind)),
        ("description", map(&[("en", text("made by a test"))])),
        ("ip_version", uint(5, 6)),
        ("languages", vec![0x01, 0x04, 0x42, b'e', b'n']),
        ("node_count", uint(6, nodes.len() as u64)),
        ("record_size", uint(5, RECORD_BITS.into())),
    ]));
    file
}

#[derive(Clone, Copy)]
enum Child {
    Nothing,
    Node(usize),
    Data(usize),
}

fn names() -> Vec<u8> {
    map(&[("de", text("Land")), ("en", text("a country whose name is longer than 29 bytes"))])
}

/// Type and size; types above 7 take a byte more, sizes above 28 too.
fn head(kind: u8, size: usize) -> Vec<u8> {
    let short = size.min(29) as u8;
    let mut head = if kind > 7 { vec![short, kind - 7] } else { vec![kind << 5 | short] };
    if size >= 29 {
        head.push((size - 29) as u8);
    }
    head
}

fn text(text: &str) -> Vec<u8> {
    [head(2, text.len()), text.into()].concat()
}

fn uint(kind: u8, value: u64) -> Vec<u8> {
    let bytes: Vec<u8> = value.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    [head(kind, bytes.len()), bytes].concat()
}

fn map(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs_bytes = pairs.iter().flat_map(|(key, value)| [text(key), value.clone()].concat());
    head(7, pairs.len()).into_iter().chain(pairs_bytes).collect()
}
