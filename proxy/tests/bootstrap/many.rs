//! Thousands of clusters from a server: all are served, and all may go at once.

use std::pin::Pin;
use std::time::Duration;

use api::envoy::config::cluster::v3::Cluster;
use api::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use api::prost_types::Any;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::*;

const CLUSTERS: usize = 5_000;

type Outgoing<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

/// Sends the clusters of each moment, and tells how each was taken.
struct Server {
    clusters: watch::Receiver<Vec<Any>>,
    answers: mpsc::UnboundedSender<DiscoveryRequest>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Server {
    type StreamAggregatedResourcesStream = Outgoing<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Outgoing<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let (send, outgoing) = mpsc::unbounded_channel();
        let (mut requests, mut clusters) = (request.into_inner(), self.clusters.clone());
        let answers = self.answers.clone();
        clusters.mark_changed();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    request = requests.message() => match request {
                        Ok(Some(request)) if request.response_nonce.is_empty() => {}
                        Ok(Some(request)) => drop(answers.send(request)),
                        _ => return,
                    },
                    Ok(()) = clusters.changed() => {
                        let resources = clusters.borrow_and_update().clone();
                        let version_info = resources.len().to_string();
                        let type_url = "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned();
                        let nonce = version_info.clone();
                        let all = DiscoveryResponse { version_info, resources, type_url, nonce, ..Default::default() };
                        let _ = send.send(Ok(all));
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(outgoing))))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("the proxy is told to ask for the state of the world"))
    }
}

fn cluster(index: usize, address: IpAddr) -> Any {
    use api::envoy::config::core::v3::{Address, SocketAddress, address, socket_address::PortSpecifier};
    use api::envoy::config::endpoint::v3 as eds;
    let port_specifier = Some(PortSpecifier::PortValue(10001));
    let socket = SocketAddress { address: address.to_string(), port_specifier, ..Default::default() };
    let address = Some(Address { address: Some(address::Address::SocketAddress(socket)) });
    let endpoint = eds::Endpoint { address, ..Default::default() };
    let host = eds::LbEndpoint {
        host_identifier: Some(eds::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..Default::default()
    };
    let name = format!("c{index}");
    let endpoints = vec![eds::LocalityLbEndpoints { lb_endpoints: vec![host], ..Default::default() }];
    let assignment = eds::ClusterLoadAssignment { cluster_name: name.clone(), endpoints, ..Default::default() };
    api::any(&Cluster { name, load_assignment: Some(assignment), ..Default::default() })
}

/// A request is routed to the cluster that its header names.
fn bootstrap(address: IpAddr, server: u16) -> String {
    let manager =
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let options = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    format!(
        "node: {{id: proxy, cluster: tests}}
dynamic_resources:
  cds_config: {{ads: {{}}, resource_api_version: V3, initial_fetch_timeout: 0s}}
  ads_config: {{api_type: GRPC, transport_api_version: V3, grpc_services: [{{envoy_grpc: {{cluster_name: xds}}}}]}}
static_resources:
  clusters:
  - name: xds
    load_assignment:
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {address}, port_value: {server}}}}}}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': {options}
        explicit_http_config: {{http2_protocol_options: {{}}}}
  listeners:
  - name: http
    address: {{socket_address: {{address: {address}, port_value: 10000}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          '@type': {manager}
          stat_prefix: s
          http_filters: [{{name: router, typed_config: {{'@type': {router}}}}}]
          route_config:
            virtual_hosts:
            - {{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster_header: x-cluster}}}}]}}
"
    )
}

#[tokio::test]
async fn thousands_of_clusters_from_a_server_all_serve_and_may_all_go_at_once() {
    let address = address();
    upstream("app", address, 10001).await;
    let (change, clusters) = watch::channel((0..CLUSTERS).map(|index| cluster(index, address)).collect());
    let (answers, mut answered) = mpsc::unbounded_channel();
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = AggregatedDiscoveryServiceServer::new(Server { clusters, answers });
    let serving = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    let proxy = Proxy::start(&bootstrap(address, port)).await;
    let mut accepted = async |version: &str| {
        let answer = tokio::time::timeout(Duration::from_secs(120), answered.recv()).await.unwrap().unwrap();
        assert_eq!((answer.version_info.as_str(), answer.error_detail), (version, None));
    };
    accepted("5000").await;
    let http = (address, 10000);
    for index in [0, 1, CLUSTERS / 2, CLUSTERS - 1] {
        let answer = get(http, "/a", &format!("x-cluster: c{index}\r\n")).await;
        assert_all(&answer, &["HTTP/1.1 200", "app saw /a"]);
    }
    assert_all(&get(http, "/a", "x-cluster: c5000\r\n").await, &["HTTP/1.1 503"]);
    change.send_replace(Vec::new());
    accepted("0").await;
    for index in [0, CLUSTERS - 1] {
        assert_all(&get(http, "/a", &format!("x-cluster: c{index}\r\n")).await, &["HTTP/1.1 503"]);
    }
    change.send_replace((0..2).map(|index| cluster(index, address)).collect());
    accepted("2").await;
    assert_all(&get(http, "/a", "x-cluster: c1\r\n").await, &["HTTP/1.1 200"]);
    proxy.stop().await;
}
