//! What the compile costs: a mesh of services and endpoints, one sidecar, one more sidecar, one changed endpoint. Each
//! figure stands as a ratio to a peer in the same run: the encoding of the same resources, which nobody can avoid.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::envoy::config::core::v3 as core;
use api::prost::Message as _;
use api::prost_types::value::Kind;
use api::prost_types::{Struct, Value};
use api::{Hostname, TrustDomain};
use pilot::{Compiled, Inputs, MeshConfig, Node};
use registry::{
    Address, Catalog, Endpoint, Event, Health, Locality, Location, Merger, Platform, Protocol, Provenance, Resolution,
    Service, ServiceKey, ServicePort, TlsMode, Visibility, Workload,
};

const ROUNDS: usize = 7;
const ENDPOINTS: u8 = 10;

fn main() {
    println!(
        "{:>8}  {:>12} {:>9}  {:>12}  {:>16} {:>9}",
        "services", "first", "encoding", "next sidecar", "endpoint change", "per first"
    );
    for services in [100, 1_000, 10_000] {
        row(services);
    }
}

fn row(services: u32) {
    let mut merger = Merger::new(["bench"]);
    for number in 0..services {
        merger.apply(0, Event::Service(service(number)));
        merger.apply(0, Event::Endpoints(key(number), endpoints(number, 0)));
    }
    let before = inputs(merger.catalog().clone());
    merger.apply(0, Event::Endpoints(key(1), endpoints(1, 100)));
    let after = inputs(merger.catalog().clone());
    let (one, other) = (node("10.255.0.1"), node("10.255.0.2"));

    let first = median(|| {
        black_box(Compiled::new(&before).snapshot(&one));
    });
    let compiled = Compiled::new(&before);
    let (snapshot, _) = compiled.snapshot(&one);
    let next = median(|| {
        black_box(compiled.snapshot(&other));
    });
    let changed = median(|| {
        black_box(compiled.next(&after).snapshot(&one));
    });
    let encoding = median(|| {
        for kind in pilot::Kind::ALL {
            for resource in snapshot.of(kind).iter() {
                black_box(resource.any.encode_to_vec());
            }
        }
    });
    println!(
        "{services:>8}  {first:>12.2?} {:>8.1}x  {next:>12.2?}  {changed:>16.2?} {:>9.4}",
        first.as_secs_f64() / encoding.as_secs_f64(),
        changed.as_secs_f64() / first.as_secs_f64(),
    );
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}

fn key(number: u32) -> ServiceKey {
    let host = Hostname::new(&format!("service-{number}.default.svc.cluster.local")).expect("a DNS name");
    ServiceKey::new(host, "default")
}

fn provenance() -> Provenance {
    Provenance { registry: "bench".into(), object: String::new() }
}

fn service(number: u32) -> Service {
    Service {
        guesses_port: false,
        key: key(number),
        aliases: vec![],
        ports: vec![ServicePort { name: "http".into(), number: 8080, protocol: Protocol::Http }],
        addresses: vec![],
        location: Location::MeshInternal,
        resolution: Resolution::Static,
        visibility: Visibility::Public,
        subject_alt_names: vec![],
        labels: BTreeMap::new(),
        created: 0,
        provenance: provenance(),
    }
}

fn endpoints(number: u32, offset: u8) -> Vec<Endpoint> {
    let [_, b, c, d] = number.to_be_bytes();
    let workload = Arc::new(Workload {
        hostname: String::new(),
        name: format!("service-{number}-v1"),
        namespace: "default".into(),
        service_account: format!("service-{number}"),
        labels: [("app".to_owned(), format!("service-{number}")), ("version".to_owned(), "v1".to_owned())].into(),
        locality: Locality::default(),
        network: String::new(),
        platform: Platform::Vm,
        cluster: "weft".into(),
    });
    let endpoint = |index: u8| Endpoint {
        silent_since: None,
        address: Address::Ip([10 + index + offset, b, c, d].into()),
        port: 8080,
        service_port: "http".into(),
        health: Health::Healthy,
        weight: 1,
        tls: TlsMode::Istio,
        workload: Arc::clone(&workload),
        provenance: provenance(),
    };
    (0..ENDPOINTS).map(endpoint).collect()
}

fn inputs(catalog: Catalog) -> Inputs {
    let mesh = MeshConfig::new(TrustDomain::new("cluster.local").expect("a trust domain"));
    Inputs {
        catalog: Arc::new(catalog),
        config: Arc::default(),
        mesh: Arc::new(mesh),
        credentials: Arc::default(),
        ready: true,
    }
}

fn node(ip: &str) -> Node {
    let text = |value: &str| Value { kind: Some(Kind::StringValue(value.to_owned())) };
    let fields = [
        ("NAMESPACE", "default"),
        ("SERVICE_ACCOUNT", "caller"),
        ("WORKLOAD_NAME", "caller"),
        ("INSTANCE_IPS", ip),
        ("INTERCEPTION_MODE", "NONE"),
        ("HTTP_PROXY_PORT", "15088"),
    ];
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
    let wire = core::Node {
        id: format!("sidecar~{ip}~caller.default~default.svc.cluster.local"),
        metadata: Some(Struct { fields }),
        user_agent_name: "weft".into(),
        ..Default::default()
    };
    Node::parse(&wire).expect("a well-formed node")
}
