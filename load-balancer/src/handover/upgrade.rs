//! Starting the program that takes this one's place, and waiting until it can.
//!
//! It is started as this one was, by the same words and in the same environment, so the file under that name is the new
//! program; it is given duplicates of the listening sockets. Until it says that it is ready, this process has given up
//! nothing. How it fails: one line that says why, no child left behind, and this process goes on.
//!
//! It is no child of this process: what this one starts only starts the successor, and ends. So whoever reaps orphans
//! has it as its child from the beginning. systemd waits for the end of none but its own children, and would otherwise kill,
//! when told to stop the service, before anything is drained (`MAINPID` in sd_notify(3)).

use std::io;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Child;

use super::{FAILED, GO_BETWEEN, Inherited, NAMES, PREDECESSOR, PROCESS, READY};

/// The first descriptor that is passed on (sd_listen_fds(3)).
const FIRST: i32 = 3;
/// Longest message that is heard, bytes.
const WORDS: u64 = 4 << 10;

/// A program that has been started and is not ready yet; killed when dropped.
pub(crate) struct Successor {
    go_between: Child,
    /// Who it is, once it has said so, and until it is on its own.
    process: Option<Pid>,
    /// Ends with the successor, who alone has the other end once the go-between has gone.
    words: BufReader<tokio::net::UnixStream>,
    /// The same, for what is left to do when dropped.
    line: UnixStream,
}

/// What a successor says.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    /// This is its process id.
    Is(Pid),
    Ready,
    Failed(String),
    Odd(String),
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
        let fault = |error: io::Error| format!("no successor can be started: {error}");
        let (line, theirs) = UnixStream::pair().map_err(fault)?;
        line.set_nonblocking(true).map_err(fault)?;
        let own = line.try_clone().and_then(tokio::net::UnixStream::from_std).map_err(fault)?;
        let (shown, command) =
            again(sockets.iter().map(|(name, socket)| (*name, socket)), &theirs, GO_BETWEEN)?;
        let started = tokio::process::Command::from(command).kill_on_drop(true).spawn();
        let go_between = started.map_err(|error| cannot(&shown, &error))?;
        Ok(Successor { go_between, process: None, words: BufReader::new(own), line })
    }

    /// Waits until it serves, and returns its process id; it is on its own from then on.
    ///
    /// # Errors
    /// Why it does not: it has ended, it said so, or `most` has passed.
    pub(crate) async fn ready(mut self, most: Duration) -> Result<u32, String> {
        let outcome = tokio::time::timeout(most, self.hear()).await;
        outcome.unwrap_or_else(|_| {
            Err(format!("it was not ready within {} s (timeouts.upgrade)", most.as_secs_f64()))
        })?;
        let process = self.process.take().ok_or("it is ready, but did not say its process id")?;
        Ok(process.as_raw_nonzero().get().unsigned_abs())
    }

    /// Hears it out.
    async fn hear(&mut self) -> Result<(), String> {
        let status = self.go_between.wait().await.map_err(|error| error.to_string())?;
        loop {
            match self.word().await.map_err(|error| error.to_string())? {
                Some(Word::Is(process)) => self.process = Some(process),
                Some(Word::Ready) => return Ok(()),
                Some(Word::Failed(why)) => return Err(why),
                Some(Word::Odd(word)) => return Err(format!("it said {word:?}")),
                None if status.success() => return Err("it ended before it was ready".to_owned()),
                None => return Err(format!("it ended with {status}")),
            }
        }
    }

    /// The next word; none where it has ended. A reason has as many lines as it takes: nothing comes after it.
    async fn word(&mut self) -> io::Result<Option<Word>> {
        let mut said = String::new();
        (&mut self.words).take(WORDS).read_line(&mut said).await?;
        if said.starts_with(FAILED) {
            (&mut self.words).take(WORDS).read_to_string(&mut said).await?;
        }
        Ok(meant(&said))
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // Whoever has not said who it is cannot say so any more, and ends of that.
        let _ = self.line.shutdown(Shutdown::Both);
        let mut left = String::from_utf8_lossy(self.words.buffer()).into_owned();
        let _ = (&self.line).take(WORDS).read_to_string(&mut left);
        let late = left.lines().find_map(|line| match meant(line) {
            Some(Word::Is(process)) => Some(process),
            _ => None,
        });
        if let Some(process) = self.process.or(late) {
            // It may just have ended by itself.
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

/// Starts the successor in the place of this process, which ends afterwards.
pub(crate) fn pass_on(inherited: &Inherited, words: &UnixStream) -> Result<(), String> {
    let sockets = inherited.sockets.iter().map(|(name, socket)| (name.as_str(), socket));
    let (shown, mut command) = again(sockets, words, PREDECESSOR)?;
    command.spawn().map(drop).map_err(|error| cannot(&shown, &error))
}

/// This program once more, with `sockets`, and with `words` under the name of `called`; and how it is called in messages.
fn again<'a>(
    sockets: impl Iterator<Item = (&'a str, &'a TcpListener)>,
    words: &UnixStream,
    called: &str,
) -> Result<(String, Command), String> {
    let mut arguments = std::env::args_os();
    let program = arguments.next().ok_or("the name of this program is not known")?;
    let shown = program.to_string_lossy().into_owned();
    let fault = |error: &dyn std::fmt::Display| cannot(&shown, error);
    let mut names = Vec::new();
    let mut passed: Vec<OwnedFd> = Vec::new();
    for (name, socket) in sockets {
        names.push(name);
        passed.push(socket.try_clone().map_err(|error| fault(&error))?.into());
    }
    names.push(called);
    passed.push(words.try_clone().map_err(|error| fault(&error))?.into());
    let mut command = Command::new(program);
    command.args(arguments).env_remove("LISTEN_PID").env(NAMES, names.join(":"));
    command.env("LISTEN_FDS", passed.len().to_string());
    let mapped = passed.into_iter().zip(FIRST..);
    let mapped = mapped.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).collect();
    command.fd_mappings(mapped).map_err(|error| fault(&error))?;
    Ok((shown, command))
}

fn cannot(program: &str, error: &dyn std::fmt::Display) -> String {
    format!("{program} cannot be started: {error}")
}

/// What a message says.
fn meant(message: &str) -> Option<Word> {
    let said = message.trim_end();
    if said.is_empty() {
        return None;
    }
    let process = said.strip_prefix(PROCESS).and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
    Some(match (said.strip_prefix(FAILED), process) {
        (Some(why), _) => Word::Failed(why.to_owned()),
        (None, Some(process)) => Word::Is(process),
        (None, None) if said == READY => Word::Ready,
        (None, None) => Word::Odd(said.to_owned()),
    })
}

/// The end of a predecessor's line that is a successor's.
#[derive(Debug)]
pub struct Predecessor(pub(super) UnixStream);

impl Predecessor {
    /// It may go: this process serves.
    pub fn ready(&self) {
        self.tell(READY);
    }

    /// It must go on: this process ends.
    pub fn failed(&self, why: &str) {
        self.tell(&format!("{FAILED}{why}"));
    }

    /// Who this process is.
    ///
    /// # Errors
    /// Where the predecessor does not want a successor any more: then this process must not become one.
    pub(super) fn meet(&self) -> io::Result<()> {
        (&self.0).write_all(format!("{PROCESS}{}\n", std::process::id()).as_bytes())
    }

    /// The predecessor's process id: of whoever made the pair of sockets.
    pub(super) fn process(&self) -> io::Result<u32> {
        Ok(rustix::net::sockopt::socket_peercred(&self.0)?.pid.as_raw_nonzero().get().unsigned_abs())
    }

    fn tell(&self, word: &str) {
        if let Err(error) = (&self.0).write_all(format!("{word}\n").as_bytes()) {
            // It is gone, then: nobody needs to be told.
            tracing::debug!(%error, "the predecessor cannot be told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_who_ready_or_why_not() {
        assert_eq!(meant("READY=1\n"), Some(Word::Ready));
        assert_eq!(
            meant("FAILED=a fault\nand one more\n"),
            Some(Word::Failed("a fault\nand one more".to_owned()))
        );
        assert_eq!(meant("PID=12\n"), Pid::from_raw(12).map(Word::Is));
        assert_eq!(meant(""), None);
        for odd in ["READY=0", "PID=", "PID=0", "PID=x"] {
            assert_eq!(meant(odd), Some(Word::Odd(odd.to_owned())), "{odd}");
        }
    }

    #[test]
    fn a_predecessor_is_who_made_the_line() {
        let (own, theirs) = UnixStream::pair().unwrap();
        let predecessor = Predecessor(theirs);
        assert_eq!(predecessor.process().unwrap(), std::process::id());
        predecessor.meet().unwrap();
        drop(own);
        assert!(predecessor.meet().is_err(), "who has no predecessor any more must know");
    }
}
