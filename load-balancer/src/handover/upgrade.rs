//! Starting the program that takes this one's place, and waiting until it can.
//!
//! It is started as this one was, by the same words and in the same environment, so the file under that name is the new
//! program; it is given duplicates of the listening sockets. Until it says that it is ready, this process has given up
//! nothing. How it fails: one line that says why, no child left behind, and this process goes on.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use tokio::process::Child;

use super::{FAILED, NAMES, PREDECESSOR, READY};

/// The first descriptor that is passed on (sd_listen_fds(3)).
const FIRST: i32 = 3;
/// Longest reason that is heard, bytes.
const WORDS: usize = 4 << 10;

/// A program that has been started and is not ready yet; killed when dropped.
pub(crate) struct Successor {
    child: Child,
    words: tokio::net::UnixDatagram,
}

impl Successor {
    /// Starts it with `sockets`. Within a runtime.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub(crate) fn start(sockets: &[(&'static str, TcpListener)]) -> Result<Successor, String> {
        if std::process::id() == 1 {
            return Err(
                "this is process 1 of its container, which ends with it: replace the container instead"
                    .to_owned(),
            );
        }
        let mut words = std::env::args_os();
        let program = words.next().ok_or("the name of this program is not known")?;
        let shown = program.to_string_lossy().into_owned();
        let fault = |error: io::Error| format!("{shown} cannot be started: {error}");
        let (own, theirs) = UnixDatagram::pair().map_err(fault)?;
        own.set_nonblocking(true).map_err(fault)?;
        let mut names = Vec::new();
        let mut passed: Vec<OwnedFd> = Vec::new();
        for (name, socket) in sockets {
            names.push(*name);
            passed.push(socket.try_clone().map_err(fault)?.into());
        }
        names.push(PREDECESSOR);
        passed.push(theirs.into());
        let mut command = Command::new(program);
        command.args(words).env_remove("LISTEN_PID").env(NAMES, names.join(":"));
        command.env("LISTEN_FDS", passed.len().to_string());
        let mapped = passed.into_iter().zip(FIRST..);
        let mapped = mapped.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).collect();
        command.fd_mappings(mapped).map_err(|error| format!("{shown} cannot be started: {error}"))?;
        let mut command = tokio::process::Command::from(command);
        let child = command.kill_on_drop(true).spawn().map_err(fault)?;
        let words = tokio::net::UnixDatagram::from_std(own).map_err(fault)?;
        Ok(Successor { child, words })
    }

    /// Waits until it serves, and returns its process id; it is on its own from then on.
    ///
    /// # Errors
    /// Why it does not: it has ended, it said so, or `most` has passed.
    pub(crate) async fn ready(mut self, most: Duration) -> Result<u32, String> {
        let process = self.child.id().unwrap_or_default();
        let mut heard = vec![0; WORDS];
        let outcome = tokio::select! {
            biased;
            n = self.words.recv(&mut heard) => n.map_err(|e| e.to_string()).and_then(|n| meant(&heard[..n])),
            status = self.child.wait() => {
                // Its last word may have come with its end.
                let said = self.words.try_recv(&mut heard).ok().map(|n| meant(&heard[..n]));
                said.and_then(Result::err).map_or_else(
                    || Err(status.map_or_else(|e| e.to_string(), |status| format!("it ended with {status}"))),
                    Err,
                )
            }
            () = tokio::time::sleep(most) => {
                Err(format!("it was not ready within {} s (timeouts.upgrade)", most.as_secs_f64()))
            }
        };
        match outcome {
            Ok(()) => {
                // It must not be killed with what we know of it; whoever reaps orphans reaps it.
                std::mem::forget(self.child);
                Ok(process)
            }
            Err(why) => {
                let _ = self.child.kill().await;
                Err(why)
            }
        }
    }
}

/// What a message says.
fn meant(message: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(message);
    match text.strip_prefix(FAILED) {
        Some(why) => Err(why.trim_end().to_owned()),
        None if text == READY => Ok(()),
        None => Err(format!("it said {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_ready_or_why_not() {
        assert_eq!(meant(b"READY=1"), Ok(()));
        assert_eq!(meant(b"FAILED=a fault\n"), Err("a fault".to_owned()));
        assert!(meant(b"").is_err() && meant(b"READY=0").is_err());
    }
}
