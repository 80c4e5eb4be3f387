//! A scripted incremental client that remembers what it was given.

use std::collections::BTreeMap;
use std::time::Duration;

use api::envoy::config::core::v3 as core;
use api::envoy::service::discovery::v3 as xds;
use api::google::rpc;
use api::prost_types::{Struct, Value, value};
use pilot::Kind;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use xds::{DeltaDiscoveryRequest as Request, DeltaDiscoveryResponse as Response};

use crate::mesh::{Client, Mesh};

pub const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";
pub const RATINGS: &str = "outbound|9080||ratings.default.svc.cluster.local";

pub struct Proxy {
    requests: mpsc::Sender<Request>,
    responses: Streaming<Response>,
    /// Versions by type and name, as a real client would tell them when it reconnects.
    pub has: BTreeMap<Kind, BTreeMap<String, String>>,
    node: Option<core::Node>,
}

pub fn node() -> core::Node {
    let text = |text: &str| Value { kind: Some(value::Kind::StringValue(text.into())) };
    let fields = [
        ("NAMESPACE", "default"),
        ("SERVICE_ACCOUNT", "bookinfo-productpage"),
        ("WORKLOAD_NAME", "productpage-v1"),
        ("INSTANCE_IPS", "127.0.10.11"),
        ("INTERCEPTION_MODE", "NONE"),
        ("HTTP_PROXY_PORT", "15088"),
    ];
    core::Node {
        id: "sidecar~127.0.10.11~productpage-v1.default~default.svc.cluster.local".into(),
        metadata: Some(Struct { fields: fields.map(|(key, value)| (key.to_owned(), text(value))).into() }),
        user_agent_name: "weft".into(),
        ..Default::default()
    }
}

impl Proxy {
    pub async fn connect(mesh: &Mesh) -> Self {
        Self::open(mesh.client(None).await).await.unwrap()
    }

    pub async fn open(mut client: Client) -> Result<Self, Status> {
        let (requests, stream) = mpsc::channel(16);
        let responses = client.delta_aggregated_resources(ReceiverStream::new(stream)).await?.into_inner();
        Ok(Self { requests, responses, has: BTreeMap::new(), node: Some(node()) })
    }

    /// Subscribed to everything, and up to date.
    pub async fn up_to_date(mesh: &Mesh) -> Self {
        let mut proxy = Self::connect(mesh).await;
        proxy.ask(Kind::Cluster, &[]).await;
        proxy.take(Kind::Cluster).await;
        proxy.ask(Kind::Endpoint, &[REVIEWS, RATINGS]).await;
        proxy.take(Kind::Endpoint).await;
        proxy.ask(Kind::Listener, &[]).await;
        proxy.take(Kind::Listener).await;
        proxy.ask(Kind::Route, &["http_proxy"]).await;
        proxy.take(Kind::Route).await;
        proxy.silence().await;
        proxy
    }

    pub async fn send(&mut self, mut request: Request) {
        request.node = self.node.take();
        self.requests.send(request).await.unwrap();
    }

    pub async fn ask(&mut self, kind: Kind, names: &[&str]) {
        let initial = self.has.get(&kind).cloned().unwrap_or_default();
        self.send(Request {
            type_url: kind.type_url().into(),
            resource_names_subscribe: names.iter().map(|&name| name.to_owned()).collect(),
            initial_resource_versions: initial,
            ..Default::default()
        })
        .await;
    }

    pub async fn unsubscribe(&mut self, kind: Kind, names: &[&str]) {
        self.send(Request {
            type_url: kind.type_url().into(),
            resource_names_unsubscribe: names.iter().map(|&name| name.to_owned()).collect(),
            ..Default::default()
        })
        .await;
    }

    /// The next response, which must be of this type, not yet answered.
    pub async fn response(&mut self, kind: Kind) -> Response {
        let response = self.responses.message().await.unwrap().expect("the stream goes on");
        assert_eq!(response.type_url, kind.type_url());
        let has = self.has.entry(kind).or_default();
        for resource in &response.resources {
            has.insert(resource.name.clone(), resource.version.clone());
        }
        for name in &response.removed_resources {
            has.remove(name);
        }
        response
    }

    /// The next response, acknowledged: names changed, names removed.
    pub async fn take(&mut self, kind: Kind) -> (Vec<String>, Vec<String>) {
        let response = self.response(kind).await;
        self.ack(&response).await;
        (response.resources.into_iter().map(|resource| resource.name).collect(), response.removed_resources)
    }

    pub async fn ack(&mut self, response: &Response) {
        self.answer(&response.type_url, &response.nonce, None).await;
    }

    pub async fn nack(&mut self, response: &Response, message: &str) {
        self.answer(&response.type_url, &response.nonce, Some(message)).await;
    }

    pub async fn answer(&mut self, type_url: &str, nonce: &str, error: Option<&str>) {
        let error = error.map(|message| rpc::Status { code: 13, message: message.into(), ..Default::default() });
        self.send(Request {
            type_url: type_url.into(),
            response_nonce: nonce.into(),
            error_detail: error,
            ..Default::default()
        })
        .await;
    }

    /// Nothing more comes, however long one waits. (The clock is paused: waiting takes no time.)
    pub async fn silence(&mut self) {
        let next = tokio::time::timeout(Duration::from_secs(60), self.responses.message()).await;
        assert!(next.is_err(), "unexpected: {next:?}");
    }

    pub async fn refusal(&mut self) -> Status {
        self.responses.message().await.expect_err("the proxy should have been refused")
    }
}
