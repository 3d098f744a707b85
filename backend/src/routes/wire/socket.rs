//! `/ws`: a WebSocket that sends back every text and binary message; pings and the closing handshake are answered by
//! the protocol's implementation.
//!
//! How it fails: a request that is no handshake gets 426 and is told so; a message above the bound ends the socket.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::app::App;
use crate::reply;

/// Largest message, bytes: it is held in memory to be sent back.
const MESSAGE_MAX: usize = 16 * 1024 * 1024;

pub(in crate::routes) async fn echo(
    State(app): State<Arc<App>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match upgrade {
        Ok(upgrade) => upgrade.max_message_size(MESSAGE_MAX).on_upgrade(async move |socket| {
            tokio::select! {
                () = send_back(socket) => {}
                () = app.stopping() => {}
            }
        }),
        Err(rejection) => {
            let why = format!("this is a WebSocket: {}", rejection.body_text());
            let mut response = reply::error(StatusCode::UPGRADE_REQUIRED, why);
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            response
        }
    }
}

/// Until either side closes; an error of the peer's is the end as well.
async fn send_back(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}
