//! A real `redis-server` of the test's own, on a free port, without persistence; killed when dropped.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::within;

pub(crate) struct RedisServer {
    pub(crate) port: u16,
    folder: PathBuf,
    child: Child,
}

impl RedisServer {
    /// With these arguments beside its own.
    pub(crate) async fn start(args: &[&str]) -> RedisServer {
        RedisServer::start_at(free_port(), args).await
    }

    /// A server that keeps nothing on disk.
    pub(crate) async fn plain() -> RedisServer {
        RedisServer::at(free_port()).await
    }

    /// The same where another one was.
    pub(crate) async fn at(port: u16) -> RedisServer {
        RedisServer::start_at(port, &["--save", "", "--appendonly", "no"]).await
    }

    async fn start_at(port: u16, args: &[&str]) -> RedisServer {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let own = format!("ballast-it-{}-redis-{}", std::process::id(), NEXT.fetch_add(1, SeqCst));
        let folder = std::env::temp_dir().join(own);
        std::fs::create_dir_all(&folder).unwrap();
        // A sentinel keeps its state in its configuration file.
        let file = folder.join("redis.conf");
        std::fs::write(&file, "").unwrap();
        let child = Command::new("redis-server")
            .arg(&file)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"])
            .arg(&folder)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("redis-server: {error}: apt-get install redis-server, or `make tools`")
            });
        let server = RedisServer { port, folder, child };
        within("an answer of redis-server", async {
            // Refusals for want of a password are answers, too.
            while server.say(&["PING"]).await.is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        server
    }

    /// The beginning of what it answers; nothing where it does not.
    pub(crate) async fn say(&self, words: &[&str]) -> String {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)).await else { return String::new() };
        let mut command = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| command += &format!("${}\r\n{word}\r\n", word.len()));
        let mut answer = vec![0; 4_096];
        if stream.write_all(command.as_bytes()).await.is_err() {
            return String::new();
        }
        let n = stream.read(&mut answer).await.unwrap_or(0);
        String::from_utf8_lossy(&answer[..n]).into_owned()
    }

    /// As a crash would.
    pub(crate) fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
