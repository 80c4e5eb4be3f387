//! State-of-the-world xDS as an older client sees it.

use std::time::Duration;

use api::envoy::service::discovery::v3 as xds;
use api::prost::Message;
use pilot::{Kind, SyncState};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use xds::{DiscoveryRequest as Request, DiscoveryResponse as Response};

use crate::mesh::Mesh;
use crate::proxy::{RATINGS, REVIEWS, node};

struct Client {
    requests: mpsc::Sender<Request>,
    responses: Streaming<Response>,
    first: bool,
}

impl Client {
    async fn connect(mesh: &Mesh) -> Self {
        let (requests, stream) = mpsc::channel(16);
        let mut client = mesh.client(None).await;
        let responses = client.stream_aggregated_resources(ReceiverStream::new(stream)).await.unwrap().into_inner();
        Self { requests, responses, first: true }
    }

    async fn ask(&mut self, kind: Kind, names: &[&str], nonce: &str) {
        let request = Request {
            node: self.first.then(node),
            type_url: kind.type_url().into(),
            resource_names: names.iter().map(|&name| name.to_owned()).collect(),
            response_nonce: nonce.into(),
            ..Default::default()
        };
        self.first = false;
        self.requests.send(request).await.unwrap();
    }

    async fn response(&mut self, kind: Kind) -> Response {
        let response = self.responses.message().await.unwrap().expect("the stream goes on");
        assert_eq!(response.type_url, kind.type_url());
        response
    }

    async fn silence(&mut self) {
        let next = tokio::time::timeout(Duration::from_secs(60), self.responses.message()).await;
        assert!(next.is_err(), "unexpected: {next:?}");
    }
}

fn assignments(response: &Response) -> Vec<String> {
    use api::envoy::config::endpoint::v3::ClusterLoadAssignment;
    let decoded = response.resources.iter().map(|any| ClusterLoadAssignment::decode(any.value.as_slice()).unwrap());
    decoded.map(|assignment| assignment.cluster_name).collect()
}

#[tokio::test(start_paused = true)]
async fn clusters_come_whole_and_endpoints_as_they_change() {
    let mut mesh = Mesh::new();
    let mut client = Client::connect(&mesh).await;
    client.ask(Kind::Cluster, &[], "").await;
    let clusters = client.response(Kind::Cluster).await;
    assert_eq!(clusters.resources.len(), 2);
    client.ask(Kind::Cluster, &[], &clusters.nonce).await;
    client.ask(Kind::Endpoint, &[REVIEWS, RATINGS], "").await;
    let endpoints = client.response(Kind::Endpoint).await;
    assert_eq!(assignments(&endpoints), [RATINGS, REVIEWS]);
    client.ask(Kind::Endpoint, &[REVIEWS, RATINGS], &endpoints.nonce).await;
    client.silence().await;
    assert_eq!(mesh.status().types["EDS"].state, SyncState::Synced);

    mesh.endpoints("reviews", &["10.0.0.2"]);
    let endpoints = client.response(Kind::Endpoint).await;
    assert_eq!(assignments(&endpoints), [REVIEWS]);
    client.ask(Kind::Endpoint, &[REVIEWS, RATINGS], &endpoints.nonce).await;
    client.silence().await;

    mesh.remove_service("ratings");
    let clusters = client.response(Kind::Cluster).await;
    assert_eq!(clusters.resources.len(), 1);
    client.silence().await;
}

#[tokio::test(start_paused = true)]
async fn an_old_nonce_is_ignored() {
    let mut mesh = Mesh::new();
    let mut client = Client::connect(&mesh).await;
    client.ask(Kind::Endpoint, &[REVIEWS], "").await;
    let first = client.response(Kind::Endpoint).await;
    mesh.endpoints("reviews", &["10.0.0.2"]);
    let second = client.response(Kind::Endpoint).await;
    client.ask(Kind::Endpoint, &[REVIEWS, RATINGS], &first.nonce).await;
    client.silence().await;
    assert_eq!(mesh.status().types["EDS"].state, SyncState::Stale);
    client.ask(Kind::Endpoint, &[REVIEWS, RATINGS], &second.nonce).await;
    assert_eq!(assignments(&client.response(Kind::Endpoint).await), [RATINGS]);
}
