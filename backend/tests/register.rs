//! Announcing: after listening, again and again until accepted. (That it then ends is a unit test's business.)
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers fail as tests do")]

#[allow(unreachable_pub, dead_code, reason = "shared by the test binaries, each of which uses its own part")]
mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use backend::{Config, Register};
use common::Lab;
use reqwest::Url;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What the balancer was sent: the token and the body.
type Seen = (Option<String>, Value);

/// A balancer that gives the next of `answers` to each announcement, and 200 after the last.
async fn balancer(answers: Vec<StatusCode>) -> (SocketAddr, mpsc::UnboundedReceiver<Seen>) {
    let (tell, told) = mpsc::unbounded_channel();
    let answers = Arc::new(tokio::sync::Mutex::new(answers.into_iter()));
    let handler =
        async move |State(tell): State<mpsc::UnboundedSender<Seen>>, headers: HeaderMap, body: String| {
            let token = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
            tell.send((token, serde_json::from_str(&body).unwrap())).unwrap();
            answers.lock().await.next().unwrap_or(StatusCode::OK)
        };
    let router = Router::new().route("/server_up", post(handler)).with_state(tell);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, told)
}

fn registering(to: SocketAddr, token: Option<&str>, advertise: Option<&str>) -> Config {
    let register = Register {
        to: Url::parse(&format!("http://{to}/server_up")).unwrap(),
        token: token.map(str::to_owned),
        advertise: advertise.map(|url| Url::parse(url).unwrap()),
    };
    Config { register: Some(register), ..Config::default() }
}

async fn next(told: &mut mpsc::UnboundedReceiver<Seen>) -> Seen {
    tokio::time::timeout(common::PATIENCE, told.recv()).await.expect("an announcement in time").unwrap()
}

#[tokio::test]
async fn announces_until_accepted() {
    let (address, mut told) = balancer(vec![StatusCode::SERVICE_UNAVAILABLE, StatusCode::FORBIDDEN]).await;
    let lab = Lab::with(registering(address, Some("secret"), None)).await;
    let own = json!({ "url": format!("http://{}/", lab.server.address()) });
    for _ in 0..3 {
        assert_eq!(next(&mut told).await, (Some("Bearer secret".to_owned()), own.clone()));
    }
}

#[tokio::test]
async fn the_announced_url_answers() {
    let (address, mut told) = balancer(Vec::new()).await;
    let lab = Lab::with(registering(address, None, None)).await;
    let (token, body) = next(&mut told).await;
    assert_eq!(token, None);
    let own = body["url"].as_str().unwrap();
    let answer = lab.client.get(format!("{own}heartbeat")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn another_url_can_be_advertised() {
    let (address, mut told) = balancer(Vec::new()).await;
    let _lab = Lab::with(registering(address, None, Some("http://server1:5000"))).await;
    assert_eq!(next(&mut told).await.1, json!({ "url": "http://server1:5000/" }));
}

#[tokio::test]
async fn a_balancer_that_comes_later_is_found() {
    // A port that was free a moment ago; nobody listens yet.
    let early = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = early.local_addr().unwrap();
    drop(early);
    let lab = Lab::with(registering(address, None, None)).await;
    assert_eq!(lab.get("/heartbeat").await.status, StatusCode::OK);
    let listener = TcpListener::bind(address).await.unwrap();
    let (mut stream, _) = tokio::time::timeout(common::PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut head = [0; 4];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut head).await.unwrap();
    assert_eq!(&head, b"POST");
}
