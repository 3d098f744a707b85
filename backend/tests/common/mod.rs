//! Servers and clients for the integration tests: real sockets on port 0, in this process or as the real binary.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use backend::{Config, Running};
use reqwest::{Client, Method, StatusCode, header::HeaderMap};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest that a test waits for a condition before it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server in this process and a client for it.
pub struct Lab {
    pub server: Running,
    pub client: Client,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers)).to_str().unwrap()
    }
}

impl Lab {
    /// S1 in the EU, faults possible.
    pub async fn start() -> Self {
        Self::with(Config { name: "S1".into(), region: "EU".into(), fault: true, ..Config::default() }).await
    }

    pub async fn with(config: Config) -> Self {
        let server = backend::start(config).await.unwrap();
        Self { server, client: Client::builder().no_proxy().timeout(PATIENCE).build().unwrap() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, "").await
    }

    pub async fn post(&self, path: &str, body: &str) -> Reply {
        self.send(Method::POST, path, body).await
    }

    pub async fn send(&self, method: Method, path: &str, body: &str) -> Reply {
        let request = self.client.request(method, self.url(path)).body(body.to_owned());
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Reply { status, headers, body: response.text().await.unwrap() }
    }

    /// Bytes there, bytes back until the server closes.
    pub async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Polls until `/stats` satisfies `condition`; yields in between, never sleeps for a fixed time.
    pub async fn until(&self, condition: impl Fn(&Value) -> bool) -> Value {
        let poll = async {
            loop {
                let stats = self.get("/stats").await.json();
                if condition(&stats) {
                    return stats;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.expect("the condition came true in time")
    }
}

/// The real binary; killed when dropped.
pub struct Binary {
    pub child: Child,
    /// `host:port`, from its first line.
    pub address: String,
}

/// The binary's command with no variables of ours.
pub fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backend"));
    command.args(flags).env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Binary {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}"));
        Self { address: address.to_owned(), child }
    }

    pub fn signal(&self, signal: sysinfo::Signal) {
        let pid = sysinfo::Pid::from_u32(self.child.id());
        let mut system = sysinfo::System::new();
        system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[pid]), false);
        assert_eq!(system.process(pid).unwrap().kill_with(signal), Some(true));
    }

    /// Waits for its end off the runtime.
    pub async fn ended(mut self) -> ExitStatus {
        tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap()
    }

    /// Most memory it ever had, bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs to its end: exit code and standard error.
pub fn run(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.spawn().unwrap();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    (child.wait().unwrap().code(), log)
}
