//! The access log, as who reads it meets it: a line for each request, whatever clients send and however slow the disk is.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use load_balancer::control::Source;
use serde_json::Value;

use super::support::{
    Conn, Lb, PATIENCE, Receiver, Scrape, Script, addresses, keep, ok, post, refusing, replicas, request,
    variables, within,
};

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("ballast-access-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The lines of a file once it has `n` whole ones: one that is being written is none yet.
async fn lines(path: impl AsRef<Path>, n: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(path.as_ref()).unwrap_or_default();
    // Between two looks: reading without a pause would take a processor from those who write.
    let mut look = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        loop {
            look.tick().await;
            let text = read();
            let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
            if whole.lines().count() >= n {
                return whole.lines().map(str::to_owned).collect();
            }
        }
    };
    let came = tokio::time::timeout(PATIENCE, waiting).await;
    came.unwrap_or_else(|_| panic!("{n} lines never came: {}", read()))
}

async fn objects(path: impl AsRef<Path>, n: usize) -> Vec<Value> {
    lines(path, n)
        .await
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

#[tokio::test]
async fn a_line_tells_what_became_of_a_request() {
    let directory = Directory::new("json");
    let (path, receiver) = (directory.file("access.log"), Receiver::start().await);
    let backend = Script::named("hello").await;
    let endpoint = receiver.endpoint();
    let settings = [
        ("access_log.format", "json"),
        ("access_log.path", &path),
        ("pool.algorithm", "round_robin"),
        ("traces.endpoint", &endpoint),
        ("traces.sample", "1"),
    ];
    let lb = Lb::over(&[refusing(), backend.address], &settings).await;
    lb.get_with("/a?token=secret", &["x-request-id: id-1"]).await;
    lb.send(post("/up", "12345")).await;
    lb.get("/?algo=none").await;
    let told = objects(&path, 3).await;
    let first = &told[0];
    for (key, value) in [
        ("request_id", "id-1".into()),
        ("client", "127.0.0.1".into()),
        ("method", "GET".into()),
        ("host", "lab".into()),
        ("path", "/a".into()),
        ("protocol", "HTTP/1.1".into()),
        ("status", Value::from(200)),
        ("algorithm", "round_robin".into()),
        ("backend", "b2".into()),
        ("attempts", Value::from(2)),
        ("bytes_in", Value::from(0)),
        ("bytes_out", Value::from(5)),
        ("reason", Value::Null),
        ("query", Value::Null),
    ] {
        assert_eq!(first[key], value, "{key} of {first:#}");
    }
    let (total, rest) = (first["total_ms"].as_f64().unwrap(), ["connect_ms", "first_byte_ms", "overhead_ms"]);
    assert!(rest.iter().all(|key| (0.0..=total).contains(&first[key].as_f64().unwrap())), "{first:#}");
    let spans = receiver.spans(5).await;
    assert!(spans.iter().any(|span| span.trace == first["trace_id"] && span.of("lb.request_id") == "id-1"));
    assert_eq!((&told[1]["method"], &told[1]["bytes_in"]), (&"POST".into(), &5.into()));
    assert_eq!(
        (&told[2]["status"], &told[2]["reason"], &told[2]["attempts"]),
        (&400.into(), &"bad_request".into(), &0.into())
    );
    lb.until("all counted", |s| s.sum("lb_access_log_lines_total", &[("result", "written")]) == 3.0).await;
}

#[tokio::test]
async fn failures_have_their_reason_and_text_its_fields() {
    let directory = Directory::new("text");
    let path = directory.file("access.log");
    let broken = Script::start(async |mut conn: Conn| {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    })
    .await;
    let settings = [("access_log.format", "text"), ("access_log.path", &path), ("access_log.query", "true")];
    let lb = Lb::over(&[broken.address], &settings).await;
    let mut wire = lb.connect().await;
    wire.send(request("GET", "/cut?a=b", &["x-request-id: id-1"])).await;
    wire.end().await;
    let all = lines(&path, 1).await;
    assert!(all[0].starts_with("127.0.0.1 - - [20"), "{}", all[0]);
    for part in [
        "\"GET /cut?a=b HTTP/1.1\" 200 4 request_id=id-1",
        " backend=b1 attempts=1 ",
        " reason=upstream_reset",
    ] {
        assert!(all[0].contains(part), "{part} in {}", all[0]);
    }
    assert_eq!(all.len(), 1);
}

/// Whatever a client sends, a request is one line, and that line is one object.
#[tokio::test]
async fn no_client_can_forge_a_line() {
    let directory = Directory::new("forge");
    let path = directory.file("access.log");
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[("access_log.format", "json"), ("access_log.path", &path)]).await;
    let mut attack =
        b"GET /\"},{\"status\":200\\ HTTP/1.1\r\nHost: \xff\xfe\"\\\x09x\r\nx-request-id: \"}\\\r\n".to_vec();
    attack.extend_from_slice(b"Connection: close\r\n\r\n");
    let code = lb.send(attack).await.status();
    let told = objects(&path, 1).await;
    assert_eq!(told[0]["status"], code);
    assert!(told[0]["host"].as_str().unwrap().starts_with("\u{fffd}\u{fffd}\"\\"), "{:#}", told[0]);
    assert_eq!(told[0]["request_id"], "\"}\\");
    assert_eq!(told[0]["path"], "/\"},{\"status\":200\\");
}

/// A pipe that nobody reads: the writing thread hangs, requests do not, and what is lost is counted.
#[tokio::test]
async fn a_pipe_that_nobody_reads_costs_lines_and_nothing_else() {
    let directory = Directory::new("fifo");
    let path = directory.file("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &*path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let backends = replicas(1).await;
    let settings = [("access_log.format", "json"), ("access_log.path", &path), ("access_log.queue", "1000")];
    let mut lb = Lb::over(&addresses(&backends), &settings).await;
    let mut wire = lb.connect().await;
    let dropped =
        async |lb: &Lb| lb.scrape().await.sum("lb_access_log_lines_total", &[("result", "dropped")]);
    let mut sent = 0.0;
    let flooding = async {
        while dropped(&lb).await == 0.0 {
            for _ in 0..200 {
                wire.send(keep("/echo")).await;
                assert_eq!(wire.reply().await.status(), 200);
                sent += 1.0;
            }
        }
    };
    within("lines dropped", flooding).await;
    // The pipe holds 64 KiB and the queue 1,000 lines.
    assert!(sent < 4_000.0, "{sent}");
    let scrape = lb.settled().await;
    assert!(scrape.sum("lb_access_log_lines_total", &[]) < sent);
    drop(wire);
    lb.stopping().await;
}

/// A write that hangs is left behind by a reload: the log goes on, and of each line it is known what became of it.
#[tokio::test]
async fn a_reload_rescues_a_log_that_hangs() {
    let directory = Directory::new("rescue");
    let (file, pipe, path) =
        (directory.file("lb.toml"), directory.file("pipe"), directory.file("access.log"));
    rustix::fs::mkfifoat(rustix::fs::CWD, &*pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let backends = replicas(1).await;
    let text = |path: &str| {
        let pool = format!("[[pool.backend]]\nname = \"b1\"\naddress = \"{}\"\n", addresses(&backends)[0]);
        format!("{pool}[access_log]\nformat = \"json\"\npath = \"{path}\"\n")
    };
    std::fs::write(&file, text(&pipe)).unwrap();
    let source = Source { path: file.clone().into(), env: variables(&[("state.file", "off")]) };
    let mut lb = Lb::from(source).await;
    let mut wire = lb.connect().await;
    // Several times what the pipe holds.
    let mut sent = 1_000.0;
    for _ in 0..1_000 {
        wire.send(keep("/echo")).await;
        assert_eq!(wire.reply().await.status(), 200);
    }
    std::fs::write(&file, text(&path)).unwrap();
    let rescued = async {
        let mut reloads = 0.0;
        while std::fs::read_to_string(&path).unwrap_or_default().is_empty() {
            reloads += 1.0;
            lb.reload();
            let applied = |s: &Scrape| s.sum("lb_config_reloads_total", &[("result", "applied")]) >= reloads;
            lb.until("the reload", applied).await;
            wire.send(keep("/echo")).await;
            assert_eq!(wire.reply().await.status(), 200);
            sent += 1.0;
        }
    };
    within("the log goes on", rescued).await;
    let all = |s: &Scrape| s.sum("lb_access_log_lines_total", &[]) == sent;
    let scrape = lb.until("each line is written or dropped", all).await;
    let lost = scrape.sum("lb_access_log_lines_total", &[("result", "dropped")]);
    assert!((1.0..sent / 2.0).contains(&lost), "{lost} of {sent}: those of the write that hung");
    assert!(objects(&path, 1).await.iter().all(|told| told["path"] == "/echo"));
    drop(wire);
    lb.stopping().await;
}

/// What logrotate does: the file is moved away, and the order to reload opens a new one.
#[tokio::test]
async fn a_reload_opens_the_file_anew() {
    let directory = Directory::new("rotate");
    let (file, first, second) =
        (directory.file("lb.toml"), directory.file("a.log"), directory.file("a.log.1"));
    let backend = Script::answering(ok("ok")).await;
    let text = |format: &str, path: &str| {
        let pool = format!("[[pool.backend]]\nname = \"b1\"\naddress = \"{}\"\n", backend.address);
        format!("{pool}[access_log]\nformat = \"{format}\"\npath = \"{path}\"\n")
    };
    std::fs::write(&file, text("off", &first)).unwrap();
    let source = Source { path: file.clone().into(), env: variables(&[("state.file", "off")]) };
    let lb = Lb::from(source).await;
    lb.get("/0").await;
    let reloaded = async |lb: &Lb, result: &str, n: f64| {
        lb.reload();
        lb.until("the reload", |s| s.sum("lb_config_reloads_total", &[("result", result)]) >= n).await;
    };
    // Switched on while running.
    std::fs::write(&file, text("json", &first)).unwrap();
    reloaded(&lb, "applied", 1.0).await;
    lb.get("/1").await;
    assert_eq!(objects(&first, 1).await[0]["path"], "/1");
    std::fs::rename(&first, &second).unwrap();
    reloaded(&lb, "applied", 2.0).await;
    lb.get("/2").await;
    assert_eq!(objects(&first, 1).await[0]["path"], "/2");
    assert_eq!(lines(&second, 1).await.len(), 1);
    // A file that cannot be opened refuses the whole reload, and the old one goes on.
    std::fs::write(&file, text("json", "/no/such/directory/a.log")).unwrap();
    reloaded(&lb, "refused", 1.0).await;
    lb.get("/3").await;
    assert_eq!(objects(&first, 2).await[1]["path"], "/3");
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_told_at_the_start() {
    let backend = Script::named("ok").await;
    let settings = [("access_log.format", "json"), ("access_log.path", "/no/such/directory/a.log")];
    let config = super::support::config(&[(backend.address, 1)], &settings);
    let started = tokio::task::spawn_blocking(move || load_balancer::start(config).err()).await.unwrap();
    let error = started.unwrap().to_string();
    assert!(error.contains("access_log.path") && error.contains("No such file"), "{error}");
}

/// What is in the buffers when the order to stop comes is written before the balancer is gone.
#[tokio::test]
async fn stopping_writes_what_waits() {
    let directory = Directory::new("stop");
    let path = directory.file("access.log");
    let backends = replicas(1).await;
    let settings = [("access_log.format", "json"), ("access_log.path", &*path), ("workers", "2")];
    let mut lb = Lb::over(&addresses(&backends), &settings).await;
    for _ in 0..50 {
        lb.get("/echo").await;
    }
    lb.stopping().await;
    let mut text = String::new();
    OpenOptions::new().read(true).open(&path).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 50);
}
