//! The admin interface, and the readiness port: Envoy's and Istio's paths, answered in their shapes. What changes
//! something is asked for by POST. Private keys are never shown.

mod actions;
mod certs;
mod clusters;
mod dump;
mod listeners;
mod server;
mod statistics;

pub use statistics::dotted;

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use api::envoy::config::core::v3::Node;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use crate::data_plane::DataPlane;
use crate::identity::Identity;
use crate::stats::StatsView;
use crate::users::Users;
use crate::xds;

/// What the admin interface looks at.
pub struct Admin {
    pub data_plane: Arc<DataPlane>,
    /// `None` for a proxy that is not in the mesh.
    pub identity: Option<Identity>,
    /// Whether a configuration is in force and the proxy is not draining.
    pub ready: watch::Receiver<bool>,
    pub node: Node,
    /// Which metrics are shown.
    pub view: StatsView,
    pub resources: xds::Handle,
    /// The bootstrap file, if the proxy has one.
    pub file: Bytes,
    pub concurrency: usize,
    pub started: Instant,
    /// Told when somebody asks the proxy to end.
    pub quit: Arc<Notify>,
    /// Of this machine, who may change something; `None`: whoever reaches it, as with Envoy.
    pub users: Option<Users>,
}

pub type Answer = Response<Full<Bytes>>;

/// Whoever answers requests on a socket.
pub trait Answers: Send + Sync + 'static {
    fn answer(&self, request: &Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// What may be asked for on the port that may be reached from elsewhere.
pub struct Readiness(pub Arc<Admin>);

/// The metrics, for those elsewhere who collect them.
pub struct Metrics(pub Arc<Admin>);

/// Between whom a request's connection is.
#[derive(Clone, Copy, Debug)]
struct Ends {
    peer: SocketAddr,
    own: SocketAddr,
}

/// Serves one socket for ever.
pub async fn serve<A: Answers>(socket: TcpListener, admin: Arc<A>) {
    loop {
        let Ok((stream, peer)) = socket.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let admin = Arc::clone(&admin);
        let ends = stream.local_addr().ok().map(|own| Ends { peer, own });
        tokio::spawn(async move {
            let service = service_fn(move |mut request: Request<Incoming>| {
                let admin = Arc::clone(&admin);
                if let Some(ends) = ends {
                    request.extensions_mut().insert(ends);
                }
                async move { Ok::<_, Infallible>(admin.answer(&request).await) }
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

/// A path, whether it changes something, and what it is for. In the order of `/help`.
const PATHS: [(&str, bool, &str); 21] = [
    ("/", false, "this list"),
    ("/certs", false, "certificates in use, with their names and dates"),
    ("/clusters", false, "clusters and their hosts (format=text|json, filter=REGEX)"),
    ("/config_dump", false, "the configuration (resource=FIELD, name_regex=REGEX, include_eds)"),
    ("/drain_listeners", true, "stop listening (graceful: and ask connections to end; inboundonly)"),
    ("/healthcheck/fail", true, "let health checks of this proxy fail"),
    ("/healthcheck/ok", true, "let health checks of this proxy pass again"),
    ("/healthz/ready", false, "as /ready"),
    ("/help", false, "this list"),
    ("/hot_restart_version", false, "whether a new process can take over (it cannot)"),
    ("/listeners", false, "listeners and their addresses (format=text|json)"),
    ("/logging", true, "show or change log levels (level=LEVEL, paths=NAME:LEVEL,…, NAME=LEVEL)"),
    ("/memory", false, "memory of the process, in bytes"),
    ("/metrics", false, "as /stats/prometheus"),
    ("/quitquitquit", true, "end the proxy"),
    ("/ready", false, "200 if the proxy serves, else 503"),
    ("/reopen_logs", true, "open the files of access logs anew"),
    ("/runtime", false, "runtime values (there are none)"),
    ("/server_info", false, "version, state, uptime, node"),
    ("/stats", false, "metrics (format=text|json|prometheus, filter=REGEX, usedonly, type=Counters|Gauges)"),
    ("/stats/prometheus", false, "metrics in Prometheus' format (filter=REGEX, usedonly)"),
];

impl Answers for Admin {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        self.answer_at(request.uri().path(), request).await
    }
}

impl Answers for Readiness {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        readiness(request.uri().path(), || self.0.ready())
    }
}

impl Answers for Metrics {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        match request.uri().path() {
            "/stats/prometheus" | "/metrics" => self.0.prometheus(&Query(request.uri().query().unwrap_or_default())),
            _ => text(StatusCode::NOT_FOUND, "only /stats/prometheus is served here\n"),
        }
    }
}

/// Answers on the port that may be reached from elsewhere.
pub fn readiness(path: &str, ready: impl FnOnce() -> Answer) -> Answer {
    match path {
        "/healthz/ready" | "/ready" => ready(),
        _ => text(StatusCode::NOT_FOUND, "only /healthz/ready is served here\n"),
    }
}

impl Admin {
    /// Whether the user whose request it is may change something.
    fn lets(&self, request: &Request<Incoming>) -> Result<(), String> {
        match (&self.users, request.extensions().get::<Ends>()) {
            (Some(users), Some(ends)) => users.check(ends.peer, Ok(ends.own)),
            (Some(_), None) => Err("it is not known whose request this is\n".into()),
            (None, _) => Ok(()),
        }
    }

    /// Answers a request as if it were for this path.
    pub async fn answer_at(&self, path: &str, request: &Request<Incoming>) -> Answer {
        let Some((_, changes, _)) = PATHS.iter().find(|(known, ..)| *known == path) else {
            return text(StatusCode::NOT_FOUND, format!("invalid path. {}", help()));
        };
        if *changes && request.method() != Method::POST {
            let told = format!("Method {} not allowed, POST required.", request.method());
            return text(StatusCode::METHOD_NOT_ALLOWED, told);
        }
        if *changes && let Err(told) = self.lets(request) {
            return text(StatusCode::FORBIDDEN, told);
        }
        if ![Method::GET, Method::HEAD, Method::POST].contains(request.method()) {
            return text(StatusCode::METHOD_NOT_ALLOWED, format!("Method {} not allowed.", request.method()));
        }
        let query = Query(request.uri().query().unwrap_or_default());
        match path {
            "/" | "/help" => text(StatusCode::OK, help()),
            "/ready" | "/healthz/ready" => self.ready(),
            "/stats" => self.stats(&query),
            "/stats/prometheus" | "/metrics" => self.prometheus(&query),
            "/listeners" => self.listeners(&query),
            "/clusters" => self.clusters(&query).await,
            "/certs" => self.certs(),
            "/server_info" => self.server_info(),
            "/memory" => server::memory(),
            "/runtime" => json(&serde_json::json!({"entries": {}, "layers": []})),
            "/hot_restart_version" => text(StatusCode::OK, "disabled"),
            "/config_dump" => self.config_dump(&query).await,
            "/drain_listeners" => self.drain_listeners(&query).await,
            "/healthcheck/fail" => self.fail_health_checks(true),
            "/healthcheck/ok" => self.fail_health_checks(false),
            "/logging" => actions::logging(&query),
            "/quitquitquit" => self.quit(),
            "/reopen_logs" => self.reopen_logs(),
            _ => text(StatusCode::NOT_FOUND, help()),
        }
    }
}

fn help() -> String {
    let line = |(path, changes, purpose): &(&str, bool, &str)| {
        format!("  {path}{}: {purpose}\n", if *changes { " (POST)" } else { "" })
    };
    format!("admin commands are:\n{}", PATHS.iter().map(line).collect::<String>())
}

/// The query of a request.
struct Query<'a>(&'a str);

impl Query<'_> {
    /// The pairs, decoded; a name without `=` has an empty value.
    fn pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let decoded = |text| percent_decoded(text);
        self.0.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
    }

    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.pairs().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn is_json(&self) -> bool {
        self.get("format").is_some_and(|format| format == "json")
    }

    /// A filter, or why it is none.
    fn regex(&self, name: &str) -> Result<Option<regex::Regex>, Answer> {
        let wrong = |error: regex::Error| text(StatusCode::BAD_REQUEST, format!("Invalid re2 regex: {error}\n"));
        self.get(name).map(|pattern| regex::Regex::new(&pattern)).transpose().map_err(wrong)
    }
}

fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let escaped = (*byte == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let escaped = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        at += if escaped.is_some() { 3 } else { 1 };
        out.push(escaped.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

pub fn of_kind(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    of_kind(status, "text/plain; charset=UTF-8", body)
}

pub fn json(value: &serde_json::Value) -> Answer {
    of_kind(StatusCode::OK, "application/json", format!("{value:#}\n"))
}

/// A moment as protobuf's JSON has it.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time =
        i64::try_from(since.as_secs()).ok().and_then(|secs| time::OffsetDateTime::from_unix_timestamp(secs).ok());
    let Some(time) = time else { return String::new() };
    let (date, clock) = (time.date(), time.time());
    let (hour, minute, second) = clock.as_hms();
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

#[cfg(test)]
mod tests;
