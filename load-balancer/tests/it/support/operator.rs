//! What operators ask of a balancer, and requests that stay under way while they do.

use serde_json::{Value, json};

use super::{Lb, Message, Scrape, Wire, within};

impl Lb {
    /// A request with a body to the admin listener.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Message {
        self.ask_with(method, path, body, &[]).await
    }

    pub(crate) async fn ask_with(&self, method: &str, path: &str, body: &str, headers: &[&str]) -> Message {
        let mut wire = Wire::connect(self.admin).await;
        wire.send(asking(method, path, body, headers)).await;
        wire.reply().await
    }

    pub(crate) async fn add(&self, n: usize, names: &[&str]) -> Message {
        self.ask("POST", "/add", &json!({ "n": n, "hostnames": names }).to_string()).await
    }

    pub(crate) async fn remove(&self, n: usize, names: &[&str]) -> Message {
        self.ask("DELETE", "/rm", &json!({ "n": n, "hostnames": names }).to_string()).await
    }

    pub(crate) async fn register(&self, url: &str) -> Message {
        self.ask("POST", "/server_up", &json!({ "url": url }).to_string()).await
    }

    /// The members' names, as `/rep` has them.
    pub(crate) async fn members(&self) -> Vec<String> {
        self.admin("/rep").await.members()
    }

    /// Every fact of one kind so far.
    pub(crate) async fn facts(&self, kind: &str) -> Vec<Value> {
        let all = self.admin("/decisions?format=json&last=1000").await.json();
        all["facts"].as_array().unwrap().iter().filter(|fact| fact["kind"] == kind).cloned().collect()
    }

    /// Waits until `/rep` is what `condition` wants.
    pub(crate) async fn until_members(
        &self,
        what: &str,
        condition: impl Fn(&[String]) -> bool,
    ) -> Vec<String> {
        within(what, async {
            loop {
                let members = self.members().await;
                if condition(&members) {
                    return members;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

/// A request with a body, on a connection that it ends.
pub(crate) fn asking(method: &str, path: &str, body: &str, headers: &[&str]) -> String {
    let length = format!("Content-Length: {}", body.len());
    let headers = [&[length.as_str()], headers].concat();
    super::at_admin(&super::request(method, path, &headers)) + body
}

impl Message {
    /// The members that a successful answer names, in exactly the shape that is promised.
    pub(crate) fn members(&self) -> Vec<String> {
        assert_eq!(self.status(), 200, "{}", self.text());
        let answer = self.json();
        let names: Vec<String> = serde_json::from_value(answer["message"]["replicas"].clone()).unwrap();
        let shape = json!({ "message": { "N": names.len(), "replicas": names }, "status": "successful" });
        assert_eq!(answer, shape);
        names
    }
}

impl Scrape {
    pub(crate) fn facts(&self, kind: &str) -> f64 {
        self.sum("lb_facts_total", &[("kind", kind)])
    }

    pub(crate) fn asked(&self, endpoint: &str, code: &str) -> f64 {
        self.sum("lb_control_requests_total", &[("endpoint", endpoint), ("code", code)])
    }

    pub(crate) fn of_backend(&self, family: &str, backend: &str) -> f64 {
        self.sum(family, &[("backend", backend)])
    }
}

/// Refused in the originals' shape, with a text that begins with `<Error> ` and contains `text`.
pub(crate) fn assert_refused(reply: &Message, status: u16, text: &str) {
    assert_eq!(reply.status(), status, "{}", reply.text());
    let message = reply.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("<Error> ") && message.contains(text), "{text:?} in {message:?}");
    assert_eq!(reply.json()["status"], "failure");
    assert_eq!(reply.header("content-type"), Some("application/json"));
}

/// A request under way at a backend of the real kind, held there by the half of its body that is still to come; and the
/// name of that backend.
pub(crate) async fn hold(lb: &Lb) -> (Wire, String) {
    let family = "lb_upstream_requests_in_flight";
    let before = lb.scrape().await;
    let mut wire = lb.connect().await;
    wire.send("POST /echo HTTP/1.1\r\nHost: lab\r\nContent-Length: 6\r\n\r\nfir").await;
    let grown = |scrape: &Scrape| {
        let more = |labels: &super::scrape::Labels, value| {
            value > before.sum(family, &[("backend", &labels["backend"])])
        };
        let sample =
            scrape.samples.iter().find(|(name, labels, value)| name == family && more(labels, *value));
        sample.map(|(_, labels, _)| labels["backend"].clone())
    };
    let scrape = lb.until("the request is under way", |scrape| grown(scrape).is_some()).await;
    (wire, grown(&scrape).unwrap())
}

/// Sends the rest and returns the answer.
pub(crate) async fn finish(mut wire: Wire) -> Message {
    wire.send("st!").await;
    wire.reply().await
}
