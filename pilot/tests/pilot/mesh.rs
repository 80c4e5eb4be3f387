//! A small mesh that tests script: a catalog, configuration, and the discovery service behind an in-memory connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::envoy::service::discovery::v3 as xds;
use api::{Hostname, SpiffeId, TrustDomain};
use galley::kinds::{Destination, HttpAction, HttpDestination, HttpMatch, HttpRoute, StringMatch, VirtualService};
use galley::{Config, Meta};
use hyper_util::rt::TokioIo;
use pilot::{Attachments, Discovery, Inputs, MeshConfig, Node, Options, Peer, ProxyStatus};
use registry::{
    Address, Endpoint, Event, Health, Locality, Location, Merger, Platform, Protocol, Provenance, Resolution, Service,
    ServiceKey, ServicePort, TlsMode, Visibility, Workload,
};
use tokio::sync::watch;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Server};
use xds::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;

pub type Client = AggregatedDiscoveryServiceClient<Channel>;

pub struct Mesh {
    merger: Merger,
    config: galley::Snapshot,
    mesh: Arc<MeshConfig>,
    inputs: watch::Sender<Inputs>,
    pub discovery: Discovery,
    pub attached: Arc<Attached>,
}

/// Counts the guards that are held, and keeps what was told of health.
#[derive(Default)]
pub struct Attached {
    now: AtomicUsize,
    pub told: watch::Sender<Vec<Option<String>>>,
}

struct Guard(Arc<Attached>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Attach(Arc<Attached>);

#[tonic::async_trait]
impl Attachments for Attach {
    async fn connected(&self, _: &Node, _: Option<&Peer>) -> Result<Box<dyn pilot::Attached>, tonic::Status> {
        self.0.now.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Guard(Arc::clone(&self.0))))
    }
}

impl pilot::Attached for Guard {
    fn told_health(&self, unhealthy: Option<String>) {
        self.0.told.send_modify(|told| told.push(unhealthy));
    }
}

impl Attached {
    pub fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }
}

impl Mesh {
    /// Services `reviews` and `ratings` on port 9080, one endpoint each; ready from the start.
    pub fn new() -> Self {
        let mesh = Self::unready(Options { allow_unauthenticated: true, ..Options::default() });
        mesh.publish();
        mesh
    }

    /// The same, held back until `publish`.
    pub fn unready(options: Options) -> Self {
        let mut merger = Merger::new(["test"]);
        for name in ["reviews", "ratings"] {
            merger.apply(0, Event::Service(service(name)));
            merger.apply(0, Event::Endpoints(key(name), vec![endpoint(name, "10.0.0.1")]));
        }
        merger.apply(0, Event::Synced);
        let config = galley::Snapshot::default();
        let mesh = Arc::new(MeshConfig::new(TrustDomain::new("cluster.local").unwrap()));
        let first = Inputs {
            catalog: Arc::default(),
            config: Arc::new(config.clone()),
            mesh: Arc::clone(&mesh),
            credentials: Arc::default(),
            ready: false,
        };
        let (inputs, watched) = watch::channel(first);
        let attached = Arc::new(Attached::default());
        let discovery = Discovery::new(watched, options, Arc::new(Attach(Arc::clone(&attached))));
        Self { merger, config, mesh, inputs, discovery, attached }
    }

    pub fn inputs(&self) -> Inputs {
        Inputs {
            catalog: Arc::new(self.merger.catalog().clone()),
            config: Arc::new(self.config.clone()),
            mesh: Arc::clone(&self.mesh),
            credentials: Arc::default(),
            ready: true,
        }
    }

    pub fn publish(&self) {
        self.inputs.send_replace(self.inputs());
    }

    pub fn endpoints(&mut self, name: &str, addresses: &[&str]) {
        let endpoints = addresses.iter().map(|address| endpoint(name, address)).collect();
        self.merger.apply(0, Event::Endpoints(key(name), endpoints));
        self.publish();
    }

    pub fn add_service(&mut self, name: &str) {
        self.merger.apply(0, Event::Service(service(name)));
        self.merger.apply(0, Event::Endpoints(key(name), vec![endpoint(name, "10.0.0.9")]));
        self.publish();
    }

    pub fn remove_service(&mut self, name: &str) {
        self.merger.apply(0, Event::ServiceGone(key(name)));
        self.publish();
    }

    /// A VirtualService for `reviews` that matches one path more than the default.
    pub fn route_reviews(&mut self, path: &str) {
        let matches = vec![HttpMatch { uri: Some(StringMatch::Exact(path.into())), ..HttpMatch::default() }];
        let destination = Destination { host: "reviews".into(), ..Destination::default() };
        let route = HttpRoute {
            name: String::new(),
            matches,
            action: HttpAction::Route(vec![HttpDestination { destination, ..HttpDestination::default() }]),
            rewrite: None,
            timeout: None,
            retries: None,
            fault: None,
            mirrors: vec![],
            cors: None,
            headers: Default::default(),
        };
        let spec = VirtualService {
            hosts: vec!["reviews".into()],
            gateways: vec!["mesh".into()],
            http: vec![route],
            ..VirtualService::default()
        };
        let meta = Meta { name: "reviews".into(), namespace: "default".into(), ..Meta::default() };
        self.config.virtual_services = vec![Arc::new(Config { meta, spec })];
        self.config.version += 1;
        self.publish();
    }

    /// A client of the service, as a peer with this identity (or none).
    pub async fn client(&self, identity: Option<&str>) -> Client {
        let (near, far) = tokio::io::duplex(1 << 20);
        let peer = identity.map(|id| Peer { id: id.parse::<SpiffeId>().unwrap(), member: None, address: None });
        let service = InterceptedService::new(self.discovery.server(), move |mut request: tonic::Request<()>| {
            if let Some(peer) = &peer {
                request.extensions_mut().insert(peer.clone());
            }
            Ok(request)
        });
        let incoming = tokio_stream::once(Ok::<_, std::io::Error>(far));
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        let mut near = Some(near);
        let connector = tower::service_fn(move |_| {
            let near = near.take().map(TokioIo::new).ok_or_else(|| std::io::Error::other("connects once"));
            async move { near }
        });
        let endpoint = tonic::transport::Endpoint::from_static("http://pilot");
        Client::new(endpoint.connect_with_connector(connector).await.unwrap())
    }

    /// The status of the only connected proxy.
    pub fn status(&self) -> ProxyStatus {
        let mut proxies = self.discovery.proxies();
        assert_eq!(proxies.len(), 1, "connected proxies: {proxies:?}");
        proxies.remove(0)
    }
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::new(Hostname::new(&format!("{name}.default.svc.cluster.local")).unwrap(), "default")
}

fn service(name: &str) -> Service {
    Service {
        guesses_port: false,
        key: key(name),
        aliases: vec![],
        ports: vec![ServicePort { name: "http".into(), number: 9080, protocol: Protocol::Http }],
        addresses: vec![],
        location: Location::MeshInternal,
        resolution: Resolution::Static,
        visibility: Visibility::Public,
        subject_alt_names: vec![],
        labels: BTreeMap::new(),
        created: 0,
        provenance: Provenance { registry: "test".into(), object: name.into() },
    }
}

fn endpoint(name: &str, address: &str) -> Endpoint {
    let workload = Workload {
        hostname: String::new(),
        name: format!("{name}-v1"),
        namespace: "default".into(),
        service_account: format!("bookinfo-{name}"),
        labels: [("app", name), ("version", "v1")].map(|(k, v)| (k.into(), v.into())).into(),
        locality: Locality::default(),
        network: String::new(),
        platform: Platform::Vm,
        cluster: "weft".into(),
    };
    Endpoint {
        silent_since: None,
        address: Address::Ip(address.parse().unwrap()),
        port: 9080,
        service_port: "http".into(),
        health: Health::Healthy,
        weight: 1,
        tls: TlsMode::Istio,
        workload: Arc::new(workload),
        provenance: Provenance { registry: "test".into(), object: name.into() },
    }
}
