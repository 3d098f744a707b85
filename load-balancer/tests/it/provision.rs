//! The provider `process`, with real children: this very test program, started anew as a backend.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Parser;
use load_balancer::provision::{Death, Order, Process, ProcessSettings, Provider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, error::TryRecvError, unbounded_channel};
use tokio::task::LocalSet;

use super::support::within;

/// Not a test but what the children run: a backend, with the flags that stand after `--`.
#[test]
fn as_a_replica() {
    let Some(flags) = std::env::args().position(|arg| arg == "--") else { return };
    let args = backend::Args::parse_from(std::env::args().skip(flags));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(backend::start(args.config(|_| None).unwrap())).unwrap();
    println!("listening on http://{}", server.address());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    std::process::exit(0);
}

/// Children of this program.
fn ours() -> ProcessSettings {
    let args = ["provision::as_a_replica", "--exact", "--nocapture", "--"];
    let program = std::env::current_exe().unwrap();
    ProcessSettings { program: Some(program), args: args.map(str::to_owned).into(), ..Default::default() }
}

/// Children of a shell script; the flags are its `$@`.
fn script(text: &str) -> ProcessSettings {
    let args = ["-c", text, "sh"].map(str::to_owned).into();
    ProcessSettings { program: Some("/bin/sh".into()), args, ..Default::default() }
}

fn provider(settings: ProcessSettings) -> (Process, UnboundedReceiver<Death>) {
    let (deaths, died) = unbounded_channel();
    (Process::new(settings, deaths).unwrap(), died)
}

fn order(name: &str) -> Order {
    Order { name: name.to_owned(), weight: 2, region: "north".to_owned() }
}

/// Runs a test on a local runtime, as the control thread is one.
fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

async fn gone(pid: u32) {
    within("its end", async {
        while alive(pid) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// What a replica answers to a request for its greeting.
async fn greeting(address: SocketAddr) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /home HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// A file of this test process, removed when dropped.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let path = std::env::temp_dir().join(format!("ballast-it-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }

    fn settings(&self, settings: ProcessSettings) -> ProcessSettings {
        ProcessSettings { record: Some(self.0.clone()), ..settings }
    }

    /// The process ids that it records.
    fn pids(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(&self.0).unwrap();
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        text.lines().map(|l| line(l)["pid"].as_u64().unwrap() as u32).collect()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn replicas_are_created_die_and_are_removed() {
    local(async {
        let record = File::new("life", "");
        let (provider, mut died) = provider(record.settings(ours()));
        assert_eq!(provider.adopt().await.unwrap(), []);
        let mut addresses = Vec::new();
        for name in ["a", "b", "c"] {
            let replica = provider.create(order(name)).await.unwrap();
            assert_eq!(replica.name, name);
            assert!(greeting(replica.address).await.contains(&format!("Hello from Server: {name}")));
            addresses.push(replica.address);
        }
        let pids = record.pids();
        assert_eq!(pids.len(), 3);

        let taken = provider.create(order("a")).await.unwrap_err();
        assert!(taken.contains("a runs already"), "{taken}");

        assert!(Command::new("kill").args(["-9", &pids[1].to_string()]).status().unwrap().success());
        let death = tokio::time::timeout(Duration::from_secs(1), died.recv()).await.unwrap().unwrap();
        assert_eq!(death, Death { name: "b".to_owned(), reason: "killed by signal 9".to_owned() });
        assert_eq!(record.pids(), [pids[0], pids[2]]);
        // A name that has ended is fine, and free again.
        provider.remove("b").await.unwrap();
        provider.create(order("b")).await.unwrap();

        within("the removal", provider.remove("a")).await.unwrap();
        assert!(!alive(pids[0]));
        assert!(tokio::net::TcpStream::connect(addresses[0]).await.is_err());
        provider.remove("nobody").await.unwrap();

        let pids = record.pids();
        within("the shutdown", provider.shutdown()).await;
        assert!(!pids.iter().any(|&pid| alive(pid)));
        assert!(record.pids().is_empty());
        assert!(provider.create(order("d")).await.unwrap_err().contains("being stopped"));
        // Every end is past: whatever was to be told is told.
        assert_eq!(died.try_recv(), Err(TryRecvError::Empty));
    });
}

#[test]
fn ports_are_the_lowest_free_ones() {
    local(async {
        // Whoever takes one of these between here and there makes the test look elsewhere.
        for first in (20_000..30_000).step_by(10) {
            let held = std::net::TcpListener::bind(("127.0.0.1", first));
            let all =
                (first..first + 4).skip(1).all(|p| std::net::TcpListener::bind(("127.0.0.1", p)).is_ok());
            if held.is_err() || !all {
                continue;
            }
            let (provider, _died) = provider(ProcessSettings { ports: Some(first..=first + 2), ..ours() });
            // Both at once: one that is only starting holds its port, too.
            let (a, b) = (order("a"), order("b"));
            let (a, b) = tokio::join!(provider.create(a), provider.create(b));
            assert_eq!((a.unwrap().address.port(), b.unwrap().address.port()), (first + 1, first + 2));
            let none = provider.create(order("c")).await.unwrap_err();
            assert!(none.contains("no port from"), "{none}");
            provider.remove("a").await.unwrap();
            assert_eq!(provider.create(order("c")).await.unwrap().address.port(), first + 1);
            provider.shutdown().await;
            return;
        }
        panic!("no four free ports in a row");
    });
}

#[test]
fn what_does_not_listen_is_an_error_and_nothing_is_left() {
    local(async {
        let record = File::new("failing", "");
        for (text, why) in [
            ("exit 7", "exit status 7"),
            ("echo listening at port 9; kill -9 $$", "killed by signal 9"),
            // Output closed, and yet running.
            ("trap '' TERM; exec >&-; exec sleep 1000", "closed its output"),
        ] {
            let (provider, mut died) = provider(record.settings(script(text)));
            let error = within("the error", provider.create(order("a"))).await.unwrap_err();
            assert!(error.starts_with("a did not listen") && error.contains(why), "{error}");
            assert!(record.pids().is_empty());
            assert_eq!(died.try_recv(), Err(TryRecvError::Empty));
        }
        let nowhere = ProcessSettings { program: Some("/nowhere/backend".into()), ..Default::default() };
        let error = provider(nowhere).0.create(order("a")).await.unwrap_err();
        assert!(error.contains("/nowhere/backend does not start"), "{error}");
    });
}

#[test]
fn whoever_ignores_term_is_killed() {
    local(async {
        let record = File::new("stubborn", "");
        let text = "trap '' TERM; echo listening on http://127.0.0.1:9; while :; do sleep 1000; done";
        let (provider, mut died) = provider(record.settings(script(text)));
        provider.create(order("a")).await.unwrap();
        let pid = record.pids()[0];
        tokio::time::timeout(Duration::from_secs(20), provider.remove("a")).await.unwrap().unwrap();
        assert!(!alive(pid));
        assert_eq!(died.try_recv(), Err(TryRecvError::Empty));
    });
}

#[test]
fn a_dropped_creation_and_a_dropped_provider_leave_nothing() {
    local(async {
        let record = File::new("dropped", "");
        let (silent, _died) = provider(record.settings(script("sleep 1000")));
        let creating = tokio::time::timeout(Duration::ZERO, silent.create(order("a"))).await;
        assert!(creating.is_err());
        gone(record.pids()[0]).await;

        let record = File::new("dropped-too", "");
        let (dropped, mut died) = provider(record.settings(ours()));
        dropped.create(order("b")).await.unwrap();
        let pid = record.pids()[0];
        drop(dropped);
        gone(pid).await;
        assert_eq!(died.recv().await, None);
    });
}

/// A process that would run for long; its parent reaps it when dropped.
struct Orphan(Child);

impl Orphan {
    fn start() -> Orphan {
        let mut sleep = Command::new("sleep");
        Orphan(sleep.arg("1000").stdin(Stdio::null()).spawn().unwrap())
    }

    /// Its line in a record, with its start moved by `shift`.
    fn line(&self, shift: u64) -> String {
        let stat = std::fs::read_to_string(Path::new("/proc").join(self.0.id().to_string()).join("stat"));
        let stat = stat.unwrap();
        let start: u64 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
        format!("{{\"name\":\"a\",\"pid\":{},\"start\":{}}}\n", self.0.id(), start + shift)
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn orphans_are_ended_and_strangers_are_not() {
    local(async {
        let (orphan, stranger) = (Orphan::start(), Orphan::start());
        let text = format!("{}not json\n{}", orphan.line(0), stranger.line(1));
        let record = File::new("orphans", &text);
        let (provider, mut died) = provider(record.settings(ours()));
        assert_eq!(provider.adopt().await.unwrap(), []);
        assert!(!alive(orphan.0.id()));
        assert!(alive(stranger.0.id()));
        assert!(record.pids().is_empty());
        assert_eq!(died.try_recv(), Err(TryRecvError::Empty));
    });
}

#[test]
fn the_replicas_of_a_living_balancer_are_no_orphans() {
    local(async {
        let (child, balancer) = (Orphan::start(), Orphan::start());
        let of = format!(",\"balancer\":{}}}\n", balancer.line(0).trim().replace("\"name\":\"a\",", ""));
        let text = child.line(0).replace("}\n", &of);
        let record = File::new("in-use", &text);
        let (provider, _died) = provider(record.settings(ours()));
        let error = provider.adopt().await.unwrap_err();
        assert!(error.contains(&format!("process id {}", balancer.0.id())), "{error}");
        assert!(alive(child.0.id()));
        drop(balancer);
        provider.adopt().await.unwrap();
        assert!(!alive(child.0.id()));
    });
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let (deaths, _died) = unbounded_channel();
    #[expect(clippy::reversed_empty_ranges, reason = "what a configuration may hold")]
    let backwards = ProcessSettings { ports: Some(9..=8), ..ours() };
    assert!(Process::new(backwards, deaths.clone()).err().unwrap().contains("from 9 to 8"));
    // No backend stands beside a test program.
    let error = Process::new(ProcessSettings::default(), deaths).err().unwrap();
    assert!(error.contains("cargo build -p backend"), "{error}");
}
