//! `/rep`, `/add`, `/rm` and `/server_up`, with the texts that the originals' users know.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use lb_core::membership::Refusal;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::{Admin, BODY_MOST, Peer, access, registration};
use crate::event::{Ask, Event, Refused};
use crate::http::headers;

/// Endpoints that change something, in the order of [`Endpoint`].
pub(super) const CHANGING: [&str; 3] = ["/add", "/rm", "/server_up"];

/// An answer that is no success: its status, and its message.
type Fault = (StatusCode, String);
/// Longest that a control request's body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Longest arguments in the audit log, characters.
const TOLD_MOST: usize = 1_000;
/// What is said where nobody makes changes any more.
const STOPPING: &str = "<Error> the balancer is stopping";

/// GET `/rep`: the members, in the order in which they came.
pub(super) async fn list(State(admin): State<Admin>) -> Response {
    let snapshot = admin.registry.load();
    let names: Vec<&str> =
        snapshot.members.iter().map(|&at| snapshot.backends[at as usize].name.as_str()).collect();
    members(&names).into_response()
}

/// POST `/add`.
pub(super) async fn add(State(admin): State<Admin>, peer: Peer, headers: HeaderMap, body: Body) -> Response {
    admin.change(Endpoint::Add, peer, headers, body).await
}

/// DELETE or POST `/rm`.
pub(super) async fn remove(
    State(admin): State<Admin>,
    peer: Peer,
    headers: HeaderMap,
    body: Body,
) -> Response {
    admin.change(Endpoint::Remove, peer, headers, body).await
}

/// POST `/server_up`.
pub(super) async fn server_up(
    State(admin): State<Admin>,
    peer: Peer,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let response = admin.change(Endpoint::ServerUp, peer, headers, body).await;
    if response.status() == StatusCode::OK { "ok".into_response() } else { response }
}

/// Who asks for what, for the audit log; empty as long as it is not known.
#[derive(Default)]
struct Asked {
    who: String,
    what: String,
}

/// The arguments of a change, cut where they are long: names were judged by nobody yet.
fn told(ask: &Ask) -> String {
    let text = match ask {
        Ask::Add { n, names } | Ask::Remove { n, names } => format!("n={n} hostnames={names:?}"),
        Ask::Register { name, address } => format!("name={name:?} address={address}"),
    };
    match text.char_indices().nth(TOLD_MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The request's id: what the client says, where that is one, as for requests to backends.
fn request_id(headers: &HeaderMap) -> header::HeaderValue {
    headers::request_id(headers, headers::Seen::of(headers), &mut crate::clock::entropy())
}

/// What changes something.
#[derive(Clone, Copy)]
enum Endpoint {
    Add,
    Remove,
    ServerUp,
}

impl Admin {
    /// Makes a change, counts it and logs it. A task of its own does all three: whoever asks may go meanwhile, and a change
    /// without a record must not be.
    async fn change(self, endpoint: Endpoint, peer: Peer, headers: HeaderMap, body: Body) -> Response {
        let path = CHANGING[endpoint as usize];
        let task = tokio::spawn(async move {
            let id = request_id(&headers);
            let mut asked = Asked::default();
            let outcome = self.attempt(endpoint, peer, &headers, body, &mut asked).await;
            let fault = outcome.as_ref().err();
            let status = fault.map_or(StatusCode::OK, |(status, _)| *status);
            self.metrics.control_requests.with_label_values(&[path, status.as_str()]).inc();
            let fault = fault.map(|(_, message)| message);
            tracing::info!(
                target: "audit",
                who = asked.who,
                peer = peer.ip.map(tracing::field::display),
                port = if peer.on_traffic_port { "traffic" } else { "admin" },
                endpoint = path,
                arguments = asked.what,
                status = status.as_u16(),
                fault,
                request_id = id.to_str().unwrap_or_default(),
                "control request"
            );
            (outcome, id)
        });
        let (mut response, id) = match task.await {
            Ok((Ok(names), id)) => {
                (members(&names.iter().map(String::as_str).collect::<Vec<_>>()).into_response(), id)
            }
            Ok((Err((status, message)), id)) => (failure(status, &message), id),
            Err(_) => return failure(StatusCode::SERVICE_UNAVAILABLE, STOPPING),
        };
        response.headers_mut().insert(headers::REQUEST_ID, id);
        response
    }

    /// Nothing is read, and no name looked up, for whoever may not.
    async fn attempt(
        &self,
        endpoint: Endpoint,
        peer: Peer,
        headers: &HeaderMap,
        body: Body,
        asked: &mut Asked,
    ) -> Result<Vec<String>, Fault> {
        let config = std::sync::Arc::clone(&self.registry.load().config);
        let who = access::may_change(&config.control, peer, headers)
            .map_err(|(status, why)| (status, format!("<Error> {why}")))?;
        who.clone_into(&mut asked.who);
        let body = whole(body).await?;
        let ask = match endpoint {
            Endpoint::Add => numbered(&body).map(|(n, names)| Ask::Add { n, names })?,
            Endpoint::Remove => numbered(&body).map(|(n, names)| Ask::Remove { n, names })?,
            Endpoint::ServerUp => registration::read(&body, &config, &self.listening).await?,
        };
        asked.what = told(&ask);
        self.ask(ask).await
    }

    async fn ask(&self, ask: Ask) -> Result<Vec<String>, Fault> {
        let gone = || (StatusCode::SERVICE_UNAVAILABLE, STOPPING.to_owned());
        let (asker, answer) = oneshot::channel();
        self.events.send(Event::Asked(ask, asker)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(|refused| {
            let status = match refused {
                Refused::Unfit(_) => StatusCode::BAD_REQUEST,
                Refused::Upgrading => StatusCode::SERVICE_UNAVAILABLE,
                Refused::Powerless(_) => StatusCode::CONFLICT,
                Refused::Failed(_) | Refused::Unclear(_) => StatusCode::BAD_GATEWAY,
            };
            (status, refused.to_string())
        })
    }
}

fn members(names: &[&str]) -> axum::Json<Value> {
    axum::Json(json!({ "message": { "N": names.len(), "replicas": names }, "status": "successful" }))
}

/// The originals' shape of a failure, with the balancer's own `error` beside it.
pub(super) fn failure(status: StatusCode, message: &str) -> Response {
    let error = message.strip_prefix("<Error> ").unwrap_or(message);
    let shape = if matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST
    ) {
        json!({ "error": error, "message": message, "status": "failure" })
    } else {
        json!({ "message": message, "status": "failure" })
    };
    let mut response = (status, axum::Json(shape)).into_response();
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    }
    response
}

/// All of a body, within bounds of length and time.
async fn whole(body: Body) -> Result<Bytes, Fault> {
    let bad = |status, why: String| (status, format!("<Error> the body {why}"));
    let reading = tokio::time::timeout(BODY_WITHIN, Limited::new(body, BODY_MOST).collect());
    match reading.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(bad(StatusCode::PAYLOAD_TOO_LARGE, format!("must not have more than {BODY_MOST} bytes")))
        }
        Ok(Err(error)) => Err(bad(StatusCode::BAD_REQUEST, format!("broke off: {error}"))),
        Err(_) => Err(bad(StatusCode::REQUEST_TIMEOUT, format!("did not come within {BODY_WITHIN:?}"))),
    }
}

/// A body as an object with none but these fields.
pub(super) fn object(body: &[u8], known: &[&str]) -> Result<Map<String, Value>, Fault> {
    let bad = |message: String| (StatusCode::BAD_REQUEST, message);
    let example = known.join(", ");
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return Err(bad(format!("<Error> the body must be a JSON object with {example}")));
    };
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(bad(format!("<Error> {key:?} is unknown here: use {example}"))),
        None => Ok(fields),
    }
}

/// `n` and `hostnames`.
pub(crate) fn numbered(body: &[u8]) -> Result<(usize, Vec<String>), Fault> {
    let bad = |message: String| (StatusCode::BAD_REQUEST, message);
    let fields = object(body, &["n", "hostnames"])?;
    let n = fields.get("n").and_then(Value::as_u64).unwrap_or(0);
    if n == 0 {
        return Err(bad(Refusal::NotPositive.to_string()));
    }
    let names = match fields.get("hostnames") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(names)) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    };
    let names =
        names.ok_or_else(|| bad("<Error> hostnames: must be a list of strings, like [\"S5\"]".to_owned()))?;
    Ok((usize::try_from(n).unwrap_or(usize::MAX), names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_documented_and_nothing_else() {
        assert_eq!(numbered(br#"{"n":2,"hostnames":["S5"]}"#).unwrap(), (2, vec!["S5".to_owned()]));
        assert_eq!(numbered(br#"{"n":1}"#).unwrap(), (1, Vec::new()));
        let bad: &[&[u8]] = &[
            b"",
            b"[]",
            b"3",
            b"null",
            b"{",
            br#"{"hostnames":[]}"#,
            br#"{"n":0}"#,
            br#"{"n":-1}"#,
            br#"{"n":1.5}"#,
            br#"{"n":"2"}"#,
            br#"{"n":1,"hostnames":"S5"}"#,
            br#"{"n":1,"hostnames":[5]}"#,
            br#"{"n":1,"hostname":["S5"]}"#,
            b"\xff\xfe",
            br#"{"n":1e99}"#,
        ];
        for body in bad {
            let (status, message) = numbered(body).unwrap_err();
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert!(message.starts_with("<Error> "), "{message}");
        }
    }
}
