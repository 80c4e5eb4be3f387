//! The admin interface, on loopback only, and the readiness port: Envoy's and Istio's paths, answered in their shapes.
//! Private keys are never shown.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::{Discovery, HealthStatus, Node};
use crate::data_plane::DataPlane;
use crate::identity::Identity;

/// What the admin interface looks at.
pub struct Admin {
    pub data_plane: Arc<DataPlane>,
    /// `None` for a proxy that is not in the mesh.
    pub identity: Option<Identity>,
    /// Whether a configuration is in force and the proxy is not draining.
    pub ready: watch::Receiver<bool>,
    pub node: Node,
}

type Answer = Response<Full<Bytes>>;

/// Serves one socket for ever. `readiness_only` is for the port that may be reached from elsewhere.
pub async fn serve(socket: TcpListener, admin: Arc<Admin>, readiness_only: bool) {
    loop {
        let Ok((stream, _)) = socket.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = if readiness_only { admin.readiness(&request) } else { admin.answer(&request) };
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(std::time::Duration::from_secs(10));
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Binds an admin socket.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

impl Admin {
    fn readiness(&self, request: &Request<Incoming>) -> Answer {
        match request.uri().path() {
            "/healthz/ready" | "/ready" => self.ready(),
            _ => text(StatusCode::NOT_FOUND, "only /healthz/ready is served here\n"),
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Answer {
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        }
        match request.uri().path() {
            "/ready" | "/healthz/ready" => self.ready(),
            "/stats/prometheus" | "/metrics" => {
                let mut answer = text(StatusCode::OK, self.data_plane.metrics());
                let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4");
                answer.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
                answer
            }
            "/listeners" => self.listeners(),
            "/clusters" => self.clusters(),
            "/certs" => self.certs(),
            "/server_info" => self.server_info(),
            _ => text(StatusCode::NOT_FOUND, PATHS),
        }
    }

    fn ready(&self) -> Answer {
        if *self.ready.borrow() {
            text(StatusCode::OK, "LIVE\n")
        } else {
            text(StatusCode::SERVICE_UNAVAILABLE, "PRE_INITIALIZING\n")
        }
    }

    fn listeners(&self) -> Answer {
        let snapshot = self.data_plane.snapshots().borrow().clone();
        let mut out = String::new();
        for listener in snapshot.listeners.values() {
            let _ = writeln!(out, "{}::{}", listener.name, listener.address);
        }
        text(StatusCode::OK, out)
    }

    /// The configured endpoints of each cluster.
    fn clusters(&self) -> Answer {
        let snapshot = self.data_plane.snapshots().borrow().clone();
        let mut out = String::new();
        for (name, cluster) in &snapshot.clusters {
            let assignment = match &cluster.discovery {
                Discovery::Static(given) | Discovery::StrictDns(given) | Discovery::LogicalDns(given) => Some(given),
                Discovery::Eds { service_name } => snapshot.endpoints.get(service_name),
                Discovery::OriginalDst(_) => None,
            };
            let Some(assignment) = assignment else { continue };
            for endpoint in assignment.localities.iter().flat_map(|locality| &locality.endpoints) {
                let health = match endpoint.health {
                    HealthStatus::Healthy => "healthy",
                    HealthStatus::Degraded => "/degraded_eds_health",
                    HealthStatus::Unhealthy => "/failed_eds_health",
                };
                let _ = writeln!(out, "{name}::{:?}::health_flags::{health}", endpoint.address);
                let _ = writeln!(out, "{name}::{:?}::weight::{}", endpoint.address, endpoint.weight);
            }
        }
        text(StatusCode::OK, out)
    }

    fn certs(&self) -> Answer {
        let Some(identity) = &self.identity else { return json(&json!({"certificates": []})) };
        let svid = identity.current();
        let seconds =
            |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        json(&json!({"certificates": [{
            "cert_chain": [{
                "subject_alt_names": [{"uri": svid.id().to_string()}],
                "serial_number": svid.serial(),
                "valid_from": seconds(svid.not_before()),
                "expiration_time": seconds(svid.not_after()),
            }],
        }]}))
    }

    fn server_info(&self) -> Answer {
        json(&json!({
            "version": concat!("weft/", env!("CARGO_PKG_VERSION")),
            "state": if *self.ready.borrow() { "LIVE" } else { "PRE_INITIALIZING" },
            "node": {"id": self.node.id, "cluster": self.node.cluster},
        }))
    }
}

const PATHS: &str = "paths: /ready /stats/prometheus /listeners /clusters /certs /server_info\n";

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
}

fn json(value: &serde_json::Value) -> Answer {
    let mut answer = text(StatusCode::OK, format!("{value:#}\n"));
    let kind = hyper::header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    answer
}
