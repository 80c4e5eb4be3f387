//! A control plane that says what the test tells it to, and keeps what it is asked.

use std::pin::Pin;

use api::envoy::config::cluster::v3 as cds;
use api::envoy::config::core::v3 as core;
use api::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use api::prost_types::Any;
use tokio_stream::Stream as _;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::*;

type Outgoing<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

/// One stream of a client.
pub struct Stream<Req, Resp> {
    requests: Streaming<Req>,
    responses: mpsc::UnboundedSender<Result<Resp, Status>>,
}

impl<Req, Resp> Stream<Req, Resp> {
    pub fn send(&mut self, response: Resp) {
        let _ = self.responses.send(Ok(response));
    }

    pub async fn next(&mut self) -> Req {
        self.requests.message().await.unwrap().expect("the client goes on")
    }
}

pub type Sotw = Stream<DiscoveryRequest, DiscoveryResponse>;
pub type Delta = Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

struct Service {
    sotw: mpsc::UnboundedSender<Sotw>,
    delta: mpsc::UnboundedSender<Delta>,
}

fn opened<Req, Resp: Send + 'static>(
    to: &mpsc::UnboundedSender<Stream<Req, Resp>>,
    request: Request<Streaming<Req>>,
) -> Response<Outgoing<Resp>> {
    let (responses, outgoing) = mpsc::unbounded_channel();
    let _ = to.send(Stream { requests: request.into_inner(), responses });
    let outgoing = UnboundedReceiverStream::new(outgoing);
    assert!(outgoing.size_hint().1.is_none());
    Response::new(Box::pin(outgoing))
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Outgoing<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Outgoing<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Ok(opened(&self.sotw, request))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Ok(opened(&self.delta, request))
    }
}

async fn start() -> (Channel, mpsc::UnboundedReceiver<Sotw>, mpsc::UnboundedReceiver<Delta>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ((sotw, sotws), (delta, deltas)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let service = AggregatedDiscoveryServiceServer::new(Service { sotw, delta });
    let serving = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    (channel, sotws, deltas)
}

pub async fn sotw() -> (Server, mpsc::UnboundedReceiver<Sotw>) {
    let (channel, streams, _) = start().await;
    (server(channel, false), streams)
}

pub async fn delta() -> (Server, mpsc::UnboundedReceiver<Delta>) {
    let (channel, _, streams) = start().await;
    (server(channel, true), streams)
}

/// Puts nothing in force, and keeps each snapshot.
pub fn record(put: mpsc::UnboundedSender<Arc<Snapshot>>) -> Apply {
    Box::new(move |snapshot| {
        let _ = put.send(snapshot);
        Box::pin(async { Ok(()) })
    })
}

pub fn response(kind: Kind, version: &str, resources: Vec<Any>) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: version.to_owned(),
        resources,
        type_url: kind.type_url().to_owned(),
        nonce: format!("{kind:?}-{version}"),
        ..Default::default()
    }
}

/// A response with clusters whose endpoints come over EDS.
pub fn clusters(version: &str, names: &[&str]) -> DiscoveryResponse {
    response(Kind::Cluster, version, names.iter().map(|name| api::any(&static_cluster(name))).collect())
}

pub fn static_cluster(name: &str) -> cds::Cluster {
    cds::Cluster { name: name.to_owned(), load_assignment: Some(Default::default()), ..Default::default() }
}

pub fn eds_cluster(name: &str) -> cds::Cluster {
    use cds::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
    let eds = EdsClusterConfig { eds_config: Some(ads_source()), ..Default::default() };
    cds::Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(eds),
        ..Default::default()
    }
}

pub fn ads_source() -> core::ConfigSource {
    let specifier = core::config_source::ConfigSourceSpecifier::Ads(Default::default());
    core::ConfigSource { config_source_specifier: Some(specifier), ..Default::default() }
}

pub fn endpoints(name: &str) -> api::envoy::config::endpoint::v3::ClusterLoadAssignment {
    api::envoy::config::endpoint::v3::ClusterLoadAssignment { cluster_name: name.to_owned(), ..Default::default() }
}

pub fn named(name: &str, version: &str, any: Any) -> Resource {
    Resource { name: name.to_owned(), version: version.to_owned(), resource: Some(any), ..Default::default() }
}
