//! One child, from its start to its end: the task that starts it, hears where it listens, and reaps it.
//!
//! Its standard input stays open as long as the task, and ends it by `--until-eof` when this process is killed. Its
//! standard output is read to the end, so that it can always write. The process group of its own keeps Ctrl-C from it,
//! which is for the balancer: that one drains before it stops anybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::record::Identity;
use super::{Slot, State};
use crate::provision::{Death, Order, STOP_GRACE};

/// From a child's start until it listens: some interpreters take seconds.
const LISTEN_WITHIN: Duration = Duration::from_secs(10);
/// Bytes that a child may write before it says where it listens: a bound for one that never does.
const PREFACE_MAX: u64 = 1 << 20;
/// What the line that tells the address contains.
const SAYS: &str = "listening on ";

impl State {
    /// Starts a child and its task; returns what stops it. `ready` hears where it listens, or why it does not.
    pub(super) fn launch(
        self: &Rc<Self>,
        order: Order,
        port: u16,
        ready: oneshot::Sender<Result<SocketAddr, String>>,
    ) -> Result<watch::Sender<bool>, String> {
        let bind = self.settings.bind;
        let child = Command::new(&self.program)
            .args(&self.settings.args)
            .args(["--bind", &bind.to_string(), "--port", &port.to_string()])
            .args(["--name", &order.name, "--region", &order.region])
            .args(["--weight", &order.weight.to_string(), "--until-eof"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("{} does not start: {e}", self.program.display()))?;
        // Present until the child is reaped, which only its task does.
        let pid = child.id().unwrap_or_default();
        let ((stop, stopping), (ending, ended)) = (watch::channel(false), watch::channel(()));
        let known = (port != 0).then(|| reachable(SocketAddr::new(bind, port)));
        let tended = Tended { name: order.name.clone(), child, known, stopping, _ending: ending };
        let task = tokio::task::spawn_local(tended.run(Rc::clone(self), ready)).abort_handle();
        let slot = Slot { identity: Identity::of(pid), port, stop: stop.clone(), ended, task };
        self.children.borrow_mut().insert(order.name, slot);
        self.write_record();
        Ok(stop)
    }
}

/// What the task owns.
struct Tended {
    name: String,
    child: Child,
    /// Where it must listen, if that was chosen.
    known: Option<SocketAddr>,
    stopping: watch::Receiver<bool>,
    /// Dropped last, when the slot is gone.
    _ending: watch::Sender<()>,
}

impl Tended {
    async fn run(mut self, state: Rc<State>, ready: oneshot::Sender<Result<SocketAddr, String>>) {
        // Waiting would close it, so it is kept here.
        let _leash = self.child.stdin.take();
        let mut death = None;
        let refused = match self.start().await {
            Ok((address, mut output)) => {
                // A creator that is gone has us stopped.
                let _ = ready.send(Ok(address));
                tokio::select! {
                    status = self.child.wait() => death = Some(reason(status)),
                    () = asked(&mut self.stopping) => end(&mut self.child).await,
                    () = drain(&mut output) => {}
                }
                None
            }
            Err(why) => {
                end(&mut self.child).await;
                Some((ready, format!("{} {why}", self.name)))
            }
        };
        state.children.borrow_mut().remove(&self.name);
        state.write_record();
        if let Some((ready, why)) = refused {
            let _ = ready.send(Err(why));
        }
        if let Some(reason) = death {
            // Without a receiver the balancer is ending.
            let _ = state.deaths.send(Death { name: self.name.clone(), reason });
        }
    }

    /// Waits until it listens. The error is what it did instead.
    async fn start(&mut self) -> Result<(SocketAddr, BufReader<ChildStdout>), String> {
        let Some(output) = self.child.stdout.take() else { return Err("has no standard output".to_owned()) };
        let mut output = BufReader::new(output);
        let said = tokio::select! {
            said = timeout(LISTEN_WITHIN, address(&mut output, self.known)) => said,
            () = asked(&mut self.stopping) => return Err("was stopped while it started".to_owned()),
        };
        match said {
            Ok(Some(address)) => Ok((address, output)),
            Ok(None) => {
                // Its output has ended, so most likely it has, too.
                let ended = timeout(STOP_GRACE, self.child.wait()).await;
                let how = ended.map_or_else(|_| "it closed its output".to_owned(), reason);
                Err(format!("did not listen: {how}; it must print `{SAYS}IP:PORT`"))
            }
            Err(_) => Err(format!("did not print `{SAYS}IP:PORT` within {} s", LISTEN_WITHIN.as_secs())),
        }
    }
}

/// Reads lines until one tells the address; `None` where none does before the end.
async fn address(output: &mut BufReader<ChildStdout>, known: Option<SocketAddr>) -> Option<SocketAddr> {
    let mut lines = output.take(PREFACE_MAX).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, rest)) = line.split_once(SAYS) {
            return parse(rest).or(known);
        }
    }
    None
}

fn parse(text: &str) -> Option<SocketAddr> {
    let text = text.strip_prefix("http://").unwrap_or(text);
    let end = text.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(text.len());
    text[..end].parse().ok().map(reachable)
}

/// An address to listen on everywhere is none to connect to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

/// Reads on, and never ends: that a child closes its output says nothing about its life.
async fn drain(output: &mut BufReader<ChildStdout>) {
    let _ = tokio::io::copy(output, &mut tokio::io::sink()).await;
    std::future::pending::<()>().await;
}

async fn asked(stopping: &mut watch::Receiver<bool>) {
    // Without a sender nobody can ask any more.
    if stopping.wait_for(|&stop| stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// TERM, then KILL after the grace; returns once it is reaped.
async fn end(child: &mut Child) {
    signal(child.id(), Signal::TERM);
    if timeout(STOP_GRACE, child.wait()).await.is_err() {
        signal(child.id(), Signal::KILL);
        let _ = child.wait().await;
    }
}

/// Signals a process and what it started, if it leads a group. `None` is one that was reaped.
pub(super) fn signal(pid: Option<u32>, signal: Signal) {
    if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
        // An error is a process that has ended by itself.
        let _ = kill_process_group(pid, signal).or_else(|_| kill_process(pid, signal));
    }
}

fn reason(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => status.to_string(),
        },
        Err(error) => format!("lost: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{parse, reachable};

    #[test]
    fn the_address_is_read_from_what_programs_say() {
        for text in ["http://127.0.0.1:5001", "127.0.0.1:5001 (pid 7)", "http://127.0.0.1:5001/"] {
            assert_eq!(parse(text), Some("127.0.0.1:5001".parse().unwrap()), "{text}");
        }
        assert_eq!(parse("http://[::1]:80"), Some("[::1]:80".parse().unwrap()));
        assert_eq!(parse("port 5001"), None);
    }

    #[test]
    fn everywhere_is_reached_by_loopback() {
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()), "127.0.0.1:1".parse().unwrap());
        assert_eq!(reachable("[::]:1".parse().unwrap()), "[::1]:1".parse().unwrap());
    }
}
