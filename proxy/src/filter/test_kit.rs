//! A running proxy with a chain of filters, and an upstream that answers everything, for tests of whole requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use api::envoy::config::{cluster::v3::Cluster, listener::v3::Listener};
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::config::{Snapshot, WorkloadRef, convert};
use crate::connection_limit::ConnectionLimit;
use crate::data_plane::DataPlane;
use crate::listener::test_kit::free;
use crate::tls::TlsSettings;

pub struct Proxy {
    pub plane: DataPlane,
    pub address: SocketAddr,
    /// Of the upstream.
    pub upstream: SocketAddr,
    /// The heads that came to the upstream.
    seen: Arc<Mutex<Vec<String>>>,
}

/// A message from its JSON form.
pub fn message<M: api::prost::Message + api::prost::Name + Default>(value: &Value) -> M {
    let descriptor = api::descriptor_pool().get_message_by_name(&M::full_name()).unwrap();
    DynamicMessage::deserialize(descriptor, value.clone()).unwrap().transcode_to().unwrap()
}

/// An entry of `http_filters` (or of `filters`), of a type below `envoy.extensions.filters`.
pub fn filter(name: &str, kind: &str, mut config: Value) -> Value {
    config["@type"] = format!("type.googleapis.com/envoy.extensions.filters.{kind}").into();
    json!({"name": name, "typed_config": config})
}

/// A virtual host for everything, with one route to the upstream, which has these fields besides.
pub fn one_route(mut route: Value) -> Value {
    route["match"] = json!({"prefix": "/"});
    route["route"] = json!({"cluster": "c"});
    json!({"name": "all", "domains": ["*"], "routes": [route]})
}

fn no_files(_: &str) -> std::io::Result<Vec<u8>> {
    Err(std::io::ErrorKind::NotFound.into())
}

pub fn manager(http_filters: Vec<Value>, virtual_host: Value) -> Value {
    let mut http_filters = http_filters;
    http_filters.push(filter("router", "http.router.v3.Router", json!({})));
    filter(
        "http",
        "network.http_connection_manager.v3.HttpConnectionManager",
        json!({
        "stat_prefix": "x", "normalize_path": true,
        "route_config": {"name": "r", "virtual_hosts": [virtual_host]},
        "http_filters": http_filters}),
    )
}

impl Proxy {
    pub async fn start(http_filters: Vec<Value>, virtual_host: Value) -> Self {
        Self::with_network_filters(vec![manager(http_filters, virtual_host)]).await
    }

    /// With clusters besides, each of one host, with these fields.
    pub async fn with_clusters(
        http_filters: Vec<Value>,
        virtual_host: Value,
        clusters: &[(&str, SocketAddr, Value)],
    ) -> Self {
        Self::with_all(vec![manager(http_filters, virtual_host)], clusters).await
    }

    pub async fn with_network_filters(filters: Vec<Value>) -> Self {
        Self::with_all(filters, &[]).await
    }

    pub async fn with_all(filters: Vec<Value>, clusters: &[(&str, SocketAddr, Value)]) -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free();
        let plane = DataPlane::start(1, own(), TlsSettings { identity: None }, ConnectionLimit::default()).unwrap();
        let listener = json!({"name": "l", "address": socket(address), "filter_chains": [{"filters": filters}]});
        let mut snapshot = Snapshot::default();
        let listener = convert::listener(&message::<Listener>(&listener), &no_files).unwrap();
        snapshot.listeners.insert("l".into(), Arc::new(listener));
        let at = upstream.local_addr().unwrap();
        let own = ("c", at, json!({}));
        for (name, address, fields) in clusters.iter().chain([&own]) {
            let cluster = convert::cluster(&cluster(name, *address, fields), &no_files).unwrap();
            snapshot.clusters.insert((*name).to_owned(), Arc::new(cluster));
        }
        plane.apply(Arc::new(snapshot)).await.unwrap();
        let seen = Arc::default();
        tokio::spawn(answer_all(upstream, Arc::clone(&seen)));
        Self { plane, address, upstream: at, seen }
    }

    /// The whole answer to a request that closes its connection.
    pub async fn ask(&self, request: &str) -> String {
        self.ask_bytes(request.as_bytes()).await
    }

    pub async fn ask_bytes(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
        String::from_utf8_lossy(&all).into_owned()
    }

    /// The answer to a GET of a path with these header lines.
    pub async fn get(&self, path: &str, headers: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n{headers}connection: close\r\n\r\n")).await
    }

    /// The heads of the requests that came to the upstream so far.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn cluster(name: &str, address: SocketAddr, fields: &Value) -> Cluster {
    let mut wire = json!({"name": name, "connect_timeout": "1s", "type": "STATIC", "load_assignment": {
        "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(address)}}]}]}});
    for (name, value) in fields.as_object().unwrap() {
        wire[name] = value.clone();
    }
    // What is null is not there.
    wire.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    message(&wire)
}

/// Why a chain of these filters is refused.
pub fn refusal(http_filters: Vec<Value>) -> String {
    let address = socket(SocketAddr::from(([127, 0, 0, 1], 1)));
    let filters = [manager(http_filters, one_route(json!({})))];
    let listener = json!({"name": "l", "address": address, "filter_chains": [{"filters": filters}]});
    convert::listener(&message::<Listener>(&listener), &no_files).expect_err("refused").to_string()
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn own() -> WorkloadRef {
    let text = String::new;
    WorkloadRef {
        name: text(),
        namespace: text(),
        canonical_service: text(),
        canonical_revision: text(),
        cluster: text(),
    }
}

/// Answers `ok` to each request on a connection of its own; bodies are not read.
async fn answer_all(upstream: TcpListener, seen: Arc<Mutex<Vec<String>>>) {
    while let Ok((mut stream, _)) = upstream.accept().await {
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                match stream.read(&mut byte).await {
                    Ok(1) => head.push(byte[0]),
                    _ => return,
                }
            }
            seen.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
        });
    }
}
