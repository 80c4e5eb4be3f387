//! A client of the discovery service that follows the endpoints of many clusters, and notes when it saw an address come or go.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Instant;

use api::envoy::config::core::v3 as core;
use api::envoy::config::endpoint::v3 as endpoint;
use api::envoy::service::discovery::v3 as xds;
use api::prost::Message as _;
use api::prost_types::{Struct, Value, value};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use xds::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;

const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

pub struct Subscriber {
    requests: mpsc::Sender<xds::DeltaDiscoveryRequest>,
    responses: Streaming<xds::DeltaDiscoveryResponse>,
}

impl Subscriber {
    pub async fn connect(address: SocketAddr, names: Vec<String>) -> Self {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await;
        let client = AggregatedDiscoveryServiceClient::new(channel.unwrap());
        let mut client = client.max_decoding_message_size(64 << 20);
        let (requests, stream) = mpsc::channel(16);
        let first = xds::DeltaDiscoveryRequest {
            node: Some(node()),
            type_url: ENDPOINTS.into(),
            resource_names_subscribe: names,
            ..Default::default()
        };
        requests.send(first).await.unwrap();
        let responses = client.delta_aggregated_resources(ReceiverStream::new(stream)).await.unwrap().into_inner();
        Self { requests, responses }
    }

    async fn next(&mut self) -> Vec<endpoint::ClusterLoadAssignment> {
        let response = self.responses.message().await.unwrap().unwrap();
        let ack = xds::DeltaDiscoveryRequest {
            type_url: ENDPOINTS.into(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        self.requests.send(ack).await.unwrap();
        let decode = |resource: xds::Resource| {
            endpoint::ClusterLoadAssignment::decode(&*resource.resource.unwrap().value).unwrap()
        };
        response.resources.into_iter().map(decode).collect()
    }

    /// Waits until that many clusters have endpoints.
    pub async fn until_all(&mut self, count: usize) {
        let mut known = BTreeSet::new();
        while known.len() < count {
            let all = self.next().await;
            known.extend(all.into_iter().filter(|one| !one.endpoints.is_empty()).map(|one| one.cluster_name));
        }
    }

    /// Waits until all of this was seen; when each was first.
    pub async fn until_seen(&mut self, wanted: Vec<Wanted>) -> Vec<Instant> {
        let mut by_cluster: HashMap<&str, Vec<usize>> = HashMap::new();
        for (number, wanted) in wanted.iter().enumerate() {
            by_cluster.entry(&wanted.cluster).or_default().push(number);
        }
        let mut seen = vec![None; wanted.len()];
        let mut left = wanted.len();
        while left > 0 {
            let all = self.next().await;
            let now = Instant::now();
            for assignment in &all {
                let addresses: BTreeSet<&str> = addresses(assignment).collect();
                for number in by_cluster.get(assignment.cluster_name.as_str()).into_iter().flatten() {
                    let wanted = &wanted[*number];
                    if seen[*number].is_none() && addresses.contains(wanted.address.as_str()) == wanted.there {
                        seen[*number] = Some(now);
                        left -= 1;
                    }
                }
            }
        }
        seen.into_iter().flatten().collect()
    }
}

/// An endpoint that is to come, or to go.
pub struct Wanted {
    pub cluster: String,
    pub address: String,
    pub there: bool,
}

fn addresses(assignment: &endpoint::ClusterLoadAssignment) -> impl Iterator<Item = &str> {
    let endpoints = assignment.endpoints.iter().flat_map(|group| &group.lb_endpoints);
    endpoints.filter_map(|one| {
        let Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(at)) = &one.host_identifier else { return None };
        match at.address.as_ref()?.address.as_ref()? {
            core::address::Address::SocketAddress(address) => Some(address.address.as_str()),
            _ => None,
        }
    })
}

fn node() -> core::Node {
    let text = |text: &str| Value { kind: Some(value::Kind::StringValue(text.into())) };
    let fields = [
        ("NAMESPACE", "default"),
        ("SERVICE_ACCOUNT", "default"),
        ("WORKLOAD_NAME", "bench"),
        ("INSTANCE_IPS", "127.0.0.1"),
        ("INTERCEPTION_MODE", "NONE"),
        ("HTTP_PROXY_PORT", "15088"),
    ];
    core::Node {
        id: "sidecar~127.0.0.1~bench.default~default.svc.cluster.local".into(),
        metadata: Some(Struct { fields: fields.map(|(key, value)| (key.to_owned(), text(value))).into() }),
        user_agent_name: "weft".into(),
        ..Default::default()
    }
}
