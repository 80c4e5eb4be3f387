//! Asks a port whether it answers.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(5);

/// The status of a GET; `None` if nobody answers.
pub async fn status(url: &str) -> Option<StatusCode> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = tokio::time::timeout(DEADLINE, client.get(url.parse().ok()?)).await.ok()?;
    Some(answer.ok()?.status())
}

/// Whether somebody listens there.
pub async fn listens(address: SocketAddr) -> bool {
    matches!(tokio::time::timeout(DEADLINE, TcpStream::connect(address)).await, Ok(Ok(_)))
}

pub async fn is_ok(url: &str) -> bool {
    status(url).await == Some(StatusCode::OK)
}
