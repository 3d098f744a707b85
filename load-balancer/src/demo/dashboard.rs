//! The dashboard beside the demo: `traffic-lab dashboard` as a child that ends with it.
//!
//! As with replicas, its standard input is the leash: it ends by itself when this process is killed. A process group of its
//! own keeps Ctrl-C from it, so that it is there until the demo has ended.
//! How it fails: one that cannot listen says why, one that says nothing is ended; the demo goes on without.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// What the line that tells the address contains.
const SAYS: &str = "listening on ";
/// It says at once where it listens, even on a busy machine; until then Ctrl-C has to wait.
const SAYS_WITHIN: Duration = Duration::from_secs(5);
/// Most of an error that is read.
const ERROR_MAX: u64 = 4_096;

/// A dashboard that runs, or why it does not.
pub(super) struct Dashboard {
    child: Option<Child>,
    told: Result<String, String>,
}

impl Dashboard {
    /// Started from the program `traffic-lab` beside this one; `None` where there is no such program.
    pub(super) fn beside(admin: SocketAddr) -> Option<Self> {
        let program = std::env::current_exe().ok()?.with_file_name("traffic-lab");
        if !program.is_file() {
            return None;
        }
        let started = Command::new(program)
            .args(["dashboard", "--until-eof", "--admin", &format!("http://{admin}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        Some(match started {
            Ok(mut child) => Dashboard { told: told(&mut child, SAYS_WITHIN), child: Some(child) },
            Err(why) => Dashboard { told: Err(why.to_string()), child: None },
        })
    }
}

/// Where it listens; one that has neither said so nor ended in time is ended.
fn told(child: &mut Child, within: Duration) -> Result<String, String> {
    let (Some(output), Some(mut errors)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("it has no output".to_owned());
    };
    let (tell, hear) = mpsc::channel();
    let listen = move || {
        let mut line = String::new();
        // Whatever goes wrong leaves the line empty.
        let _ = BufReader::new(output).read_line(&mut line);
        if let Some((_, url)) = line.trim_end().split_once(SAYS) {
            let _ = tell.send(Ok(url.to_owned()));
            // What it says later must not fill the pipe.
            let _ = io::copy(&mut errors, &mut io::sink());
            return;
        }
        let mut error = String::new();
        let _ = errors.take(ERROR_MAX).read_to_string(&mut error);
        let _ = tell.send(Err(error
            .lines()
            .next()
            .unwrap_or("it ended")
            .trim_start_matches("Error: ")
            .to_owned()));
    };
    thread::Builder::new().name("dashboard".to_owned()).spawn(listen).map_err(|why| why.to_string())?;
    hear.recv_timeout(within).unwrap_or_else(|_| {
        // An error is a child that has ended already.
        let _ = child.kill();
        Err(format!("it said nothing within {within:?}"))
    })
}

impl fmt::Display for Dashboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.told {
            Ok(url) => {
                write!(f, "Dashboard: {url}    # open it in a browser: every request, every weight, and why")
            }
            Err(why) => write!(f, "The dashboard is not there: {why}"),
        }
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It has nothing to finish. An error is a child that has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_by(script: &str, within: Duration) -> Result<String, String> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let told = told(&mut child, within);
        // Ends those that wait for it; the others have ended, or were.
        drop(child.stdin.take());
        child.wait().unwrap();
        told
    }

    #[test]
    fn a_dashboard_tells_where_it_is_or_why_it_is_not_and_one_that_hangs_is_not_waited_for() {
        let long = Duration::from_secs(60);
        let up = told_by("echo dashboard listening on http://127.0.0.1:8050; cat", long);
        assert_eq!(up, Ok("http://127.0.0.1:8050".to_owned()));
        assert_eq!(told_by("echo Error: taken >&2", long), Err("taken".to_owned()));
        assert_eq!(told_by("exit 1", long), Err("it ended".to_owned()));
        let silent = told_by("exec cat", Duration::from_millis(50));
        assert_eq!(silent, Err("it said nothing within 50ms".to_owned()));
    }
}
