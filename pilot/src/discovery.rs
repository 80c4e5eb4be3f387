//! The discovery service: hands each proxy its snapshot over aggregated xDS, incremental or state-of-the-world, and
//! knows what each has taken.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::SpiffeId;
use api::envoy::service::discovery::v3 as xds;
use futures_util::Stream;
use registry::KeyAccess;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use xds::aggregated_discovery_service_server::{AggregatedDiscoveryService, AggregatedDiscoveryServiceServer};

mod admission;
mod counters;
mod debounce;
mod delta;
mod events;
mod ledger;
mod proxies;
mod session;
mod sotw;

pub use counters::{Metrics, PushDurations};
pub use events::{Happened, ProxyEvent};
pub use proxies::{ProxyStatus, SyncState, TypeStatus};

use crate::compile::Compiled;
use crate::inputs::{Inputs, Mark};
use crate::node::Node;
use crate::resource::Snapshot;

/// The largest request that is read.
const MAX_REQUEST: usize = 4 << 20;
/// Answers that wait for a slow client before its stream stops reading.
const QUEUE: usize = 4;

/// How the service behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// A change of configuration is pushed when none followed for this long…
    pub debounce_quiet: Duration,
    /// …or when the first has waited this long.
    pub debounce_max: Duration,
    /// Whether proxies are served without an authenticated peer (plaintext listeners, tests).
    pub allow_unauthenticated: bool,
    /// Names this control plane to its clients.
    pub identifier: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            debounce_quiet: Duration::from_millis(100),
            debounce_max: Duration::from_secs(10),
            allow_unauthenticated: false,
            identifier: format!("weft {}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// Who is at the other end, put into the request's extensions by the server that verified its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub id: SpiffeId,
    /// The member that its certificate names.
    pub member: Option<String>,
    /// Where its connection comes from.
    pub address: Option<std::net::IpAddr>,
}

/// What else is tied to a proxy's connection.
#[tonic::async_trait]
pub trait Attachments: Send + Sync + 'static {
    /// Called once a proxy was let in by its identity and the inputs are ready; the value is dropped when it disconnects.
    /// An error refuses it.
    async fn connected(&self, node: &Node, peer: Option<&Peer>) -> Result<Box<dyn Attached>, Status>;
}

/// What lives as long as a proxy's connection.
pub trait Attached: Send {
    /// The proxy tells whether its workload serves; the reason if it does not.
    fn told_health(&self, unhealthy: Option<String>) {
        let _ = unhealthy;
    }

    /// The same, heard only when the connection had ended: the proxy may have said otherwise on another since.
    fn last_words(&self, unhealthy: Option<String>) {
        self.told_health(unhealthy);
    }

    /// Whether the proxy may have private keys, as long as it is connected; `None` is no.
    fn keys(&self) -> Option<watch::Receiver<KeyAccess>> {
        None
    }
}

/// For services that attach nothing.
#[tonic::async_trait]
impl Attachments for () {
    async fn connected(&self, _: &Node, _: Option<&Peer>) -> Result<Box<dyn Attached>, Status> {
        Ok(Box::new(()))
    }
}

impl Attached for () {}

/// The service. Clones share; the last one dropped ends the compile behind it.
#[derive(Clone)]
pub struct Discovery {
    hub: Arc<Hub>,
    _task: Arc<AbortOnDrop>,
}

/// What all streams share.
struct Hub {
    options: Options,
    attachments: Arc<dyn Attachments>,
    inputs: watch::Receiver<Inputs>,
    /// `None` until the inputs are ready.
    worlds: watch::Receiver<Option<World>>,
    proxies: proxies::Proxies,
    counters: Arc<counters::Counters>,
}

/// What is compiled from what, and when the change came that made it necessary.
#[derive(Clone)]
struct World {
    compiled: Arc<Compiled>,
    /// Of what it was compiled from.
    mark: Mark,
    changed: Instant,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Discovery {
    /// Starts to follow the inputs (on the current tokio runtime). Streams are held until the inputs are ready.
    pub fn new(inputs: watch::Receiver<Inputs>, options: Options, attachments: Arc<dyn Attachments>) -> Self {
        let (publish, worlds) = watch::channel(None);
        let counters = Arc::new(counters::Counters::default());
        let task = tokio::spawn(debounce::run(inputs.clone(), publish, options.clone(), Arc::clone(&counters)));
        let hub = Hub { options, attachments, inputs, worlds, proxies: proxies::Proxies::default(), counters };
        Self { hub: Arc::new(hub), _task: Arc::new(AbortOnDrop(task.abort_handle())) }
    }

    /// The tonic service, with its limits.
    pub fn server(&self) -> AggregatedDiscoveryServiceServer<Self> {
        AggregatedDiscoveryServiceServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST)
    }

    /// Every connected proxy, by name.
    pub fn proxies(&self) -> Vec<ProxyStatus> {
        self.hub.proxies.list(&self.hub.inputs.borrow())
    }

    /// What a connected proxy was last given, by its name or its node id.
    pub fn snapshot(&self, proxy: &str) -> Option<Arc<Snapshot>> {
        self.hub.proxies.snapshot(proxy)
    }

    /// Who each connected proxy says it is, and what it was last given.
    pub fn nodes(&self) -> Vec<(Arc<Node>, Arc<Snapshot>)> {
        self.hub.proxies.nodes()
    }

    /// What happened with a proxy lately, the oldest first; `None` for one that was never seen.
    pub fn events(&self, proxy: &str) -> Option<Vec<ProxyEvent>> {
        self.hub.proxies.events.of(proxy)
    }

    /// A number that is another whenever something changed in the list of proxies.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.hub.proxies.changes()
    }

    /// Counters for the Prometheus endpoint.
    pub fn metrics(&self) -> Metrics {
        self.hub.counters.metrics(self.hub.proxies.connected())
    }

    fn peer<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let identity = peer.as_ref().map(|peer| peer.id.clone());
        if identity.is_none() && !self.hub.options.allow_unauthenticated {
            return Err(Status::unauthenticated("present the certificate of a workload of this mesh"));
        }
        let address = request.remote_addr().or_else(|| request.extensions().get::<SocketAddr>().copied());
        Ok(Caller { identity, peer, address })
    }
}

/// What is known of a client before its first message.
struct Caller {
    identity: Option<SpiffeId>,
    peer: Option<Peer>,
    address: Option<SocketAddr>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Discovery {
    fn open<P: session::Protocol>(
        &self,
        request: Request<Streaming<P::Request>>,
    ) -> Result<Answers<P::Response>, Status> {
        let caller = self.peer(&request)?;
        let (answers, stream) = mpsc::channel(QUEUE);
        tokio::spawn(session::run::<P>(Arc::clone(&self.hub), caller, request.into_inner(), answers));
        Ok(Box::pin(ReceiverStream::new(stream)))
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type StreamAggregatedResourcesStream = Answers<xds::DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Answers<xds::DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<xds::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        self.open::<sotw::Sotw>(request).map(Response::new)
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<xds::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        self.open::<delta::Delta>(request).map(Response::new)
    }
}
