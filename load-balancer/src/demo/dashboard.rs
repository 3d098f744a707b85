//! The dashboard beside the demo: `traffic-lab dashboard` as a child that ends with it.
//!
//! As with replicas, its standard input is the leash: it ends by itself when this process is killed. A process group of its
//! own keeps Ctrl-C from it, so that it is there until the demo has ended.
//! How it fails: one that cannot listen says why, and the demo goes on without.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// What the line that tells the address contains.
const SAYS: &str = "listening on ";
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
            Ok(mut child) => Dashboard { told: told(&mut child), child: Some(child) },
            Err(why) => Dashboard { told: Err(why.to_string()), child: None },
        })
    }
}

/// Where it listens; it says so at once, or ends.
fn told(child: &mut Child) -> Result<String, String> {
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        // Whatever goes wrong leaves the line empty.
        let _ = BufReader::new(output).read_line(&mut line);
    }
    if let Some((_, url)) = line.trim_end().split_once(SAYS) {
        return Ok(url.to_owned());
    }
    let mut error = String::new();
    if let Some(output) = child.stderr.take() {
        let _ = output.take(ERROR_MAX).read_to_string(&mut error);
    }
    Err(error.lines().next().unwrap_or("it ended").trim_start_matches("Error: ").to_owned())
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
