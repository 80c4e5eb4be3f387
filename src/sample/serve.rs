//! What every sample service shares: serving with a drain, the stop signal, and the two usual answers.

use anyhow::Context;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde_json::json;
use std::future::Future;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// How long requests in flight may take to finish after the stop signal.
const DRAIN: Duration = Duration::from_secs(10);

/// A future that completes at the first SIGTERM or SIGINT. The signals are caught from this call on.
pub fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Serves until `stop`, then takes nothing new and finishes what is in flight.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let (begin_drain, drain) = oneshot::channel::<()>();
    // Without this a reply in two writes waits for the peer's delayed ACK.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = axum::serve(listener, router).with_graceful_shutdown(async move { drop(drain.await) });
    let mut server = tokio::spawn(server.into_future());
    tokio::select! {
        ended = &mut server => return Ok(ended??),
        () = stop => {}
    }
    drop(begin_drain);
    if let Ok(ended) = tokio::time::timeout(DRAIN, server).await {
        return Ok(ended??);
    }
    eprintln!("some requests did not finish within {} s and were cut off", DRAIN.as_secs());
    Ok(())
}

/// The answer of a `/health` endpoint.
pub async fn health(status: &'static str) -> Json<serde_json::Value> {
    Json(json!({ "status": status }))
}

/// An error in the sample's JSON shape.
pub fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}
