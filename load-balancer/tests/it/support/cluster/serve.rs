//! How the double answers: one connection at a time, lists and changes at once, watches for as long as they last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::World;
use crate::support::Wire;

/// Whether a slice has all the labels that are asked for.
pub(super) fn fits(slice: &Value, query: &BTreeMap<String, String>) -> bool {
    let wanted = query.get("labelSelector").map_or("", String::as_str);
    wanted.split(',').filter(|pair| !pair.is_empty()).all(|pair| {
        let (label, value) = pair.split_once('=').unwrap();
        slice["metadata"]["labels"][label] == json!(value)
    })
}

pub(super) fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": reason, "code": code })
}

fn answer(code: u16, body: &Value) -> String {
    let body = body.to_string();
    let kind = "content-type: application/json";
    format!("HTTP/1.1 {code} -\r\n{kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

pub(super) async fn serve(mut wire: Wire, world: Arc<Mutex<World>>, mut news: watch::Receiver<u64>) {
    // As long as the test wants: no wait of the wire's own ends it.
    while wire.stream.readable().await.is_ok()
        && let Some(request) = wire.request().await
    {
        let (path, query) = taken_apart(request.target());
        let verb = match (request.method(), query.contains_key("watch")) {
            ("PATCH", _) => "patch",
            (_, true) => "watch",
            _ if path.ends_with("/scale") => "get",
            _ => "list",
        };
        let mute = {
            let mut world = world.lock().unwrap();
            world.requests.push(format!("{verb} {}", request.target()));
            world.mute
        };
        if mute {
            return std::future::pending().await;
        }
        assert_eq!(request.header("authorization"), Some("Bearer sesame"));
        let reply = {
            let mut world = world.lock().unwrap();
            if world.forbidden.contains(&verb) {
                let text = format!("User \"it\" cannot {verb} resource \"endpointslices\"");
                Some(answer(403, &status(403, "Forbidden", &text)))
            } else if path.ends_with("/scale") {
                let (code, body) = world.scaled(&request);
                Some(answer(code, &body))
            } else if path != "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices" {
                Some(answer(
                    404,
                    &status(404, "NotFound", "the server could not find the requested resource"),
                ))
            } else if verb == "list" {
                Some(world.page(&query).map_or_else(|gone| answer(410, &gone), |page| answer(200, &page)))
            } else {
                world.watches += 1;
                None
            }
        };
        if world.lock().unwrap().lost.contains(&verb) {
            return std::future::pending().await;
        }
        let sent = match reply {
            Some(reply) => wire.try_send(reply).await.is_ok(),
            None => {
                let _open = Open(&world);
                tell(&mut wire, &world, &mut news, &query).await.is_ok()
            }
        };
        if !sent {
            return;
        }
    }
}

/// Counts a watch out, however it ends.
struct Open<'a>(&'a Mutex<World>);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().watches -= 1;
    }
}

/// A watch, until its time is over.
async fn tell(
    wire: &mut Wire,
    world: &Mutex<World>,
    news: &mut watch::Receiver<u64>,
    query: &BTreeMap<String, String>,
) -> std::io::Result<()> {
    let mut told: u64 = query["resourceVersion"].parse().unwrap();
    let seconds = query["timeoutSeconds"].parse().unwrap();
    assert_eq!(query["allowWatchBookmarks"], "true");
    wire.try_send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        .await?;
    let over = tokio::time::sleep(Duration::from_secs(seconds));
    tokio::pin!(over);
    loop {
        let (lines, mute, last) = {
            let world = world.lock().unwrap();
            let shown = |change: &Value| change["type"] == "BOOKMARK" || fits(&change["object"], query);
            let gone = told < world.forgotten;
            let new = world.changes.iter().filter(|(version, change)| *version > told && shown(change));
            let mut lines: Vec<String> = new.map(|(_, change)| format!("{change}\n")).collect();
            if gone {
                let error = status(410, "Expired", "too old resource version");
                lines = vec![format!("{}\n", json!({ "type": "ERROR", "object": error }))];
            }
            if !world.mute {
                told = world.version;
            }
            (lines, world.mute, gone || world.curt)
        };
        if mute {
            return std::future::pending().await;
        }
        for line in lines {
            wire.try_send(format!("{:x}\r\n{line}\r\n", line.len())).await?;
        }
        world.lock().unwrap().told = told;
        if last {
            break;
        }
        tokio::select! {
            () = &mut over => break,
            changed = news.changed() => if changed.is_err() { break },
            // The client has gone.
            _ = wire.stream.readable() => return Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }
    wire.try_send("0\r\n\r\n").await
}

/// A target's path, and its query decoded.
fn taken_apart(target: &str) -> (&str, BTreeMap<String, String>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    (path, pairs.map(|(key, value)| (key.to_owned(), decoded(value))).collect())
}

fn decoded(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        out.push(char::from(u8::from_str_radix(&after[..2], 16).unwrap()));
        rest = &after[2..];
    }
    out + rest
}
