//! The real program: its exit codes, what it says when it cannot start, and that SIGTERM loses nobody.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use super::support::{Script, Wire, keep, ok, within};

/// A configuration file of this test process.
pub(super) fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("ballast-it-{}-{name}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

fn config(traffic: &str, admin: &str, backend: SocketAddr) -> String {
    format!(
        "workers = 1\n[listen]\ntraffic = \"{traffic}\"\nadmin = \"{admin}\"\n[health]\nenabled = false\n\
         [[pool.backend]]\nname = \"a\"\naddress = \"{backend}\"\n"
    )
}

fn program(command: &str, path: &PathBuf) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_load-balancer"));
    program.args([command, "--config"]).arg(path).env_clear().env("NO_COLOR", "1");
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program
}

async fn run(command: &'static str, path: PathBuf) -> Output {
    let running = tokio::task::spawn_blocking(move || program(command, &path).output().unwrap());
    within("its end", running).await.unwrap()
}

/// A serving program; killed when dropped.
pub(super) struct Served {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    pub(super) traffic: SocketAddr,
    pub(super) admin: SocketAddr,
}

impl Served {
    fn start(path: &PathBuf) -> Served {
        Served::with(path, &[])
    }

    /// With these variables in its environment.
    pub(super) fn with(path: &PathBuf, env: &[(String, String)]) -> Served {
        let mut child = program("serve", path).envs(env.iter().cloned()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it listened");
        }
        let address = |key| {
            let said = line.split(key).nth(1).and_then(|rest| rest.split_whitespace().next());
            said.unwrap().parse().unwrap()
        };
        Served { traffic: address("traffic="), admin: address("admin="), child, log }
    }

    pub(super) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub(super) async fn ended(mut self) -> (Option<i32>, String) {
        let waiting = tokio::task::spawn_blocking(move || {
            let mut rest = String::new();
            self.log.read_to_string(&mut rest).unwrap();
            (self.child.wait().unwrap().code(), rest)
        });
        within("its end", waiting).await.unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_signal_drains_and_exits_with_0() {
    for signal in ["TERM", "INT"] {
        let (open, gate) = tokio::sync::watch::channel(false);
        let (asked, mut asking) = tokio::sync::mpsc::unbounded_channel();
        let backend = Script::start(move |mut conn| {
            let (mut gate, asked) = (gate.clone(), asked.clone());
            async move {
                conn.request().await;
                asked.send(()).unwrap();
                gate.wait_for(|&open| open).await.unwrap();
                conn.send(ok("finished")).await;
            }
        })
        .await;
        let path = file(signal, &config("127.0.0.1:0", "127.0.0.1:0", backend.address));
        let served = tokio::task::spawn_blocking({
            let path = path.clone();
            move || Served::start(&path)
        });
        let served = within("the start", served).await.unwrap();
        let mut wire = Wire::connect(served.traffic).await;
        wire.send(keep("/")).await;
        within("the request", asking.recv()).await.unwrap();
        served.signal(signal);
        let traffic = served.traffic;
        within("refusal", async { while tokio::net::TcpStream::connect(traffic).await.is_ok() {} }).await;
        open.send_replace(true);
        assert_eq!(wire.reply().await.text(), "finished");
        drop(wire);
        let (code, log) = served.ended().await;
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("draining") && log.contains("stopped"), "{log}");
        std::fs::remove_file(path).unwrap();
    }
}

#[tokio::test]
async fn check_says_every_fault_and_exits_with_2() {
    let backend = "127.0.0.1:9".parse().unwrap();
    let good = file("good", &config("127.0.0.1:0", "127.0.0.1:0", backend));
    let out = run("check", good.clone()).await;
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert!(String::from_utf8_lossy(&out.stdout).contains("valid: 1 backend"), "{out:?}");
    let bad = file(
        "bad",
        "workers = -1\n[listen]\ntraffic = \"here\"\n[pool]\nalgorithm = \"fastest\"\n[timeouts]\nconect = \"1s\"\n",
    );
    for command in ["check", "serve"] {
        let out = run(command, bad.clone()).await;
        assert_eq!(out.status.code(), Some(2), "{out:?}");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        for field in ["workers", "listen.traffic", "pool.algorithm", "pool.backend", "timeouts.conect"] {
            assert!(said.contains(field), "{field} in {said}");
        }
    }
    let out = run("check", file("good", "").with_file_name("ballast-it-nowhere.toml")).await;
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("cannot be read"));
    for path in [good, bad] {
        std::fs::remove_file(path).unwrap();
    }
}

#[tokio::test]
async fn a_taken_port_is_named_and_nothing_stays() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let backend = "127.0.0.1:9".parse().unwrap();
    let cases =
        [("listen.traffic", port.as_str(), "127.0.0.1:0"), ("listen.admin", "127.0.0.1:0", port.as_str())];
    for (field, traffic, admin) in cases {
        let path = file(field, &config(traffic, admin, backend));
        let out = run("serve", path.clone()).await;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert!(said.contains(field) && said.contains(&port) && said.contains("in use"), "{said}");
        std::fs::remove_file(path).unwrap();
    }
    let config = super::support::config(&[(backend, 1)], &[("listen.admin", &port)]);
    let failed = tokio::task::spawn_blocking(move || load_balancer::start(config).map(drop)).await.unwrap();
    assert!(failed.unwrap_err().to_string().starts_with("listen.admin"));
}
