//! One check of one host: an HTTP request, an exchange of bytes, or a call of `grpc.health.v1.Health/Check`.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::record::Outcome;
use crate::config::{self, HealthCheck, HttpProbe, Probe, UpstreamProtocol};
use crate::http::Response;
use crate::http::body::{Body, Frame};
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, Version};
use crate::io::Prefixed;
use crate::upstream::Host;

/// What checks of a host need. The host's pool keeps the connection between checks.
pub struct Prober {
    host: Rc<Host>,
    cluster: Arc<config::Cluster>,
    check: Arc<HealthCheck>,
    authority: String,
    tls: bool,
}

impl Prober {
    /// `hostname` is the endpoint's own for checks; it may be empty.
    pub fn new(host: Rc<Host>, cluster: &config::Cluster, check: &Arc<HealthCheck>, hostname: &str, tls: bool) -> Self {
        let (protocol, own) = match &check.probe {
            Probe::Http(probe) if !probe.http2 => (UpstreamProtocol::Http1, &probe.host),
            Probe::Http(probe) => (UpstreamProtocol::Http2, &probe.host),
            Probe::Grpc { authority, .. } => (UpstreamProtocol::Http2, authority),
            Probe::Tcp { .. } => (UpstreamProtocol::Http1, &cluster.name),
        };
        let authority = [hostname, own, &cluster.name].into_iter().find(|name| !name.is_empty());
        let authority = authority.unwrap_or_default().to_owned();
        let max_requests_per_connection = if check.reuse_connection { 0 } else { 1 };
        let cluster = Arc::new(config::Cluster { protocol, max_requests_per_connection, ..cluster.clone() });
        Self { host, cluster, check: Arc::clone(check), authority, tls }
    }

    pub async fn check(&self) -> Outcome {
        match &self.check.probe {
            Probe::Http(probe) => self.http(probe).await,
            Probe::Tcp { send, receive } => self.tcp(send, receive).await,
            Probe::Grpc { service, .. } => self.grpc(service).await,
        }
    }

    async fn send(&self, head: &RequestHead, body: Body) -> Option<Response> {
        self.host.send(&self.cluster, head, body, head.version).await.ok()
    }

    fn head(&self, method: &str, path: &str) -> RequestHead {
        let mut headers = Headers::new();
        headers.append("user-agent", "Envoy/HC");
        RequestHead {
            method: method.to_owned(),
            scheme: if self.tls { "https" } else { "http" },
            authority: self.authority.clone(),
            path: path.to_owned(),
            version: Version::Http2,
            headers,
            upgrade: None,
        }
    }

    async fn http(&self, probe: &HttpProbe) -> Outcome {
        let mut head = self.head(&probe.method, &probe.path);
        probe.headers.iter().for_each(|(name, value)| head.headers.append(name, value));
        for name in &probe.headers_to_remove {
            head.headers.remove(name);
        }
        let Some(mut response) = self.send(&head, Body::Empty).await else { return Outcome::Failed };
        while let Some(frame) = response.body.frame().await {
            if frame.is_err() {
                return Outcome::Failed;
            }
        }
        let status = response.head.status;
        if probe.expected.iter().any(|range| range.contains(&status)) {
            Outcome::Passed { degraded: response.head.headers.contains("x-envoy-degraded") }
        } else if probe.retriable.iter().any(|range| range.contains(&status)) {
            Outcome::Failed
        } else {
            Outcome::Refused
        }
    }

    async fn tcp(&self, send: &[u8], receive: &[Vec<u8>]) -> Outcome {
        let Ok((io, _)) = self.host.open(&self.cluster, None).await else { return Outcome::Failed };
        let mut io = Prefixed { prefix: Bytes::new(), io };
        if io.write_all(send).await.is_err() || io.flush().await.is_err() {
            return Outcome::Failed;
        }
        let mut seen = Vec::new();
        while !has_all(&seen, receive) {
            let mut piece = [0; 1024];
            match io.read(&mut piece).await {
                Ok(count) if count > 0 && seen.len() < MOST_READ => seen.extend_from_slice(&piece[..count]),
                _ => return Outcome::Failed,
            }
        }
        Outcome::Passed { degraded: false }
    }

    async fn grpc(&self, service: &str) -> Outcome {
        let mut head = self.head("POST", "/grpc.health.v1.Health/Check");
        head.headers.append("content-type", "application/grpc");
        head.headers.append("te", "trailers");
        let Some(response) = self.send(&head, Body::Full(request(service))).await else { return Outcome::Failed };
        if response.head.status != 200 {
            return Outcome::Refused;
        }
        let mut status = response.head.headers.get_str("grpc-status").map(str::to_owned);
        let (mut body, mut message) = (response.body, Vec::new());
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(Frame::Data(data)) if message.len() + data.len() <= MOST_READ => message.extend_from_slice(&data),
                Ok(Frame::Trailers(trailers)) => status = trailers.get_str("grpc-status").map(str::to_owned),
                Ok(Frame::Data(_)) | Err(_) => return Outcome::Failed,
            }
        }
        match (status.as_deref(), is_serving(&message)) {
            (Some("0"), true) => Outcome::Passed { degraded: false },
            _ => Outcome::Refused,
        }
    }
}

/// An answer that is longer than this is none.
const MOST_READ: usize = 64 * 1024;

/// Whether the blocks come one after the other, with anything between them.
fn has_all(seen: &[u8], blocks: &[Vec<u8>]) -> bool {
    let mut rest = seen;
    blocks.iter().all(|block| {
        let found = block.is_empty() || rest.windows(block.len()).any(|window| window == block.as_slice());
        if let Some(at) = rest.windows(block.len().max(1)).position(|window| window == block.as_slice()) {
            rest = &rest[at + block.len()..];
        }
        found
    })
}

/// `HealthCheckRequest { service }` as a gRPC message.
fn request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        prost::encoding::string::encode(1, &service.to_owned(), &mut message);
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

/// Whether a gRPC message is `HealthCheckResponse { status: SERVING }`.
fn is_serving(framed: &[u8]) -> bool {
    // Not compressed, two bytes long: field 1, a varint, of value 1.
    framed == [0, 0, 0, 0, 2, 8, 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_in_order_and_not_twice() {
        let blocks = |blocks: &[&str]| blocks.iter().map(|block| block.as_bytes().to_vec()).collect::<Vec<_>>();
        assert!(has_all(b"", &[]));
        assert!(has_all(b"+PONG\r\n..OK", &blocks(&["PONG", "OK"])));
        assert!(!has_all(b"OK..PONG", &blocks(&["PONG", "OK"])));
        assert!(!has_all(b"PON", &blocks(&["PONG"])));
        assert!(!has_all(b"aa", &blocks(&["aa", "a"])));
    }
}
