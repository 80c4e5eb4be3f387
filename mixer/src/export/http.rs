//! One POST, over a connection of its own: sinks are sent to some times a minute.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long a sink may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// So much is read of what a sink says is wrong.
const MOST_SAID: usize = 4096;

/// Sends a body. The error is in an operator's words.
pub async fn post(url: &str, headers: &[(String, String)], body: Vec<u8>) -> Result<(), String> {
    let sent = tokio::time::timeout(TIMEOUT, exchange(url, headers, body)).await;
    sent.unwrap_or_else(|_| Err(format!("{url} does not answer within {} s", TIMEOUT.as_secs())))
}

async fn exchange(url: &str, headers: &[(String, String)], body: Vec<u8>) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|_| format!("{url} is no URL"))?;
    let authority = uri.authority().ok_or_else(|| format!("{url} names no host"))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let failed = |what: String| format!("{url}: {what}");
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await;
    let stream = stream.map_err(|error| failed(error.to_string()))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.to_string()))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::post(path).header("host", authority.as_str());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| failed(error.to_string()))?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| failed(error.to_string()));
    let result = match answer {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => {
            let status = answer.status();
            let said = Limited::new(answer.into_body(), MOST_SAID).collect().await;
            let said = said.map(|said| String::from_utf8_lossy(&said.to_bytes()).trim().to_owned());
            Err(failed(format!("{status} {}", said.unwrap_or_default())))
        }
        Err(error) => Err(error),
    };
    connection.abort();
    result
}
