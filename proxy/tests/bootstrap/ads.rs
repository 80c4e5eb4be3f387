//! A bootstrap file that names a server: what it sends is served.

use std::pin::Pin;

use api::envoy::config::listener::v3::Listener;
use api::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use api::prost_types::Any;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::*;

type Outgoing<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

/// Answers each first request for a type: no clusters, and the listener.
#[derive(Clone)]
struct Server {
    listener: Any,
}

const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

impl Server {
    fn resources(&self, type_url: &str) -> Vec<Any> {
        if type_url == LISTENER { vec![self.listener.clone()] } else { Vec::new() }
    }
}

fn is_allowed<T>(request: &Request<T>) -> bool {
    request.metadata().get("x-token").is_some_and(|token| token == "t")
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Server {
    type StreamAggregatedResourcesStream = Outgoing<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Outgoing<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        assert!(is_allowed(&request));
        let (send, outgoing) = tokio::sync::mpsc::unbounded_channel();
        let (server, mut requests) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                assert_eq!(request.node.map(|node| (node.id, node.cluster)), Some(("proxy".into(), "tests".into())));
                if request.response_nonce.is_empty() {
                    let _ = send.send(Ok(DiscoveryResponse {
                        version_info: "1".into(),
                        resources: server.resources(&request.type_url),
                        type_url: request.type_url,
                        nonce: "n".into(),
                        ..Default::default()
                    }));
                }
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(outgoing))))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        assert!(is_allowed(&request));
        let (send, outgoing) = tokio::sync::mpsc::unbounded_channel();
        let (server, mut requests) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let named = |any| Resource {
                    name: "from-ads".into(),
                    version: "1".into(),
                    resource: Some(any),
                    ..Default::default()
                };
                if request.response_nonce.is_empty() {
                    let _ = send.send(Ok(DeltaDiscoveryResponse {
                        resources: server.resources(&request.type_url).into_iter().map(named).collect(),
                        type_url: request.type_url,
                        nonce: "n".into(),
                        ..Default::default()
                    }));
                }
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(outgoing))))
    }
}

/// A listener that hands bytes to a static cluster of the file.
fn listener(address: IpAddr) -> Any {
    use api::envoy::config::core::v3::{Address, SocketAddress, address, socket_address::PortSpecifier};
    use api::envoy::config::listener::v3::{Filter, FilterChain, filter::ConfigType};
    use api::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier};
    let tcp = TcpProxy {
        stat_prefix: "s".into(),
        cluster_specifier: Some(ClusterSpecifier::Cluster("app".into())),
        ..Default::default()
    };
    let filter = Filter { name: "tcp".into(), config_type: Some(ConfigType::TypedConfig(api::any(&tcp))) };
    let port_specifier = Some(PortSpecifier::PortValue(10000));
    let socket = SocketAddress { address: address.to_string(), port_specifier, ..Default::default() };
    api::any(&Listener {
        name: "from-ads".into(),
        address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
        filter_chains: vec![FilterChain { filters: vec![filter], ..Default::default() }],
        ..Default::default()
    })
}

fn bootstrap(address: IpAddr, kind: &str, port: u16) -> String {
    let options = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let endpoint = |port: u16| {
        let socket = format!("{{socket_address: {{address: {address}, port_value: {port}}}}}");
        format!("{{endpoints: [{{lb_endpoints: [{{endpoint: {{address: {socket}}}}}]}}]}}")
    };
    format!(
        "node: {{id: proxy, cluster: tests}}
dynamic_resources:
  lds_config: {{ads: {{}}, resource_api_version: V3, initial_fetch_timeout: 0s}}
  cds_config: {{ads: {{}}, resource_api_version: V3, initial_fetch_timeout: 0s}}
  ads_config:
    api_type: {kind}
    transport_api_version: V3
    grpc_services:
    - envoy_grpc: {{cluster_name: xds}}
      initial_metadata: [{{key: x-token, value: t}}]
static_resources:
  clusters:
  - name: xds
    load_assignment: {}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': {options}
        explicit_http_config: {{http2_protocol_options: {{}}}}
  - name: app
    load_assignment: {}
",
        endpoint(port),
        endpoint(10001)
    )
}

#[tokio::test]
async fn what_a_server_sends_is_served_in_both_protocols() {
    for kind in ["GRPC", "DELTA_GRPC"] {
        let address = address();
        upstream("app", address, 10001).await;
        let socket = TcpListener::bind((address, 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let server = AggregatedDiscoveryServiceServer::new(Server { listener: listener(address) });
        let serving = tonic::transport::Server::builder().add_service(server);
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(socket)));
        let proxy = Proxy::start(&bootstrap(address, kind, port)).await;
        // The upstream keeps its connection open, and so does the proxy of bytes.
        let mut client = TcpStream::connect((address, 10000)).await.unwrap();
        client.write_all(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"app saw /x") {
            assert!(client.read_buf(&mut answer).await.unwrap() > 0, "{kind}: {answer:?}");
        }
        proxy.stop().await;
    }
}
