//! An API server for tests, as far as clients of lists, watches, writes, statuses and roles can tell it from
//! Kubernetes' own: one process, nothing but memory.

mod access;
mod kinds;
mod read;
mod selector;
mod store;
mod write;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub use access::{ADMIN_TOKEN, Asked};
use kinds::Resource;
use store::Db;

/// A running server; it ends with the test's runtime.
pub struct Server {
    shared: Arc<Shared>,
    pub address: SocketAddr,
    /// PEM of the certificate that it shows, which is its own authority.
    pub certificate: String,
}

struct Shared {
    inner: Mutex<Inner>,
    /// The version of the last change; a new value wakes watches.
    version: watch::Sender<u64>,
}

struct Inner {
    db: Db,
    resources: Vec<Resource>,
    /// Namespace and name of the service account, by token.
    tokens: BTreeMap<String, (String, String)>,
    asked: Vec<Asked>,
}

impl Server {
    pub async fn start() -> Self {
        let mut inner =
            Inner { db: Db::default(), resources: kinds::builtin(), tokens: BTreeMap::new(), asked: Vec::new() };
        for namespace in ["default", "kube-system"] {
            inner.db.seed_namespace(namespace);
        }
        let shared = Arc::new(Shared { inner: Mutex::new(inner), version: watch::Sender::new(0) });
        let (acceptor, certificate) = tls();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(shared.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { shared, address, certificate }
    }

    /// Forgets every version before this one: watches from there, and pages of earlier lists, are 410 Gone.
    pub fn compact(&self) {
        self.shared.lock().db.compact();
    }

    /// Puts many objects there at once, each with its `metadata.namespace` and the plural of its kind.
    pub fn load(&self, objects: Vec<(&str, Value)>) {
        let mut inner = self.shared.lock();
        for (plural, mut object) in objects {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            let id = store::Id { resource: plural.into(), namespace: text("namespace"), name: text("name") };
            let metadata = store::stamp(object["metadata"].take(), inner.db.version() + 1);
            object["metadata"] = metadata;
            inner.db.commit(id, Some(object));
        }
        self.shared.version.send_replace(inner.db.version());
    }

    /// Tells all watches how far they are.
    pub fn bookmark(&self) {
        let version = self.shared.lock().db.bookmark();
        self.shared.version.send_replace(version);
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.lock().asked.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tls() -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(Arc::new(
        tokio_rustls::rustls::crypto::aws_lc_rs::default_provider(),
    ));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

/// An answer that is no object: `reason` and `code` are what clients look at.
fn failure(code: u16, reason: &str, message: impl Into<String>) -> Response {
    respond(code, &status(code, reason, &message.into()))
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

fn respond(code: u16, body: &Value) -> Response {
    let code = StatusCode::from_u16(code).unwrap();
    (code, [("content-type", "application/json")], body.to_string()).into_response()
}

/// A request, taken apart.
#[derive(Clone)]
struct Call {
    method: Method,
    resource: Resource,
    version: String,
    namespace: String,
    name: String,
    subresource: String,
    query: BTreeMap<String, String>,
    content_type: String,
    metadata_only: bool,
    body: Vec<u8>,
}

impl Call {
    fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    fn is_dry_run(&self) -> bool {
        self.query("dryRun") == "All"
    }

    /// As access rules name what is asked.
    fn verb(&self) -> &'static str {
        let is_one = !self.name.is_empty();
        match (self.method.as_str(), is_one) {
            ("GET", true) => "get",
            ("GET", false) if self.query("watch") == "true" || self.query("watch") == "1" => "watch",
            ("GET", false) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "delete",
            _ => "deletecollection",
        }
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 16 << 20).await.unwrap_or_default().to_vec();
    let header =
        |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let authorization = header("authorization");
    let Some(user) = access::user(&shared, authorization.trim_start_matches("Bearer ")) else {
        return failure(401, "Unauthorized", "Unauthorized");
    };
    let path: Vec<&str> = parts.uri.path().split('/').filter(|part| !part.is_empty()).collect();
    if let Some(found) = kinds::discovery(&shared.lock().resources, &path) {
        return found;
    }
    let query = form(parts.uri.query().unwrap_or_default());
    let (resource, version, namespace, name, subresource) = match kinds::locate(&shared.lock().resources, &path) {
        Some(found) => found,
        None => return (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    };
    let call = Call {
        method: parts.method.clone(),
        resource,
        version,
        namespace,
        name,
        subresource,
        query,
        content_type: header("content-type"),
        metadata_only: header("accept").contains("as=PartialObjectMetadata"),
        body,
    };
    if let Err(refused) = access::check(&shared, &user, &call) {
        return refused;
    }
    match (call.verb(), call.subresource.as_str()) {
        ("create", "") if call.resource.plural == "subjectaccessreviews" => access::review_access(&shared, &call),
        ("get", "") => read::get(&shared, &call),
        ("list", _) => read::list(&shared, &call),
        ("watch", _) => read::watch(&shared, &call),
        ("create", "token") => access::token(&shared, &call),
        ("create", "") if call.resource.plural == "tokenreviews" => access::review(&shared, &call),
        ("create", "") => write::create(&shared, &call),
        ("update", "" | "status") => write::update(&shared, &call),
        ("patch", "" | "status") => write::patch(&shared, &call),
        ("delete", "") => write::delete(&shared, &call),
        _ => failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource"),
    }
}

/// The parameters of a query, decoded.
fn form(query: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let bytes = text.replace('+', " ").into_bytes();
        let mut out = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let escaped = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
            let value = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
            out.push(value.unwrap_or(bytes[at]));
            at += if value.is_some() { 3 } else { 1 };
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// A body that goes on for as long as the stream does.
fn streamed(
    stream: impl futures_util::Stream<Item = Result<String, std::convert::Infallible>> + Send + 'static,
) -> Response {
    ([("content-type", "application/json")], Body::from_stream(stream)).into_response()
}
