//! How peers are configured: templates of `benches/peers/`, filled in.
//!
//! `{{name}}` stands for a value; lines between `{{#tls}}` and `{{/tls}}` are there in runs with TLS alone, so that nobody
//! pays for a listener that nobody asks. How it fails: a template that has nothing of the kind stays as it is, which the test finds.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::peer::Peer;
use super::site::{Doors, Site};

/// Its configuration, filled in; who is told everything by arguments has none.
pub(crate) fn of(peer: Peer, site: &Site, doors: Doors) -> Option<String> {
    let mut text = optional(&template(peer)?, site.tls);
    let mut backends = String::new();
    for (index, address) in site.backends.iter().enumerate() {
        backend(&mut backends, peer, index, *address);
    }
    let values = [
        ("backends", backends),
        ("port", doors.plain.to_string()),
        ("h2c", doors.h2c.to_string()),
        ("tls", doors.tls.to_string()),
        ("admin", doors.admin.to_string()),
        ("scratch", site.scratch.display().to_string()),
        ("clients", site.clients.to_string()),
        // Some count the connections to backends, too.
        ("both", (2 * site.clients).to_string()),
        ("algorithm", if peer == Peer::Turns { "round_robin" } else { "adaptive" }.to_owned()),
        ("checks", (peer != Peer::Unchecked).to_string()),
        ("receiver", site.backends.first().map(ToString::to_string).unwrap_or_default()),
        ("store", site.store.as_ref().map(u16::to_string).unwrap_or_default()),
    ];
    for (name, value) in values {
        text = text.replace(&format!("{{{{{name}}}}}"), &value);
    }
    Some(text)
}

fn template(peer: Peer) -> Option<String> {
    let ours = include_str!("../../../benches/peers/ballast.toml");
    let with = |more: &str| ours.to_owned() + more;
    Some(match peer {
        Peer::Haproxy => include_str!("../../../benches/peers/haproxy.cfg").to_owned(),
        Peer::Nginx => include_str!("../../../benches/peers/nginx.conf").to_owned(),
        Peer::Envoy => include_str!("../../../benches/peers/envoy.yaml").to_owned(),
        Peer::Caddy => include_str!("../../../benches/peers/Caddyfile").to_owned(),
        Peer::Pingora | Peer::Relay => return None,
        Peer::Ours | Peer::Twin | Peer::Unchecked | Peer::Turns => ours.to_owned(),
        Peer::Logging => with(include_str!("../../../benches/peers/logging.toml")),
        Peer::Tracing => with(include_str!("../../../benches/peers/tracing.toml")),
        Peer::Shared => with(include_str!("../../../benches/peers/shared.toml")),
        Peer::Unrecorded => with(include_str!("../../../benches/peers/unrecorded.toml")),
        Peer::Regions => with(include_str!("../../../benches/peers/regions.toml")),
    })
}

/// Leaves out the optional lines, or their marks alone.
fn optional(template: &str, tls: bool) -> String {
    let mut kept = String::new();
    let mut inside = false;
    for line in template.lines() {
        match line.trim().trim_start_matches("# ") {
            "{{#tls}}" => inside = true,
            "{{/tls}}" => inside = false,
            _ if inside && !tls => {}
            _ => {
                kept.push_str(line);
                kept.push('\n');
            }
        }
    }
    kept
}

/// One backend, as a peer writes it.
fn backend(out: &mut String, peer: Peer, index: usize, address: SocketAddr) {
    let name = index + 1;
    let (ip, port) = (address.ip(), address.port());
    let _ = match peer {
        Peer::Haproxy => writeln!(out, "    server backend{name} {address}"),
        Peer::Nginx => writeln!(out, "        server {address};"),
        Peer::Caddy => write!(out, " {address}"),
        Peer::Envoy => writeln!(
            out,
            "        - endpoint: {{ address: {{ socket_address: {{ address: {ip}, port_value: {port} }} }} }}"
        ),
        _ => writeln!(out, "\n[[pool.backend]]\nname = \"backend{name}\"\naddress = \"{address}\""),
    };
    if peer == Peer::Regions {
        let _ = writeln!(out, "region = \"{}\"", ["EU", "US", "APAC"][index % 3]);
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    fn site(tls: bool) -> Site {
        Site {
            scratch: "scratch".into(),
            core: 0,
            helper: "no-such-helper".into(),
            ours: "no-such-binary".into(),
            peers: "no-such-directory".into(),
            backends: vec![
                SocketAddr::from(([127, 0, 0, 1], 6001)),
                SocketAddr::from(([127, 0, 0, 2], 6002)),
            ],
            store: Some(6379),
            tls,
            clients: 2048,
        }
    }

    #[test]
    fn configurations_are_filled_in() {
        let doors = Doors { plain: 5000, h2c: 5001, tls: 5443, admin: 9901 };
        let mut configured = 0;
        for &peer in Peer::value_variants() {
            let (Some(plain), Some(tls)) = (of(peer, &site(false), doors), of(peer, &site(true), doors))
            else {
                continue;
            };
            configured += 1;
            assert!(
                plain.contains("5000") && plain.contains("127.0.0.2") && plain.contains("6002"),
                "{plain}"
            );
            assert!(!plain.contains("{{") && !tls.contains("{{"), "{plain}\n{tls}");
            assert!(!plain.contains("5443") && tls.contains("5443") && tls.contains("scratch/"), "{tls}");
        }
        assert_eq!(configured, Peer::value_variants().len() - 2);
    }

    #[test]
    fn variants_differ_from_ours_in_one_thing() {
        let doors = Doors { plain: 5000, h2c: 5001, tls: 5443, admin: 9901 };
        let text = |peer| of(peer, &site(false), doors).unwrap();
        let ours = text(Peer::Ours);
        assert_eq!(text(Peer::Twin), ours);
        assert_eq!(text(Peer::Turns), ours.replace("adaptive\"", "round_robin\""));
        assert_eq!(text(Peer::Unchecked), ours.replace("enabled = true", "enabled = false"));
        assert!(text(Peer::Unrecorded).starts_with(&ours) && text(Peer::Regions).contains("region = \"US\""));
    }
}
