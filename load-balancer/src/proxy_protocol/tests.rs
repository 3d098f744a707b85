//! Every form of a header, whole, cut at every byte, and wrong in one place.

use super::*;

/// A header of version 2.
fn v2_of(command: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u16).to_be_bytes();
    [&SIGNATURE[..], &[command, kind], &len, body].concat()
}

/// 192.0.2.1:40000 to 198.51.100.2:443.
const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x9c, 0x40, 0x01, 0xbb];

fn ends(client: &str, server: &str) -> Option<Ends> {
    Some(Ends { client: client.parse().unwrap(), server: server.parse().unwrap() })
}

fn v6_body() -> Vec<u8> {
    let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    [&ip("2001:db8::1")[..], &ip("2001:db8::2"), &[0x9c, 0x40, 0x01, 0xbb]].concat()
}

/// With a checksum that is right, behind a field that nobody knows.
fn with_checksum() -> Vec<u8> {
    let body = [&V4[..], &[0xe0, 0, 2, 7, 7], &[CRC32C, 0, 4, 0, 0, 0, 0]].concat();
    let mut header = v2_of(0x21, 0x11, &body);
    let crc = crc32c(header.iter().copied()).to_be_bytes();
    let at = header.len() - 4;
    header[at..].copy_from_slice(&crc);
    header
}

#[test]
fn crc_is_castagnolis() {
    assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283, "its check value");
}

#[test]
fn every_form_is_read_and_ends_where_it_ends() {
    let four = ends("192.0.2.1:40000", "198.51.100.2:443");
    let six = ends("[2001:db8::1]:40000", "[2001:db8::2]:443");
    let text = |line: &str| format!("PROXY {line}\r\n").into_bytes();
    let cases = [
        (text("TCP4 192.0.2.1 198.51.100.2 40000 443"), four),
        (text("TCP6 2001:db8::1 2001:db8::2 40000 443"), six),
        (text("UNKNOWN"), None),
        (text("UNKNOWN ffff::1 ffff::2 1 2"), None),
        (v2_of(0x21, 0x11, &V4), four),
        (v2_of(0x21, 0x21, &v6_body()), six),
        (v2_of(0x21, 0x11, &[&V4[..], &[4, 0, 0], &[2, 0, 3, b'a', b'.', b'b']].concat()), four),
        (with_checksum(), four),
        (v2_of(0x20, 0x00, &[]), None),
        (v2_of(0x20, 0x11, &V4), None),
        (v2_of(0x20, 0x77, b"whatever"), None),
        (v2_of(0x21, 0x00, &[]), None),
        (v2_of(0x21, 0x31, &[0; 216]), None),
        (v2_of(0x21, 0x12, &V4), None),
    ];
    for (bytes, ends) in cases {
        let behind = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
        let header = parse(&behind).unwrap().unwrap();
        assert_eq!((header.ends, header.len), (ends, bytes.len()), "{bytes:?}");
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "cut at {cut}: {bytes:?}");
        }
    }
}

#[test]
fn whatever_is_wrong_is_refused() {
    let mut torn = with_checksum();
    torn[17] ^= 1;
    let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat();
    let cases: [(&[u8], &str); 24] = [
        (b"GET / HTTP/1.1\r\n", "does not begin"),
        (b"PROXX", "does not begin"),
        (b"proxy TCP4", "does not begin"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\n", "without CR"),
        (b"PROXY  TCP4 192.0.2.1 198.51.100.2 40000 443\r\n", "known protocol"),
        (b"PROXY UDP4 192.0.2.1 198.51.100.2 40000 443\r\n", "known protocol"),
        (b"PROXY TCP4 2001:db8::1 2001:db8::2 40000 443\r\n", "none of its family"),
        (b"PROXY TCP6 192.0.2.1 198.51.100.2 40000 443\r\n", "none of its family"),
        (b"PROXY TCP4 192.0.2.01 198.51.100.2 40000 443\r\n", "none of its family"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", "no number up to"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 +80 443\r\n", "no number up to"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 080 443\r\n", "no number up to"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 40000\r\n", "lacks a field"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443 1\r\n", "a field too many"),
        (b"PROXY TCP4 192.0.2.1\xff 198.51.100.2 40000 443\r\n", "no text"),
        (&long, "107 bytes"),
        (&v2_of(0x11, 0x11, &V4), "another version"),
        (&v2_of(0x22, 0x11, &V4), "another version"),
        (&v2_of(0x21, 0x13, &V4), "unknown family"),
        (&v2_of(0x21, 0x41, &V4), "unknown family"),
        (&v2_of(0x21, 0x11, &V4[..11]), "shorter than its addresses"),
        (&v2_of(0x21, 0x11, &[&V4[..], &[1, 0, 9, 1]].concat()), "longer than the header"),
        (&v2_of(0x21, 0x11, &[&V4[..], &[CRC32C, 0, 1, 0]].concat()), "four bytes"),
        (&torn, "does not match"),
    ];
    for (bytes, why) in cases {
        let text = parse(bytes).unwrap_err().to_string();
        assert!(text.contains(why), "{:?}: {text}", String::from_utf8_lossy(bytes));
    }
    let huge = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat();
    assert!(parse(&huge).unwrap_err().0.contains("4096"));
    assert!(parse(&v2_of(0x21, 0x31, &[0; 100])).unwrap_err().0.contains("shorter"));
}

#[test]
fn what_is_written_reads_as_it_was_meant() {
    let (four, six) = ("192.0.2.1:40000", "[2001:db8::2]:443");
    for version in [Version::V1, Version::V2] {
        for (client, server, told) in [
            (four, "198.51.100.2:443", ends(four, "198.51.100.2:443")),
            ("[2001:db8::1]:1", six, ends("[2001:db8::1]:1", six)),
            (four, six, ends("[::ffff:192.0.2.1]:40000", six)),
            ("[::ffff:192.0.2.1]:40000", "198.51.100.2:443", ends(four, "198.51.100.2:443")),
        ] {
            let written = header(version, ends(client, server));
            assert_eq!(
                parse(&written),
                Ok(Some(Header { ends: told, len: written.len() })),
                "{client} {server}"
            );
        }
        let own = header(version, None);
        assert_eq!(parse(&own), Ok(Some(Header { ends: None, len: own.len() })));
    }
    let text = header(Version::V1, ends(four, "198.51.100.2:443"));
    assert_eq!(text, b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n");
    assert_eq!(header(Version::V2, ends(four, "198.51.100.2:443")), v2_of(0x21, 0x11, &V4));
}
