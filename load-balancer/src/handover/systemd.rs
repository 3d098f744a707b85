//! What the service manager is told, where it asks to be (`Type=notify`, sd_notify(3)): ready, stopping, another main process.
//!
//! One datagram each to the socket that `NOTIFY_SOCKET` names. How it fails: a warning; the manager then goes by its own
//! deadlines.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable with the socket's name.
const SOCKET: &str = "NOTIFY_SOCKET";

/// This process serves.
pub(crate) fn ready() {
    tell("READY=1\nSTATUS=serving");
}

/// This process is to end.
pub(crate) fn stopping() {
    tell("STOPPING=1\nSTATUS=draining");
}

/// Another process is the main one from now on. It says so itself from then on: only the main process is listened to.
pub(crate) fn succeeded_by(process: u32) {
    tell(&format!("READY=1\nMAINPID={process}\nSTATUS=serving"));
}

fn tell(what: &str) {
    let Some(name) = std::env::var_os(SOCKET).filter(|name| !name.is_empty()) else { return };
    if let Err(error) = send(&name, what) {
        tracing::warn!(%error, socket = ?name, "the service manager cannot be told");
    }
}

fn send(name: &OsStr, what: &str) -> io::Result<()> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(what.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_by_a_path_and_by_an_abstract_name() {
        let own = format!("ballast-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&own);
        let hidden = SocketAddr::from_abstract_name(&own).unwrap();
        let managers = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{own}").into(), UnixDatagram::bind_addr(&hidden).unwrap()),
        ];
        for (name, manager) in managers {
            send(&name, "READY=1").unwrap();
            let mut said = [0; 64];
            let n = manager.recv(&mut said).unwrap();
            assert_eq!(&said[..n], b"READY=1");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(send(path.as_os_str(), "READY=1").is_err());
    }
}
